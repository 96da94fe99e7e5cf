package ranks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// discardTimeout bounds how long processes whose start has failed may take to end.
const discardTimeout = 30 * time.Second

// Ladder says how long to wait after each step of a shutdown. A step without time is skipped, but the last one is always taken.
type Ladder struct {
	Ask       time.Duration // shutdown_request: leave the app, run atexit, exit
	Interrupt time.Duration // SIGINT
	Terminate time.Duration // SIGTERM
	Kill      time.Duration // SIGKILL
}

// last is the time for the last step.
func (l Ladder) last() time.Duration { return max(l.Kill, time.Second) }

// DefaultLadder gives ranks time to leave their process group in order, and is over within three seconds whatever hangs: a kill takes time only if
// the node hangs, too.
var DefaultLadder = Ladder{Ask: 1800 * time.Millisecond, Interrupt: 300 * time.Millisecond, Terminate: 300 * time.Millisecond, Kill: 2 * time.Second}

// Shutdown ends all ranks, step by step. When ctx ends, those that still live are killed at once. The error names the processes that could not be
// ended. OnState has been told of all changes when it returns.
func (p *Pool) Shutdown(ctx context.Context, l Ladder) error {
	err := end(ctx, p.ranks, l)
	p.events.flush()
	return err
}

// byNode groups processes by their nodes.
func byNode(procs []*Process) map[*Node][]*Process {
	of := make(map[*Node][]*Process)
	for _, p := range procs {
		of[p.node] = append(of[p.node], p)
	}
	return of
}

// end takes processes down the ladder, all at once, for ranks leave their process group together. It tells OnLoss what was lost.
func end(ctx context.Context, procs []*Process, l Ladder) error {
	for n := range byNode(procs) {
		n.rouse()
	}
	var living []*Process
	for _, p := range procs {
		if p.stop() {
			living = append(living, p)
		}
	}
	defer tellParting(living)
	steps := []struct {
		wait time.Duration
		act  func(*Process)
	}{
		{l.Ask, (*Process).ask},
		{l.Interrupt, func(p *Process) { p.signal("SIGINT") }},
		{l.Terminate, func(p *Process) { p.force(); p.signal("SIGTERM") }},
	}
	asked := false
	for _, s := range steps {
		if s.wait == 0 || ctx.Err() != nil {
			continue
		}
		for _, p := range procs {
			switch {
			case p.State().Final():
			case asked && p.node.host.Ended(p.ID()):
				// The node has had time to tell, and has not: perhaps it imports modules.
				p.tell(&ending{err: &ExitError{Name: p.name, Rank: p.rankPtr(), PID: p.PID()}})
			default:
				s.act(p)
			}
		}
		asked = true
		if waitAll(ctx, s.wait, dones(procs)...) {
			return nil
		}
	}

	// From here on ctx does not matter: nothing may be left.
	ctx = context.WithoutCancel(ctx)
	last := l.last()
	for _, p := range procs {
		if !p.State().Final() {
			p.force()
			p.signal("SIGKILL")
		}
	}
	if waitAll(ctx, last/2, dones(procs)...) {
		return nil
	}
	deadline := time.Now().Add(last / 2)
	for _, p := range procs {
		if p.State().Final() {
			continue
		}
		p.log.Warn("the node does not end the process; killing it directly")
		if p.destroy(time.Until(deadline)) {
			p.tell(&ending{err: &ExitError{Name: p.name, Rank: p.rankPtr(), PID: p.PID(), Exit: host.Exit{Signal: "SIGKILL"}}})
		}
	}
	if waitAll(ctx, last/2, dones(procs)...) {
		return nil
	}
	var errs []error
	for _, p := range procs {
		select {
		case <-p.done:
			continue
		default:
		}
		if p.State().Final() {
			errs = append(errs, fmt.Errorf("%s (pid %d) has ended, but a handler did not return", p.name, p.PID()))
		} else {
			errs = append(errs, fmt.Errorf("%s (pid %d) does not die", p.name, p.PID()))
		}
	}
	return errors.Join(errs...)
}

// force notes that the process is ended by force.
func (p *Process) force() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forced = true
}

// ask asks the process to end. A busy one would serve the request only after what it runs, so that is interrupted.
func (p *Process) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return
	}
	if !p.idle() {
		p.link.Post(wire.TypeInterruptRequest, []byte(`{"parent":""}`))
		p.interrupting()
	}
	p.link.Post(wire.TypeShutdownRequest, shutdownAtOnce)
}

// forgo ends processes that their node was never asked to start.
func forgo(procs []*Process) {
	for _, p := range procs {
		p.stop()
		p.tell(&ending{err: &ExitError{Name: p.name, Rank: p.rankPtr()}})
	}
}

// discard ends processes whose start has failed, and returns when nothing is left of them.
func discard(procs []*Process) {
	var work sync.WaitGroup
	for n, its := range byNode(procs) {
		work.Go(func() { n.discard(its) })
	}
	work.Wait()
}

// discard ends those of the node. A process may come to life in the meantime. The node serves requests in order, so its answer to the signal tells of
// that, too.
func (n *Node) discard(procs []*Process) {
	ctx, cancel := context.WithTimeout(context.Background(), discardTimeout)
	defer cancel()
	answers := make([]<-chan *wire.Message, len(procs))
	for i, p := range procs {
		p.stop()
		_, answers[i] = n.link.Begin(wire.TypeSignalRequest, signalRequest(p, "SIGKILL"))
	}
	for i, p := range procs {
		var reply wire.SignalReply
		select {
		case m, ok := <-answers[i]:
			if !ok || n.link.DecodeReply(wire.TypeSignalRequest, m, &reply) != nil || !reply.Sent {
				// It was never started, or has ended, of which the node has told before it answered. Or the node has ended.
				p.tell(&ending{err: &ExitError{Name: p.name, Rank: p.rankPtr(), PID: p.PID()}})
			}
		case <-ctx.Done():
		}
	}
	if waitAll(ctx, discardTimeout, dones(procs)...) {
		return
	}
	n.log.Error("the node does not answer; killing it", zap.Int("pid", n.PID()))
	n.proc.Kill()
}

// destroy kills a process without its node's help and reports whether it is gone.
func (p *Process) destroy(patience time.Duration) bool {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	return p.node.host.Kill(ctx, p.ID())
}

func dones(procs []*Process) []<-chan struct{} {
	chs := make([]<-chan struct{}, len(procs))
	for i, p := range procs {
		chs[i] = p.done
	}
	return chs
}

// waitAll waits until all channels are closed, the time is over or ctx ends. It reports whether all are closed.
func waitAll(ctx context.Context, timeout time.Duration, chs ...<-chan struct{}) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for _, ch := range chs {
		select {
		case <-ch:
			continue
		default:
		}
		select {
		case <-ch:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}
