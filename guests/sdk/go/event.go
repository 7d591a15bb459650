package dapr

import (
	"io"
	"strings"

	"guesthouse/dapr/internal/abi"
)

// Trigger says where an event is from.
type Trigger string

// The triggers.
const (
	Invoke    Trigger = "invoke"
	Topic     Trigger = "topic"
	Binding   Trigger = "binding"
	Job       Trigger = "job"
	Operation Trigger = "operation"

	// Of actors: a method, a timer, a reminder, before the first turn, and when the sidecar lets the actor go.
	ActorMethod     Trigger = "actor"
	ActorTimer      Trigger = "timer"
	ActorReminder   Trigger = "reminder"
	ActorActivate   Trigger = "activate"
	ActorDeactivate Trigger = "deactivate"
)

// The fields of an event in dapr_v1.
const (
	fieldBody = iota + 1
	fieldTrigger
	fieldName
	fieldContentType
	fieldVerb
	fieldQuery
	fieldPath
	fieldID
	fieldPubSub
	fieldTopic
	fieldSource
	fieldType
	fieldActorID
	fieldActorMethod
	fieldCallback
)

// Event is what the guest answers. Its methods read from the host; a text is empty where the event has none.
type Event struct{}

func (*Event) read(field uint32) []byte {
	data, _ := abi.Read(func(offset uint32, buffer []byte) int32 {
		return abi.Current.EventRead(field, offset, buffer)
	})
	return data
}

// Body is the whole body.
func (e *Event) Body() []byte { return e.read(fieldBody) }

// BodySize is how many bytes the body has.
func (e *Event) BodySize() int { return int(abi.Current.EventRead(fieldBody, 0, nil)) }

// BodyReader reads the body in pieces, for bodies that should not be in memory at once.
func (e *Event) BodyReader() io.Reader { return &bodyReader{} }

type bodyReader struct{ offset uint32 }

func (r *bodyReader) Read(buffer []byte) (int, error) {
	size := abi.Current.EventRead(fieldBody, r.offset, buffer)
	left := int(size) - int(r.offset)
	if left <= 0 {
		return 0, io.EOF
	}
	read := min(left, len(buffer))
	r.offset += uint32(read)
	return read, nil
}

// Trigger says where the event is from.
func (e *Event) Trigger() Trigger { return Trigger(e.read(fieldTrigger)) }

// Name is the method, PUBSUB/TOPIC, the binding, the job, the operation, or the actor's type.
func (e *Event) Name() string { return string(e.read(fieldName)) }

// ContentType is that of the body.
func (e *Event) ContentType() string { return string(e.read(fieldContentType)) }

// Verb is HTTP's, of an invocation over HTTP.
func (e *Event) Verb() string { return string(e.read(fieldVerb)) }

// RawQuery is the query string as the caller wrote it.
func (e *Event) RawQuery() string { return string(e.read(fieldQuery)) }

// Path is the route that a message of a topic matched.
func (e *Event) Path() string { return string(e.read(fieldPath)) }

// ID is the same when a message of a topic is sent again.
func (e *Event) ID() string { return string(e.read(fieldID)) }

// PubSub is the component of a message of a topic.
func (e *Event) PubSub() string { return string(e.read(fieldPubSub)) }

// Topic is the topic of a message.
func (e *Event) Topic() string { return string(e.read(fieldTopic)) }

// Source is the CloudEvent's source.
func (e *Event) Source() string { return string(e.read(fieldSource)) }

// Type is the CloudEvent's type.
func (e *Event) Type() string { return string(e.read(fieldType)) }

// ActorID is the id of the actor whose turn this is.
func (e *Event) ActorID() string { return string(e.read(fieldActorID)) }

// ActorMethod is the actor's method, the timer or the reminder.
func (e *Event) ActorMethod() string { return string(e.read(fieldActorMethod)) }

// Callback is the text that a timer was set with.
func (e *Event) Callback() string { return string(e.read(fieldCallback)) }

// Metadata is one piece of metadata, by its name in lower case: a header of an invocation, an attribute of a
// CloudEvent, what a binding's component told.
func (e *Event) Metadata(name string) (string, bool) {
	data, found := abi.Read(func(offset uint32, buffer []byte) int32 {
		return abi.Current.EventMetadata(name, offset, buffer)
	})
	return string(data), found
}

// AllMetadata is all metadata.
func (e *Event) AllMetadata() map[string]string {
	data, _ := abi.Read(func(offset uint32, buffer []byte) int32 {
		return abi.Current.EventMetadataAll(offset, buffer)
	})
	return abi.ReadPairs(data)
}

// Query is the first parameter of this name in the query string, decoded. What is no escape stays as it is.
func (e *Event) Query(name string) (string, bool) {
	for _, parameter := range strings.Split(e.RawQuery(), "&") {
		key, value, _ := strings.Cut(parameter, "=")
		if parameter != "" && unescaped(key) == name {
			return unescaped(value), true
		}
	}
	return "", false
}

func unescaped(text string) string {
	made := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '+':
			made = append(made, ' ')
		case text[i] == '%' && i+2 < len(text) && hex(text[i+1]) >= 0 && hex(text[i+2]) >= 0:
			made = append(made, byte(hex(text[i+1])<<4|hex(text[i+2])))
			i += 2
		default:
			made = append(made, text[i])
		}
	}
	return string(made)
}

func hex(digit byte) int { return strings.IndexByte("0123456789abcdef", digit|0x20) }
