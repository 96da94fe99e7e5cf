package ranks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dipls/ranks/host"
)

const (
	// stopPatience is how long a process must have been stopped to count as that: tools that look at one stop it for a moment.
	stopPatience = time.Second
	// answerPatience is how long a process may take to say that it is there.
	answerPatience = 5 * time.Second
)

// Standstill looks whether the process can answer, as it does also while it is busy. Where it cannot, it says why in a sentence, as far as the
// system knows: it has been stopped, or native code does not let go of Python's lock. It takes seconds then.
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
	// One that answers nothing because its reader here waits for somebody does not wait for a lock.
	how := p.conditionNow(ctx, false).Lock
	if how == "" {
		return ""
	}
	return fmt.Sprintf("%s (pid %d) has answered nothing for %v: native code holds Python's lock %s; no interrupt gets through before it lets go",
		p.name, p.PID(), patience, how)
}

// stopSentence tells of a process that has been stopped; "" if it has not.
func (p *Process) stopSentence(ctx context.Context) string {
	switch c := p.conditionNow(ctx, true); c.State {
	case host.Halted, host.Traced:
		return fmt.Sprintf("%s (pid %d) %s", p.name, p.PID(), c.How)
	default:
		return ""
	}
}

// conditionNow is how the process does, as far as one look tells.
func (p *Process) conditionNow(ctx context.Context, answered bool) host.Condition {
	now, _ := p.Vitals(ctx)
	return p.Condition(ctx, host.Vitals{}, now, answered)
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
