// Asks another application for a price, and hands the answer to an output binding.
package main

import "guesthouse/dapr"

//go:wasmexport dapr_on_binding
func onBinding() int32 { return dapr.Answer(forward) }

func forward(event *dapr.Event, reply *dapr.Reply) error {
	price, err := dapr.InvokeMethod("other", "price", event.Body(), dapr.InvokeOptions{ContentType: "text/plain"})
	if err != nil {
		return err
	}
	metadata := map[string]string{"fileName": "price"}
	_, err = dapr.InvokeBinding("store", "create", price.Data, dapr.Options{Metadata: metadata})
	return err
}

func main() {}
