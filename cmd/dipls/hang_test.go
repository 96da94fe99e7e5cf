package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/session"
)

// stuck is a typical finding.
func stuck(number int, level event.Level, text string) *event.Hang {
	return &event.Hang{Header: ofRun(event.KindHang), Hang: number, Level: level, Text: text}
}

const waitText = "all_reduce #17 (default group, float32[1024]): ranks 0-1,3 wait at train.py:41 for rank 2, which has finished this cell"

func TestTerminalHang(t *testing.T) {
	shown := func(quiet bool) string {
		term, text := newTestTerminal(quiet)
		term.wayOut = "Ctrl-C frees them and ends the run · SIGUSR1 prints stacks"
		term.take([]event.Event{
			&event.RunStarted{Header: ofRun(event.KindRunStarted), Title: "Train", Target: "remote", See: "all"},
			stuck(1, event.LevelWarning, waitText),
			stuck(1, event.LevelWarning, waitText),
			stuck(2, event.LevelInfo, "rank 0 is still in save() at line 60; ranks 1-3 wait for it in barrier"),
			stuck(1, event.LevelWarning, "all_reduce #17: corrected"),
		})
		for range 20 { // findings that come and go
			term.take([]event.Event{stuck(1, event.LevelWarning, waitText), stuck(1, event.LevelInfo, fmt.Sprint("other ", time.Now()))})
		}
		over := stuck(1, "", "all_reduce #17 goes on")
		over.Gone = true
		never := stuck(9, "", "never told")
		never.Gone = true
		term.take([]event.Event{over, never})
		term.flush()
		return text.String()
	}
	got := strings.Split(shown(false), "\n")
	want := []string{
		"── cell 3 Train · all ranks",
		"hang? " + waitText,
		"      Ctrl-C frees them and ends the run · SIGUSR1 prints stacks",
		"rank 0 is still in save() at line 60; ranks 1-3 wait for it in barrier",
		"hang? all_reduce #17: corrected",
	}
	if strings.Join(got[:len(want)], "\n") != strings.Join(want, "\n") {
		t.Errorf("shown:\n%s", strings.Join(got, "\n"))
	}
	if len(got) != len(want)+5 || got[len(got)-2] != "the ranks go on" {
		t.Errorf("it floods, or does not tell the end:\n%s", strings.Join(got, "\n"))
	}
	if got, want := shown(true), strings.Join([]string{want[1], want[2], want[4], ""}, "\n"); got != want {
		t.Errorf("shown to who wants quiet:\n%s", got)
	}
}

// watchedRun is a run that goes on until it is freed, and the watch over its findings.
type watchedRun struct {
	*runner
	hangs *hangs
	id    string
	told  *sessiontest.Front
}

func watchRun(t *testing.T, flags *runFlags) *watchedRun {
	t.Helper()
	s := sessiontest.New(t, fakerank.NewHost(fakerank.Config{}), t.TempDir())
	by := session.Caller{Settings: session.Settings{Python: sessiontest.Interpreter(t), Pool: session.Choice{Ranks: 1}}}
	told := sessiontest.Subscribe(t, s, session.SubscribeRequest{})
	runs, err := s.Start(t.Context(), by, session.Sequence{Cells: []session.Cell{
		{Code: "print on\nwait", Line: 1, Target: cells.Target{Where: cells.Remote}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	told.Printed(runs[0], "on")
	w := &watchedRun{id: runs[0], told: told}
	w.runner = &runner{flags: flags, plan: &plan{}, cancel: func() {}}
	w.front = &front{frontFlags: flags.frontFlags, name: "dipls run", session: s, hold: w.runner, errOut: &screen{w: new(bytes.Buffer)}}
	w.hangs = newHangs(w.front)
	t.Cleanup(w.hangs.close)
	return w
}

// find tells a finding of the run.
func (w *watchedRun) find(number int, level event.Level, gone bool) {
	e := stuck(number, level, waitText)
	e.Run, e.Gone = w.id, gone
	w.hangs.take(e)
}

// awaitSaid waits for a sentence.
func (w *watchedRun) awaitSaid(t *testing.T, part string) *event.Log {
	t.Helper()
	return w.told.Await(part, func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && strings.Contains(l.Text, part)
	}).(*event.Log)
}

func TestHangTimeoutEndsTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	w := watchRun(t, &runFlags{frontFlags: frontFlags{hangTimeout: orOff{d: time.Millisecond, said: true}, notify: `echo "$DIPLS_HANG_STATE" >>` + file}})
	w.find(1, event.LevelWarning, false)
	if n := w.awaitSaid(t, "(--hang-timeout): they are freed, and the file ends with exit code 4"); n.Level != event.LevelError || n.Run != w.id {
		t.Errorf("told as %+v", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	report, err := w.session.Wait(ctx, w.id)
	if err != nil || report.Status != event.StatusInterrupted {
		t.Errorf("the run: %+v, %v", report, err)
	}
	if w.endsWith() != exitHang {
		t.Errorf("ends with %d", w.endsWith())
	}
	if _, err := w.start(func() ([]string, error) { return nil, nil }); err == nil {
		t.Error("another cell was started")
	}
	w.hangs.close()
	w.hangs.notifier.close()
	told, err := os.ReadFile(file)
	if states := strings.Fields(string(told)); err != nil || len(states) != 2 || !slices.Contains(states, "stands") || !slices.Contains(states, "freed") {
		t.Errorf("the command was told %q, %v", told, err)
	}
}

// A user who has interrupted is not told that the file ends with another exit code.
func TestHangTimeoutAfterAnInterrupt(t *testing.T) {
	w := watchRun(t, &runFlags{frontFlags: frontFlags{hangTimeout: orOff{d: time.Hour, said: true}}})
	w.end(exitInterrupted)
	e := stuck(1, event.LevelWarning, waitText)
	e.Run = w.id
	w.hangs.found(e)
	w.hangs.end(w.id)
	w.hangs.close()
	w.hangs.notifier.close()
	w.tell("the end, without --hang-timeout")
	if n := w.awaitSaid(t, "--hang-timeout"); n.Level != event.LevelInfo {
		t.Errorf("told: %s", n.Text)
	}
	if w.endsWith() != exitInterrupted {
		t.Errorf("ends with %d", w.endsWith())
	}
}

// An alarm that is over, or that turns out to be none, ends nothing.
func TestHangTimeoutIsForStandingAlarms(t *testing.T) {
	w := watchRun(t, &runFlags{frontFlags: frontFlags{hangTimeout: orOff{d: time.Hour, said: true}}})
	timer := func() bool {
		w.hangs.mu.Lock()
		defer w.hangs.mu.Unlock()
		a := w.hangs.runs[w.id]
		return a != nil && a.timer != nil
	}
	found := func(number int, level event.Level, gone bool) {
		e := stuck(number, level, waitText)
		e.Run, e.Gone = w.id, gone
		w.hangs.found(e)
	}
	found(1, event.LevelInfo, false)
	if timer() {
		t.Error("a slow rank is timed")
	}
	found(2, event.LevelWarning, false)
	found(3, event.LevelWarning, false)
	found(2, "", true)
	if !timer() {
		t.Error("no time is taken while an alarm stands")
	}
	found(3, event.LevelInfo, false)
	if timer() {
		t.Error("what is no alarm any more is timed")
	}
	found(4, event.LevelWarning, false)
	w.hangs.over(w.id)
	if timer() {
		t.Error("a run that has finished is timed")
	}
}

func TestHangTimeoutFlag(t *testing.T) {
	f := &runFlags{cellFlags: cellFlags{hangAfter: orOff{d: defaultHangAfter}}}
	if isTerminal(os.Stdin) || isTerminal(os.Stderr) {
		t.Log("on a terminal")
	} else if got := f.hangTimeoutOf(); got != 30*time.Minute {
		t.Errorf("without a terminal: %v", got)
	}
	if err := f.hangTimeout.Set("off"); err != nil || f.hangTimeoutOf() != 0 {
		t.Errorf("off: %v, %v", err, f.hangTimeoutOf())
	}
	if got := f.wayOut(); got != "Ctrl-C frees them and ends the run · SIGUSR1 prints stacks" {
		t.Errorf("off: %s", got)
	}
	if err := f.hangTimeout.Set("90s"); err != nil || f.hangTimeoutOf() != 90*time.Second {
		t.Errorf("90s: %v, %v", err, f.hangTimeoutOf())
	}
	if got := f.wayOut(); !strings.HasPrefix(got, "after 1m30s they are freed") {
		t.Errorf("90s: %s", got)
	}
	if f.hangAfterOf() != 10*time.Second {
		t.Errorf("--hang-after is %v", f.hangAfterOf())
	}
	if err := f.hangAfter.Set("off"); err != nil || f.hangAfterOf() >= 0 {
		t.Errorf("off: %v, %v", err, f.hangAfterOf())
	}
	for _, wrong := range []string{"", "10", "0s", "-3s", "OFF", "never"} {
		if err := f.hangAfter.Set(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	for d, want := range map[time.Duration]string{
		30 * time.Minute: "30m", 2 * time.Hour: "2h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", 20 * time.Minute: "20m",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v is %q", d, got)
		}
	}
}

func TestNotify(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "told ü")
	w := watchRun(t, &runFlags{frontFlags: frontFlags{
		hangTimeout: orOff{off: true, said: true},
		notify:      fmt.Sprintf(`{ printf '%%s|%%s|' "$DIPLS_HANG_STATE" "$DIPLS_HANG"; cat; } >> '%s'; echo gone wrong >&2; exit 3`, file),
	}})
	w.find(1, event.LevelInfo, false)
	w.find(2, event.LevelWarning, false)
	w.find(2, event.LevelWarning, false)
	w.awaitSaid(t, "--notify: the command failed: gone wrong")
	w.end(exitInterrupted)
	late := stuck(3, event.LevelWarning, waitText)
	late.Run = w.id
	w.hangs.found(late) // which is no news to a user who has interrupted
	w.hangs.close()
	w.hangs.notifier.close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(text), "|", 3)
	var event struct {
		Event, Run, Text string
		Hang             int
	}
	if err := json.Unmarshal([]byte(parts[2]), &event); err != nil || event.Event != "hang" || event.Run != w.id || event.Hang != 2 || event.Text != waitText {
		t.Errorf("%v: %s", err, parts[2])
	}
	if parts[0] != "stands" || parts[1] != waitText {
		t.Errorf("told %q", parts[:2])
	}
}

// The command hears of the end of a run that has taken long, once, with the facts; of short runs, of those that others have asked for, and of those that
// the user has interrupted it hears nothing.
func TestNotifyOfEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	w := watchRun(t, &runFlags{frontFlags: frontFlags{
		hangTimeout: orOff{off: true, said: true},
		notify:      fmt.Sprintf(`{ printf '%%s|%%s|%%s|%%s|' "$DIPLS_NOTICE" "$DIPLS_RUN" "$DIPLS_RUN_STATUS" "$DIPLS_RUN_SECONDS"; cat; } >> '%s'`, file),
	}})
	told := func(id, parent string, seconds float64, failed bool) string {
		head := func(k event.Kind) event.Header { return event.Header{Kind: k, Run: id} }
		status := event.StatusOK
		started := event.Header{Kind: event.KindRunStarted, Run: id, Cell: event.CellOf(3)}
		w.hangs.take(&event.RunStarted{Header: started, Title: "Train", Target: "local", Parent: parent})
		w.hangs.take(&event.RankState{Header: event.HeaderOf(event.KindRankState, id, nil, ranklist.Local), State: event.StateBusy})
		if failed {
			status = event.StatusError
			w.hangs.take(&event.Failure{Header: event.HeaderOf(event.KindError, id, nil, ranklist.Local), EName: "NameError", Path: "/a/train.py", Line: 12})
		}
		w.hangs.take(&event.RunFinished{Header: head(event.KindRunFinished), Status: status, Seconds: seconds})
		w.hangs.notifier.close()
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		_ = os.Remove(file)
		return string(text)
	}
	for _, test := range []struct {
		id, parent string
		seconds    float64
		failed     bool
		want       string
	}{
		{"a", "", 59, true, ""},
		{"b", "", 65, false, "cell 3 Train: ok after 1 min 05 s|b|ok|65|{\"event\":\"run_finished\",\"run\":\"b\","},
		{"c", "", 3600, true, "cell 3 Train: NameError (train.py:12) after 1 h 00 min|c|error|3600|{"},
		{"d", "c", 3600, false, ""},
	} {
		got := told(test.id, test.parent, test.seconds, test.failed)
		if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("run %s: told %q, want %q", test.id, got, test.want)
		}
	}
	w.end(exitInterrupted)
	if got := told("e", "", 3600, false); got != "" {
		t.Errorf("the user has interrupted, and is told %q", got)
	}
}

// Whatever the command does, it ends, and nothing waits for it for long.
func TestNotifyLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := notify(ctx, "yes >&2", stuck(1, event.LevelWarning, waitText), nil); err == nil || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("a command without an end: %v", err)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	if err := notify(t.Context(), "sleep 1000 & echo $! >"+pid, stuck(1, event.LevelWarning, waitText), nil); err != nil {
		t.Errorf("a command that leaves something: %v", err)
	}
	number, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	path := "/proc/" + strings.TrimSpace(string(number)) + "/stat"
	if left := awaitNothing(func() []string {
		if stat, err := os.ReadFile(path); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
			return []string{path}
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			return []string{err.Error()}
		}
		return nil
	}); left != nil {
		t.Errorf("left: %v", left)
	}
}
