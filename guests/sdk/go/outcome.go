package dapr

import (
	"errors"
	"time"

	"guesthouse/dapr/internal/abi"
)

// Handler answers an event. Without an error, the event is answered by what was written to the reply.
//
// With an error it failed, and the error's text is the reason. It is sent again, where its trigger does that, for
// errors of Retry, and for those of calls that nobody answered (Unavailable, DeadlineExceeded). It is not sent again
// for errors of Drop.
type Handler func(event *Event, reply *Reply) error

const (
	done = iota
	failed
	retry
	drop
	stop
)

type outcomeError struct {
	error
	outcome int32
	after   time.Duration
}

func (e *outcomeError) Unwrap() error { return e.error }

// Retry is an error after which the same event may succeed later.
func Retry(err error) error { return &outcomeError{error: err, outcome: retry} }

// RetryAfter is Retry, with a wish when.
func RetryAfter(after time.Duration, err error) error {
	return &outcomeError{error: err, outcome: retry, after: after}
}

// Drop is an error of the event itself: sending it again cannot help.
func Drop(err error) error { return &outcomeError{error: err, outcome: drop} }

// Stop is what a handler of a timer or a reminder returns where that is not to fire again. The event is answered, as
// without an error.
var Stop error = &outcomeError{error: errors.New("the timer or reminder stops"), outcome: stop}

type statusError struct {
	text   string
	status int
}

func (e *statusError) Error() string { return e.text }

// Refuse is an answer to an invocation or to a method of an actor, with a status from 300 on. The text is also the body
// of an actor's answer, for its callers see nothing else. For other events it is a failure.
func Refuse(status int, text string) error { return &statusError{text, status} }

// Answer has a handler answer the event. It is what an exported handler returns:
//
//	//go:wasmexport dapr_on_topic
//	func onTopic() int32 { return dapr.Answer(photo) }
func Answer(handler Handler) int32 {
	err := handler(&Event{}, &Reply{})
	if err == nil {
		return done
	}
	if err == Stop {
		return stop
	}
	abi.Current.ReplySet(2, err.Error())
	var refused *statusError
	if errors.As(err, &refused) && abi.Current.ReplyStatus(uint32(refused.status)) == 0 {
		if (&Event{}).Trigger() == ActorMethod {
			abi.Current.ReplyWrite([]byte(refused.text))
		}
		return done
	}
	var asked *outcomeError
	if errors.As(err, &asked) {
		if asked.after > 0 {
			abi.Current.RetryAfter(milliseconds(asked.after))
		}
		return asked.outcome
	}
	var call *Error
	if errors.As(err, &call) && call.Temporary() {
		return retry
	}
	return failed
}
