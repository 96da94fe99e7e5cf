// Command figures measures one round of this project's first figures and prints them as JSON; bench/first_figures.py
// runs it in alternation with its peers and says what each figure means.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/ranks"
)

// figures are in seconds, but for Pass: milliseconds.
type figures struct {
	Start   float64   `json:"start"`
	Restart float64   `json:"restart"`
	Pass    []float64 `json:"pass"`
	Lines   float64   `json:"lines"`
}

func main() {
	python := flag.String("python", "python3", "interpreter")
	size := flag.Int("ranks", 8, "number of ranks")
	passes := flag.Int("passes", 200, "how many times to run pass")
	lines := flag.Int("lines", 100_000, "lines that each rank prints")
	flag.Parse()
	measured, err := measure(*python, *size, *passes, *lines)
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(measured); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// machine is a node and its current pool, as the executor sees them.
type machine struct {
	node *ranks.Node
	pool *ranks.Pool
}

func (m *machine) Local(ctx context.Context) (dipexec.Process, error) { return m.node.Local(ctx) }

func (m *machine) Ranks(context.Context) ([]dipexec.Process, error) {
	return dipexec.ProcessesOf(m.pool), nil
}

func measure(python string, size, passes, lines int) (result figures, err error) {
	ctx := context.Background()
	journalDir, err := os.MkdirTemp("", "dipls-figures-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(journalDir)

	begin := time.Now()
	node, err := ranks.StartNode(ctx, ranks.Options{Python: python})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, node.Close(ctx)) }()
	m := &machine{node: node}
	journal := dipexec.OpenJournal(dipexec.JournalOptions{Dir: journalDir})
	defer journal.Close()
	executor := dipexec.New(dipexec.Options{Pool: m, Journal: journal})
	defer executor.Close(ctx)
	run := func(code string) (time.Duration, error) {
		begin := time.Now()
		id, err := executor.Start(dipexec.Request{Code: code, Target: cells.Target{Where: cells.Remote}})
		if err != nil {
			return 0, err
		}
		report, err := executor.Wait(ctx, id)
		if err == nil && report.Status != dipexec.StatusOK {
			err = fmt.Errorf("%q: %s %s", code, report.Status, report.Reason)
		}
		return time.Since(begin), err
	}

	if m.pool, err = node.StartPool(ctx, ranks.PoolSpec{Ranks: size}); err != nil {
		return result, err
	}
	if _, err = run("import torch"); err != nil {
		return result, err
	}
	result.Start = time.Since(begin).Seconds()

	for range passes {
		took, err := run("pass")
		if err != nil {
			return result, err
		}
		result.Pass = append(result.Pass, took.Seconds()*1000)
	}

	if result.Lines, err = printLines(ctx, executor, run, size, lines); err != nil {
		return result, err
	}

	begin = time.Now()
	if err = m.pool.Shutdown(ctx, ranks.DefaultLadder); err != nil {
		return result, err
	}
	if m.pool, err = node.StartPool(ctx, ranks.PoolSpec{Ranks: size}); err != nil {
		return result, err
	}
	if _, err = run("import torch"); err != nil {
		return result, err
	}
	result.Restart = time.Since(begin).Seconds()
	return result, nil
}

// printLines answers how many seconds it takes until all lines of all ranks have been read from a subscription.
func printLines(ctx context.Context, executor *dipexec.Executor, run func(string) (time.Duration, error), size, lines int) (float64, error) {
	sub := executor.Subscribe()
	defer sub.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	delivered := make(chan int, 1)
	go func() {
		count := 0
		defer func() { delivered <- count }()
		for count < size*lines {
			events, err := sub.Next(ctx)
			if err != nil {
				return
			}
			for _, event := range events {
				if stream, ok := event.(*dipexec.Stream); ok {
					for _, c := range []byte(stream.Text) {
						if c == '\n' {
							count++
						}
					}
				}
			}
		}
	}()
	begin := time.Now()
	if _, err := run(fmt.Sprintf("for i in range(%d): print('line', i)", lines)); err != nil {
		return 0, err
	}
	count := <-delivered
	if count != size*lines {
		return 0, fmt.Errorf("%d of %d lines delivered: %w", count, size*lines, io.ErrUnexpectedEOF)
	}
	return time.Since(begin).Seconds(), nil
}
