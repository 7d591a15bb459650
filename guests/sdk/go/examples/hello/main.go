// Greets by the query and a header: name=Ada gives "Hello, Ada!".
package main

import "guesthouse/dapr"

//go:wasmexport dapr_on_invoke
func onInvoke() int32 { return dapr.Answer(hello) }

func hello(event *dapr.Event, reply *dapr.Reply) error {
	name, _ := event.Query("name")
	if name == "" {
		name = "world"
	}
	greeting, found := event.Metadata("x-greeting")
	if !found {
		greeting = "Hello"
	}
	reply.ContentType("text/plain; charset=utf-8")
	reply.Header("x-guest", "hello")
	reply.Status(201)
	_, err := reply.WriteString(greeting + ", " + name + "!")
	return err
}

func main() {}
