package session

import (
	"context"
	"sync"

	"dipls/internal/contain"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Stack is where a process is.
type Stack struct {
	Rank    int           // -1: the local namespace
	Threads []wire.Thread // the main thread first
	Err     error         // it has not told

	on host.Host    // where the process runs
	of host.Process // zero: not known
}

// Stacks asks processes where they are, which they tell also while they are busy: those that are wanted, by their ranks, of which -1 is the local
// namespace. The answers are in that order. Processes that do not live are asked, too: how they ended is their error.
func (s *processes) Stacks(ctx context.Context, wanted func(rank int) bool) []Stack {
	s.mu.Lock()
	p, local := s.current, s.local
	s.mu.Unlock()
	var asked []*ranks.Process
	var stacks []Stack
	ask := func(rank int, process *ranks.Process) {
		if wanted(rank) {
			asked = append(asked, process)
			stacks = append(stacks, Stack{Rank: rank, on: process.Host(), of: process.ID()})
		}
	}
	if local != nil && local.known() && local.err == nil {
		ask(-1, local.value)
	}
	if p != nil && p.known() && p.err == nil {
		for rank, process := range p.value.Ranks() {
			ask(rank, process)
		}
	}
	var work sync.WaitGroup
	for i, process := range asked {
		work.Go(func() {
			defer contain.AsError(&stacks[i].Err)
			reply, err := process.Stack(ctx)
			if err != nil {
				stacks[i].Err = err
				return
			}
			stacks[i].Threads = reply.Threads
		})
	}
	work.Wait()
	return stacks
}
