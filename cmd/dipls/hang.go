package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/session"
)

const (
	notePatience = time.Second      // for a run to take a note about it
	freePatience = 30 * time.Second // for ranks that --hang-timeout frees to come back, before the pool is ended

	alarmLines = 12 // of stacks below an alarm, about
	maxStacks  = 3  // alarms of a run below which stacks are shown
)

// defaultHangAfter is --hang-after.
const defaultHangAfter = 10 * time.Second

// unattendedHangTimeout is --hang-timeout without a terminal.
const unattendedHangTimeout = 30 * time.Minute

// orOff is a flag's duration, which may be off.
type orOff struct {
	d    time.Duration
	off  bool
	said bool
}

func (f *orOff) Set(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case s == "off":
		*f = orOff{off: true, said: true}
		return nil
	case err != nil:
		return errors.New(`want a duration such as 30s or 2h, or "off"`)
	case d <= 0:
		return errors.New(`want more than nothing, or "off"`)
	}
	*f = orOff{d: d, said: true}
	return nil
}

func (f *orOff) String() string {
	switch {
	case f.off:
		return "off"
	case f.d == 0:
		return ""
	}
	return shortDuration(f.d)
}

func (f *orOff) Type() string { return "duration" }

// hangAfterOf is when runs are first checked, in a request's terms.
func (f *cellFlags) hangAfterOf() time.Duration {
	if f.hangAfter.off {
		return -1
	}
	return f.hangAfter.d
}

// hangTimeoutOf is how long an alarm may stand; 0: for ever, which is the default at a terminal.
func (f *frontFlags) hangTimeoutOf() time.Duration {
	if !f.hangTimeout.said && !isTerminal(os.Stdin) && !isTerminal(os.Stderr) {
		return unattendedHangTimeout
	}
	return f.hangTimeout.d
}

// wayOut is what the user can do about ranks that wait for each other.
func (f *frontFlags) wayOut() string {
	if after := f.hangTimeoutOf(); after > 0 {
		return fmt.Sprintf("after %s they are freed and the run ends (--hang-timeout) · SIGUSR1 prints stacks", shortDuration(after))
	}
	return "Ctrl-C frees them and ends the run · SIGUSR1 prints stacks"
}

// shortDuration is "30m" rather than "30m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// hangs watches the findings about runs: it shows where ranks are, has the user notified, and ends alarms that have stood too long.
type hangs struct {
	f        *front
	notifier *notifier
	timeout  time.Duration         // 0: none
	ctx      context.Context       // ends when nobody waits for a run any more
	stop     context.CancelFunc    //
	work     sync.WaitGroup        // what it has begun
	caughtUp func(context.Context) // waits until it has taken what has happened; nil: it is told by hand

	mu     sync.Mutex // guards what follows
	runs   map[string]*alarms
	closed bool
}

// alarms are those of a run.
type alarms struct {
	standing map[int]*event.Hang // by number
	told     map[int]bool
	timer    *time.Timer // runs since the first one; nil: there is none, or no timeout
}

func newHangs(f *front) *hangs {
	h := &hangs{f: f, notifier: newNotifier(f), timeout: f.hangTimeoutOf(), runs: map[string]*alarms{}}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// take takes an event.
func (h *hangs) take(ev event.Event) {
	h.notifier.take(ev)
	switch e := ev.(type) {
	case *event.Hang:
		if h.f.hold.holds(e.Run) {
			h.found(e)
		}
	case *event.RunFinished:
		h.over(e.Run)
	}
}

// close ends the watch, and waits for everything that it has begun but commands of --notify: see [notifier.close]. The ends of runs that have ended are
// told before.
func (h *hangs) close() {
	if h.notifier.kinds() != nil && h.caughtUp != nil {
		patience, stop := context.WithTimeout(context.Background(), notePatience)
		defer stop()
		h.caughtUp(patience)
	}
	h.mu.Lock()
	h.closed = true
	for _, a := range h.runs {
		a.stop()
	}
	h.mu.Unlock()
	h.stop()
	h.work.Wait()
}

// begin does something on a goroutine while the watch goes on. The caller holds mu.
func (h *hangs) begin(f func()) {
	if !h.closed {
		h.work.Go(f)
	}
}

// found takes a finding.
func (h *hangs) found(e *event.Hang) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.runs[e.Run]
	if a == nil {
		a = &alarms{standing: map[int]*event.Hang{}, told: map[int]bool{}}
		h.runs[e.Run] = a
	}
	if e.Gone || e.Level == event.LevelInfo {
		if delete(a.standing, e.Hang); len(a.standing) == 0 {
			a.stop()
		}
		return
	}
	a.standing[e.Hang] = e
	if a.timer == nil && h.timeout > 0 {
		a.timer = time.AfterFunc(h.timeout, func() { h.end(e.Run) })
	}
	if a.told[e.Hang] || h.f.endsWith() != 0 { // a user who has interrupted knows
		return
	}
	a.told[e.Hang] = true
	if len(a.told) <= maxStacks {
		h.begin(func() { h.note(e.Run, event.LevelInfo, h.where(alarmLines)) })
	}
	h.notifier.hang(e, "stands")
}

// over forgets a run.
func (h *hangs) over(run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.runs[run]; a != nil {
		a.stop()
		delete(h.runs, run)
	}
}

func (a *alarms) stop() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// end ends the file because an alarm has stood too long. First, everything that can be found out goes to the run's journal.
func (h *hangs) end(run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.runs[run]
	if a == nil || a.timer == nil {
		return // it has gone just now
	}
	last := a.standing[slices.Max(slices.Collect(maps.Keys(a.standing)))]
	if !h.f.end(exitHang) {
		return // the user was faster
	}
	h.begin(func() {
		text := fmt.Sprintf("ranks have waited for each other for %s (--hang-timeout): they are freed, and the file ends with exit code %d",
			shortDuration(h.timeout), exitHang)
		h.note(run, event.LevelError, text)
		h.note(run, event.LevelInfo, h.where(0))
		h.notifier.hang(last, "freed")
		h.f.hold.free()
		patience, cancel := context.WithTimeout(h.ctx, freePatience)
		defer cancel()
		if _, err := h.f.session.Wait(patience, run); errors.Is(err, context.DeadlineExceeded) {
			h.f.hold.giveUp("they are not free")
		}
	})
}

// note tells something about a run.
func (h *hangs) note(run string, level event.Level, text string) {
	ctx, stop := context.WithTimeout(context.Background(), notePatience)
	defer stop()
	_ = h.f.session.Say(ctx, session.Note{Run: run, Level: level, Text: text})
}

// where says where the ranks are, in about so many lines. 0: where all processes are, in any number of lines, with native frames if they can be
// read.
func (h *hangs) where(limit int) string {
	var of []ranklist.Who
	if info, err := h.f.session.Info(h.ctx, false); err == nil && limit > 0 {
		for _, r := range info.Ranks {
			of = append(of, ranklist.Rank(r.Rank))
		}
	}
	text := describeStacks(h.f.session, of, limit)
	return hangIndent + strings.ReplaceAll(text, "\n", "\n"+hangIndent)
}

// describeStacks asks processes where they are, all if none are named, and folds what they say.
func describeStacks(s session.API, of []ranklist.Who, limit int) string {
	found, err := s.Stacks(context.Background(), session.StacksRequest{Of: of, Native: limit == 0})
	switch {
	case err != nil:
		return err.Error()
	case len(found.Of) == 0:
		return "no process is ready yet"
	}
	text := session.DescribeStacks(session.FoldStacks(found.Of), limit)
	if found.Problem != "" {
		text += "\n" + found.Problem
	}
	return text
}
