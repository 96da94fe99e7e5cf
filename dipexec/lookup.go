package dipexec

import (
	"context"
	"errors"
	"sync"
	"time"

	"dipls/cells"
	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// lookupPatience is how long a lookup may take. The processes get a little less, so that there is time for their answers.
const (
	lookupPatience = 300 * time.Millisecond
	lookupTime     = 0.25 // seconds
)

// tablePatience is how long a page of a table may take, which a user waits for: a column may have to be sorted.
const (
	tablePatience = 5 * time.Second
	tableTime     = 4.5 // seconds
)

// Answer is one process's answer to a lookup, a question about its namespace. Only living, idle processes answer.
type Answer[T any] struct {
	Who   ranklist.Who
	Reply *T // nil: it has none
	Busy  bool
}

// ErrNobody is what Complete returns if no process can answer now.
var ErrNobody = errors.New("dipexec: nobody to ask: the process is busy, or there is none")

// Complete asks how code may go on at a place, when it runs on a target. A single process answers, since all have much the same in them: the local
// namespace if the code runs there, too, otherwise the first idle rank.
func (e *Executor) Complete(ctx context.Context, target cells.Target, req wire.CompleteRequest) (*wire.CompleteReply, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	req.Timeout = lookupTime
	for _, p := range e.living(target) {
		reply, err := p.Complete(ctx, req)
		if !errors.Is(err, ranks.ErrBusy) {
			return reply, err
		}
	}
	return nil, ErrNobody
}

// Inspect asks all processes of a target about a name. The answers are in the order of the ranks, the local namespace first.
func (e *Executor) Inspect(ctx context.Context, target cells.Target, req wire.InspectRequest) []Answer[wire.InspectReply] {
	req.Timeout = lookupTime
	return askAll(ctx, e.living(target), func(ctx context.Context, p Process) (*wire.InspectReply, error) { return p.Inspect(ctx, req) })
}

// Variables asks all processes of a target for their variables, likewise.
func (e *Executor) Variables(ctx context.Context, target cells.Target) []Answer[wire.VariablesReply] {
	req := wire.VariablesRequest{Timeout: lookupTime}
	return askAll(ctx, e.living(target), func(ctx context.Context, p Process) (*wire.VariablesReply, error) { return p.Variables(ctx, req) })
}

// Table asks all processes of a target for the same page of a table, likewise.
func (e *Executor) Table(ctx context.Context, target cells.Target, query wire.TableQuery) []Answer[wire.TableReply] {
	req := wire.TableRequest{TableQuery: query, Timeout: tableTime}
	return askWithin(ctx, tablePatience, e.living(target), func(ctx context.Context, p Process) (*wire.TableReply, error) { return p.Table(ctx, req) })
}

// digestPatience is how long it may take to read whole arrays.
const digestPatience = 5 * time.Second

// Members asks all processes of a target what a value consists of, or for its digest, likewise.
func (e *Executor) Members(ctx context.Context, target cells.Target, of string, digest bool) []Answer[wire.VariablesReply] {
	req := wire.VariablesRequest{Of: of, Digest: digest, Timeout: lookupTime}
	patience := lookupPatience
	if digest {
		req.Timeout, patience = digestPatience.Seconds(), digestPatience+lookupPatience
	}
	ask := func(ctx context.Context, p Process) (*wire.VariablesReply, error) { return p.Variables(ctx, req) }
	return askWithin(ctx, patience, e.living(target), ask)
}

// askAll asks processes at the same time.
func askAll[T any](ctx context.Context, procs []Process, ask func(context.Context, Process) (*T, error)) []Answer[T] {
	return askWithin(ctx, lookupPatience, procs, ask)
}

// askWithin is askAll with another patience.
func askWithin[T any](
	ctx context.Context, patience time.Duration, procs []Process, ask func(context.Context, Process) (*T, error),
) []Answer[T] {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answers := make([]Answer[T], len(procs))
	var work sync.WaitGroup
	for i, p := range procs {
		work.Go(func() {
			answers[i].Who = p.Who()
			var reply *T
			var err error
			if fault := contain.Do(func() { reply, err = ask(ctx, p) }); fault != nil {
				err = fault
			}
			if err == nil {
				answers[i].Reply = reply
			}
			answers[i].Busy = errors.Is(err, ranks.ErrBusy) || errors.Is(err, context.DeadlineExceeded)
		})
	}
	work.Wait()
	return answers
}

// living are the processes of a target that have been used and have not ended, the local namespace first. A lookup starts none, since a
// fresh one would hold nothing.
func (e *Executor) living(target cells.Target) []Process {
	e.mu.Lock()
	given := e.given
	e.mu.Unlock()
	var found []Process
	if target.Where == cells.Local || target.Where == cells.Everywhere {
		found = append(found, given[localNamespace]...)
	}
	if target.Where == cells.Remote || target.Where == cells.Everywhere {
		if picked, err := pick(target, given[poolNamespace]); err == nil {
			found = append(found, picked...)
		}
	}
	living := found[:0]
	for _, p := range found {
		select {
		case <-p.Done():
		default:
			living = append(living, p)
		}
	}
	return living
}

// Bound reports, per process that has run something, which of names are defined there. It asks all at the same time, also while they are busy. It
// starts none, and leaves out those that do not answer before ctx ends.
func (e *Executor) Bound(ctx context.Context, names []string) map[ranklist.Who][]string {
	e.mu.Lock()
	procs := make([]*process, 0, len(e.procs))
	for _, p := range e.procs {
		procs = append(procs, p)
	}
	e.mu.Unlock()
	var (
		work  sync.WaitGroup
		mu    sync.Mutex
		bound = map[ranklist.Who][]string{}
	)
	for _, p := range procs {
		work.Go(func() {
			var found []string
			var err error
			if fault := contain.Do(func() { found, err = p.p.Names(ctx, names) }); fault != nil || err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			bound[p.who] = found
		})
	}
	work.Wait()
	return bound
}
