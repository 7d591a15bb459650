// Package abi is the module dapr_v1 as Go sees it. In Wasm, Current is the host; elsewhere a test sets it.
package abi

// Numbers below 0 that functions of dapr_v1 give.
const (
	Absent      = -1
	Invalid     = -2
	BadHandle   = -3
	Limit       = -4
	Pending     = -5
	Unsupported = -6
)

// Host has the functions of dapr_v1. Functions that read copy what fits from offset on, and give the whole size.
type Host interface {
	EventRead(field, offset uint32, buffer []byte) int32
	EventMetadata(name string, offset uint32, buffer []byte) int32
	EventMetadataAll(offset uint32, buffer []byte) int32
	ReplyWrite(data []byte) int32
	ReplySet(field uint32, text string) int32
	ReplyStatus(status uint32) int32
	ReplyHeader(name, value string) int32
	RetryAfter(milliseconds uint32) int32
	Log(level uint32, text string, fields []byte) int32
	TimeLeft() int64
	ConfigRead(name string, offset uint32, buffer []byte) int32
	CallStart(method string, request, metadata []byte, milliseconds uint32) int32
	CallWait(handles []uint32, mode uint32, milliseconds int32) int32
	CallStatus(handle uint32) int32
	CallRead(handle, part, offset uint32, buffer []byte) int32
	CallClose(handle uint32) int32
}

// Current is the host of this program.
var Current Host

// Read reads all that such a function has; false where there is no such thing.
func Read(read func(offset uint32, buffer []byte) int32) ([]byte, bool) {
	buffer := make([]byte, 1024)
	size := read(0, buffer)
	if size < 0 {
		return nil, false
	}
	if int(size) <= len(buffer) {
		return buffer[:size], true
	}
	whole := make([]byte, size)
	copy(whole, buffer)
	read(uint32(len(buffer)), whole[len(buffer):])
	return whole, true
}
