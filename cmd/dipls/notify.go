package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
)

// notifyPatience is how long the command of --notify may take.
const notifyPatience = 10 * time.Second

// defaultNotifyAfter is --notify-after.
const defaultNotifyAfter = time.Minute

// notifier runs the command of --notify: for findings of hangs, and at the end of each run that has taken long. Nothing waits for the command before the end,
// and if it fails, that is said once.
type notifier struct {
	f     *front
	after time.Duration // how long a run has to take; negative: its end is told to nobody
	work  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	runs   view.Runs
	broken bool // the command has failed, and the user was told
}

func newNotifier(f *front) *notifier {
	n := &notifier{f: f, after: cmp.Or(f.notifyAfter.d, defaultNotifyAfter)}
	if f.notifyAfter.off {
		n.after = -1
	}
	return n
}

// kinds are the kinds of events that it has to be told.
func (n *notifier) kinds() []event.Kind {
	if n.f.notify == "" || n.after < 0 {
		return nil
	}
	return []event.Kind{event.KindRunStarted, event.KindRankState, event.KindError}
}

// take takes an event of a run.
func (n *notifier) take(ev event.Event) {
	if n.kinds() == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.runs.Apply(ev, time.Now())
	end, ended := ev.(*event.RunFinished)
	if !ended || r == nil || r.Parent != "" || r.Seconds < n.after.Seconds() {
		return
	}
	if !n.f.hold.holds(r.ID) || n.f.endsWith() != 0 { // it is somebody else's, or the user has interrupted, and knows
		return
	}
	how := "ok"
	if r.Status != event.StatusOK {
		how = r.Summary()
	}
	n.run(end, fmt.Sprintf("%s: %s after %s", r.Label(), how, r.Took()),
		"DIPLS_RUN="+r.ID, "DIPLS_RUN_STATUS="+string(r.Status), "DIPLS_RUN_SECONDS="+strconv.FormatFloat(r.Seconds, 'f', -1, 64))
}

// hang tells of a finding, which "stands", or was "freed".
func (n *notifier) hang(e *event.Hang, state string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.run(e, e.Text, "DIPLS_HANG="+clean.Line(e.Text), "DIPLS_HANG_STATE="+state)
}

// close waits for the commands that it has begun. It comes last: nothing else waits for them.
func (n *notifier) close() { n.work.Wait() }

// run runs the user's command. mu is held.
func (n *notifier) run(ev event.Event, sentence string, facts ...string) {
	command := n.f.notify
	if command == "" {
		return
	}
	n.work.Go(func() {
		ctx, stop := context.WithTimeout(context.Background(), notifyPatience)
		defer stop()
		err := notify(ctx, command, ev, append(facts, "DIPLS_NOTICE="+clean.Line(sentence)))
		n.mu.Lock()
		tell := err != nil && !n.broken
		n.broken = n.broken || tell
		n.mu.Unlock()
		if tell {
			n.f.hold.say(event.LevelWarning, fmt.Sprintf("--notify: %v", err))
		}
	})
}

// notify runs a shell command that tells somebody of an event, which is JSON on its standard input; facts are set in its environment. When ctx ends, the
// command is killed with everything that it has started.
func notify(ctx context.Context, command string, ev event.Event, facts []string) error {
	var line bytes.Buffer
	var said firstBytes
	if err := event.WriteJSON(&line, ev); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env = append(os.Environ(), facts...)
	cmd.Stdin, cmd.Stderr, cmd.WaitDelay = &line, &said, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it, and all of it can be ended
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = end
	err := cmd.Run()
	switch {
	case cmd.Process != nil && errors.Is(err, exec.ErrWaitDelay):
		_ = end() // it has ended, but what it has left in the background has not
		return nil
	case ctx.Err() != nil:
		return errors.New("the command took too long, and was ended")
	case err != nil:
		text, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		return fmt.Errorf("the command failed: %s", cmp.Or(clean.Line(text), err.Error()))
	}
	return nil
}

// firstBytes keeps the beginning of what is written to it.
type firstBytes []byte

func (b *firstBytes) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), 4<<10-len(*b))]...)
	return len(p), nil
}
