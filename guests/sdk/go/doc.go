// Package dapr is for WebAssembly guests in Go that answer Dapr's events and call Dapr's API, by the ABI dapr_v1.
//
//	package main
//
//	import "guesthouse/dapr"
//
//	//go:wasmexport dapr_on_invoke
//	func onInvoke() int32 { return dapr.Answer(count) }
//
//	func count(event *dapr.Event, reply *dapr.Reply) error {
//		seen, err := dapr.GetState("statestore", event.Name())
//		if err != nil {
//			return err
//		}
//		reply.ContentType("text/plain")
//		reply.Write(seen.Data)
//		return seen.Save(append(seen.Data, '.'))
//	}
//
//	func main() {}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o count.wasm .
//
// Each event has a fresh instance. A guest has one thread: a goroutine that waits for a call stops the others.
// Package daprtest is a host for tests of guests, which run without Wasm. Package models runs models of the host.
package dapr

// Version is that of this package.
const Version = "0.2.0"
