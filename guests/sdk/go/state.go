package dapr

import (
	"time"

	"guesthouse/dapr/internal/proto"
)

// State is a value of a state store. An absent key has no data and no etag.
type State struct {
	Store, Key string
	Data       []byte
	ETag       string
	Err        error // of one key of GetBulkState
}

// Save saves another value if the state is still what was read; if it was absent, if it still is. The error has the
// code Aborted otherwise.
func (s State) Save(data []byte) error {
	return SaveState(s.Store, s.Key, data, SaveOptions{ETag: s.ETag, FirstWrite: true})
}

// Options are those of most requests.
type Options struct {
	Metadata map[string]string // for the component
	Timeout  time.Duration     // 0: as long as the event may take
}

// SaveOptions are those of SaveState and DeleteState.
type SaveOptions struct {
	ETag       string // what the state must have
	FirstWrite bool   // without an etag: only if the state is absent
	Metadata   map[string]string
	Timeout    time.Duration
}

func (o SaveOptions) etag(message proto.Message, etag, options uint32) proto.Message {
	if o.ETag != "" {
		message = message.Message(etag, proto.Message{}.Text(1, o.ETag))
	}
	if o.ETag != "" || o.FirstWrite {
		message = message.Message(options, proto.Message{}.Number(1, 1))
	}
	return message
}

func stateItem(key string, data []byte, o SaveOptions) proto.Message {
	return o.etag(proto.Message{}.Text(1, key).Bytes(2, data), 3, 5).Map(4, o.Metadata)
}

func nothing([]byte) struct{} { return struct{}{} }

// StartGetState begins GetState.
func StartGetState(store, key string, options ...Options) *Pending[State] {
	o := optional(options)
	request := proto.Message{}.Text(1, store).Text(2, key).Map(4, o.Metadata)
	return start("GetState", request, nil, o.Timeout, func(message []byte) State {
		return State{Store: store, Key: key, Data: proto.Find(message, 1).Bytes, ETag: string(proto.Find(message, 2).Bytes)}
	})
}

// GetState reads a state.
func GetState(store, key string, options ...Options) (State, error) {
	return StartGetState(store, key, options...).Wait()
}

// StartGetBulkState begins GetBulkState.
func StartGetBulkState(store string, keys []string, options ...Options) *Pending[[]State] {
	o := optional(options)
	request := proto.Message{}.Text(1, store)
	for _, key := range keys {
		request = request.Text(2, key)
	}
	return start("GetBulkState", request.Map(4, o.Metadata), nil, o.Timeout, func(message []byte) []State {
		var states []State
		for _, field := range proto.Fields(message) {
			if field.Number != 1 {
				continue
			}
			text := func(number uint32) string { return string(proto.Find(field.Bytes, number).Bytes) }
			state := State{Store: store, Key: text(1), Data: proto.Find(field.Bytes, 2).Bytes, ETag: text(3)}
			if failure := text(4); failure != "" {
				state.Err = &Error{Method: "GetBulkState", Code: Unknown, Message: failure}
			}
			states = append(states, state)
		}
		return states
	})
}

// GetBulkState reads several states by one call, in any order.
func GetBulkState(store string, keys []string, options ...Options) ([]State, error) {
	return StartGetBulkState(store, keys, options...).Wait()
}

// StartSaveState begins SaveState.
func StartSaveState(store, key string, data []byte, options ...SaveOptions) *Pending[struct{}] {
	o := optional(options)
	request := proto.Message{}.Text(1, store).Message(2, stateItem(key, data, o))
	return start("SaveState", request, nil, o.Timeout, nothing)
}

// SaveState saves a state, whatever is there. State.Save looks first.
func SaveState(store, key string, data []byte, options ...SaveOptions) error {
	_, err := StartSaveState(store, key, data, options...).Wait()
	return err
}

// StartDeleteState begins DeleteState.
func StartDeleteState(store, key string, options ...SaveOptions) *Pending[struct{}] {
	o := optional(options)
	request := o.etag(proto.Message{}.Text(1, store).Text(2, key), 3, 4).Map(5, o.Metadata)
	return start("DeleteState", request, nil, o.Timeout, nothing)
}

// DeleteState deletes a state.
func DeleteState(store, key string, options ...SaveOptions) error {
	_, err := StartDeleteState(store, key, options...).Wait()
	return err
}

// StateOperation is a part of a transaction: it saves a state, or deletes it.
type StateOperation struct {
	Key        string
	Data       []byte
	Delete     bool
	ETag       string
	FirstWrite bool
	Metadata   map[string]string
}

// StartStateTransaction begins StateTransaction.
func StartStateTransaction(store string, operations []StateOperation, options ...Options) *Pending[struct{}] {
	o := optional(options)
	request := proto.Message{}.Text(1, store)
	for _, one := range operations {
		kind := "upsert"
		if one.Delete {
			kind = "delete"
		}
		item := stateItem(one.Key, one.Data, SaveOptions{ETag: one.ETag, FirstWrite: one.FirstWrite, Metadata: one.Metadata})
		request = request.Message(2, proto.Message{}.Text(1, kind).Message(2, item))
	}
	return start("ExecuteStateTransaction", request.Map(3, o.Metadata), nil, o.Timeout, nothing)
}

// StateTransaction carries out all operations, or none of them.
func StateTransaction(store string, operations []StateOperation, options ...Options) error {
	_, err := StartStateTransaction(store, operations, options...).Wait()
	return err
}
