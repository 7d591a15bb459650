package dapr

import (
	"errors"
	"strconv"
	"time"

	"guesthouse/dapr/internal/abi"
)

// Reply is the answer that a handler writes.
type Reply struct{}

var _ interface {
	Write([]byte) (int, error)
	WriteString(string) (int, error)
} = (*Reply)(nil)

// Write appends to the body.
func (r *Reply) Write(data []byte) (int, error) {
	if number := abi.Current.ReplyWrite(data); number < 0 {
		return 0, abiError("the reply's body", number)
	}
	return len(data), nil
}

// WriteString appends to the body.
func (r *Reply) WriteString(text string) (int, error) { return r.Write([]byte(text)) }

// ContentType sets that of the body.
func (r *Reply) ContentType(value string) error {
	return abiError("the content type", abi.Current.ReplySet(1, value))
}

// Status sets the HTTP status of the reply to an invocation or to a method of an actor, from 200 to 599. From 300 on the caller of an
// invocation gets no body; its text is what Failure sets, or else the body. An actor's caller gets the body.
func (r *Reply) Status(status int) error {
	return abiError("the status", abi.Current.ReplyStatus(uint32(status)))
}

// Failure says why, with a status from 300 on.
func (r *Reply) Failure(text string) error {
	return abiError("the failure's text", abi.Current.ReplySet(2, text))
}

// Header adds a header to an invocation's reply. Its name has lower-case letters.
func (r *Reply) Header(name, value string) error {
	return abiError("the header "+name, abi.Current.ReplyHeader(name, value))
}

// RetryAfter says, with a status as 429 or 503, when the caller may try again.
func (r *Reply) RetryAfter(after time.Duration) error {
	return abiError("the time to wait", abi.Current.RetryAfter(milliseconds(after)))
}

func milliseconds(duration time.Duration) uint32 {
	return uint32(min(max(duration.Milliseconds(), 0), 1<<32-1))
}

// Errors of dapr_v1, for errors.Is.
var (
	ErrInvalid     = errors.New("dapr_v1 does not take it (INVALID)")
	ErrLimit       = errors.New("a limit of the guest would be exceeded (LIMIT)")
	ErrUnsupported = errors.New("this event does not have it (UNSUPPORTED)")
	ErrBadHandle   = errors.New("there is no such call (BAD_HANDLE)")
)

// hostError is a number below 0 that dapr_v1 gave.
type hostError struct {
	what string
	kind error
}

func (e *hostError) Error() string { return e.what + ": " + e.kind.Error() }

func (e *hostError) Unwrap() error { return e.kind }

func abiError(what string, number int32) error {
	if number >= 0 {
		return nil
	}
	kind, known := abiErrors[number]
	if !known {
		kind = errors.New("dapr_v1 gave " + strconv.Itoa(int(number)))
	}
	return &hostError{what, kind}
}

var abiErrors = map[int32]error{
	abi.Invalid: ErrInvalid, abi.Limit: ErrLimit, abi.Unsupported: ErrUnsupported, abi.BadHandle: ErrBadHandle,
}
