package abi

import (
	"encoding/binary"
	"sort"
)

// Pairs writes names and values, in the order of the names.
func Pairs(values map[string]string) []byte {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	var made []byte
	for _, name := range names {
		made = AppendPair(made, name, values[name])
	}
	return made
}

// AppendPair writes one name with its value.
func AppendPair(to []byte, name, value string) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(len(name)))
	to = binary.LittleEndian.AppendUint32(to, uint32(len(value)))
	return append(append(to, name...), value...)
}

// ReadPairs reads pairs up to the first that is malformed.
func ReadPairs(data []byte) map[string]string {
	found := map[string]string{}
	for len(data) >= 8 {
		name := uint64(binary.LittleEndian.Uint32(data))
		value := uint64(binary.LittleEndian.Uint32(data[4:]))
		data = data[8:]
		if name+value > uint64(len(data)) {
			break
		}
		found[string(data[:name])] = string(data[name : name+value])
		data = data[name+value:]
	}
	return found
}
