// The demo's ledger: an actor that thermostats tell of each step of heating, and that has customers pay for it from
// their accounts.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"guesthouse/dapr"
)

const price = 2 // of a step

type ledger struct {
	Last  map[string]uint64 // the last step of each room that was written down
	Steps map[string]uint64 // those that nobody has paid yet, by room
}

var ledgers = dapr.Actor[ledger]{
	Methods: map[string]dapr.Method[ledger]{"use": (*ledger).use, "bill": (*ledger).bill},
}

//go:wasmexport dapr_on_actor
func onActor() int32 { return ledgers.Answer() }

// use is told ROOM STEP. A step that comes again is not written down again.
func (l *ledger) use(turn *dapr.Turn, _ *dapr.Reply) error {
	room, text, _ := strings.Cut(string(turn.Body()), " ")
	step, err := strconv.ParseUint(text, 10, 32)
	if err != nil || room == "" {
		return dapr.Drop(errors.New("a use is written as ROOM STEP"))
	}
	if l.Steps == nil {
		l.Last, l.Steps = map[string]uint64{}, map[string]uint64{}
	}
	if step != l.Last[room] {
		l.Last[room] = step
		l.Steps[room]++
	}
	return nil
}

// bill is told ROOM CUSTOMER, and takes the price from the customer's account. The reply is what was paid.
func (l *ledger) bill(turn *dapr.Turn, reply *dapr.Reply) error {
	room, customer, found := strings.Cut(string(turn.Body()), " ")
	if !found || customer == "" {
		return dapr.Drop(errors.New("a bill is written as ROOM CUSTOMER"))
	}
	steps := l.Steps[room]
	if steps == 0 {
		fmt.Fprintf(reply, "nothing to pay for %s", room)
		return nil
	}
	answer, err := dapr.InvokeActor("Account", customer, "withdraw", []byte(strconv.FormatUint(steps*price, 10)))
	if err != nil {
		return err
	}
	balance, err := strconv.ParseUint(string(answer), 10, 64)
	if err != nil { // the account has refused, in words
		return dapr.Refuse(409, string(answer))
	}
	l.Steps[room] = 0
	fmt.Fprintf(reply, "%s paid %d for %d steps of heating in %s; the balance is %d", customer, steps*price, steps, room, balance)
	return nil
}

func main() {}
