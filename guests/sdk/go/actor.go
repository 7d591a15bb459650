package dapr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"guesthouse/dapr/internal/proto"
)

// Actor is a type of actors, whose state is a value of S:
//
//	type counter struct{ Total int }
//
//	var counters = dapr.Actor[counter]{
//		Methods: map[string]dapr.Method[counter]{"add": (*counter).add},
//	}
//
//	//go:wasmexport dapr_on_actor
//	func onActor() int32 { return counters.Answer() }
//
//	func (c *counter) add(turn *dapr.Turn, reply *dapr.Reply) error { … }
//
// The handlers dapr_on_timer, dapr_on_reminder, dapr_on_activate and dapr_on_deactivate return Answer, too, where there
// are such functions; without the first two, dapr_on_actor gets timers and reminders.
type Actor[S any] struct {
	Methods, Timers, Reminders map[string]Method[S] // by name
	Activate, Deactivate       Method[S]
}

// Method takes a turn. The state is read before, and saved after it if it has changed and there is no error.
type Method[S any] func(state *S, turn *Turn, reply *Reply) error

// stateKey is the key of the actor's state that has the value of S, as JSON.
const stateKey = "state"

// Answer has the actor take its turn. It is what an exported handler returns.
func (a Actor[S]) Answer() int32 { return Answer(a.Handle) }

// Handle takes a turn. It is for tests; a guest returns Answer.
func (a Actor[S]) Handle(event *Event, reply *Reply) error {
	turn := &Turn{Event: event}
	method, err := a.method(event)
	if method == nil {
		return err
	}
	var state S
	if _, err := turn.Get(stateKey, &state); err != nil {
		return err
	}
	if turn.whole, err = json.Marshal(state); err != nil {
		return err
	}
	turn.value = func() ([]byte, error) { return json.Marshal(state) }
	given := method(&state, turn, reply)
	if given != nil && given != Stop {
		return given
	}
	if err := turn.keep(); err != nil {
		return err
	}
	return given
}

func (a Actor[S]) method(event *Event) (Method[S], error) {
	name := event.ActorMethod()
	switch event.Trigger() {
	case ActorMethod:
		if method := a.Methods[name]; method != nil {
			return method, nil
		}
		return nil, Refuse(404, "there is no method "+name)
	case ActorTimer:
		if method := a.Timers[name]; method != nil {
			return method, nil
		}
		return nil, Drop(errors.New("there is no timer " + name))
	case ActorReminder:
		if method := a.Reminders[name]; method != nil {
			return method, nil
		}
		return nil, Drop(errors.New("there is no reminder " + name))
	case ActorActivate:
		return a.Activate, nil
	case ActorDeactivate:
		return a.Deactivate, nil
	}
	return nil, fmt.Errorf("this guest is an actor, and the event is of the kind %s", event.Trigger())
}

// Turn is the event of an actor: Name is its type, and ActorID and ActorMethod say the rest.
//
// The state is the actor's own. What is written in a turn is saved when the turn has ended well, all of it at once, and
// is given up when it has not. SaveNow saves earlier.
type Turn struct {
	*Event
	whole []byte // the value of S, as it was read or saved
	value func() ([]byte, error)
}

// keep writes the value of S if it has changed.
func (t *Turn) keep() error {
	if t.value == nil {
		return nil
	}
	value, err := t.value()
	if err != nil || bytes.Equal(value, t.whole) {
		return err
	}
	t.whole = value
	return t.Write(Change{Key: stateKey, Data: value})
}

// TurnOf is the turn that an event of an actor is, for a guest without an Actor.
func TurnOf(event *Event) *Turn { return &Turn{Event: event} }

func (t *Turn) own() proto.Message { return proto.Message{}.Text(1, t.Name()).Text(2, t.ActorID()) }

func (t *Turn) call(method string, request proto.Message) error {
	_, err := start(method, request, nil, 0, nothing).Wait()
	return err
}

// Read gives what is under a key of the actor's state; nothing where there is none.
func (t *Turn) Read(key string) ([]byte, error) {
	return start("GetActorState", t.own().Text(3, key), nil, 0, func(message []byte) []byte {
		return proto.Find(message, 1).Bytes
	}).Wait()
}

// Change is a change of an actor's state: a value is put under a key, or the key is taken out.
type Change struct {
	Key      string
	Data     []byte
	Remove   bool
	Metadata map[string]string // for the state store, such as ttlInSeconds
}

// Write changes the actor's state.
func (t *Turn) Write(changes ...Change) error {
	request := t.own()
	for _, one := range changes {
		operation := proto.Message{}.Text(1, "upsert").Text(2, one.Key).Message(3, proto.Message{}.Bytes(2, one.Data))
		if one.Remove {
			operation = proto.Message{}.Text(1, "delete").Text(2, one.Key)
		}
		request = request.Message(3, operation.Map(4, one.Metadata))
	}
	return t.call("ExecuteActorStateTransaction", request)
}

// Get reads the value under a key of the actor's state from JSON; false where there is none.
func (t *Turn) Get(key string, value any) (bool, error) {
	data, err := t.Read(key)
	if err != nil || len(data) == 0 {
		return false, err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return false, fmt.Errorf("what is under %q in the actor's state is not what is expected: %w", key, err)
	}
	return true, nil
}

// Set puts a value under a key of the actor's state, as JSON.
func (t *Turn) Set(key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return t.Write(Change{Key: key, Data: data})
}

// Remove takes a key out of the actor's state.
func (t *Turn) Remove(key string) error { return t.Write(Change{Key: key, Remove: true}) }

// SaveNow saves at once what was written until now, and the value of S. It stays saved, also where the turn fails.
func (t *Turn) SaveNow() error {
	if err := t.keep(); err != nil {
		return err
	}
	return t.Write()
}

// FireOptions are those of timers and reminders.
type FireOptions struct {
	Every    string // after what time it fires again and again; without it, it fires once
	Data     []byte // the body of its events
	TTL      string // when it ends for good: after a time, or at one
	Callback string // a text that comes with a timer's events
}

func (t *Turn) fires(name, due, every string) proto.Message {
	return t.own().Text(3, name).Text(4, due).Text(5, every)
}

// SetTimer sets a timer, or another one of the same name anew. It fires after a time (10s), and lasts as long as the
// actor is in memory.
func (t *Turn) SetTimer(name, due string, options ...FireOptions) error {
	o := optional(options)
	request := t.fires(name, due, o.Every).Text(6, o.Callback).Bytes(7, o.Data).Text(8, o.TTL)
	return t.call("RegisterActorTimer", request)
}

// ClearTimer takes a timer out.
func (t *Turn) ClearTimer(name string) error {
	return t.call("UnregisterActorTimer", t.own().Text(3, name))
}

// SetReminder sets a reminder, or another one of the same name anew. It fires after a time (10s) or at one (RFC 3339),
// and outlasts restarts.
func (t *Turn) SetReminder(name, due string, options ...FireOptions) error {
	o := optional(options)
	return t.call("RegisterActorReminder", t.fires(name, due, o.Every).Bytes(6, o.Data).Text(7, o.TTL))
}

// ClearReminder takes a reminder out. In its own turn, returning Stop does that.
func (t *Turn) ClearReminder(name string) error {
	return t.call("UnregisterActorReminder", t.own().Text(3, name))
}

// CallActor calls a method of an actor with a value as JSON, and reads its answer from JSON into result. What is no such
// JSON is an error: a sidecar does not tell a refusal from an answer, so the text of a refusal comes here, too.
func CallActor(kind, id, method string, argument, result any) error {
	data, err := json.Marshal(argument)
	if err != nil {
		return err
	}
	told, err := InvokeActor(kind, id, method, data)
	if err != nil {
		return err
	}
	if json.Unmarshal(told, result) != nil {
		return fmt.Errorf("%s of the actor %s/%s answered: %.256s", method, kind, id, told)
	}
	return nil
}
