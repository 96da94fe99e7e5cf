package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks"
)

// stackPatience is how long processes may take to say where they are. They need milliseconds, unless something blocks all of their threads.
const stackPatience = 2 * time.Second

// Stack is the stack of a process.
type Stack struct {
	Who     ranklist.Who `json:"rank"`
	Host    string       `json:"host,omitempty"`    // of a rank of a pool that is on several
	Threads []Thread     `json:"threads,omitempty"` // the main thread first
	Error   string       `json:"error,omitempty"`   // why there are none, a sentence
	Silent  bool         `json:"silent,omitempty"`  // it has not answered in time
}

// Stacks asks the wanted processes where they are, also while they are busy. A process that has ended has that as its error. With native, py-spy
// adds native frames.
func (s *processes) Stacks(ctx context.Context, wanted func(ranklist.Who) bool, native bool) (found Stacks) {
	s.mu.Lock()
	p, local := s.current, s.local
	s.mu.Unlock()
	var asked []*ranks.Process
	ask := func(process *ranks.Process) {
		if who := process.Who(); wanted(who) {
			asked = append(asked, process)
			found.Of = append(found.Of, Stack{Who: who, Host: process.HostIfMany()})
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
	patient, stop := context.WithTimeout(ctx, stackPatience)
	defer stop()
	var work sync.WaitGroup
	for i, process := range asked {
		work.Go(func() { found.Of[i].ask(patient, process) })
	}
	work.Wait()
	if native {
		places := make([]placed, len(asked))
		for i, process := range asked {
			places[i] = placed{process.Host(), process.ID()}
		}
		found.Problem = s.addNative(ctx, found.Of, places)
	}
	return found
}

// ask asks the process whose stack it is.
func (s *Stack) ask(ctx context.Context, process *ranks.Process) {
	var err error
	if fault := contain.Do(func() {
		reply, failed := process.Stack(ctx)
		if err = failed; err == nil {
			s.Threads = reply.Threads
		}
	}); fault != nil {
		err = fault
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		s.Silent = true
		s.Error = fmt.Sprintf("%s has not answered within %v: it is stopped, or in C code that keeps Python's global lock", process.Name(), stackPatience)
	case err != nil:
		s.Error = err.Error()
	}
}
