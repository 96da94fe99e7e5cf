package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"dipls/internal/flock"
	"dipls/session"
	"dipls/session/remote"
)

var (
	// askPatience is how long a session may take to answer that it will end.
	askPatience = 4 * time.Second
	// termPatience is how long its process may take to end in order by a signal, if it has not answered.
	termPatience = 5 * time.Second
	// killPatience is how long a process may take to end that was killed.
	killPatience = 5 * time.Second
)

// Stop ends a session that was listed, also one of another version of dipls, or one that does not answer, and returns when its process has ended. by is who
// wants it: "dipls stop".
func (r *Registry) Stop(ctx context.Context, l session.Listed, by string) error {
	all, err := living()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(e *entry) bool { return e.Dir == l.Dir && e.PID == l.PID })
	if i < 0 {
		return nil // it has ended meanwhile
	}
	e := all[i]
	if e.problem != nil {
		return fmt.Errorf("session %s is not to be trusted: %w", e, e.problem)
	}
	asking, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	switch err := remote.Stop(asking, e.socket(), by); {
	case err == nil, isGone(err):
		if awaitEnd(ctx, e, goingPatience) == nil {
			return nil
		}
	case asking.Err() == nil:
		return fmt.Errorf("session %s cannot be asked to end: %w", e, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return e.end(ctx, by)
}

// end ends the process of a session that does not answer: by SIGTERM, on which it ends in order, and then by SIGKILL. Its ranks end with it.
//
// The process is nobody's child. It is known by its pid, of which the kernel says that it listens on the session's socket, and by the lock, which it holds
// from its start to its end: while that is held, no other process has the pid. Where the system can do it, the process is got hold of before that is
// looked at, so the signal reaches no other one.
func (e *entry) end(ctx context.Context, by string) error {
	silent := &session.Error{
		Code: session.CodeBusy, Text: fmt.Sprintf("session %s does not answer", e), Hint: fmt.Sprintf("kill -9 %d ends it; its log is %s", e.PID, e.Log),
	}
	p, err := os.FindProcess(e.PID)
	if err != nil {
		return silent
	}
	defer p.Release()
	pid, err := remote.Listener(ctx, e.socket())
	if err != nil || pid != e.PID || pid == os.Getpid() {
		return silent
	}
	for _, rung := range []struct {
		signals  []syscall.Signal
		patience time.Duration
	}{
		{[]syscall.Signal{syscall.SIGTERM, syscall.SIGCONT}, termPatience}, // one that is suspended gets a signal when it goes on
		{[]syscall.Signal{syscall.SIGKILL}, killPatience},
	} {
		for _, s := range rung.signals {
			if held, err := flock.Held(e.path); err != nil || !held {
				return nil
			}
			if s == syscall.SIGKILL {
				e.lastWords("it did not answer, and was killed by "+by, by)
			}
			if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("session %s does not answer, and cannot be ended: %w", e, err)
			}
		}
		if awaitEnd(ctx, e, rung.patience) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return silent
}

// lastWords writes why a session ends that cannot do so itself.
func (e *entry) lastWords(why, by string) {
	for _, r := range records() {
		if r.ID == e.ID {
			r.end(why, by)
		}
	}
}

// remedy says what to do about a session that does not answer.
func (e *entry) remedy() string {
	text := fmt.Sprintf("%q ends it all the same; its log is %s", "dipls stop "+e.Name, e.Log)
	if suspended(e.PID) {
		text = fmt.Sprintf("its process is suspended; kill -CONT %d lets it go on, and %s", e.PID, text)
	}
	return text
}
