// A plug-in as the kit of Extism has it, by Go's own compiler: the functions of guests/extism_plugin.
package main

import (
	"fmt"

	"github.com/extism/go-pdk"
)

//go:wasmimport extism:host/user dapr_call
func daprCall(request uint64) uint64

//go:wasmexport echo
func echo() int32 {
	pdk.Output(pdk.Input())
	return 0
}

//go:wasmexport work
func work() int32 {
	colour, _ := pdk.GetConfig("colour")
	body := pdk.Input()
	pdk.SetVar("body", body)
	kept, absent := pdk.GetVar("body"), pdk.GetVar("absent")
	pdk.Log(pdk.LogInfo, fmt.Sprintf("work: %d bytes", len(body)))
	request := pdk.AllocateString("GetState\n\x0a\x05state\x12\x03key")
	found := pdk.FindMemory(daprCall(request.Offset()))
	answer := found.ReadBytes()
	if answer[0] != 0 {
		pdk.SetErrorString(fmt.Sprintf("%d: %s", answer[0], answer[1:]))
		return 1
	}
	state := ""
	if len(answer) > 3 {
		state = string(answer[3:])
	}
	pdk.OutputString(fmt.Sprintf("%s %s %t %s", colour, kept, absent == nil, state))
	return 0
}

//go:wasmexport refuse
func refuse() int32 {
	pdk.SetErrorString("no " + pdk.InputString())
	return 1
}

func main() {}
