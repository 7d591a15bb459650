package dapr

import (
	"time"

	"guesthouse/dapr/internal/abi"
)

// Level is that of a line of the log.
type Level uint32

// The levels.
const (
	LevelDebug Level = iota
	LevelInfo
	LevelWarning
	LevelError
)

// Log writes a line of the guest's log. `fields` are names and values by turns.
func Log(level Level, text string, fields ...string) {
	var pairs []byte
	for i := 0; i+1 < len(fields); i += 2 {
		pairs = abi.AppendPair(pairs, fields[i], fields[i+1])
	}
	abi.Current.Log(uint32(level), text, pairs)
}

// TimeLeft is how long it is until the event's deadline.
func TimeLeft() time.Duration { return time.Duration(abi.Current.TimeLeft()) * time.Millisecond }

// Config is a value that the operator has given to this guest.
func Config(name string) (string, bool) {
	data, found := abi.Read(func(offset uint32, buffer []byte) int32 {
		return abi.Current.ConfigRead(name, offset, buffer)
	})
	return string(data), found
}
