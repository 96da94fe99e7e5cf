package lsp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.lsp.dev/protocol"

	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/rpc"
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

type freeArgs struct {
	Run string `json:"run,omitempty" doc:"id of the run; without it, whatever is on the ranks"`
	whereArgs
}

// freeReply answers whether there was something to free.
type freeReply struct {
	Freed bool `json:"freed"`
}

// interrupt is the command dip.interrupt.
func (s *server) interrupt(ctx context.Context, a *interruptArgs) (*interruptReply, error) {
	if a.Run != "" {
		r, known := s.board.run(a.Run)
		switch {
		case !known:
			return nil, fmt.Errorf("there is no run %s", a.Run)
		case !s.interruptRun(r, false):
			return &interruptReply{0}, nil // it has ended meanwhile
		}
		return &interruptReply{1}, nil
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, r := range slices.Backward(s.board.active(w)) { // as in cancelWhere
		if s.interruptRun(r, r.plan == nil && w.executor.Awaited(r.ID)) {
			n++
		}
	}
	return &interruptReply{n}, nil
}

// free is the command dip.free.
func (s *server) free(ctx context.Context, a *freeArgs) (*freeReply, error) {
	if a.Run != "" {
		r, known := s.board.run(a.Run)
		if !known {
			return nil, fmt.Errorf("there is no run %s", a.Run)
		}
		return &freeReply{r.plan == nil && r.free()}, nil
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return &freeReply{w.executor.Free("") == nil}, nil
}

// interruptRun asks for a run's end. The first time it is interrupted, and its ranks are freed if they do not heed that; the second time they are freed
// at once; after that there is only one way to get on, which costs variables: the user is asked. A run that is cancelled
// with another one, which is interrupted, too, hears of it once. It reports whether there was something to end.
func (s *server) interruptRun(r Run, withAnother bool) bool {
	if r.State == view.Ended {
		return false
	}
	n := 1
	if r.plan == nil {
		n = s.board.interrupted(r.ID)
	}
	switch kept := ranklist.Name(r.ranksThatRun()); {
	case withAnother && n < 3:
		return true
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
		s.interruptRun(r, false)
		return
	}
	_ = w.executor.Cancel(id) // it has ended
}

// ranksThatRun are the ranks that have not ended their part.
func (r *Run) ranksThatRun() []ranklist.Who {
	var found []ranklist.Who
	for _, p := range r.Parts {
		if !p.Who.IsLocal() && p.Status == "" {
			found = append(found, p.Who)
		}
	}
	return found
}

// free frees the ranks of a run, whatever they wait for, and ends it. It reports whether there was something to end.
func (r *Run) free() bool { return r.workspace.executor.Free(r.ID) == nil }

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
	chosen, err := s.client.TryAsk(s.ctx, protocol.MessageTypeWarning, text, end, wait)
	switch {
	case errors.Is(err, rpc.ErrCannotAsk):
		s.client.ShowMessage(protocol.MessageTypeWarning,
			fmt.Sprintf("%s: the interrupt is not heeded; %skillPool ends the pool, and variables on the ranks are lost", kept, commandPrefix))
		return
	case err != nil || chosen != end:
		return
	}
	if now, known := s.board.run(r.ID); !known || now.State == view.Ended {
		s.client.ShowMessage(protocol.MessageTypeInfo, "the run has ended meanwhile: the pool was kept")
		return
	}
	if _, err := s.remakeIn(s.ctx, r.workspace, wire.MakeCommand{Kill: true}); err != nil && s.ctx.Err() == nil {
		s.client.ShowMessage(protocol.MessageTypeError, err.Error())
	}
}

// What is offered where ranks wait, by all who offer it.
const (
	freeTitle   = "Free ranks"
	stacksTitle = "Show stacks"
)
