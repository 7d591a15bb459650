// Reads ten states at once.
package main

import (
	"errors"
	"strconv"

	"guesthouse/dapr"
)

//go:wasmexport dapr_on_invoke
func onInvoke() int32 { return dapr.Answer(tenReads) }

func tenReads(event *dapr.Event, reply *dapr.Reply) error {
	var reads [10]*dapr.Pending[dapr.State]
	for i := range reads {
		reads[i] = dapr.StartGetState("statestore", "item-"+strconv.Itoa(i))
	}
	reply.ContentType("text/plain")
	for i, read := range reads {
		item, err := read.Wait()
		if err != nil {
			// The text alone: that nobody answered is no reason to try again here.
			return errors.New("item-" + strconv.Itoa(i) + ": " + err.Error())
		}
		if i > 0 {
			reply.WriteString("\n")
		}
		if _, err := reply.Write(item.Data); err != nil {
			return err
		}
	}
	return nil
}

func main() {}
