package lsp

import (
	"context"
	"errors"
	"fmt"

	"go.lsp.dev/protocol"

	"dipls/ranks/wire"
)

type interruptArgs struct {
	Run string `json:"run,omitempty" doc:"id of the run; without it, all runs"`
	whereArgs
}

// interruptReply answers how many runs were interrupted.
type interruptReply struct {
	Interrupted int `json:"interrupted"`
}

// freeReply answers of how many runs the ranks are being freed.
type freeReply struct {
	Freed int `json:"freed"`
}

// interrupt is the command dip.interrupt.
func (s *server) interrupt(ctx context.Context, a *interruptArgs) (*interruptReply, error) {
	n, err := s.eachRun(ctx, a, s.interruptRun)
	if err != nil {
		return nil, err
	}
	return &interruptReply{n}, nil
}

// free is the command dip.free.
func (s *server) free(ctx context.Context, a *interruptArgs) (*freeReply, error) {
	n, err := s.eachRun(ctx, a, func(r Run) bool {
		if r.State == Queued {
			return false // what waits in the queue keeps nobody
		}
		return r.free()
	})
	if err != nil {
		return nil, err
	}
	return &freeReply{n}, nil
}

// eachRun does something to the runs that are meant, the last one first, so that none begins because one before it ends. It returns to how many
// it was done.
func (s *server) eachRun(ctx context.Context, a *interruptArgs, act func(Run) bool) (n int, err error) {
	runs := []Run{}
	if a.Run != "" {
		r, known := s.board.run(a.Run)
		if !known {
			return 0, fmt.Errorf("there is no run %s", a.Run)
		}
		runs = append(runs, r)
	} else {
		w, err := a.workspace(s, ctx)
		if err != nil {
			return 0, err
		}
		runs = s.board.active(w)
	}
	for i := len(runs) - 1; i >= 0; i-- {
		if act(runs[i]) {
			n++
		}
	}
	return n, nil
}

// interruptRun asks for a run's end. The first time it is interrupted, and its ranks are freed if they do not heed that; the second time they are freed
// at once; after that there is only one way to get on, which costs variables: the user is asked. It reports whether there was something to end.
func (s *server) interruptRun(r Run) bool {
	if r.State == Ended {
		return false
	}
	n := 1
	if r.plan == nil {
		n = s.board.interrupted(r.ID)
	}
	switch kept := nameProcesses(r.ranksThatRun()); {
	case n == 1 || kept == "":
		return r.cancel()
	case n == 2:
		return r.free()
	default:
		s.askToEndPool(r, kept)
		return true
	}
}

// interruptID is interruptRun by the run's id.
func (s *server) interruptID(w *workspace, id string) {
	if r, known := s.board.run(id); known {
		s.interruptRun(r)
		return
	}
	_ = w.executor.Cancel(id) // it has ended
}

// ranksThatRun are the ranks that have not ended their part.
func (r *Run) ranksThatRun() []int {
	var found []int
	for _, p := range r.Parts {
		if p.Rank >= 0 && p.Status == "" {
			found = append(found, p.Rank)
		}
	}
	return found
}

// free frees the ranks of a run, whatever they wait for, and ends it. It reports whether there was something to end.
func (r *Run) free() bool {
	if e, ok := any(r.workspace.executor).(interface{ Free(id string) error }); ok {
		return e.Free(r.ID) == nil
	}
	return r.cancel()
}

// askToEndPool asks the user whether a pool may end whose ranks do not come back. There is one question at a time for a workspace.
func (s *server) askToEndPool(r Run, kept string) {
	w := r.workspace
	s.mu.Lock()
	asked := s.asking[w]
	s.asking[w] = true
	s.mu.Unlock()
	if asked {
		return
	}
	s.goOn("a question", func() {
		defer func() {
			s.mu.Lock()
			delete(s.asking, w)
			s.mu.Unlock()
		}()
		s.endPoolIfWanted(r, kept)
	})
}

func (s *server) endPoolIfWanted(r Run, kept string) {
	const end, wait = "End pool", "Keep waiting"
	text := fmt.Sprintf("%s: the interrupt is not heeded. End the pool? Variables on the ranks are lost", kept)
	chosen, err := s.client.request(s.ctx, protocol.MessageTypeWarning, text, end, wait)
	switch {
	case errors.Is(err, errCannotAsk):
		s.client.showMessage(protocol.MessageTypeWarning,
			fmt.Sprintf("%s: the interrupt is not heeded; %skillPool ends the pool, and variables on the ranks are lost", kept, commandPrefix))
		return
	case err != nil || chosen != end:
		return
	}
	if now, known := s.board.run(r.ID); !known || now.State == Ended {
		s.client.showMessage(protocol.MessageTypeInfo, "the run has ended meanwhile: the pool was kept")
		return
	}
	if _, err := s.remakeIn(s.ctx, r.workspace, wire.MakeCommand{Kill: true}); err != nil && s.ctx.Err() == nil {
		s.client.showMessage(protocol.MessageTypeError, err.Error())
	}
}
