//go:build wasip1

package abi

import "unsafe"

func init() { Current = wasm{} }

//go:wasmimport dapr_v1 event_read
func eventRead(field, offset uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport dapr_v1 event_metadata
func eventMetadata(name unsafe.Pointer, nameLength, offset uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport dapr_v1 event_metadata_all
func eventMetadataAll(offset uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport dapr_v1 reply_write
func replyWrite(data unsafe.Pointer, length uint32) int32

//go:wasmimport dapr_v1 reply_set
func replySet(field uint32, text unsafe.Pointer, length uint32) int32

//go:wasmimport dapr_v1 reply_status
func replyStatus(status uint32) int32

//go:wasmimport dapr_v1 reply_header
func replyHeader(name unsafe.Pointer, nameLength uint32, value unsafe.Pointer, valueLength uint32) int32

//go:wasmimport dapr_v1 retry_after
func retryAfter(milliseconds uint32) int32

//go:wasmimport dapr_v1 log
func log(level uint32, text unsafe.Pointer, length uint32, fields unsafe.Pointer, fieldsLength uint32) int32

//go:wasmimport dapr_v1 time_left
func timeLeft() int64

//go:wasmimport dapr_v1 config_read
func configRead(name unsafe.Pointer, nameLength, offset uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport dapr_v1 call_start
func callStart(method unsafe.Pointer, methodLength uint32, request unsafe.Pointer, length uint32,
	metadata unsafe.Pointer, metadataLength, milliseconds uint32) int32

//go:wasmimport dapr_v1 call_wait
func callWait(handles unsafe.Pointer, count, mode uint32, milliseconds int32) int32

//go:wasmimport dapr_v1 call_status
func callStatus(handle uint32) int32

//go:wasmimport dapr_v1 call_read
func callRead(handle, part, offset uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport dapr_v1 call_close
func callClose(handle uint32) int32

type wasm struct{}

func bytes(data []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))
}

func text(data string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(data)), uint32(len(data))
}

func (wasm) EventRead(field, offset uint32, buffer []byte) int32 {
	data, size := bytes(buffer)
	return eventRead(field, offset, data, size)
}

func (wasm) EventMetadata(name string, offset uint32, buffer []byte) int32 {
	named, length := text(name)
	data, size := bytes(buffer)
	return eventMetadata(named, length, offset, data, size)
}

func (wasm) EventMetadataAll(offset uint32, buffer []byte) int32 {
	data, size := bytes(buffer)
	return eventMetadataAll(offset, data, size)
}

func (wasm) ReplyWrite(data []byte) int32 { return replyWrite(bytes(data)) }

func (wasm) ReplySet(field uint32, value string) int32 {
	data, size := text(value)
	return replySet(field, data, size)
}

func (wasm) ReplyStatus(status uint32) int32 { return replyStatus(status) }

func (wasm) ReplyHeader(name, value string) int32 {
	named, nameLength := text(name)
	data, size := text(value)
	return replyHeader(named, nameLength, data, size)
}

func (wasm) RetryAfter(milliseconds uint32) int32 { return retryAfter(milliseconds) }

func (wasm) Log(level uint32, line string, fields []byte) int32 {
	data, size := text(line)
	pairs, length := bytes(fields)
	return log(level, data, size, pairs, length)
}

func (wasm) TimeLeft() int64 { return timeLeft() }

func (wasm) ConfigRead(name string, offset uint32, buffer []byte) int32 {
	named, length := text(name)
	data, size := bytes(buffer)
	return configRead(named, length, offset, data, size)
}

func (wasm) CallStart(method string, request, metadata []byte, milliseconds uint32) int32 {
	named, length := text(method)
	data, size := bytes(request)
	pairs, pairsLength := bytes(metadata)
	return callStart(named, length, data, size, pairs, pairsLength, milliseconds)
}

func (wasm) CallWait(handles []uint32, mode uint32, milliseconds int32) int32 {
	return callWait(unsafe.Pointer(unsafe.SliceData(handles)), uint32(len(handles)), mode, milliseconds)
}

func (wasm) CallStatus(handle uint32) int32 { return callStatus(handle) }

func (wasm) CallRead(handle, part, offset uint32, buffer []byte) int32 {
	data, size := bytes(buffer)
	return callRead(handle, part, offset, data, size)
}

func (wasm) CallClose(handle uint32) int32 { return callClose(handle) }
