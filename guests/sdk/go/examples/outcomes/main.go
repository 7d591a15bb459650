// Fails, asks for a retry, or drops the event, as its body says.
package main

import (
	"errors"
	"time"

	"guesthouse/dapr"
)

//go:wasmexport dapr_on_event
func onEvent() int32 { return dapr.Answer(outcomes) }

func outcomes(event *dapr.Event, reply *dapr.Reply) error {
	switch string(event.Body()) {
	case "error":
		return errors.New("the body asks for an error")
	case "retry":
		return dapr.RetryAfter(1500*time.Millisecond, errors.New("the body asks for a retry"))
	case "drop":
		return dapr.Drop(errors.New("the body asks to be dropped"))
	}
	_, err := reply.WriteString("done")
	return err
}

func main() {}
