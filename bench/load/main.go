// A gRPC caller for the comparisons of bench/: grpc-go, as a sidecar is, so that the server is what is measured.
//
// It reads jobs from standard input, one JSON object a line, and answers each with one line:
//
//	{"address": "127.0.0.1:50051", "method": "/package.Service/Method", "messages": ["base64", ...],
//	 "callers": 4, "requests": 1000, "rate": 0}
//
// Each caller sends a message, waits for the answer, and sends the next one, until all requests are sent; after the last
// message comes the first one again. With a rate (calls a second, of all callers together) calls begin at fixed times
// instead, whether or not those before are answered, and a latency counts from the time that was fixed. One connection
// for each address, as a sidecar has.
//
//	{"seconds": 1.5, "latencies": [0.0004, ...], "errors": 0, "example": ""}
//
// Latencies are in seconds, of calls that were answered, sorted.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	size    = 64 << 20
	timeout = 60 * time.Second
)

type job struct {
	Address  string
	Method   string
	Messages [][]byte
	Callers  int
	Requests int
	Rate     float64
}

type outcome struct {
	Seconds   float64   `json:"seconds"`
	Latencies []float64 `json:"latencies"`
	Errors    int       `json:"errors"`
	Example   string    `json:"example"`
}

// raw hands messages on as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

type call struct {
	latency float64
	err     error
}

func send(connection *grpc.ClientConn, j *job, number int, from time.Time) call {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var answer []byte
	err := connection.Invoke(ctx, j.Method, &j.Messages[number%len(j.Messages)], &answer)
	return call{time.Since(from).Seconds(), err}
}

func closed(connection *grpc.ClientConn, j *job, calls []call) {
	var next atomic.Int64
	var callers sync.WaitGroup
	for range j.Callers {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for number := next.Add(1) - 1; number < int64(len(calls)); number = next.Add(1) - 1 {
				calls[number] = send(connection, j, int(number), time.Now())
			}
		}()
	}
	callers.Wait()
}

func open(connection *grpc.ClientConn, j *job, calls []call) {
	var callers sync.WaitGroup
	began := time.Now()
	for number := range calls {
		at := began.Add(time.Duration(float64(number) / j.Rate * float64(time.Second)))
		time.Sleep(time.Until(at))
		callers.Add(1)
		go func() {
			defer callers.Done()
			calls[number] = send(connection, j, number, at)
		}()
	}
	callers.Wait()
}

func run(connection *grpc.ClientConn, j *job) outcome {
	calls := make([]call, j.Requests)
	began := time.Now()
	if j.Rate > 0 {
		open(connection, j, calls)
	} else {
		closed(connection, j, calls)
	}
	found := outcome{Seconds: time.Since(began).Seconds(), Latencies: []float64{}}
	for _, one := range calls {
		if one.err == nil {
			found.Latencies = append(found.Latencies, one.latency)
			continue
		}
		found.Errors++
		found.Example = one.err.Error()
	}
	sort.Float64s(found.Latencies)
	return found
}

func connect(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(size), grpc.MaxCallSendMsgSize(size),
		),
	)
}

func main() {
	connections := map[string]*grpc.ClientConn{}
	jobs := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := jobs.ReadBytes('\n')
		if err != nil {
			return
		}
		var j job
		if err := json.Unmarshal(line, &j); err != nil {
			fmt.Fprintln(os.Stderr, "a job that cannot be read:", err)
			os.Exit(2)
		}
		if connections[j.Address] == nil {
			connection, err := connect(j.Address)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(2)
			}
			connections[j.Address] = connection
		}
		if err := answers.Encode(run(connections[j.Address], &j)); err != nil {
			return
		}
	}
}
