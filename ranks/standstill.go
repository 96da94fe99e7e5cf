package ranks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dipls/ranks/host"
)

const (
	// stopPatience is how long a process must have been stopped to count as stopped: tools that look at a process stop it for a moment.
	stopPatience = time.Second
	// answerPatience is how long a process may take to answer.
	answerPatience = 5 * time.Second
)

// Standstill checks whether the process answers, which it does even while it is busy. If it does not, Standstill says why in a sentence, as far as the
// operating system knows: it was stopped, or native code keeps Python's lock. That takes seconds.
func (p *Process) Standstill(ctx context.Context) string { return p.standstill(ctx, answerPatience) }

func (p *Process) standstill(ctx context.Context, patience time.Duration) string {
	if p.stopSentence(ctx) != "" {
		pause(ctx, stopPatience)
		return p.stopSentence(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := p.Status(waiting)
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	if text := p.stopSentence(ctx); text != "" {
		return text
	}
	// There may be another reason: its reader here may be waiting. Then the process does not wait for a lock.
	how := p.conditionNow(ctx, false).Lock
	if how == "" {
		return ""
	}
	return fmt.Sprintf("%s (pid %d) has answered nothing for %v: native code holds Python's lock %s; no interrupt gets through before it lets go",
		p.name, p.PID(), patience, how)
}

// stopSentence says that the process is stopped; "" if it is not.
func (p *Process) stopSentence(ctx context.Context) string {
	switch c := p.conditionNow(ctx, true); c.State {
	case host.Halted, host.Traced:
		return fmt.Sprintf("%s (pid %d) %s", p.name, p.PID(), c.How)
	default:
		return ""
	}
}

// conditionNow is the process's condition, as far as a single look tells.
func (p *Process) conditionNow(ctx context.Context, answered bool) host.Condition {
	now, _ := p.Vitals(ctx)
	return p.Condition(ctx, host.Vitals{}, now, answered)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
