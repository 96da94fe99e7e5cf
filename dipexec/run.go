package dipexec

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// origin says where a nested run comes from: a run that the local namespace has asked for.
type origin struct {
	run  *run // the run whose cell has asked, or the last one when a thread asked; nil: there was none
	cell bool // a cell that still runs has asked
	wait bool // the command waits for its end
}

// run is one run. Its own goroutine, drive, takes it from the queue to its end. Fields without another owner belong to
// that goroutine.
type run struct {
	e      *Executor
	id     string
	req    Request
	at     place
	origin *origin // nil: it is no nested run

	sequence *sequence // nil: it is by itself
	before   *run      // in the sequence; nil: it is the first. Once it has ended, the nearest one before it that had not

	target  cells.Target
	open    bool                         // autodip will decide the target
	decided atomic.Pointer[cells.Target] // the target for goroutines other than drive; nil: it is open
	autodip bool                         // autodip has decided the target
	asks    bool                         // its code may ask for the ranks by magics
	tickets [namespaces]*ticket

	supplied *supplied // for the namespace that comes next; nil: it is asked for

	notices chan notice     // what the user should know about its processes
	hangs   chan foundHangs // results of looks at its ranks

	hangCounts []uint64      // of the published hangs, as in [diagnose.Finding]
	hangApp    map[int]bool  // hangs that the app was told of, by number
	hangPace   time.Duration // between two events about a slow rank
	hangWords  time.Time     // when the next one may come

	asked  chan struct{}   // capacity 1: somebody has asked to cancel
	hurry  atomic.Bool     // somebody has asked more than once, or to free the ranks
	ctx    context.Context // ends when somebody has asked to cancel, or the executor gives up
	stop   context.CancelFunc
	change chan struct{} // capacity 1: the last part has ended, or one has died

	looked bool              // for edited files
	edits  map[string]source // these, as they were then
	reload []wire.Path       // likewise, in order; never changed once a process has it

	see  string        // whose output a view shows
	seen ranklist.List // the same, where only the pool has told it; else zero

	started     time.Time
	interrupted time.Time // the first interrupt on the present namespace; zero: none
	freed       []string  // which ranks had to be freed from what then, a clause each
	timeout     <-chan time.Time
	journal     *journal.Recorder // nil: none; set under order
	parts       []*part           // of all phases so far

	traced   trace.Time    // when the phase began that the trace is told of next
	begun    chan struct{} // closed when its turn has come, if nothing waits for its end
	finished chan struct{} // closed at the end
	report   event.Report  // after that

	order sync.Mutex // held while an event that comes from no process is journaled and published: see SubscribeFrom. After the executor's mu

	left   atomic.Int32                    // parts that have not ended
	death  atomic.Pointer[ranks.ExitError] // of the first process that died, though its part may have ended before
	failed atomic.Pointer[part]            // the first that failed by itself, before anything was interrupted
	why    atomic.Pointer[string]          // why the run was first interrupted; nil: it was not

	inputs inputs // what its code asks the user

	awaited map[*run]struct{} // nested runs that the cell waits for; guarded by the executor's mu
}

// Why a run is interrupted.
const (
	whyAsked   = "asked to"
	whyTimeout = "timed out after " // and how long
	whyDeath   = "its pool broke"
)

func newRun(e *Executor, id string, req Request, at place, from *origin) *run {
	r := &run{
		e: e, id: id, req: req, at: at, origin: from,
		target:  Resolve(req.Target, req.Directive.Target, cells.Target{}, req.Otherwise),
		open:    req.Target.Where == cells.None && req.Directive.Target.Where == cells.None && !req.NoAutodip,
		notices: make(chan notice), hangs: make(chan foundHangs), asked: make(chan struct{}, 1), change: make(chan struct{}, 1),
		begun: make(chan struct{}), finished: make(chan struct{}),
	}
	if from != nil && from.run != nil {
		outer := &from.run.req
		r.req.JournalLimit, r.req.HangAfter, r.req.Caller = outer.JournalLimit, outer.HangAfter, outer.Caller
		r.req.Args, r.req.Columns, r.req.Autoreload = outer.Args, outer.Columns, outer.Autoreload
	}
	if !r.open {
		r.decided.Store(new(r.target))
	}
	r.ctx, r.stop = context.WithCancel(withCaller(e.ctx, r.req.Caller))
	return r
}

// enter takes the run's places: in the queues of the namespaces that it goes to or may go to. It takes one in that of the ranks also if
// its cell may ask for them, so that later runs find there what the cell has pushed. Where autodip decides, that is known when its turn in the local
// namespace has come: cells before it may switch autodip.
func (r *run) enter(queues *[namespaces]queue) {
	for _, ns := range r.namespaces() {
		r.tickets[ns] = queues[ns].enter(r.at, r)
	}
	if r.tickets[localNamespace] == nil && r.open {
		r.tickets[localNamespace] = queues[localNamespace].enter(r.at, r)
	}
	if r.tickets[poolNamespace] == nil && (r.open || r.asks) {
		r.tickets[poolNamespace] = queues[poolNamespace].enter(r.at, r)
	}
}

// namespaces are those that the run goes to, in order.
func (r *run) namespaces() []namespace {
	switch r.target.Where {
	case cells.Everywhere:
		return []namespace{localNamespace, poolNamespace}
	case cells.Local:
		return []namespace{localNamespace}
	default:
		return []namespace{poolNamespace}
	}
}

// cancel implements holder. Whatever the cell has begun on the ranks and waits for is cancelled with it.
func (r *run) cancel() {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.cancelLocked(false)
}

// free cancels the run, and at once frees ranks that wait in a collective.
func (r *run) free() {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.cancelLocked(true)
}

// cancelLocked is cancel, or free with hurry; the second time there is always hurry. The caller holds the executor's mu.
func (r *run) cancelLocked(hurry bool) {
	if hurry || r.ctx.Err() != nil {
		r.hurry.Store(true)
	}
	r.stop()
	select {
	case r.asked <- struct{}{}:
	default:
	}
	for n := range r.awaited {
		n.cancelLocked(hurry)
	}
}

// waiter is the run whose cell waits for this one; nil: none does.
func (r *run) waiter() *run {
	if r.origin == nil || !r.origin.cell || !r.origin.wait {
		return nil
	}
	return r.origin.run
}

// isAwaited reports whether the cell of a run that has not ended waits for this one.
func (r *run) isAwaited() bool {
	w := r.waiter()
	return w != nil && !w.over()
}

// parent is the id of the run whose cell has asked for this one; "": none has.
func (r *run) parent() string {
	if r.origin == nil || r.origin.run == nil {
		return ""
	}
	return r.origin.run.id
}

// targetUnder is where the run goes or, if that is not decided, would go under an autodip. Any goroutine may call it.
func (r *run) targetUnder(autodip cells.Target) cells.Target {
	if t := r.decided.Load(); t != nil {
		return *t
	}
	return Resolve(cells.Target{}, cells.Target{}, autodip, r.req.Otherwise)
}

// over tells whether the run has ended.
func (r *run) over() bool {
	select {
	case <-r.finished:
		return true
	default:
		return false
	}
}

func (r *run) head(k event.Kind) event.Header {
	return event.Header{Kind: k, Run: r.id, Cell: event.CellOf(r.req.Cell)}
}

// emit publishes and journals an event of the run that is not output.
func (r *run) emit(ev event.Event) {
	r.order.Lock()
	defer r.order.Unlock()
	r.emitLocked(ev)
}

// emitLocked is emit for a caller that holds order, or the mu of the process that the event comes from.
func (r *run) emitLocked(ev event.Event) {
	r.journal.Event(ev)
	r.e.bus.Publish(ev)
}

// log publishes a sentence about the run.
func (r *run) log(l event.Level, format string, args ...any) {
	r.emit(&event.Log{Header: r.head(event.KindLog), Level: l, Text: fmt.Sprintf(format, args...)})
}

// drive is the life of the run.
func (r *run) drive() {
	var status event.Status
	var reason string
	if fault := contain.Do(func() { status, reason = r.perform() }); fault != nil {
		r.e.tellFault(fault)
		r.e.endCommands(func(c *command) bool { return c.giver == r })
		status, reason = event.StatusError, fault.Error()
	}
	r.finish(status, reason) // before the next run may begin
	for ns := range namespaces {
		r.leave(ns)
	}
}

// perform runs the code in one namespace after the other, as its turns come.
func (r *run) perform() (status event.Status, reason string) {
	if status, reason := r.awaitPredecessors(); status != event.StatusOK {
		if refused, why, ok := r.refused(); ok && status == event.StatusSkipped {
			return refused, why
		}
		return status, reason
	}
	if r.open {
		if err := r.tickets[localNamespace].take(r.ctx); err != nil {
			return event.StatusInterrupted, ""
		}
		r.decide()
		r.tracePhase("queue")
	}
	phases := r.namespaces()
	for i, ns := range phases {
		if err := r.tickets[ns].take(r.ctx); err != nil {
			return event.StatusInterrupted, ""
		}
		r.tracePhase("queue")
		if i == 0 {
			r.checkSequence(ns)
			if r.ctx.Err() != nil {
				return event.StatusInterrupted, ""
			}
			if status, reason, ok := r.refused(); ok {
				return status, reason
			}
			r.start()
		}
		status, reason = r.runOn(ns)
		if status != event.StatusOK || i == len(phases)-1 {
			break
		}
		r.leave(ns)
	}
	return status, reason
}

// decide lets autodip decide where a run goes that does not say so, and leaves the queue that it does not need.
func (r *run) decide() {
	auto := r.e.autodipDirective()
	if auto.Target.Where != cells.None {
		d := &r.req.Directive
		r.autodip = true
		r.target, d.Target = auto.Target, auto.Target
		if d.See.IsZero() {
			d.See = auto.See
		}
		d.Quiet = d.Quiet || auto.Quiet
		d.Px, d.NoBlock, d.Verbose = auto.Px, auto.NoBlock, auto.Verbose
		d.AppCommand = cmp.Or(d.AppCommand, auto.AppCommand)
		d.Anyway = d.Anyway || auto.Anyway
	}
	r.open = false
	r.decided.Store(new(r.target))
	switch {
	case r.target.Where == cells.Remote:
		r.leave(localNamespace)
	case r.target.Where == cells.Local && !r.asks:
		r.leave(poolNamespace)
	}
}

// leave gives up the run's place in a namespace, if it has one.
func (r *run) leave(ns namespace) {
	if r.tickets[ns] != nil {
		r.tickets[ns].leave()
		r.tickets[ns] = nil
	}
}

// start publishes that the run's turn has come.
func (r *run) start() {
	r.started = time.Now()
	if r.req.Directive.Px {
		r.underPx()
	}
	r.see = resolveSee(r.req.See, r.req.Directive.See, r.target)
	ev := &event.RunStarted{
		Header: r.head(event.KindRunStarted), Path: wire.Path(r.req.Path), Line: r.req.Line, Title: r.req.Title,
		Target: r.target.String(), See: r.see, Quiet: r.req.Directive.Quiet, Autodip: r.autodip, Parent: r.parent(),
	}
	r.order.Lock()
	defer r.order.Unlock()
	if j := r.e.o.Journal; j != nil {
		rj, err := j.Begin(journal.Record{
			Run: r.id, Parent: ev.Parent, Cell: r.req.Cell, Path: wire.Path(r.req.Path), Line: r.req.Line, Title: r.req.Title,
			Target: ev.Target, See: r.see, Code: r.req.Code, Server: os.Getpid(), Started: r.started,
		}, r.req.JournalLimit, journal.Hooks{Failed: r.journalFailed, Full: r.journalFull})
		if err != nil {
			r.journalFailed(err)
		} else {
			r.journal, ev.Journal = rj, wire.Path(rj.Dir())
		}
	}
	r.tracePhase("journal begun")
	r.emitLocked(ev)
}

// journalFailed tells the user that the journal cannot be written, unless no journal has been written since the last time. The event belongs to
// no run, since it may come before the run's first event or after its last.
func (r *run) journalFailed(err error) {
	if r.e.journalFailed.Swap(true) {
		return
	}
	dir := r.e.o.Journal.Dir()
	r.e.Publish(&event.Log{Header: event.Header{Kind: event.KindLog}, Level: event.LevelWarning, Text: journal.Problem(err), Path: dir})
}

// journalFull tells the user that not all of the run will be kept. The goroutine that writes into the journal calls it.
func (r *run) journalFull() {
	r.emitLocked(&event.Log{
		Header: r.head(event.KindLog), Level: event.LevelWarning, Path: r.journal.Dir(),
		Text: fmt.Sprintf("the journal of this run has reached its limit, %s: the oldest and the newest output are kept, "+
			"what is between goes (--journal-limit, dip.journalLimit)",
			journal.FormatLimit(r.journal.Limit())),
	})
}

// runOn runs the code on the processes of one namespace.
func (r *run) runOn(ns namespace) (event.Status, string) {
	procs, err := r.processes(ns)
	switch {
	case r.ctx.Err() != nil:
		return event.StatusInterrupted, ""
	case err != nil:
		return event.StatusDied, err.Error()
	}
	if r.timeout == nil && r.req.Timeout > 0 {
		r.timeout = time.After(r.req.Timeout) // for both phases together
	}
	var all []Process // of the pool
	if ns == poolNamespace {
		all = procs
		if procs, err = pick(r.target, procs); err == nil {
			r.seen, err = seen(r.see, all)
		}
		if err != nil {
			return event.StatusError, err.Error()
		}
		if r.req.Directive.Verbose == cells.Yes {
			r.log(event.LevelInfo, "running on %s", r.e.name(rankNumbers(procs)))
		}
		if len(procs) < len(all) && r.req.Directive.Target.Ranks.IsZero() { // otherwise the cell says so itself, and the user was told
			r.warnOfCollectives(rankNumbers(procs), len(all))
		}
		if status, reason := r.inStep(all); status != event.StatusOK {
			return status, reason
		}
	}
	r.tracePhase("processes")
	defer r.req.Columns.follow(procs)()
	parts := r.dispatch(procs, r.prepare(ns, procs))
	r.tracePhase("dispatch")
	stopLooking := func() {}
	if ns == poolNamespace {
		stopLooking = r.lookOut(all, parts)
		defer stopLooking() // whatever happens
	}
	abandoned := r.await(all, parts)
	stopLooking()
	r.tracePhase("processes run")
	if r.req.Autoreload {
		learnCopied(r.e.known(procs))
	}
	if len(abandoned) > 0 {
		// From here on nobody waits for the answers.
		r.e.endCommands(func(c *command) bool { return c.giver == r })
	}
	if all != nil {
		r.settle(all, parts)
	}
	return r.outcome(parts, abandoned)
}

func (r *run) processes(ns namespace) ([]Process, error) {
	if s := r.supplied; s != nil {
		r.supplied = nil
		return s.procs, s.err
	}
	if ns == poolNamespace && r.origin == nil { // otherwise it was noted when the command was given
		r.e.mu.Lock()
		r.e.onRanks = r.id
		r.e.mu.Unlock()
	}
	if ns == localNamespace {
		p, err := r.e.o.Pool.Local(r.ctx)
		if err != nil {
			return nil, err
		}
		r.e.remember(localNamespace, []Process{p})
		return []Process{p}, nil
	}
	return r.e.ranks(r.ctx)
}

// warnOfCollectives tells the user of code that may wait for ranks on which it does not run.
func (r *run) warnOfCollectives(on []int, size int) {
	names := cells.Collectives(r.req.Code)
	if len(names) == 0 {
		return
	}
	wait := "waits"
	if len(names) > 1 {
		wait = "wait"
	}
	who := "the code"
	if r.req.Cell > 0 && r.origin == nil {
		who = fmt.Sprintf("cell %d", r.req.Cell)
	}
	r.log(event.LevelWarning, "%s calls %s, which %s for every rank, and runs on %s of %d only", who, list(names), wait, r.e.name(on), size)
}

// list writes names for a sentence: "a, b and c".
func list(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return fmt.Sprintf("%s and %s", strings.Join(names[:last], ", "), names[last])
}

// prepare encodes the code for the processes of a namespace. It is not inlined into dispatch: with that frame it would need more stack than a
// run's goroutine has, and growing the stack takes longer than everything else.
//
//go:noinline
func (r *run) prepare(ns namespace, procs []Process) *ranks.PreparedRequest {
	code := wire.ExecuteRequest{
		Code: r.req.Code, StoreHistory: true, Path: wire.Path(r.req.Path), Line: r.req.Line, Run: r.id,
		Args: r.req.Args, Autoreload: r.req.Autoreload, Reload: r.reloads(procs),
	}
	switch {
	case r.req.Transfer != nil:
		code = wire.ExecuteRequest{Transfer: r.req.Transfer.wired(), Run: r.id}
	case r.req.File != nil:
		f := *r.req.File
		code = wire.ExecuteRequest{File: &wire.File{Path: wire.Path(f.Path), Names: f.Names, Write: f.Write}, Run: r.id}
	case r.req.FreeMemory:
		code = wire.ExecuteRequest{FreeMemory: true, Run: r.id}
	case ns == poolNamespace:
		code.AppCommand = r.req.Directive.AppCommand
	}
	req := ranks.Prepare(code)
	if r.e.o.Trace.On() {
		req.Traced(r.id)
	}
	return req
}

// dispatch sends the code to processes.
func (r *run) dispatch(procs []Process, req *ranks.PreparedRequest) []*part {
	parts := make([]part, len(procs))
	r.parts = slices.Grow(r.parts, len(procs))
	r.left.Store(int32(len(procs)))
	now, hostOf := time.Now(), r.e.hostNamer()
	var fresh []*part
	for i, p := range procs {
		pt := &parts[i]
		proc, met := r.e.process(p)
		if met {
			fresh = append(fresh, pt)
		}
		*pt = part{r: r, proc: proc, started: now, before: proc.ended.Load()}
		pt.head = event.HeaderOf("", r.id, event.CellOf(r.req.Cell), pt.proc.who)
		pt.kept = r.journal.Output(pt.proc.who)
		pt.proc.newest.Store(r)
		pt.proc.running.Add(1)
		r.parts = append(r.parts, pt)
		rank, _ := pt.proc.who.Rank()
		seen := !pt.proc.who.IsLocal() && r.seen.Contains(rank)
		r.emit(&event.RankState{Header: pt.header(event.KindRankState), State: event.StateBusy, Host: hostOf(p), Seen: seen})
	}
	for _, pt := range fresh { // what it printed before its first run belongs to that run
		pt.proc.adopt(pt)
		pt.proc.p.SetBackground(pt.proc.background)
	}
	for i, p := range procs {
		if r.req.Pool != nil {
			parts[i].makePool()
			continue
		}
		parts[i].id = p.ExecutePrepared(req, &parts[i])
	}
	return r.parts[len(r.parts)-len(procs):]
}

// await waits until all parts have ended, and interrupts them when necessary. It returns those that it has
// given up. all are the ranks of the pool; none if the parts are not on ranks.
func (r *run) await(all []Process, parts []*part) (abandoned []*part) {
	var (
		deathGrace, answer <-chan time.Time // nil: not waited for
		mayGiveUp          bool             // the wait for an answer to the interrupt is bounded
		rescue             *rescue          // nil: nothing was interrupted on the ranks
	)
	r.interrupted, r.freed = time.Time{}, nil
	interrupt := func(why string) {
		r.why.CompareAndSwap(nil, &why)
		if r.interrupted.IsZero() {
			r.interrupted = time.Now()
		}
		r.interrupt(parts)
		answer = time.After(r.e.o.InterruptGrace)
		switch {
		case all == nil:
		case rescue == nil:
			rescue = r.beginRescue(all)
		case r.hurry.Load():
			rescue.hurry()
		}
	}
	defer func() {
		if rescue != nil {
			r.freed = rescue.end()
		}
	}()
	for {
		death := r.death.Load()
		if r.left.Load() == 0 {
			return nil
		}
		if death != nil && deathGrace == nil {
			deathGrace = time.After(r.e.o.DeathGrace)
		}
		select {
		case <-r.change:
		case n := <-r.notices:
			r.log(n.level, "%s", n.text)
		case found := <-r.hangs:
			r.tellHangs(found)
		case <-r.asked:
			interrupt(whyAsked)
		case <-r.timeout:
			mayGiveUp = true
			interrupt(whyTimeout + r.req.Timeout.String())
		case <-deathGrace:
			mayGiveUp = true
			r.log(event.LevelWarning, "%s: interrupting %s, which may wait for it", death, r.nameParts(r.unfinished(parts)))
			r.hurry.Store(true) // their groups are lost in any case
			interrupt(whyDeath)
			deathGrace = make(chan time.Time) // once
		case <-answer:
			answer = nil
			deaf := r.unfinished(parts)
			if len(deaf) == 0 {
				continue
			}
			if !r.awaits() { // otherwise that run warns of deaf ranks
				r.warnOfDeaf(deaf, rescue)
			}
			if mayGiveUp {
				return deaf
			}
		case <-r.e.ctx.Done():
			return r.unfinished(parts)
		}
	}
}

// warnOfDeaf warns of processes that do not react to an interrupt. rescue, which may be nil, knows where they are.
func (r *run) warnOfDeaf(deaf []*part, rescue *rescue) {
	var awake []*part
	for _, pt := range deaf {
		now, _ := pt.proc.p.Vitals(r.e.ctx)
		if c := pt.proc.p.Condition(r.e.ctx, host.Vitals{}, now, true); c.State == host.Halted || c.State == host.Traced {
			r.log(event.LevelWarning, "%s has not answered the interrupt for %s: it %s", r.nameParts([]*part{pt}), r.e.o.InterruptGrace, c.How)
			continue
		}
		awake = append(awake, pt)
	}
	if len(awake) == 0 {
		return
	}
	have := "has"
	if len(awake) > 1 {
		have = "have"
	}
	where := ""
	if lines := rescue.whereabouts(awake); lines != nil {
		where = " (" + strings.Join(lines, ", ") + ")"
	}
	r.log(event.LevelWarning, "%s %s not answered the interrupt for %s; native code or a handler of SIGINT may be the reason%s",
		r.nameParts(awake), have, r.e.o.InterruptGrace, where)
}

// awaits tells whether the cell waits for a nested run.
func (r *run) awaits() bool {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	return len(r.awaited) > 0
}

// interrupt asks the processes that still run the code to give it up.
func (r *run) interrupt(parts []*part) {
	for _, pt := range r.unfinished(parts) {
		r.emit(&event.RankState{Header: pt.header(event.KindRankState), State: event.StateInterrupting})
		if pt.command != nil {
			pt.command.cancel()
			continue
		}
		r.e.goOn(func() {
			ctx, stop := context.WithTimeout(r.e.ctx, r.e.o.InterruptGrace)
			defer stop()
			// An error means that the process is dead or does not answer. Done and await report that.
			_ = pt.proc.p.Interrupt(ctx, pt.id)
		})
	}
}

func (r *run) unfinished(parts []*part) []*part {
	return slices.DeleteFunc(slices.Clone(parts), func(p *part) bool { return p.sent.Load() != nil })
}

func (r *run) nameParts(parts []*part) string {
	who := make([]ranklist.Who, len(parts))
	for i, p := range parts {
		who[i] = p.proc.who
	}
	return ranklist.InSentence(who) + ranklist.OnHost(who, r.e.hostOf)
}

// outcome is how the parts of one phase ended together.
func (r *run) outcome(parts, abandoned []*part) (event.Status, string) {
	for _, p := range abandoned {
		p.askNoMore(0)
		p.giveUp()
	}
	status := event.StatusOK
	for _, p := range parts {
		if o := p.outcome(); o.status != event.StatusOK && status != event.StatusInterrupted {
			status = o.status
		}
	}
	if death := r.death.Load(); death != nil {
		return event.StatusDied, death.Error()
	}
	why := r.why.Load()
	timedOut := why != nil && *why != whyAsked // whatever the code made of the interrupt
	if first := r.failed.Load(); first != nil && (timedOut || status == event.StatusInterrupted) {
		return event.StatusInterrupted, r.firstFailed(first, parts, timedOut)
	}
	if timedOut {
		return event.StatusInterrupted, *why
	}
	return status, "" // also ok if the interrupt came too late, or the code went on to its end
}

// firstFailed is the reason of a run of which a part had failed before the others were interrupted.
func (r *run) firstFailed(first *part, parts []*part, timedOut bool) string {
	f := first.own.failure
	text := r.nameParts([]*part{first}) + ": " + f.Name()
	if f.Line > 0 {
		text += fmt.Sprintf(" (%s:%d)", filepath.Base(string(f.Path)), f.Line)
	}
	others := slices.DeleteFunc(slices.Clone(parts), func(p *part) bool { return p == first || p.outcome().status != event.StatusInterrupted })
	if len(others) == 0 {
		return text
	}
	were := "was"
	if len(others) > 1 {
		were = "were"
	}
	text += fmt.Sprintf("; %s %s then interrupted", r.nameParts(others), were)
	if timedOut {
		text += ", since the cell had run for " + r.req.Timeout.String()
	}
	return text
}

// finish ends the run.
func (r *run) finish(status event.Status, reason string) {
	r.stop()
	now := time.Now()
	r.report = event.Report{Run: r.id, Status: status, Reason: reason}
	if !r.started.IsZero() {
		r.report.Elapsed = now.Sub(r.started)
	}
	r.report.Parts = slices.Grow(r.report.Parts, len(r.parts))
	for _, p := range r.parts {
		o := p.outcome()
		r.report.Parts = append(r.report.Parts, event.PartReport{
			Who: p.proc.who, Status: o.status, Elapsed: o.elapsed, ExecutionCount: o.count, ExitCode: o.exit, Failure: o.failure,
			Seed: p.proc.p.Seed(), GroupTimeout: p.proc.p.GroupTimeout(), PeakMemory: o.peak,
		})
		if status == event.StatusError {
			r.report.ExitCode = max(r.report.ExitCode, o.exit)
		}
	}
	r.tracePhase("outcome")
	ev := &event.RunFinished{
		Header: r.head(event.KindRunFinished), Parent: r.parent(), Status: status, ExitCode: r.report.ExitCode,
		Seconds: event.Seconds(r.report.Elapsed), Reason: reason,
	}
	r.order.Lock()
	if r.journal != nil { // the journal is complete when the end is published
		if lacking := r.journal.Lacking(); lacking != "" {
			r.emitLocked(&event.Log{
				Header: r.head(event.KindLog), Level: event.LevelWarning, Text: "the journal of this run lacks " + lacking, Path: r.journal.Dir(),
			})
		}
		r.journal.Event(ev)
		r.report.Journal = r.journal.Dir()
		r.e.journaled.Store(true)
		if r.journal.Finish(r.report, now) {
			r.e.journalFailed.Store(false)
		}
		r.tracePhase("journal complete")
	}
	r.e.bus.Publish(ev)
	r.order.Unlock()
	r.e.ended(r)
	r.traceEnd()
	close(r.finished)
}
