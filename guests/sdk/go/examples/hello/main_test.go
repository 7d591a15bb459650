package main

import (
	"testing"

	"guesthouse/dapr/daprtest"
)

func TestHelloGreetsByQueryAndHeader(t *testing.T) {
	host := daprtest.New(t)
	host.Query = "name=Ann+Lee"
	host.Metadata = map[string]string{"x-greeting": "Good day"}
	got := host.Run(hello)
	if got.Body != "Good day, Ann Lee!" || got.Status != 201 || got.Headers["x-guest"] != "hello" {
		t.Errorf("%+v", got)
	}
}
