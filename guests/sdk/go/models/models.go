// Package models runs models of the host, and has the host decode pictures: by wasi-nn and WasmEdge's wasmedge_image.
package models

import (
	"errors"
	"strconv"
)

// Infer runs the host's model of this name on one input of floats, and fills `output`, which must have the size of the
// model's first output.
func Infer(model string, shape []uint32, input, output []float32) error {
	elements := uint64(1)
	for _, size := range shape {
		elements *= uint64(size)
	}
	if elements != uint64(len(input)) {
		return errors.New("the model " + model + ": " + strconv.Itoa(len(input)) + " floats do not have the shape of the input")
	}
	return infer(model, shape, input, output)
}

// LoadImage has the host decode a JPEG or PNG picture and resize it: the bytes are red, green and blue of each pixel.
func LoadImage(picture []byte, width, height uint32) ([]byte, error) {
	return loadImage(picture, width, height)
}
