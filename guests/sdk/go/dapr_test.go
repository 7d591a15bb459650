package dapr_test

import (
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"guesthouse/dapr"
	"guesthouse/dapr/daprtest"
	"guesthouse/dapr/internal/proto"
)

func TestTheEventIsRead(t *testing.T) {
	host := daprtest.New(t)
	host.Name, host.Verb, host.Query = "greet", "PUT", "b&a=1%2&name=J%C3%BC+rgen&name=x&=empty"
	host.Body = []byte(strings.Repeat("0123456789", 1000))
	host.Metadata = map[string]string{"x-a": "1", "x-b": ""}
	host.Config = map[string]string{"colour": "blue"}
	host.Run(func(event *dapr.Event, _ *dapr.Reply) error {
		if got := event.Body(); string(got) != string(host.Body) || event.BodySize() != len(got) {
			t.Errorf("the body has %d bytes", len(got))
		}
		if got, err := io.ReadAll(event.BodyReader()); err != nil || string(got) != string(host.Body) {
			t.Errorf("in pieces the body has %d bytes, %v", len(got), err)
		}
		if event.Trigger() != dapr.Invoke || event.Name() != "greet" || event.Verb() != "PUT" || event.ID() != "" {
			t.Error(event.Trigger(), event.Name(), event.Verb(), event.ID())
		}
		for name, want := range map[string]string{"b": "", "a": "1%2", "name": "Jü rgen", "": "empty"} {
			if got, found := event.Query(name); got != want || !found {
				t.Errorf("the parameter %q is %q, %t", name, got, found)
			}
		}
		if _, found := event.Query("c"); found {
			t.Error("there is no parameter c")
		}
		if got := event.AllMetadata(); !maps.Equal(got, host.Metadata) {
			t.Error(got)
		}
		if _, found := event.Metadata("x-c"); found {
			t.Error("there is no metadata x-c")
		}
		if got, found := event.Metadata("x-b"); got != "" || !found {
			t.Error("x-b is there, and empty")
		}
		if got, _ := dapr.Config("colour"); got != "blue" || dapr.TimeLeft() != 10*time.Second {
			t.Error(got, dapr.TimeLeft())
		}
		return nil
	})
}

func TestAnErrorBecomesAnOutcome(t *testing.T) {
	plain, call := errors.New("broken"), &dapr.Error{Code: dapr.Unavailable, Message: "nobody"}
	for _, one := range []struct {
		err     error
		outcome daprtest.Outcome
		failure string
		after   time.Duration
	}{
		{nil, daprtest.Done, "", 0},
		{plain, daprtest.Failed, "broken", 0},
		{dapr.Retry(plain), daprtest.Retry, "broken", 0},
		{dapr.RetryAfter(1500*time.Millisecond, plain), daprtest.Retry, "broken", 1500 * time.Millisecond},
		{dapr.Drop(plain), daprtest.Drop, "broken", 0},
		{errors.Join(dapr.Drop(plain)), daprtest.Drop, "broken", 0},
		{call, daprtest.Retry, "nobody", 0},
		{dapr.Drop(call), daprtest.Drop, "nobody", 0},
		{&dapr.Error{Code: dapr.Aborted, Message: "stale"}, daprtest.Failed, "stale", 0},
		{&dapr.Error{Method: "GetState", Code: dapr.NotFound}, daprtest.Failed, "GetState ended with NOT_FOUND", 0},
	} {
		got := daprtest.New(t).Run(func(*dapr.Event, *dapr.Reply) error { return one.err })
		if got.Outcome != one.outcome || got.Failure != one.failure || got.RetryAfter != one.after {
			t.Errorf("%v: %+v", one.err, got)
		}
	}
}

func TestTheReplySaysWhatItCannotBe(t *testing.T) {
	host := daprtest.New(t)
	host.Trigger = dapr.Job
	got := host.Run(func(_ *dapr.Event, reply *dapr.Reply) error {
		if err := reply.Status(201); !errors.Is(err, dapr.ErrUnsupported) {
			t.Error(err)
		}
		if _, err := io.WriteString(reply, "a"); err != nil {
			t.Error(err)
		}
		return reply.ContentType("text/plain")
	})
	if got.Body != "a" || got.ContentType != "text/plain" || got.Status != 0 {
		t.Errorf("%+v", got)
	}
	invocation := daprtest.New(t)
	invocation.Run(func(_ *dapr.Event, reply *dapr.Reply) error {
		if err := reply.Status(99); !errors.Is(err, dapr.ErrInvalid) {
			t.Error(err)
		}
		return nil
	})
}

func TestCallsEndInOrderOfArrival(t *testing.T) {
	host := daprtest.New(t)
	host.Answers = []daprtest.Answer{daprtest.State("A", "1"), daprtest.Fails(dapr.NotFound, "no store")}
	host.LimitCalls = 2
	host.Run(func(*dapr.Event, *dapr.Reply) error {
		a, b := dapr.StartGetState("s", "a"), dapr.StartGetState("s", "b", dapr.Options{Timeout: time.Microsecond})
		c := dapr.StartPublish("p", "t", nil)
		if first := dapr.First(b, a, c); first != 1 {
			t.Error(first)
		}
		if state, err := a.Wait(); err != nil || string(state.Data) != "A" || state.ETag != "1" {
			t.Error(state, err)
		}
		if first := dapr.First(b, a, c); first != 0 {
			t.Error(first)
		}
		for range 2 { // the second time it is the same
			var call *dapr.Error
			if _, err := b.Wait(); !errors.As(err, &call) || call.Code != dapr.NotFound || call.Method != "GetState" {
				t.Error(err)
			}
		}
		if first := dapr.First(b, a, c); first != -1 {
			t.Error(first)
		}
		if _, err := c.Wait(); !errors.Is(err, dapr.ErrLimit) {
			t.Error(err)
		}
		return nil
	})
	if host.Calls[1].Timeout != time.Millisecond {
		t.Error("a time that is short is no time without end: ", host.Calls[1].Timeout)
	}
}

func TestACallThatIsGivenUpIsCancelled(t *testing.T) {
	daprtest.New(t).Run(func(*dapr.Event, *dapr.Reply) error {
		call := dapr.StartGetState("s", "a")
		call.Cancel()
		var ended *dapr.Error
		if _, err := call.Wait(); !errors.As(err, &ended) || ended.Code != dapr.Cancelled {
			t.Error(err)
		}
		return nil
	})
}

func TestTheLogHasFields(t *testing.T) {
	host := daprtest.New(t)
	host.Run(func(*dapr.Event, *dapr.Reply) error {
		dapr.Log(dapr.LevelWarning, "careful", "key", "value", "odd")
		return nil
	})
	if line := host.Log[0]; line.Text != "careful" || line.Fields["key"] != "value" || len(line.Fields) != 1 {
		t.Error(line)
	}
}

func FuzzFieldsOfAnyBytes(f *testing.F) {
	f.Add([]byte("\x0a\x05abc"))
	f.Add([]byte("\x09\x00\x15\x08\x96\x01\x12\x07testing"))
	f.Add([]byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := 0
		for _, field := range proto.Fields(data) {
			size += len(field.Bytes)
		}
		if size > len(data) {
			t.Error("more bytes than there are")
		}
	})
}

func TestMessagesAreReadAsTheyWereWritten(t *testing.T) {
	large := strings.Repeat("x", 300)
	message := proto.Message{}.Number(1, 1<<64-1).Message(16, proto.Message{}.Text(3, large)).Text(5, "")
	message = message.Map(6, map[string]string{"b": "2", "a": ""})
	if proto.Find(message, 1).Value != 1<<64-1 || len(proto.Find(proto.Find(message, 16).Bytes, 3).Bytes) != 300 {
		t.Error("what was written is not what is read")
	}
	if proto.Find(message, 5).Number != 0 || !maps.Equal(proto.Texts(message, 6), map[string]string{"a": "", "b": "2"}) {
		t.Error(proto.Texts(message, 6))
	}
}
