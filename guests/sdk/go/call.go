package dapr

import (
	"strconv"
	"time"

	"guesthouse/dapr/internal/abi"
)

// Code is gRPC's code of a status.
type Code uint32

// The codes.
const (
	OK Code = iota
	Cancelled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

var codes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func (c Code) String() string {
	if int(c) < len(codes) {
		return codes[c]
	}
	return "CODE_" + strconv.Itoa(int(c))
}

// Error is how a call ended that failed. Its text is that of the status.
type Error struct {
	Method  string
	Code    Code
	Message string
	Details []byte // google.rpc.Status, as protobuf; nil where there is none
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Method + " ended with " + e.Code.String()
	}
	return e.Message
}

// Temporary is whether the same call may succeed later: nobody answered, or not in time.
func (e *Error) Temporary() bool { return e.Code == Unavailable || e.Code == DeadlineExceeded }

// Pending is a call under way. What was begun before the first is waited for is under way at once.
type Pending[T any] struct {
	method string
	handle int32 // 0 when it is closed
	decode func([]byte) T
	value  T
	err    error
}

// Waitable is any Pending.
type Waitable interface{ open() (uint32, bool) }

func (p *Pending[T]) open() (uint32, bool) { return uint32(p.handle), p.handle > 0 }

func start[T any](method string, request []byte, headers map[string]string, timeout time.Duration,
	decode func([]byte) T) *Pending[T] {
	limit := milliseconds(timeout)
	if timeout > 0 && limit == 0 {
		limit = 1
	}
	handle := abi.Current.CallStart(method, request, abi.Pairs(headers), limit)
	if handle < 0 {
		return &Pending[T]{method: method, err: abiError("the call "+method, handle)}
	}
	return &Pending[T]{method: method, handle: handle, decode: decode}
}

const (
	waitAny = iota
	waitAll
)

const (
	partMessage = iota
	partText
	partInitial
	partTrailing
	partDetails
)

// Wait waits for the end of the call. It may be called again, and gives the same.
func (p *Pending[T]) Wait() (T, error) {
	handle, open := p.open()
	if !open {
		return p.value, p.err
	}
	status := abi.Current.CallWait([]uint32{handle}, waitAll, -1)
	if status > 0 {
		status = abi.Current.CallStatus(handle)
	}
	switch {
	case status < 0:
		p.err = abiError("the call "+p.method, status)
	case status == 0:
		message, _ := readPart(handle, partMessage)
		p.value = p.decode(message)
	default:
		text, _ := readPart(handle, partText)
		details, _ := readPart(handle, partDetails)
		p.err = &Error{p.method, Code(status), string(text), details}
	}
	p.close()
	return p.value, p.err
}

// Cancel gives the call up. Whether it is carried out then is not known.
func (p *Pending[T]) Cancel() {
	if _, open := p.open(); open {
		p.err = &Error{Method: p.method, Code: Cancelled, Message: "the guest gave it up"}
		p.close()
	}
}

func (p *Pending[T]) close() {
	abi.Current.CallClose(uint32(p.handle))
	p.handle = 0
}

func readPart(handle, part uint32) ([]byte, bool) {
	return abi.Read(func(offset uint32, buffer []byte) int32 {
		return abi.Current.CallRead(handle, part, offset, buffer)
	})
}

// First waits for the first of the calls to end, and gives its position. Calls that were waited for are left out, so
// results come in order of arrival:
//
//	for i := dapr.First(calls...); i >= 0; i = dapr.First(calls...) {
//		value, err := pending[i].Wait()
//
// It is -1 where none is left.
func First(calls ...Waitable) int {
	var handles []uint32
	var positions []int
	for position, call := range calls {
		if handle, open := call.open(); open {
			handles = append(handles, handle)
			positions = append(positions, position)
		}
	}
	first := abi.Current.CallWait(handles, waitAny, -1)
	if first < 0 {
		return -1
	}
	return positions[first]
}

// CallOptions are those of StartCall.
type CallOptions struct {
	Headers map[string]string // gRPC metadata
	Timeout time.Duration     // 0: as long as the event may take
}

// StartCall begins any method of the sidecar, by its name and with Dapr's own protobuf message.
func StartCall(method string, request []byte, options ...CallOptions) *Pending[[]byte] {
	o := optional(options)
	return start(method, request, o.Headers, o.Timeout, func(message []byte) []byte { return message })
}

// Call makes such a call, and gives the response message.
func Call(method string, request []byte, options ...CallOptions) ([]byte, error) {
	return StartCall(method, request, options...).Wait()
}

// optional is the first of the options, where there is one.
func optional[T any](options []T) T {
	var none T
	if len(options) > 0 {
		return options[0]
	}
	return none
}
