package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
)

// output is what a client that reads all events has received of a run, and how long that took.
type output struct {
	took    time.Duration
	lines   int
	bytes   int64
	journal string // the run's journal
}

// print runs code on all ranks and reads what it prints until the run's end, which is after all of its output.
func (s *server) print(ctx context.Context, code string) (out output, err error) {
	sub := s.executor.Subscribe()
	defer sub.Close()
	begin := time.Now()
	id, err := s.executor.Start(dipexec.Request{Code: code, Target: cells.Target{Where: cells.Remote}})
	if err != nil {
		return out, err
	}
	for finished := false; !finished; {
		events, err := sub.Next(ctx)
		if err != nil {
			return out, err
		}
		for _, ev := range events {
			switch ev := ev.(type) {
			case *event.Stream:
				out.lines += strings.Count(ev.Text, "\n")
				out.bytes += int64(len(ev.Text))
			case *event.RunFinished:
				finished = finished || ev.Run == id
			}
		}
	}
	out.took = time.Since(begin)
	report, err := s.executor.Wait(ctx, id)
	if err == nil {
		err = failure(code, report)
	}
	out.journal = report.Journal
	return out, err
}

// measureLines has every rank print lines.
func (p *plan) measureLines(ctx context.Context, s *server) error {
	return p.printLines(ctx, s, "lines", p.ranks)
}

// printLines emits how many seconds pass until all lines of all ranks are in the journal and have reached a client.
func (p *plan) printLines(ctx context.Context, s *server, figure string, size int) error {
	out, err := s.print(ctx, fmt.Sprintf("for i in range(%d): print('line', i)", p.lines))
	if err != nil {
		return err
	}
	if out.lines != size*p.lines {
		return fmt.Errorf("%d of %d lines delivered: %w", out.lines, size*p.lines, io.ErrUnexpectedEOF)
	}
	if err := out.isJournaled(); err != nil {
		return err
	}
	return emit(figure, out.took.Seconds())
}

// measureFlood measures how much the memory of the server and the ranks grows while the ranks print a great deal. It checks that all of it was
// delivered and is in the journal.
func (p *plan) measureFlood(ctx context.Context, s *server) error {
	if p.flood == 0 {
		return nil
	}
	const line = 100
	each := int(p.flood) / p.ranks / line
	ranks, err := sumPSS(s.pids())
	if err != nil {
		return err
	}
	server := residentMemory()
	w := watch(s.pids())
	out, err := s.print(ctx, fmt.Sprintf("_text = 'x' * %d\nfor _ in range(%d): print(_text)", line-1, each))
	peakServer, peakRanks := w.end()
	if err != nil {
		return err
	}
	if want := int64(each) * line * int64(p.ranks); out.bytes != want {
		return fmt.Errorf("%d of %d bytes delivered: %w", out.bytes, want, io.ErrUnexpectedEOF)
	}
	if err := out.isJournaled(); err != nil {
		return err
	}
	return errors.Join(
		emit("flood", out.took.Seconds()),
		emit("flood_server", (peakServer-server)/1e6),
		emit("flood_ranks", (peakRanks-ranks)/1e6),
	)
}

// isJournaled answers with an error if the journal does not hold what was delivered.
func (o output) isJournaled() error {
	journaled, err := outputBytes(o.journal)
	if err == nil && journaled != o.bytes {
		err = fmt.Errorf("%d of %d bytes in the journal: %w", journaled, o.bytes, io.ErrUnexpectedEOF)
	}
	return err
}

// outputBytes is how much output a run's journal holds.
func outputBytes(dir string) (total int64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.out"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}
