package dipexec

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dipls/diagnose"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// No interrupt reaches a rank that waits in a collective. Such ranks are freed by breaking the process groups on all ranks of the pool:
// whatever waits in them raises. After that the groups must be mended (mend.go).
const (
	freePatience        = 500 * time.Millisecond  // for a rank to say where it is
	connectionsPatience = time.Second             // for a rank to say what connections it has; it may look for them for 0.3 s
	abortPatience       = 3 * time.Second         // a rank's, with the communicators of its groups
	breakPatience       = 4 * time.Second         // for a rank's answer to a break
	maxFreeTries        = 3                       // of ranks that stay where they are
	againPause          = time.Second             // between two tries to free ranks that are not back from an earlier run
	lastPause           = 4 * time.Second         // after the last try
	backPatience        = 9500 * time.Millisecond // for all tries, also if ranks do not answer; not when a try ends
)

// rescue frees the ranks of a run that an interrupt does not bring back. It has a goroutine of its own, so that the run can react to other things
// meanwhile.
type rescue struct {
	r       *run
	all     []Process // of the pool
	ctx     context.Context
	stop    context.CancelFunc
	hurried chan struct{} // capacity 1: somebody has interrupted again, or wants the ranks freed
	done    chan struct{}

	mu   sync.Mutex          // guards seen; no other lock is taken with it held
	seen []diagnose.Standing // at the last look; nil: there has been none

	freed []diagnose.Standing // the ranks that had to be freed, as they were then; the goroutine's until done
}

// beginRescue follows an interrupt.
func (r *run) beginRescue(all []Process) *rescue {
	s := &rescue{r: r, all: all, hurried: make(chan struct{}, 1), done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(r.e.ctx)
	if r.hurry.Load() {
		s.hurry()
	}
	r.e.goOn(func() {
		defer close(s.done)
		s.watch()
	})
	return s
}

// hurry makes the rescue free the ranks at once.
func (s *rescue) hurry() {
	select {
	case s.hurried <- struct{}{}:
	default:
	}
}

// end waits until the rescue leaves the ranks alone, and tells which had to be freed from what.
func (s *rescue) end() []string {
	s.stop()
	<-s.done
	return diagnose.DescribeWaiting(s.freed, "was", "were")
}

// whereabouts are the lines at which ranks were last seen, as far as known.
func (s *rescue) whereabouts(parts []*part) []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, at := range s.seen {
		if at.Groups == nil || !slices.ContainsFunc(parts, func(pt *part) bool { return pt.proc.who == ranklist.Rank(at.Rank) }) {
			continue
		}
		if line := diagnose.At(at.Groups); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// watch frees ranks as long as the run is on any. Ranks that wait are freed once it is certain that nothing else ends the wait: if one waits for a
// rank that is back already, or if no count of collectives has changed. Code that handles the interrupt itself, and goes on with collectives,
// is left alone.
func (s *rescue) watch() {
	e := s.r.e
	soon := e.o.FreeAfter / 4
	pause := soon
	var before []diagnose.Standing // at the last look, if a rank waited then
	tries := 0                     // to free ranks that have stayed where they are
	hurried := false
	for {
		select {
		case <-time.After(pause):
		case <-s.hurried:
			hurried = true
		case <-s.ctx.Done():
			return
		}
		seen := e.look(s.ctx, s.all, freePatience)
		if s.ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.seen = seen
		s.mu.Unlock()
		waits := slices.ContainsFunc(seen, diagnose.Standing.Waits)
		stand := before != nil && !diagnose.HaveMoved(before, seen)
		if !stand {
			tries = 0
		}
		switch {
		case hurried && diagnose.MayHold(seen), waits && tries < maxFreeTries && (stand || diagnose.WaitsInVain(seen)):
			s.free(seen)
			tries++
			pause = soon // some connections may not have been there yet
			hurried = false
		case hurried: // nobody holds them yet
			pause = soon
		case before == nil:
			pause = e.o.FreeAfter - soon
		default:
			pause = e.o.FreeAfter
		}
		before = seen
		if !waits {
			before = nil
		}
		if !diagnose.HaveGroups(seen) && slices.ContainsFunc(seen, func(at diagnose.Standing) bool { return at.Groups != nil }) {
			hurried = false // there is nothing to free
		}
	}
}

// free breaks the groups, and notes which ranks that freed.
func (s *rescue) free(seen []diagnose.Standing) {
	for _, at := range seen {
		again := func(before diagnose.Standing) bool {
			return before.Rank == at.Rank && diagnose.Wait(before.Groups) == diagnose.Wait(at.Groups)
		}
		if at.Waits() && !slices.ContainsFunc(s.freed, again) {
			s.freed = append(s.freed, at)
		}
	}
	for _, problem := range s.r.e.breakGroups(s.r.e.ctx, s.all) {
		s.r.log(event.LevelWarning, "%s", problem)
	}
}

// breakGroups makes the living ranks of a pool give up whatever waits in their process groups, as far as their connections are known. A rank that
// is slow to tell them, or has another one made meanwhile, may wait on: then it takes another try. It returns the problems that they report.
func (e *Executor) breakGroups(ctx context.Context, procs []Process) (problems []string) {
	living := slices.DeleteFunc(slices.Clone(procs), func(p Process) bool { return !isAlive(p) })
	asking, stop := context.WithTimeout(ctx, connectionsPatience)
	defer stop()
	told := make([][]wire.Connection, len(living))
	failed := errors.Join(onAll(living, func(i int, p Process) (err error) {
		told[i], err = p.Connections(asking)
		return err
	})...) != nil
	// A dead rank is silent, too: if its whole host is lost, nobody has closed its connections.
	own := ownConnections(told, failed || len(living) < len(procs))

	e.mu.Lock()
	e.broken = procs
	e.mu.Unlock()
	ctx, stop = context.WithTimeout(ctx, breakPatience)
	defer stop()
	replies := make([]*wire.BreakReply, len(living))
	// A rank that does not answer is not back either; that is reported elsewhere.
	onAll(living, func(i int, p Process) (err error) {
		replies[i], err = p.Break(ctx, wire.BreakRequest{Connections: own[i], Timeout: abortPatience.Seconds()})
		return err
	})
	var folded foldedTexts
	for i, reply := range replies {
		if reply != nil {
			folded.add(rankOf(living[i]), reply.Problems...)
		}
	}
	return folded.lines(len(living), e.name)
}

// ownConnections are, for each rank, the connections with both ends at ranks of the pool; no others may be broken. If a rank is silent, for
// example because it is stopped or dead, its ends are not known. Then the others' reports are trusted: they list only what their groups have opened.
func ownConnections(told [][]wire.Connection, silent bool) [][]wire.Connection {
	ends := map[[2]string]bool{}
	for _, list := range told {
		for _, c := range list {
			ends[[2]string{endOf(c.Local), endOf(c.Remote)}] = true
		}
	}
	own := make([][]wire.Connection, len(told))
	for i, list := range told {
		own[i] = []wire.Connection{}
		for _, c := range list {
			if silent || ends[[2]string{endOf(c.Remote), endOf(c.Local)}] {
				own[i] = append(own[i], c)
			}
		}
	}
	return own
}

// endOf is an end of a connection in a single spelling: an IPv6 socket may be connected to an IPv4 one.
func endOf(address string) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// stillOn are the processes that have not come back from a run.
func (e *Executor) stillOn(procs []Process) []Process {
	var still []Process
	for _, known := range e.known(procs) {
		if known.running.Load() > 0 {
			still = append(still, known.p)
		}
	}
	return still
}

// bringBack interrupts the ranks, of a pool, that still run an earlier run, which was given up, frees them, and waits for them. It returns those
// that are not back.
func (e *Executor) bringBack(ctx context.Context, pool, procs []Process) []Process {
	ctx, stop := context.WithTimeout(ctx, backPatience)
	defer stop()
	still := e.stillOn(procs)
	onAll(still, func(_ int, p Process) error { return p.Interrupt(ctx, "") }) // once: another one would strike code that ends in order
	for tries := 1; still != nil && tries <= maxFreeTries && ctx.Err() == nil; tries++ {
		pause := againPause
		if tries == maxFreeTries {
			pause = lastPause
		}
		e.breakGroups(ctx, pool) // if that fails, a rank does not come back, and that is reported
		still = e.awaitBack(ctx, procs, pause)
	}
	return still
}

// awaitBack waits until all ranks are back from earlier runs, and returns those that are not back in time.
func (e *Executor) awaitBack(ctx context.Context, procs []Process, patience time.Duration) []Process {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for {
		still := e.stillOn(procs)
		if still == nil {
			return nil
		}
		select {
		case <-time.After(backPause):
		case <-ctx.Done():
			return still
		}
	}
}

const backPause = 20 * time.Millisecond // between two looks whether ranks are back

// freeRanks is [Executor.Free] for whatever is on the ranks.
func (e *Executor) freeRanks() error {
	switch h := e.queues[poolNamespace].current().(type) {
	case nil:
	case *run:
		if !h.over() { // one that is over leaves its turn in a moment
			h.free()
			return nil
		}
	default:
		h.cancel()
		return nil
	}
	e.mu.Lock()
	procs := e.given[poolNamespace]
	e.mu.Unlock()
	if e.stillOn(procs) == nil && (!e.isBroken(procs) || anyDead(procs)) { // a pool that has ended cannot be mended
		return ErrNoRun
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	ctx, stop := context.WithCancel(e.ctx)
	turn := e.queues[poolNamespace].enter(e.placeFor(nil), freeing(stop))
	e.goOn(func() {
		defer stop()
		defer turn.leave()
		if turn.take(ctx) != nil {
			return
		}
		if err := e.freeBetween(ctx, procs); err != nil && ctx.Err() == nil {
			e.Publish(event.NewLog(event.LevelWarning, fmt.Sprintf("the ranks could not be freed: %v", err)))
		}
	})
	return nil
}

// freeing holds a turn on the ranks to free them between runs.
type freeing context.CancelFunc

// cancel implements holder.
func (f freeing) cancel() { f() }

// freeBetween frees and mends ranks that still run a run that was given up, while no run has its turn there.
func (e *Executor) freeBetween(ctx context.Context, procs []Process) error {
	clauses := diagnose.DescribeStep(e.look(ctx, procs, freePatience))
	told, err := e.bringBackAndMend(ctx, procs)
	if err != nil {
		return err
	}
	e.Publish(event.NewLog(event.LevelInfo, formedAnew(theyWereOutOfStep(clauses))))
	for _, t := range told {
		e.Publish(event.NewLog(t.level, t.text))
	}
	return nil
}
