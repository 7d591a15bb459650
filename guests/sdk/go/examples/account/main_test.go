//go:build !wasip1

package main

import (
	"testing"

	"guesthouse/dapr"
	"guesthouse/dapr/daprtest"
)

func TestATransferTakesTheMoneyOutOnce(t *testing.T) {
	host := daprtest.New(t)
	method := func(name, body string) daprtest.Got {
		host.Turn(dapr.ActorMethod, "Account", "ann", name)
		host.Body = []byte(body)
		return host.Run(accounts.Handle)
	}
	if got := method("deposit", "5"); got.Body != "5" {
		t.Errorf("%+v", got)
	}
	if got := method("withdraw", "6"); got.Status != 409 || got.Body != "not enough: the balance is 5" {
		t.Errorf("%+v", got)
	}
	host.Answers = []daprtest.Answer{daprtest.Fails(dapr.Unavailable, "no answer")}
	if got := method("transfer", "t1 bob 4"); got.Outcome != daprtest.Retry {
		t.Errorf("%+v", got)
	}
	if got := method("transfer", "t1 bob 4"); got.Body != "1" || len(host.Calls) != 2 {
		t.Errorf("%+v, %+v", got, host.Calls)
	}
	host.Turn(dapr.ActorReminder, "Account", "ann", "interest")
	host.Body = []byte("1")
	if got := host.Run(accounts.Handle); got.Outcome != daprtest.Stop {
		t.Errorf("%+v", got)
	}
}
