// A guest as a kit of http-wasm has it: that of guests/http_wasm_plugin. The kit is TinyGo's: its two handlers are
// exported here, as Go's own compiler wants it.
package main

import (
	"fmt"
	"strings"
	_ "unsafe" // for go:linkname

	"github.com/http-wasm/http-wasm-guest-tinygo/handler"
	"github.com/http-wasm/http-wasm-guest-tinygo/handler/api"
)

//go:linkname kitRequest github.com/http-wasm/http-wasm-guest-tinygo/handler.handleRequest
func kitRequest() uint64

//go:linkname kitResponse github.com/http-wasm/http-wasm-guest-tinygo/handler.handleResponse
func kitResponse(context uint32, isError uint32)

//go:wasmexport handle_request
func handleRequest() uint64 { return kitRequest() }

//go:wasmexport handle_response
func handleResponse(context uint32, isError uint32) { kitResponse(context, isError) }

func init() {
	handler.HandleRequestFn = request
	handler.HandleResponseFn = response
}

func request(request api.Request, response api.Response) (next bool, context uint32) {
	handler.Host.Log(api.LogLevelInfo, "work")
	if strings.HasPrefix(request.GetURI(), "/pass") {
		handler.Host.EnableFeatures(api.FeatureBufferResponse)
		request.Headers().Set("x-mark", "set")
		return true, 7
	}
	mark, _ := request.Headers().Get("x-mark")
	var body strings.Builder
	if _, err := request.Body().WriteTo(&body); err != nil {
		panic(err)
	}
	response.SetStatusCode(201)
	response.Headers().Set("content-type", "text/plain")
	response.Headers().Add("x-method", request.GetMethod())
	response.Body().WriteString(strings.Join([]string{
		string(handler.Host.GetConfig()), request.GetURI(), mark, body.String()}, " "))
	return false, 0
}

func response(context uint32, _ api.Request, response api.Response, isError bool) {
	response.Headers().Set("x-seen", fmt.Sprintf("%d %t %d", context, isError, response.GetStatusCode()))
}

func main() {}
