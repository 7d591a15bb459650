// A bank account for each customer, as an actor.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"guesthouse/dapr"
)

type account struct {
	Balance  uint64
	Sent     map[string]string // transfers: to whom, and how much
	Received map[string]bool
	Interest uint64 // how often it was paid
}

var accounts = dapr.Actor[account]{
	Methods: map[string]dapr.Method[account]{
		"balance": (*account).balance, "deposit": (*account).deposit, "withdraw": (*account).withdraw,
		"transfer": (*account).transfer, "receive": (*account).receive, "interest": (*account).startInterest,
	},
	Reminders: map[string]dapr.Method[account]{"interest": (*account).payInterest},
}

//go:wasmexport dapr_on_actor
func onActor() int32 { return accounts.Answer() }

//go:wasmexport dapr_on_reminder
func onReminder() int32 { return accounts.Answer() }

var (
	errAmount   = dapr.Drop(errors.New("this is not an amount"))
	errTransfer = dapr.Drop(errors.New("this is not a transfer"))
)

func amountOf(text string) (uint64, error) {
	amount, err := strconv.ParseUint(text, 10, 64)
	if err != nil || amount < 1 || amount > 1_000_000_000 {
		return 0, errAmount
	}
	return amount, nil
}

func (a *account) balance(_ *dapr.Turn, reply *dapr.Reply) error {
	_, err := fmt.Fprint(reply, a.Balance)
	return err
}

func (a *account) deposit(turn *dapr.Turn, reply *dapr.Reply) error {
	amount, err := amountOf(string(turn.Body()))
	if err != nil {
		return err
	}
	a.Balance += amount
	return a.balance(turn, reply)
}

func (a *account) withdraw(turn *dapr.Turn, reply *dapr.Reply) error {
	if err := a.takeOut(string(turn.Body())); err != nil {
		return err
	}
	return a.balance(turn, reply)
}

func (a *account) takeOut(text string) error {
	amount, err := amountOf(text)
	if err != nil {
		return err
	}
	if amount > a.Balance {
		return dapr.Refuse(409, fmt.Sprintf("not enough: the balance is %d", a.Balance))
	}
	a.Balance -= amount
	return nil
}

func (a *account) transfer(turn *dapr.Turn, reply *dapr.Reply) error {
	id, rest, _ := strings.Cut(string(turn.Body()), " ")
	noted, sent := a.Sent[id]
	if sent {
		rest = noted
	}
	to, sum, found := strings.Cut(rest, " ")
	if !found || id == "" || to == "" || to == turn.ActorID() {
		return errTransfer
	}
	if !sent {
		if err := a.takeOut(sum); err != nil {
			return err
		}
		if a.Sent == nil {
			a.Sent = map[string]string{}
		}
		a.Sent[id] = rest
		if err := turn.SaveNow(); err != nil { // before the money is somewhere else
			return err
		}
	}
	if _, err := dapr.InvokeActor(turn.Name(), to, "receive", []byte(id+" "+sum)); err != nil {
		return err
	}
	return a.balance(turn, reply)
}

func (a *account) receive(turn *dapr.Turn, reply *dapr.Reply) error {
	id, sum, found := strings.Cut(string(turn.Body()), " ")
	if !found || id == "" {
		return errTransfer
	}
	amount, err := amountOf(sum)
	if err != nil {
		return err
	}
	if !a.Received[id] {
		if a.Received == nil {
			a.Received = map[string]bool{}
		}
		a.Received[id] = true
		a.Balance += amount
	}
	return a.balance(turn, reply)
}

func (a *account) startInterest(turn *dapr.Turn, _ *dapr.Reply) error {
	times := turn.Body()
	if _, err := amountOf(string(times)); err != nil {
		return err
	}
	a.Interest = 0
	return turn.SetReminder("interest", "1s", dapr.FireOptions{Every: "1s", Data: times})
}

func (a *account) payInterest(turn *dapr.Turn, _ *dapr.Reply) error {
	times, err := amountOf(string(turn.Body()))
	if err != nil {
		return err
	}
	a.Balance += a.Balance / 100
	a.Interest++
	if a.Interest >= times {
		return dapr.Stop
	}
	return nil
}

func main() {}
