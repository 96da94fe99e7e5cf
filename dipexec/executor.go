package dipexec

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/internal/trace"
	"dipls/ranks"
)

// Options configure an Executor.
type Options struct {
	Pool           Pool
	Manager        Manager        // nil: magics that ask for one are refused
	Journal        *journal.Store // nil: no journal is kept
	InterruptGrace time.Duration  // how long an interrupt may go unanswered before the user is told; 0 is 5 s
	FreeAfter      time.Duration  // how long after an interrupt ranks that still wait in a collective are freed; 0 is 1 s
	DeathGrace     time.Duration  // how long the other ranks may go on once one has died, before they are interrupted; 0 is 3 s
	QueueBytes     int            // how much output waits for a subscriber; 0 is 4 MiB
	StallAfter     time.Duration  // how long a subscriber that takes nothing is waited for; 0 is 1 s
	Trace          *trace.Tracer  // nil: none

	// Typists reports whether anybody is there who can be asked for what code wants to be typed. It is called by readers, and must not wait. Nil: nobody is.
	Typists func() bool
}

// callerKey is the key of a context's caller.
type callerKey struct{}

// withCaller is a context for whose caller CallerOf can be asked.
func withCaller(ctx context.Context, caller any) context.Context {
	if caller == nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerOf is the Caller of the request in whose run a [Pool] or a [Manager] was called with this context. A magic belongs to its cell's
// run. Nil: the request has none.
func CallerOf(ctx context.Context) any { return ctx.Value(callerKey{}) }

// Sentinel errors.
var (
	ErrClosed = errors.New("dipexec: the executor is closed")
	ErrNoRun  = errors.New("dipexec: no such run")
)

// keptReports is how many runs' reports are kept after their end, or after that of their sequence.
const keptReports = 100

// namespace is what runs queue for.
type namespace int

const (
	localNamespace namespace = iota
	poolNamespace
	namespaces // how many there are
)

// Executor runs requests.
type Executor struct {
	o       Options
	session string             // the ids of its runs begin with it
	ctx     context.Context    // ends when Close gives up the runs that are left
	giveUp  context.CancelFunc //
	work    sync.WaitGroup     // runs and the interrupts that they send

	queues [namespaces]queue // where runs and commands wait for their turn

	bus           *event.Bus
	journalFailed atomic.Bool // the user has been told, and no run has been journaled since
	journaled     atomic.Bool // a run has ended that has a journal
	last          atomic.Bool // nothing will run after the present run

	mu        sync.Mutex // guards what follows; order of locks: see the package
	closed    bool
	count     int                     // runs so far
	handles   []string                // names of objects by which cells may ask for the ranks
	places    uint64                  // numbers given to runs and commands for their places
	runs      map[string]*run         // that have not ended
	reports   map[string]event.Report // of those that have, the last keptReports
	order     []string                // the keys of reports that may be forgotten, oldest first
	onRanks   string                  // id of the latest run on the ranks; "" if there was none
	procs     map[ranklist.Who]*process
	given     [namespaces][]Process   // what the pool gave last, never changed
	manyHosts bool                    // the ranks given last are on several
	pools     int                     // how many pools there have been
	commands  map[commandKey]*command // that have not ended
	watch     watch                   // its timer, looks and told
	hang      hangWatch
	broken    []Process // all ranks of a pool whose groups were broken and are not mended; never changed
	rounds    int       // of mending so far

	poolMu  sync.Mutex      // guards what follows; held while pool is published. No lock of this package is taken with it held
	pool    event.PoolState // as it was published last
	autodip cells.Directive // zero: off
	px      cells.PxConfig
}

// New returns an executor; Close ends it.
func New(o Options) *Executor {
	o.InterruptGrace = cmp.Or(o.InterruptGrace, 5*time.Second)
	o.FreeAfter = cmp.Or(o.FreeAfter, time.Second)
	o.DeathGrace = cmp.Or(o.DeathGrace, 3*time.Second)
	var random [3]byte
	_, _ = rand.Read(random[:]) // never fails
	e := &Executor{
		o: o, bus: event.NewBus(event.BusOptions{QueueBytes: o.QueueBytes, StallAfter: o.StallAfter, Trace: o.Trace}), session: hex.EncodeToString(random[:]),
		runs: map[string]*run{}, reports: map[string]event.Report{}, procs: map[ranklist.Who]*process{},
		commands: map[commandKey]*command{},
		pool:     event.PoolState{Header: event.Header{Kind: event.KindPoolState}, State: event.StateNone},
	}
	e.ctx, e.giveUp = context.WithCancel(context.Background())
	e.watch.ctx, e.watch.stop = context.WithCancel(context.Background())
	e.watch.told = map[*process]bool{}
	return e
}

// start queues a request at a place: as a nested run if origin is not nil, and as one of a sequence, after the one before it, if that is not nil. The
// caller holds mu.
func (e *Executor) start(req Request, at place, origin *origin, of *sequence, before *run) (*run, error) {
	if e.closed {
		return nil, ErrClosed
	}
	e.count++
	r := newRun(e, e.runID(e.count), req, at, origin)
	r.sequence, r.before = of, before
	e.runs[r.id] = r
	e.watchRuns()
	r.traceBegin()
	r.asks = r.commands() || e.asks(req.Code)
	r.enter(&e.queues)
	e.goOn(r.drive)
	return r, nil
}

// HasRun reports whether anything was ever started.
func (e *Executor) HasRun() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.count > 0
}

// Cancel takes a run out of the queue, or interrupts it if it runs. It does not wait; RunFinished says when it has ended. Ranks that wait in a
// collective, which no interrupt ends, are freed a little later. Cancelling a run again interrupts it again, and frees its ranks at once.
func (e *Executor) Cancel(id string) error {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r == nil {
		return ErrNoRun
	}
	r.cancel()
	return nil
}

// Free interrupts a run, or whatever is on the ranks if id is empty, and at once frees ranks that wait in a collective. It does not wait. Ranks
// that are not back from a run that was given up are freed and mended.
func (e *Executor) Free(id string) error {
	if id == "" {
		return e.freeRanks()
	}
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r == nil {
		return ErrNoRun
	}
	r.free()
	return nil
}

// CancelAll cancels every run that has not ended, and reports how many those are.
func (e *Executor) CancelAll() int { return e.CancelWhere(func(cells.Target) bool { return true }) }

// CancelWhere cancels the runs that have not ended and whose target, or whose target if it were their turn now, is accepted. It reports how
// many those are.
func (e *Executor) CancelWhere(meant func(cells.Target) bool) int {
	autodip := e.autodipDirective().Target
	e.mu.Lock()
	defer e.mu.Unlock()
	runs := slices.DeleteFunc(e.latestFirst(), func(r *run) bool { return !meant(r.targetUnder(autodip)) })
	for _, r := range runs {
		if !r.isAwaited() || !slices.Contains(runs, r.waiter()) { // otherwise it is cancelled with the one that waits
			r.cancelLocked(false)
		}
	}
	return len(runs)
}

// FreeAll interrupts every run that has not ended, and at once frees ranks that wait in a collective. It does not wait.
func (e *Executor) FreeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.latestFirst() {
		if !r.isAwaited() { // otherwise it is freed with the one that waits
			r.cancelLocked(true)
		}
	}
}

// latestFirst are the runs that have not ended, the latest first: cancelled in this order, none begins because an earlier one ends. The caller
// holds mu.
func (e *Executor) latestFirst() []*run {
	return slices.SortedFunc(maps.Values(e.runs), func(r, s *run) int { return s.at.compare(r.at) })
}

// Last tells the executor that nothing will run on the ranks after the present run, so it need not care for them after an interrupt.
func (e *Executor) Last() { e.last.Store(true) }

// Journaled reports whether a run has ended that has a journal.
func (e *Executor) Journaled() bool { return e.journaled.Load() }

// Wait waits for a run to end. Reports of runs that ended long ago are forgotten, those of a sequence not before the last of it has ended.
func (e *Executor) Wait(ctx context.Context, id string) (event.Report, error) {
	e.mu.Lock()
	r := e.runs[id]
	report, ended := e.reports[id]
	e.mu.Unlock()
	switch {
	case ended:
		return report, nil
	case r == nil:
		return event.Report{}, ErrNoRun
	}
	select {
	case <-r.finished:
		return r.report, nil
	case <-ctx.Done():
		return event.Report{}, ctx.Err()
	}
}

// Subscribe returns a subscription to all events from now on, or to those of some kinds. Each event comes to the subscriptions in the order in
// which these began.
func (e *Executor) Subscribe(kinds ...event.Kind) *event.Subscription {
	return e.bus.Subscribe(kinds...)
}

// Publish hands an event from elsewhere to the subscribers. It never waits.
func (e *Executor) Publish(ev event.Event) { e.bus.Publish(ev) }

// Reaches reports whether events of a kind come to anybody now.
func (e *Executor) Reaches(k event.Kind) bool { return e.bus.Reaches(k) }

// Note tells the user something about a run. It belongs to the run, and is in its journal, if the run has not finished and takes it before
// ctx ends.
func (e *Executor) Note(ctx context.Context, id string, l event.Level, text string) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r == nil || !r.note(ctx, notice{l, text}) {
		e.Publish(event.NewLog(l, text))
	}
}

// tellFault tells the subscribers of a fault in dipls.
func (e *Executor) tellFault(f *contain.Fault) {
	e.Publish(event.NewLog(event.LevelError, fmt.Sprintf("%v\n%s", f, f.Stack)))
}

// goOn does something on a goroutine of the executor. A panic there ends nothing else.
func (e *Executor) goOn(f func()) {
	e.work.Go(func() {
		if fault := contain.Do(f); fault != nil {
			e.tellFault(fault)
		}
	})
}

// StateChanged tells the executor of a change of state, for [ranks.Options.OnState]. It publishes what
// runs do not publish themselves: the pool's state, the death of a process that ran nothing, and the end of the local namespace.
func (e *Executor) StateChanged(c ranks.StateChange) {
	if c.Process == nil {
		reason := ""
		switch {
		case c.To == ranks.Starting, c.To == ranks.Stopped, c.From == ranks.Starting && c.To == ranks.Ready:
		case c.To == ranks.Dead:
			if c.Err != nil {
				reason = c.Err.Error()
			}
		default:
			return
		}
		e.poolChanged(c.To.String(), c.Pool.Size(), reason, event.HostsOf(hostNames(c.Pool.Ranks())))
		return
	}
	switch who := c.Process.Who(); {
	case c.To == ranks.Dead && c.Err != nil:
		e.processDied(c.Process, c.Err)
	case c.To == ranks.Stopped && c.From != ranks.Starting && who.IsLocal(): // of ranks, the pool tells it
		e.Publish(&event.RankState{Header: event.HeaderOf(event.KindRankState, "", nil, who), State: event.StateStopped})
	}
}

func (e *Executor) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// ended records the end of a run.
func (e *Executor) ended(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := r.waiter(); w != nil {
		delete(w.awaited, r)
	}
	delete(e.runs, r.id)
	for r.before != nil && r.before.over() { // nobody needs these any more, and what they hold can go
		r.before = r.before.before
	}
	e.reports[r.id] = r.report
	for range 2 { // those of a long sequence are more for a while, until others have ended
		if len(e.order) >= keptReports {
			delete(e.reports, e.order[0])
			e.order = e.order[1:]
		}
	}
	e.order = append(e.order, r.endedOf()...)
}

// endedOf are the ids of the runs whose reports may be forgotten from now on, since this one has ended: itself, or all of its sequence if it was
// the last of that. The caller holds the executor's mu.
func (r *run) endedOf() []string {
	s := r.sequence
	if s == nil {
		return []string{r.id}
	}
	s.left--
	s.ended = append(s.ended, r.id)
	if s.left > 0 {
		return nil
	}
	return s.ended
}

// Stop lets nothing new begin, and cancels everything that has begun. It does not wait.
func (e *Executor) Stop() {
	e.mu.Lock()
	e.closed = true
	if e.watch.timer != nil {
		e.watch.timer.Stop()
	}
	if e.hang.timer != nil {
		e.hang.timer.Stop()
	}
	e.mu.Unlock()
	e.watch.stop()
	e.CancelAll()
	e.endCommands(func(*command) bool { return true })
}

// Close cancels all runs and commands and waits for them; when ctx ends it gives up those that are left. Then every subscription ends
// once it has been read. The processes do not belong to the executor. Their owner ends them between Stop and Close, so that nobody waits for
// one that hangs, and their last output is still published.
func (e *Executor) Close(ctx context.Context) {
	e.Stop()
	stop := context.AfterFunc(ctx, e.giveUp)
	e.work.Wait()
	stop()
	e.giveUp()
	e.mu.Lock()
	procs := e.procs
	e.procs = map[ranklist.Who]*process{}
	e.mu.Unlock()
	for _, p := range procs {
		p.adopt(nil)
	}
	e.bus.Close()
}
