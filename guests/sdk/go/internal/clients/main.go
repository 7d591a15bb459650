// No example: each request once, and a line of the reply for what came back. Dapr's own protobuf code reads the
// requests in the SDKs' tests.
package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"guesthouse/dapr"
)

//go:wasmexport dapr_on_invoke
func onInvoke() int32 { return dapr.Answer(clients) }

func clients(event *dapr.Event, reply *dapr.Reply) error {
	var failed error
	tell := func(err error, what string, arguments ...any) {
		if err != nil {
			failed = err
		}
		fmt.Fprintf(reply, what+"\n", arguments...)
	}
	ab := map[string]string{"a": "b"}
	data := []byte("data")

	got, err := dapr.GetState("store", "k", dapr.Options{Metadata: ab})
	tell(err, "%s %s", got.Data, got.ETag)
	states, err := dapr.GetBulkState("store", []string{"k", "l"}, dapr.Options{Metadata: ab})
	var items []string
	for _, state := range states {
		if state.Err != nil {
			items = append(items, state.Key+"!"+state.Err.Error())
		} else {
			items = append(items, fmt.Sprintf("%s=%s@%s", state.Key, state.Data, state.ETag))
		}
	}
	tell(err, "%s", strings.Join(items, " "))
	save := dapr.SaveOptions{ETag: got.ETag, Metadata: map[string]string{"ttlInSeconds": "9"}}
	tell(dapr.SaveState("store", "k", []byte("v"), save), "ok")
	tell(dapr.SaveState("store", "k", []byte("v")), "ok")
	tell(dapr.State{Store: "store", Key: "k"}.Save([]byte("v")), "ok")
	tell(dapr.DeleteState("store", "k", dapr.SaveOptions{ETag: "7", Metadata: ab}), "ok")
	both := []dapr.StateOperation{{Key: "k", Data: []byte("v"), ETag: "7"}, {Key: "l", Delete: true}}
	tell(dapr.StateTransaction("store", both, dapr.Options{Metadata: ab}), "ok")
	raw := dapr.PublishOptions{ContentType: "text/plain", Metadata: map[string]string{"rawPayload": "true"}}
	tell(dapr.Publish("pubsub", "results", data, raw), "ok")
	invoked, err := dapr.InvokeMethod("other", "price", data, dapr.InvokeOptions{
		Verb: "PATCH", ContentType: "text/plain", Query: "a=b", Headers: map[string]string{"x-a": "b"},
		Timeout: 5 * time.Second,
	})
	tell(err, "%s %s", invoked.Data, invoked.ContentType)
	bound, err := dapr.InvokeBinding("mail", "create", data, dapr.Options{Metadata: ab})
	tell(err, "%s", bound.Data)
	secret, err := dapr.GetSecret("vault", "key", dapr.Options{Metadata: map[string]string{"version_id": "2"}})
	tell(err, "%s", joined(secret))
	configuration, err := dapr.GetConfiguration("config", []string{"k", "l"}, dapr.Options{Metadata: ab})
	values := map[string]string{}
	for key, item := range configuration {
		values[key] = item.Value + "@" + item.Version
	}
	tell(err, "%s", joined(values))
	locked, err := dapr.TryLock("locks", "r", "me", time.Minute)
	tell(err, "%d", map[bool]int{true: 1}[locked])
	unlocked, err := dapr.Unlock("locks", "r", "me")
	tell(err, "%d", unlocked)
	job := dapr.JobDetails{Schedule: "@daily", DueTime: "10s", TTL: "1h", Repeats: 3, Data: data}
	tell(dapr.ScheduleJob("sweep", job, dapr.JobOptions{Overwrite: true}), "ok")
	job, err = dapr.GetJob("sweep")
	tell(err, "%s", job.Data)
	tell(dapr.DeleteJob("sweep"), "ok")
	added, err := dapr.InvokeActor("Cart", "7", "add", data, dapr.Options{Metadata: ab})
	tell(err, "%s", added)
	_, err = dapr.Call("GetWorkflowBeta1", []byte("\x0a\x03any"))
	tell(err, "ok")
	return failed
}

//go:wasmexport dapr_on_actor
func onActor() int32 { return dapr.Answer(own) }

// own makes the calls of an actor's own turn.
func own(event *dapr.Event, reply *dapr.Reply) error {
	var failed error
	tell := func(err error, what string) {
		if err != nil {
			failed = err
		}
		fmt.Fprintln(reply, what)
	}
	turn := dapr.TurnOf(event)
	got, err := turn.Read("k")
	tell(err, string(got))
	tell(turn.Write(dapr.Change{Key: "k", Data: []byte("v"), Metadata: map[string]string{"ttlInSeconds": "9"}}), "ok")
	tell(turn.Remove("l"), "ok")
	tell(turn.SaveNow(), "ok")
	data := dapr.FireOptions{Every: "2s", Data: []byte("data"), TTL: "9s"}
	timer := data
	timer.Callback = "again"
	tell(turn.SetTimer("tick", "1s", timer), "ok")
	tell(turn.ClearTimer("tick"), "ok")
	tell(turn.SetReminder("daily", "1s", data), "ok")
	tell(turn.ClearReminder("daily"), "ok")
	return failed
}

func joined(values map[string]string) string {
	var lines []string
	for key, value := range values {
		lines = append(lines, key+"="+value)
	}
	sort.Strings(lines)
	return strings.Join(lines, " ")
}

func main() {}
