// Command figures measures this project's figures once, with real Python ranks, and prints samples as JSON, one object a line;
// bench/run.py runs it in alternation with the peers, and says what each figure means.
//
//	figures -python PYTHON pool    start, pass, lines, memory, push, pull and restart of one pool
//	figures -python PYTHON sweep   pass on pools of several sizes
//	figures -python PYTHON kernel  pass and lines on one rank
//	figures -python PYTHON attached  pass in the session's process and from one that is attached, and attaching
//	figures -python PYTHON -hosts h1,h2 hosts       pass on ranks of several hosts, in turn with ranks of this one
//	figures -python PYTHON -hosts h1,h2 hosts_push  push of an array to all hosts, in turn with one connection with one of them
//	figures -python PYTHON hang    hangs: until they are told, what the looks cost, and until an interrupt has freed the ranks
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// plan says how much is measured.
type plan struct {
	python  string
	ranks   int    // of the pool
	passes  int    // how often pass runs
	lines   int    // that each rank prints
	flood   int64  // bytes that the ranks print in total; 0: none
	bytes   []int  // sizes of the arrays that are pushed and pulled
	repeats int    // how often each is
	sizes   []int  // of the pools of the sweep
	socket  string // of a session, for the process that is attached
	hosts   string // that have the ranks, as --hosts says it
	network string // what the network between them is, for the figure's name
}

func main() {
	var p plan
	flag.StringVar(&p.python, "python", "python3", "interpreter")
	flag.IntVar(&p.ranks, "ranks", 8, "number of ranks")
	flag.IntVar(&p.passes, "passes", 200, "how many times to run pass")
	flag.IntVar(&p.lines, "lines", 100_000, "lines that each rank prints")
	flag.Int64Var(&p.flood, "flood", 0, "bytes that all ranks together print while memory is watched")
	flag.IntVar(&p.repeats, "repeats", 3, "how many times to push and pull an array")
	numbers(&p.bytes, "bytes", "sizes of the arrays to push and pull, such as 1000,1000000")
	numbers(&p.sizes, "sizes", "sizes of the sweep's pools, such as 1,2,4")
	flag.StringVar(&p.socket, "socket", "", "for a process that this program starts itself")
	flag.StringVar(&p.hosts, "hosts", "", "hosts with ranks, such as h1,h2: this machine reaches them by ssh, and they have this program")
	flag.StringVar(&p.network, "network", "", "what the network between hosts is, for the figure's name")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := p.measure(ctx, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// numbers defines a flag that is a list of numbers.
func numbers(list *[]int, name, usage string) {
	flag.Func(name, usage, func(value string) error {
		for field := range strings.SplitSeq(value, ",") {
			n, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			*list = append(*list, n)
		}
		return nil
	})
}

// emit prints samples of a figure.
func emit(figure string, samples ...float64) error { return emitFor("", figure, samples...) }

// emitFor prints samples of somebody else's figure.
func emitFor(who, figure string, samples ...float64) error {
	return json.NewEncoder(os.Stdout).Encode(struct {
		Who     string    `json:"who,omitempty"`
		Figure  string    `json:"figure"`
		Samples []float64 `json:"samples"`
	}{who, figure, samples})
}

// emitFailure prints why a figure is missing. A figure that fails does not stop the others.
func emitFailure(figure string, err error) error {
	if err == nil {
		return nil
	}
	return json.NewEncoder(os.Stdout).Encode(struct {
		Failed string `json:"failed"`
		Reason string `json:"reason"`
	}{figure, err.Error()})
}

// measure measures a group of figures.
func (p *plan) measure(ctx context.Context, group string) (err error) {
	switch group {
	case "attached":
		return p.measureAttached(ctx)
	case "attach":
		return p.serveAttached(ctx)
	case "hosts":
		return p.measureHosts(ctx)
	case "hosts_push":
		return p.measureHostsPush(ctx)
	case "receive":
		return receive()
	}
	s, err := open(ctx, p.python)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	switch group {
	case "pool":
		return p.measurePool(ctx, s)
	case "sweep":
		return p.measureSweep(ctx, s)
	case "kernel":
		return p.measureKernel(ctx, s)
	case "hang":
		return p.measureHangs(ctx, s)
	default:
		return fmt.Errorf("there is no group %q", group)
	}
}
