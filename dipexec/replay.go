package dipexec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
)

// SubscribeFrom is Subscribe with a replay of a run and of those that were started after it, as far as journals have them. Each of their events
// comes either in the replay or by the subscription.
func (e *Executor) SubscribeFrom(run string, kinds ...event.Kind) (*Replay, *event.Subscription, error) {
	replay, sub, err := (*Replay)(nil), (*event.Subscription)(nil), error(nil)
	e.hold(func() {
		if replay, err = e.replay(run); err == nil {
			sub = e.bus.Subscribe(kinds...)
		}
	})
	return replay, sub, err
}

// ReplayFor is the replay for a subscription that there is: each event of these runs comes in the replay, or is later than the first so many that the
// subscription was given.
func (e *Executor) ReplayFor(sub *event.Subscription, run string) (replay *Replay, given uint64, err error) {
	e.hold(func() {
		replay, err = e.replay(run)
		given = sub.Queued()
	})
	return replay, given, err
}

// hold does something while nothing is journaled or published: both happen under the mu of the process that the event comes from, or under the order of
// its run. The executor's mu is held, too.
func (e *Executor) hold(do func()) {
	procs := e.holdAll()
	defer func() {
		e.mu.Unlock()
		for _, p := range procs {
			p.mu.Unlock()
		}
	}()
	for _, r := range e.runs {
		r.order.Lock()
		defer r.order.Unlock()
	}
	do()
}

// replay is what has been told of a run and of those after it. It is called in hold.
func (e *Executor) replay(run string) (*Replay, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(run, e.session+"-"))
	if err != nil || !strings.HasPrefix(run, e.session+"-") || number < 1 || number > e.count {
		return nil, ErrNoRun
	}
	replay := &Replay{}
	if e.o.Journal == nil {
		return replay, nil
	}
	dirs := e.o.Journal.Dirs()
	for ; number <= e.count; number++ {
		var told earlier
		dir := dirs[e.runID(number)]
		if r := e.runs[e.runID(number)]; r != nil && r.journal != nil {
			told.held, dir = r.journal.Settle(), r.journal.Dir()
		}
		if told.held == nil && dir != "" {
			told.mark, err = journal.MarkOf(dir)
			told.kept = err == nil // otherwise it does not exist, or not any more
		}
		replay.runs = append(replay.runs, told)
	}
	return replay, nil
}

// runID is the id of the session's nth run.
func (e *Executor) runID(number int) string { return fmt.Sprintf("%s-%d", e.session, number) }

// holdAll takes the locks of all processes, and of the executor. It returns the processes.
func (e *Executor) holdAll() []*process {
	for {
		e.mu.Lock()
		known := maps.Clone(e.procs)
		e.mu.Unlock()
		var held []*process
		for _, who := range slices.SortedFunc(maps.Keys(known), ranklist.Who.Compare) {
			known[who].mu.Lock()
			held = append(held, known[who])
		}
		e.mu.Lock()
		if maps.Equal(known, e.procs) {
			return held
		}
		e.mu.Unlock()
		for _, p := range held {
			p.mu.Unlock()
		}
	}
}

// Replay reads the earlier events of runs, run by run.
type Replay struct {
	runs   []earlier
	reader *journal.Reader // of the first of them; nil: it is not open
}

// earlier is the earlier events of one run.
type earlier struct {
	held []event.Event // that stand in no file
	mark journal.Mark  // up to where files have them, if they are kept
	kept bool
}

// Next returns the next event. It returns [io.EOF] at the end.
func (r *Replay) Next() (event.Event, error) {
	for len(r.runs) > 0 {
		run := &r.runs[0]
		if len(run.held) > 0 {
			ev := run.held[0]
			run.held = run.held[1:]
			return ev, nil
		}
		if run.kept && r.reader == nil {
			var err error
			if r.reader, err = journal.ReadTo(run.mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if r.reader != nil {
			ev, _, err := r.reader.Next()
			if err == nil {
				return ev, nil
			}
			r.Close()
			if !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) { // a journal may be removed at any time
				return nil, err
			}
		}
		r.runs = r.runs[1:]
	}
	return nil, io.EOF
}

// Close closes what is open.
func (r *Replay) Close() {
	if r.reader != nil {
		r.reader.Close()
		r.reader = nil
	}
}
