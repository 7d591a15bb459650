//go:build wasip1

package models

import (
	"errors"
	"strconv"
	"unsafe"
)

//go:wasmimport wasi_ephemeral_nn load_by_name
func nnLoadByName(name unsafe.Pointer, length uint32, graph unsafe.Pointer) uint32

//go:wasmimport wasi_ephemeral_nn init_execution_context
func nnInitExecutionContext(graph uint32, context unsafe.Pointer) uint32

//go:wasmimport wasi_ephemeral_nn set_input
func nnSetInput(context, index uint32, tensor unsafe.Pointer) uint32

//go:wasmimport wasi_ephemeral_nn compute
func nnCompute(context uint32) uint32

//go:wasmimport wasi_ephemeral_nn get_output
func nnGetOutput(context, index uint32, buffer unsafe.Pointer, size uint32, written unsafe.Pointer) uint32

//go:wasmimport wasmedge_image load_image
func imageLoad(picture unsafe.Pointer, size, width, height, kind uint32, buffer unsafe.Pointer, room uint32) uint32

const (
	float32s = 1
	rgb8     = 0
)

// Go's pointers have 64 bits in a struct, and wasi-nn's have 32.
type tensor struct {
	dimensions uint32
	rank       uint32
	kind       uint8
	data       uint32
	size       uint32
}

var pinned struct {
	shape []uint32
	input []float32
}

func address(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }

func infer(model string, shape []uint32, input, output []float32) error {
	var graph, context, written uint32
	name := unsafe.Pointer(unsafe.StringData(model))
	if number := nnLoadByName(name, uint32(len(model)), unsafe.Pointer(&graph)); number != 0 {
		return failed("load_by_name", model, number)
	}
	if number := nnInitExecutionContext(graph, unsafe.Pointer(&context)); number != 0 {
		return failed("init_execution_context", model, number)
	}
	// The struct has addresses as numbers. What they point to must stay where it is, so it must not be on a stack.
	pinned.shape, pinned.input = shape, input
	in := &tensor{
		address(unsafe.Pointer(unsafe.SliceData(pinned.shape))), uint32(len(shape)), float32s,
		address(unsafe.Pointer(unsafe.SliceData(pinned.input))), uint32(4 * len(input)),
	}
	number := nnSetInput(context, 0, unsafe.Pointer(in))
	pinned.shape, pinned.input = nil, nil
	if number != 0 {
		return failed("set_input", model, number)
	}
	if number := nnCompute(context); number != 0 {
		return failed("compute", model, number)
	}
	size := uint32(4 * len(output))
	to := unsafe.Pointer(unsafe.SliceData(output))
	if number := nnGetOutput(context, 0, to, size, unsafe.Pointer(&written)); number != 0 {
		return failed("get_output", model, number)
	}
	if written != size {
		return errors.New("the model " + model + ": its output has another size than was expected")
	}
	return nil
}

func failed(function, model string, number uint32) error {
	return errors.New("wasi_ephemeral_nn." + function + " failed for " + model + ": error " + strconv.Itoa(int(number)))
}

func loadImage(picture []byte, width, height uint32) ([]byte, error) {
	pixels := make([]byte, uint64(width)*uint64(height)*3)
	data := unsafe.Pointer(unsafe.SliceData(picture))
	to := unsafe.Pointer(unsafe.SliceData(pixels))
	if number := imageLoad(data, uint32(len(picture)), width, height, rgb8, to, uint32(len(pixels))); number != 0 {
		return nil, errors.New("wasmedge_image.load_image failed: error " + strconv.Itoa(int(number)))
	}
	return pixels, nil
}
