// Package proto writes and reads protobuf messages: varints, texts, bytes, messages and maps of texts, and no other
// fields.
package proto

import (
	"encoding/binary"
	"sort"
)

// Message is a message that is written. Absent texts and empty bytes are left out, as proto3 does.
type Message []byte

// Number writes a number or a boolean, also 0.
func (m Message) Number(field uint32, value uint64) Message {
	return binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3), value)
}

// Bytes writes bytes, unless there are none.
func (m Message) Bytes(field uint32, value []byte) Message {
	if len(value) == 0 {
		return m
	}
	return m.Message(field, value)
}

// Text writes a text, unless it is empty.
func (m Message) Text(field uint32, value string) Message { return m.Bytes(field, []byte(value)) }

// Message writes a message inside this one, also an empty one.
func (m Message) Message(field uint32, inner Message) Message {
	m = binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3|2), uint64(len(inner)))
	return append(m, inner...)
}

// Map writes a map of texts.
func (m Message) Map(field uint32, values map[string]string) Message {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		m = m.Message(field, Message{}.Text(1, name).Text(2, values[name]))
	}
	return m
}

// Field is a field that was read.
type Field struct {
	Number uint32
	Value  uint64 // of a number
	Bytes  []byte // of texts, bytes and messages
}

// Fields reads the fields of a message, up to the first that is malformed.
func Fields(message []byte) []Field {
	var fields []Field
	for len(message) > 0 {
		tag, read := binary.Uvarint(message)
		if read <= 0 {
			break
		}
		message = message[read:]
		field := Field{Number: uint32(tag >> 3)}
		size := uint64(0)
		switch tag & 7 {
		case 0:
			field.Value, read = binary.Uvarint(message)
			if read <= 0 {
				return fields
			}
			message = message[read:]
			fields = append(fields, field)
			continue
		case 1:
			size = 8
		case 5:
			size = 4
		case 2:
			size, read = binary.Uvarint(message)
			if read <= 0 {
				return fields
			}
			message = message[read:]
		default:
			return fields
		}
		if size > uint64(len(message)) {
			break
		}
		field.Bytes, message = message[:size], message[size:]
		fields = append(fields, field)
	}
	return fields
}

// Find gives the last field of this number.
func Find(message []byte, number uint32) Field {
	found := Field{}
	for _, field := range Fields(message) {
		if field.Number == number {
			found = field
		}
	}
	return found
}

// Map reads a map of texts to whatever.
func Map(message []byte, number uint32) map[string][]byte {
	found := map[string][]byte{}
	for _, field := range Fields(message) {
		if field.Number == number {
			found[string(Find(field.Bytes, 1).Bytes)] = Find(field.Bytes, 2).Bytes
		}
	}
	return found
}

// Texts reads a map of texts to texts.
func Texts(message []byte, number uint32) map[string]string {
	found := map[string]string{}
	for name, value := range Map(message, number) {
		found[name] = string(value)
	}
	return found
}
