// Counts the photos that show a person. The count is a state, saved with its etag: where another event was faster, this
// one comes again.
package main

import (
	"errors"
	"fmt"
	"strconv"

	"guesthouse/dapr"
	"guesthouse/dapr/models"
)

const side = 96

//go:wasmexport dapr_on_topic
func onTopic() int32 { return dapr.Answer(photo) }

func photo(event *dapr.Event, reply *dapr.Reply) error {
	people, err := dapr.GetState("statestore", "people")
	if err != nil {
		return dapr.Retry(err)
	}
	pixels, err := models.LoadImage(event.Body(), side, side)
	if err != nil {
		return dapr.Drop(errors.New("the body is not a picture"))
	}
	input := make([]float32, len(pixels))
	for i, pixel := range pixels {
		input[i] = float32(pixel)
	}
	person := make([]float32, 2)
	if err := models.Infer("person", []uint32{1, side, side, 3}, input, person); err != nil {
		return err
	}

	count, err := strconv.ParseUint(string(people.Data), 10, 63)
	if err != nil {
		count = 0
	}
	if person[0] > 0.5 {
		count++
	}
	if err := people.Save(strconv.AppendUint(nil, count, 10)); err != nil {
		return dapr.Retry(err)
	}
	result := fmt.Sprintf(`{"person":%t,"people":%d}`, person[0] > 0.5, count)
	json := dapr.PublishOptions{ContentType: "application/json"}
	if err := dapr.Publish("pubsub", "results", []byte(result), json); err != nil {
		return dapr.Retry(err)
	}
	return nil
}

func main() {}
