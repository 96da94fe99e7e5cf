package dipexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Process is a process that runs code, as the executor needs it; *[ranks.Process] is one.
type Process interface {
	Who() ranklist.Who
	Host() host.Host             // the machine that it runs on
	Seed() *int64                // of its random generators; nil if none was chosen
	GroupTimeout() time.Duration // of its collectives; 0 if none was chosen
	ExecutePrepared(req *ranks.PreparedRequest, h ranks.Handler) (id string)
	Interrupt(ctx context.Context, id string) error
	SetBackground(f func(ranks.Happening))
	Push(ctx context.Context, req *ranks.PreparedPush) error
	EndPush(commit bool)
	Pull(ctx context.Context, names []string) (payload wire.Payload, release func(), err error)
	PullBeside(ctx context.Context, names []string) (payload wire.Payload, release func(), err error) // also while it waits in a collective
	Answer(reply any) error
	AnswerInput(reply wire.InputReply)
	Names(ctx context.Context, names []string) ([]string, error)
	Groups(ctx context.Context) (*wire.GroupsReply, error)
	TellHang(event []byte)   // for its app
	TellColumns(columns int) // for its code; sent only if it is news
	Connections(ctx context.Context) ([]wire.Connection, error)
	Break(ctx context.Context, req wire.BreakRequest) (*wire.BreakReply, error)
	Mend(ctx context.Context, req wire.MendRequest) (*wire.MendReply, error)
	Check(ctx context.Context, req wire.CheckRequest) (*wire.CheckReply, error)
	Complete(ctx context.Context, req wire.CompleteRequest) (*wire.CompleteReply, error)
	Inspect(ctx context.Context, req wire.InspectRequest) (*wire.InspectReply, error)
	Variables(ctx context.Context, req wire.VariablesRequest) (*wire.VariablesReply, error)
	Table(ctx context.Context, req wire.TableRequest) (*wire.TableReply, error)
	Stack(ctx context.Context) (*wire.StackReply, error)
	Standstill(ctx context.Context) string // why it cannot answer, a sentence; "": it can, or that is not known
	Vitals(ctx context.Context) (v host.Vitals, ok bool)
	Condition(ctx context.Context, before, now host.Vitals, answered bool) host.Condition
	Done() <-chan struct{} // closed when it has ended
	Err() error            // why it has ended; nil while it lives
}

// Pool gives the executor the processes to run on. The executor asks whenever a run needs them. That may start
// them, which may take long, or give new ones after the old ones have died. An error ends the run as [event.StatusDied] and is its reason, so
// it should be a sentence that says what to do next.
type Pool interface {
	Local(ctx context.Context) (Process, error)
	Ranks(ctx context.Context) ([]Process, error) // all ranks, in order
}

// BrokenPoolError is the error of a [Pool] in which a rank has died. The others live on until the pool is ended or restarted: no code
// runs on them, but their variables can be pulled.
type BrokenPoolError struct {
	Ranks []Process // all ranks, in order
	Err   error     // the first death
}

func (e *BrokenPoolError) Error() string {
	living := rankNumbers(slices.DeleteFunc(slices.Clone(e.Ranks), func(p Process) bool { return !isAlive(p) }))
	if len(living) == 0 {
		return fmt.Sprintf("the pool is dead and its variables are lost; %%makedip -r restarts it, then run the cells again (%v)", e.Err)
	}
	verb := "holds"
	if len(living) > 1 {
		verb = "hold"
	}
	return fmt.Sprintf("the pool is dead, and no cell runs on its ranks (%v); what %s still %s can be pulled, as by %%dipull -r %d; %%makedip -r starts new ranks",
		e.Err, e.name(living), verb, living[0])
}

func (e *BrokenPoolError) Unwrap() error { return e.Err }

// lost is the error if ranks that are needed have died.
func (e *BrokenPoolError) lost(dead []int) error {
	verb := "lives"
	if len(dead) > 1 {
		verb = "live"
	}
	return fmt.Errorf("%s no longer %s: %w", e.name(dead), verb, e)
}

// name names ranks for people, with their host where the pool is on several.
func (e *BrokenPoolError) name(ranks []int) string {
	pool := event.PoolState{Hosts: event.HostsOf(hostNames(e.Ranks))}
	return ranklist.NameOn(ranks, pool.HostOf)
}

// Manager makes and ends a [Pool]'s processes when a magic of the local namespace asks for it.
type Manager interface {
	// Make makes, restarts or ends the ranks, or changes settings of a living pool. text says what was done, for
	// the user. The executor calls it when no run is on the ranks.
	Make(ctx context.Context, cmd wire.MakeCommand) (text string, err error)
	// Info describes the processes, without starting any. Autodip is the executor's to fill in.
	Info(ctx context.Context) wire.PoolInfo
}

// ProcessesOf converts a pool's ranks for [Pool.Ranks].
func ProcessesOf(pool *ranks.Pool) []Process {
	processes := make([]Process, 0, pool.Size())
	for _, p := range pool.Ranks() {
		processes = append(processes, p)
	}
	return processes
}

// isAlive reports whether a process has not ended. It does not look at Done, which may come only after runs have been told of the end.
func isAlive(p Process) bool { return p.Err() == nil }

func anyDead(procs []Process) bool {
	return slices.ContainsFunc(procs, func(p Process) bool { return !isAlive(p) })
}

// sameProcesses tells whether two lists, neither of them empty, hold the same processes.
func sameProcesses(a, b []Process) bool { return len(a) > 0 && slices.Equal(a, b) }

// onAll calls f for all processes at once, and waits.
func onAll(procs []Process, f func(i int, p Process) error) []error {
	errs := make([]error, len(procs))
	var calls sync.WaitGroup
	for i, p := range procs {
		calls.Go(func() {
			defer contain.AsError(&errs[i])
			errs[i] = f(i, p)
		})
	}
	calls.Wait()
	return errs
}

// rankOf is the number of a process of the pool.
func rankOf(p Process) int {
	rank, _ := p.Who().Rank()
	return rank
}

func rankNumbers(procs []Process) []int {
	list := make([]int, len(procs))
	for i, p := range procs {
		list[i] = rankOf(p)
	}
	return list
}

// ranks gives all ranks of the pool.
func (e *Executor) ranks(ctx context.Context) ([]Process, error) {
	procs, err := e.o.Pool.Ranks(ctx)
	if err == nil && len(procs) == 0 {
		err = errors.New("the pool has no ranks")
	}
	if err == nil {
		e.remember(poolNamespace, procs)
	}
	return procs, err
}

// remember notes the processes that the pool has given.
func (e *Executor) remember(ns namespace, procs []Process) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if before := e.given[poolNamespace]; ns == poolNamespace && (len(before) == 0 || before[0] != procs[0]) {
		e.pools++
	}
	e.given[ns] = procs
	if ns == poolNamespace {
		e.manyHosts = slices.ContainsFunc(procs, func(p Process) bool { return p.Host() != procs[0].Host() })
	}
}

// hostOf is the name of the host of a rank, if the pool is on several; "" otherwise.
func (e *Executor) hostOf(rank int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if procs := e.given[poolNamespace]; e.manyHosts && rank < len(procs) {
		return procs[rank].Host().Name()
	}
	return ""
}

// name names ranks for people, with their host where the pool is on several.
func (e *Executor) name(ranks []int) string { return ranklist.NameOn(ranks, e.hostOf) }

// hostNamer gives the name of a process's host, if it is a rank of a pool that is on several; "" otherwise.
func (e *Executor) hostNamer() func(p Process) string {
	e.mu.Lock()
	many := e.manyHosts
	e.mu.Unlock()
	return func(p Process) string {
		if !many || p.Who().IsLocal() {
			return ""
		}
		return p.Host().Name()
	}
}

// poolNumber is the number of the pool that gave the last ranks.
func (e *Executor) poolNumber() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pools
}
