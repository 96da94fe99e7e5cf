package session

import (
	"context"
	"sync"

	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Stack is where a process is.
type Stack struct {
	Who     ranklist.Who
	Threads []wire.Thread // the main thread first
	Err     error         // it has not told

	on host.Host    // where the process runs
	of host.Process // zero: not known
}

// Stacks asks processes where they are, which they tell also while they are busy: those that are wanted. The answers begin with the local namespace,
// and the ranks are in order. Processes that do not live are asked, too: how they ended is their error.
func (s *processes) Stacks(ctx context.Context, wanted func(ranklist.Who) bool) []Stack {
	s.mu.Lock()
	p, local := s.current, s.local
	s.mu.Unlock()
	var asked []*ranks.Process
	var stacks []Stack
	ask := func(process *ranks.Process) {
		if who := process.Who(); wanted(who) {
			asked = append(asked, process)
			stacks = append(stacks, Stack{Who: who, on: process.Host(), of: process.ID()})
		}
	}
	if local != nil && local.known() && local.err == nil {
		ask(local.value)
	}
	if p != nil && p.known() && p.err == nil {
		for _, process := range p.value.Ranks() {
			ask(process)
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
