// Greets whoever is named in the body, and counts the visits of each in a state store.
package main

import (
	"errors"
	"fmt"
	"strconv"

	"guesthouse/dapr"
)

//go:wasmexport dapr_on_invoke
func onInvoke() int32 { return dapr.Answer(greet) }

func greet(event *dapr.Event, reply *dapr.Reply) error {
	name := string(event.Body())
	if name == "" {
		return dapr.Drop(errors.New("the body is empty; write a name"))
	}

	seen, err := dapr.GetState("statestore", "visits-"+name)
	if err != nil {
		return err
	}
	visits, _ := strconv.Atoi(string(seen.Data)) // no visit yet: 0
	visits++
	if err := seen.Save([]byte(strconv.Itoa(visits))); err != nil {
		return err
	}

	dapr.Log(dapr.LevelInfo, "a visit", "name", name, "visits", strconv.Itoa(visits))
	reply.ContentType("text/plain; charset=utf-8")
	fmt.Fprintf(reply, "Hello, %s! This is visit %d.\n", name, visits)
	return nil
}

func main() {}
