package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// newTestTerminal is a terminal whose out and err are one screen, 80 columns wide, that is kept as text.
func newTestTerminal(quiet bool) (*terminal, *bytes.Buffer) {
	var text bytes.Buffer
	return newTerminal(&text, &screen{w: &text, live: true}, quiet, false), &text
}

// ofRun is the header of an event of the run as a whole.
func ofRun(kind event.Kind) event.Header { return event.Header{Kind: kind, Run: "r1", Cell: new(3)} }

func header(kind event.Kind, rank int) event.Header {
	return event.HeaderOf(kind, "r1", new(3), ranklist.Rank(rank))
}

// begin is how a run on so many ranks begins.
func begin(size int) []event.Event {
	events := []event.Event{
		&event.RunStarted{Header: ofRun(event.KindRunStarted), Title: "Train\x1b]0;x\a", Target: "remote", See: "all", Journal: "/j/r1"},
	}
	for rank := range size {
		events = append(events, &event.RankState{Header: header(event.KindRankState, rank), State: "busy"})
	}
	return events
}

func printed(rank int, text string) event.Event {
	return &event.Stream{Header: header(event.KindStream, rank), Name: "stdout", Text: text}
}

func TestTerminalStatusLine(t *testing.T) {
	term, text := newTestTerminal(false)
	now := time.Now()
	term.take(begin(4))
	term.take([]event.Event{
		&event.RankState{Header: header(event.KindRankState, 1), State: "ready", Status: event.StatusOK},
		printed(0, "\r 50%"),
	})
	term.flush()
	term.draw(now)
	screen := text.String()
	if !strings.Contains(screen, "── cell 3 Train · all ranks\n") {
		t.Errorf("no heading, or one that steers the terminal:\n%q", screen)
	}
	if !strings.Contains(screen, "[0]  50%\x1b[0m\n") {
		t.Errorf("the unfinished line is not shown:\n%q", screen)
	}
	if !strings.Contains(screen, "0,2-3 of 4 running · ") {
		t.Errorf("no status line:\n%q", screen)
	}

	// Text is written above the live region: two lines are removed first.
	text.Reset()
	if _, err := term.err.Write([]byte("a log line\n")); err != nil {
		t.Fatal(err)
	}
	if got, want := text.String(), "\x1b[1A\r\x1b[2K\x1b[1A\r\x1b[2Ka log line\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}

	// The region comes back at once, but is not redrawn sooner than the eye follows.
	text.Reset()
	term.draw(now)
	if !strings.Contains(text.String(), "of 4 running") {
		t.Errorf("the status line did not come back: %q", text.String())
	}
	text.Reset()
	term.draw(now.Add(redrawEvery / 2))
	if text.Len() > 0 {
		t.Errorf("redrawn too soon: %q", text.String())
	}
}

func TestTerminalSumsFailuresUp(t *testing.T) {
	term, text := newTestTerminal(false)
	term.take(begin(3))
	for rank := range 3 {
		failure := &event.Failure{Header: header(event.KindError, rank), EName: "NameError", EValue: "x", Path: "/p/train.py", Line: 12}
		if rank == 2 {
			failure.EName, failure.Line = "KeyError", 14
		}
		term.take([]event.Event{failure})
	}
	term.take([]event.Event{&event.RunFinished{Header: ofRun(event.KindRunFinished), Status: event.StatusError, Seconds: 1.25}})
	term.flush()
	want := "NameError on ranks 0-1 (train.py:12); KeyError on rank 2 (train.py:14) after 1.2 s\n  journal: /j/r1\n"
	if !strings.HasSuffix(text.String(), want) {
		t.Errorf("ends with\n%q\nwant\n%q", text.String(), want)
	}
}

func TestTerminalQuiet(t *testing.T) {
	term, text := newTestTerminal(true)
	term.take(begin(1))
	term.take([]event.Event{
		event.NewLog(event.LevelInfo, "no GPU"),
		event.NewLog(event.LevelWarning, "look out"),
		printed(0, "out\n"),
		&event.RankState{Header: header(event.KindRankState, 0), State: "ready", Status: event.StatusOK},
		&event.RunFinished{Header: ofRun(event.KindRunFinished), Status: event.StatusOK, Seconds: 1},
	})
	term.flush()
	if got, want := text.String(), "look out\nout\n"; got != want {
		t.Errorf("shown:\n%q\nwant\n%q", got, want)
	}
}

// However much there is to show at once, the reader makes progress piece by piece.
func TestTerminalTellsOfProgress(t *testing.T) {
	term, text := newTestTerminal(true)
	var told []int
	term.progress = func() { told = append(told, text.Len()) }
	term.take(begin(1))
	const size = 1 << 20
	term.take([]event.Event{printed(0, strings.Repeat(strings.Repeat("x", 99)+"\n", size/100))})
	term.flush()
	if text.Len() < size-100 || told[len(told)-1] != text.Len() {
		t.Fatalf("%d bytes were shown, %v told", text.Len(), told)
	}
	for i, at := range told {
		if i > 0 && at-told[i-1] > 64<<10 {
			t.Fatalf("progress is told at %v", told)
		}
	}
}

// A goroutine that logs, such as one that reads from ranks, is not blocked by a reader of the output that has stopped.
func TestTerminalLogsWhileTheOutputIsStuck(t *testing.T) {
	reader, writer := io.Pipe()
	var told bytes.Buffer
	term := newTerminal(writer, &screen{w: &told}, true, false)
	term.take([]event.Event{printed(0, "stuck\n")})
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		term.flush()
	}()
	begun := make([]byte, 1)
	if _, err := reader.Read(begun); err != nil { // it writes, and nobody reads on
		t.Fatal(err)
	}
	if _, err := term.err.Write([]byte("a log line\n")); err != nil || told.String() != "a log line\n" {
		t.Errorf("told is %q, %v", told.String(), err)
	}
	reader.Close()
	<-flushed
}
