//go:build !wasip1

package dapr_test

import (
	"errors"
	"maps"
	"testing"

	"guesthouse/dapr"
	"guesthouse/dapr/daprtest"
)

type counter struct{ Total int }

func (c *counter) add(turn *dapr.Turn, reply *dapr.Reply) error {
	c.Total++
	return turn.Set("other", c.Total)
}

func (c *counter) addAndFail(turn *dapr.Turn, reply *dapr.Reply) error {
	if err := c.add(turn, reply); err != nil {
		return err
	}
	return errors.New("no")
}

func (c *counter) saveAndFail(turn *dapr.Turn, reply *dapr.Reply) error {
	c.Total++
	if err := turn.SaveNow(); err != nil {
		return err
	}
	c.Total++
	return errors.New("no")
}

func (c *counter) forget(turn *dapr.Turn, reply *dapr.Reply) error { return turn.Remove("other") }

func (c *counter) stop(turn *dapr.Turn, reply *dapr.Reply) error {
	c.Total = 100
	return dapr.Stop
}

var counters = dapr.Actor[counter]{
	Methods: map[string]dapr.Method[counter]{
		"add": (*counter).add, "fail": (*counter).addAndFail, "save": (*counter).saveAndFail, "forget": (*counter).forget,
	},
	Timers:    map[string]dapr.Method[counter]{"tick": (*counter).add},
	Reminders: map[string]dapr.Method[counter]{"daily": (*counter).stop},
	Activate:  (*counter).add,
}

func TestATurnReadsItsStateAndSavesIt(t *testing.T) {
	for _, one := range []struct {
		trigger dapr.Trigger
		name    string
		before  map[string]string
		outcome daprtest.Outcome
		failure string
		after   map[string]string
	}{
		{dapr.ActorMethod, "add", nil, daprtest.Done, "", map[string]string{"state": `{"Total":1}`, "other": "1"}},
		{dapr.ActorTimer, "tick", map[string]string{"state": `{"Total":4}`}, daprtest.Done, "",
			map[string]string{"state": `{"Total":5}`, "other": "5"}},
		{dapr.ActorReminder, "daily", nil, daprtest.Stop, "", map[string]string{"state": `{"Total":100}`}},
		{dapr.ActorActivate, "", nil, daprtest.Done, "", map[string]string{"state": `{"Total":1}`, "other": "1"}},
		{dapr.ActorDeactivate, "", nil, daprtest.Done, "", map[string]string{}},
		{dapr.ActorMethod, "forget", map[string]string{"other": "1"}, daprtest.Done, "", map[string]string{}},
		{dapr.ActorMethod, "fail", nil, daprtest.Failed, "no", map[string]string{}},
		{dapr.ActorMethod, "save", nil, daprtest.Failed, "no", map[string]string{"state": `{"Total":1}`}},
		{dapr.ActorMethod, "add", map[string]string{"state": "[]"}, daprtest.Failed,
			`what is under "state" in the actor's state is not what is expected: ` +
				"json: cannot unmarshal array into Go value of type dapr_test.counter", map[string]string{"state": "[]"}},
		{dapr.ActorMethod, "tick", nil, daprtest.Done, "there is no method tick", map[string]string{}},
		{dapr.ActorTimer, "add", nil, daprtest.Drop, "there is no timer add", map[string]string{}},
		{dapr.ActorReminder, "add", nil, daprtest.Drop, "there is no reminder add", map[string]string{}},
	} {
		host := daprtest.New(t)
		host.State = maps.Clone(one.before)
		host.Turn(one.trigger, "Counter", "a", one.name)
		got := host.Run(counters.Handle)
		if got.Outcome != one.outcome || got.Failure != one.failure || !maps.Equal(host.State, one.after) {
			t.Errorf("%s %s: %+v, %v", one.trigger, one.name, got, host.State)
		}
	}
}

func TestAStatusIsAnActorsBodyToo(t *testing.T) {
	refuse := func(*dapr.Event, *dapr.Reply) error { return dapr.Refuse(409, "not now") }
	host := daprtest.New(t)
	if got := host.Run(refuse); got.Outcome != daprtest.Done || got.Status != 409 || got.Body != "" || got.Failure != "not now" {
		t.Errorf("%+v", got)
	}
	host.Turn(dapr.ActorMethod, "Counter", "a", "add")
	if got := host.Run(refuse); got.Outcome != daprtest.Done || got.Status != 409 || got.Body != "not now" {
		t.Errorf("%+v", got)
	}
	host.Trigger = dapr.Topic
	if got := host.Run(refuse); got.Outcome != daprtest.Failed || got.Failure != "not now" {
		t.Errorf("%+v", got)
	}
}

func TestATypedCallTellsARefusal(t *testing.T) {
	host := daprtest.New(t)
	host.Answers = []daprtest.Answer{daprtest.State("10", ""), daprtest.State("not now", "")}
	got := host.Run(func(*dapr.Event, *dapr.Reply) error {
		var total int
		if err := dapr.CallActor("Counter", "b", "add", 3, &total); err != nil || total != 10 {
			t.Error(total, err)
		}
		return dapr.CallActor("Counter", "b", "add", 3, &total)
	})
	if got.Failure != "add of the actor Counter/b answered: not now" {
		t.Errorf("%+v", got)
	}
}
