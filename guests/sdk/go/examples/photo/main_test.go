//go:build !wasip1

package main

import (
	"errors"
	"testing"

	"guesthouse/dapr"
	"guesthouse/dapr/daprtest"
	"guesthouse/dapr/models"
)

func TestAPhotoOfAPersonIsCounted(t *testing.T) {
	models.TestLoadImage = func(picture []byte, width, height uint32) ([]byte, error) {
		if string(picture) != "photo" {
			return nil, errors.New("no picture")
		}
		return make([]byte, width*height*3), nil
	}
	models.TestInfer = func(model string, shape []uint32, input, output []float32) error {
		output[0] = 0.75
		return nil
	}
	host := daprtest.New(t)
	host.Trigger, host.Body = dapr.Topic, []byte("photo")
	host.Answers = []daprtest.Answer{daprtest.State("4", "7")}
	got := host.Run(photo)
	if got.Outcome != daprtest.Done || len(host.Calls) != 3 || host.Calls[2].Method != "PublishEvent" {
		t.Errorf("%+v, %+v", got, host.Calls)
	}
	host.Body = []byte("text")
	if got := host.Run(photo); got.Outcome != daprtest.Drop {
		t.Errorf("%+v", got)
	}
}
