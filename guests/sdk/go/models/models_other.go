//go:build !wasip1

package models

import "errors"

// Stand-ins for the host, which tests set; nil: there is no such thing.
var (
	TestInfer     func(model string, shape []uint32, input, output []float32) error
	TestLoadImage func(picture []byte, width, height uint32) ([]byte, error)
)

func infer(model string, shape []uint32, input, output []float32) error {
	if TestInfer == nil {
		return errors.New("no models here: a test sets models.TestInfer")
	}
	return TestInfer(model, shape, input, output)
}

func loadImage(picture []byte, width, height uint32) ([]byte, error) {
	if TestLoadImage == nil {
		return nil, errors.New("no pictures here: a test sets models.TestLoadImage")
	}
	return TestLoadImage(picture, width, height)
}
