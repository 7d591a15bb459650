// Package daprtest is a host and a sidecar for tests of guests, which run without Wasm:
//
//	func TestHello(t *testing.T) {
//		host := daprtest.New(t)
//		host.Query = "name=Ada"
//		got := host.Run(hello)
//		if got.Body != "Hello, Ada!" { … }
//	}
//
// It records what the guest does, and answers calls in the order in which they are begun. It knows no grants: those are
// the host's.
package daprtest

import (
	"maps"
	"testing"
	"time"

	"guesthouse/dapr"
	"guesthouse/dapr/internal/abi"
	"guesthouse/dapr/internal/proto"
)

// Outcome is what a handler ended with.
type Outcome int32

// The outcomes.
const (
	Done Outcome = iota
	Failed
	Retry
	Drop
	Stop
)

// Call is a call that the guest has made.
type Call struct {
	Method  string
	Request []byte // Dapr's protobuf message
	Headers map[string]string
	Timeout time.Duration
	answer  Answer
	open    bool
}

// Answer is how a call ends: with OK and a response message, or with another code and a text.
type Answer struct {
	Code    dapr.Code
	Message []byte
	Text    string
}

// Line is a line of the guest's log.
type Line struct {
	Level  dapr.Level
	Text   string
	Fields map[string]string
}

// Got is what the guest answered.
type Got struct {
	Outcome     Outcome
	Body        string
	ContentType string
	Status      int // 0 where the guest set none
	Headers     map[string]string
	Failure     string // why, in the guest's words
	RetryAfter  time.Duration
}

// Host is the event, and what the guest did. Set what the event has before Run.
type Host struct {
	Trigger     dapr.Trigger
	Name        string
	Body        []byte
	ContentType string
	Verb        string
	Query       string
	Path        string
	ID          string
	Source      string
	ActorID     string // of an actor's turn, whose type is Name
	ActorMethod string
	Callback    string
	Type        string
	Metadata    map[string]string
	Config      map[string]string
	TimeLeft    time.Duration
	Answers     []Answer // of the calls, in their order; then OK, with an empty message
	LimitCalls  int      // 0: any number

	// State is that of the actor whose turn the event is. Where there is one, the host answers the calls for it, and they
	// are no part of Calls and Answers. After Run it is what the turn has saved.
	State map[string]string

	Calls []Call
	Log   []Line

	got     Got
	begun   []*Call           // by their handles
	written map[string]string // State, with what the turn has written
}

// New makes the host of one event: an invocation without a body, with ten seconds of time.
func New(t *testing.T) *Host {
	host := &Host{Trigger: dapr.Invoke, TimeLeft: 10 * time.Second}
	t.Cleanup(func() { abi.Current = nil })
	return host
}

// Run has a handler answer the event.
func (h *Host) Run(handler dapr.Handler) Got {
	abi.Current = functions{h}
	h.got = Got{Headers: map[string]string{}}
	h.written = maps.Clone(h.State)
	h.got.Outcome = Outcome(dapr.Answer(handler))
	if h.got.Outcome == Done || h.got.Outcome == Stop {
		h.State = h.written
	}
	return h.got
}

// Turn makes the event a turn of an actor with a state.
func (h *Host) Turn(trigger dapr.Trigger, kind, id, method string) {
	h.Trigger, h.Name, h.ActorID, h.ActorMethod = trigger, kind, id, method
	if h.State == nil {
		h.State = map[string]string{}
	}
}

// ownState answers a call for the state of the actor whose turn it is.
func (h *Host) ownState(method string, request []byte) (Answer, bool) {
	if h.State == nil || string(proto.Find(request, 2).Bytes) != h.ActorID {
		return Answer{}, false
	}
	switch method {
	case "GetActorState":
		return Answer{Message: proto.Message{}.Text(1, h.written[string(proto.Find(request, 3).Bytes)])}, true
	case "ExecuteActorStateTransaction":
		changes := 0
		for _, field := range proto.Fields(request) {
			if field.Number != 3 {
				continue
			}
			changes++
			key := string(proto.Find(field.Bytes, 2).Bytes)
			if string(proto.Find(field.Bytes, 1).Bytes) == "delete" {
				delete(h.written, key)
			} else {
				h.written[key] = string(proto.Find(proto.Find(field.Bytes, 3).Bytes, 2).Bytes)
			}
		}
		if changes == 0 {
			h.State = maps.Clone(h.written)
		}
		return Answer{}, true
	}
	return Answer{}, false
}

// State is the answer to GetState.
func State(data, etag string) Answer {
	return Answer{Message: proto.Message{}.Text(1, data).Text(2, etag)}
}

// Invoked is the answer to InvokeMethod.
func Invoked(data, contentType string) Answer {
	return Answer{Message: proto.Message{}.Message(1, proto.Message{}.Text(2, data)).Text(2, contentType)}
}

// Fails is the answer of a call that fails.
func Fails(code dapr.Code, text string) Answer { return Answer{Code: code, Text: text} }

type functions struct{ *Host }

func give(data []byte, offset uint32, buffer []byte) int32 {
	if int(offset) < len(data) {
		copy(buffer, data[offset:])
	}
	return int32(len(data))
}

func (f functions) EventRead(field, offset uint32, buffer []byte) int32 {
	if field == 1 {
		return give(f.Body, offset, buffer)
	}
	texts := map[uint32]string{
		2: string(f.Trigger), 3: f.Name, 4: f.ContentType, 5: f.Verb, 6: f.Query, 7: f.Path, 8: f.ID, 11: f.Source,
		12: f.Type, 13: f.ActorID, 14: f.ActorMethod, 15: f.Callback,
	}
	text := texts[field]
	if text == "" {
		return abi.Absent
	}
	return give([]byte(text), offset, buffer)
}

func named(values map[string]string, name string, offset uint32, buffer []byte) int32 {
	value, found := values[name]
	if !found {
		return abi.Absent
	}
	return give([]byte(value), offset, buffer)
}

func (f functions) EventMetadata(name string, offset uint32, buffer []byte) int32 {
	return named(f.Metadata, name, offset, buffer)
}

func (f functions) EventMetadataAll(offset uint32, buffer []byte) int32 {
	return give(abi.Pairs(f.Metadata), offset, buffer)
}

func (f functions) ReplyWrite(data []byte) int32 {
	f.got.Body += string(data)
	return 0
}

func (f functions) ReplySet(field uint32, text string) int32 {
	switch field {
	case 1:
		f.got.ContentType = text
	case 2:
		f.got.Failure = text
	default:
		return abi.Invalid
	}
	return 0
}

func (f functions) ReplyStatus(status uint32) int32 {
	if f.Trigger != dapr.Invoke && f.Trigger != dapr.ActorMethod {
		return abi.Unsupported
	}
	if status < 200 || status > 599 {
		return abi.Invalid
	}
	f.got.Status = int(status)
	return 0
}

func (f functions) ReplyHeader(name, value string) int32 {
	if f.Trigger != dapr.Invoke {
		return abi.Unsupported
	}
	f.got.Headers[name] = value
	return 0
}

func (f functions) RetryAfter(milliseconds uint32) int32 {
	f.got.RetryAfter = time.Duration(milliseconds) * time.Millisecond
	return 0
}

func (f functions) Log(level uint32, text string, fields []byte) int32 {
	f.Host.Log = append(f.Host.Log, Line{dapr.Level(level), text, abi.ReadPairs(fields)})
	return 0
}

func (f functions) TimeLeft() int64 { return f.Host.TimeLeft.Milliseconds() }

func (f functions) ConfigRead(name string, offset uint32, buffer []byte) int32 {
	return named(f.Config, name, offset, buffer)
}

func (f functions) CallStart(method string, request, metadata []byte, milliseconds uint32) int32 {
	if f.LimitCalls > 0 && len(f.Calls) == f.LimitCalls {
		return abi.Limit
	}
	call := Call{
		Method: method, Request: append([]byte(nil), request...), Headers: abi.ReadPairs(metadata),
		Timeout: time.Duration(milliseconds) * time.Millisecond, open: true,
	}
	if answer, own := f.ownState(method, request); own {
		call.answer = answer
	} else {
		if len(f.Calls) < len(f.Answers) {
			call.answer = f.Answers[len(f.Calls)]
		}
		f.Calls = append(f.Calls, call)
	}
	f.Host.begun = append(f.Host.begun, &call)
	return int32(len(f.begun))
}

func (f functions) call(handle uint32) *Call {
	if handle == 0 || int(handle) > len(f.begun) || !f.begun[handle-1].open {
		return nil
	}
	return f.begun[handle-1]
}

func (f functions) CallWait(handles []uint32, mode uint32, milliseconds int32) int32 {
	first := 0
	for position, handle := range handles {
		if f.call(handle) == nil {
			return abi.BadHandle
		}
		if handle < handles[first] {
			first = position
		}
	}
	switch {
	case mode == 1:
		return int32(len(handles))
	case len(handles) == 0:
		return abi.Absent
	}
	return int32(first)
}

func (f functions) CallStatus(handle uint32) int32 {
	call := f.call(handle)
	if call == nil {
		return abi.BadHandle
	}
	return int32(call.answer.Code)
}

func (f functions) CallRead(handle, part, offset uint32, buffer []byte) int32 {
	call := f.call(handle)
	switch {
	case call == nil:
		return abi.BadHandle
	case part == 0 && call.answer.Code == dapr.OK:
		return give(call.answer.Message, offset, buffer)
	case part == 1:
		return give([]byte(call.answer.Text), offset, buffer)
	}
	return abi.Absent
}

func (f functions) CallClose(handle uint32) int32 {
	call := f.call(handle)
	if call == nil {
		return abi.BadHandle
	}
	call.open = false
	return 0
}
