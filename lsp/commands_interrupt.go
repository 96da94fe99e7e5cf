package lsp

import (
	"context"
	"errors"
	"fmt"

	"go.lsp.dev/protocol"

	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/rpc"
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
		case !s.interruptRun(ctx, r):
			return &interruptReply{0}, nil // it has ended meanwhile
		}
		return &interruptReply{1}, nil
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	w.interrupts.Add(1)
	for _, r := range s.board.active(w) {
		s.asksInVain(r)
	}
	n, err := w.Cancel(ctx, "")
	return &interruptReply{n}, err
}

// free is the command dip.free.
func (s *server) free(ctx context.Context, a *freeArgs) (*freeReply, error) {
	if a.Run != "" {
		r, known := s.board.run(a.Run)
		if !known {
			return nil, fmt.Errorf("there is no run %s", a.Run)
		}
		return &freeReply{r.workspace.Free(ctx, a.Run) == nil}, nil
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return &freeReply{w.Free(ctx, "") == nil}, nil
}

// interruptRun asks for a run's end, and reports whether there was something to end. The first time the run is interrupted, and ranks that do not react to
// that are freed after a while; the second time they are freed at once.
func (s *server) interruptRun(ctx context.Context, r Run) bool {
	if r.State == view.Ended {
		return false
	}
	if s.asksInVain(r) {
		return true
	}
	_, err := r.workspace.Cancel(ctx, r.ID)
	return err == nil
}

// asksInVain counts the requests to end a run, and reports whether ranks have ignored two of them. Then only the end of the pool helps, which costs
// variables: the user is asked.
func (s *server) asksInVain(r Run) bool {
	kept := r.ranksThatRun()
	if s.board.interrupted(r.ID) < 3 || len(kept) == 0 {
		return false
	}
	s.askToEndPool(r, r.Name(kept))
	return true
}

// interruptID is interruptRun for a run's id.
func (s *server) interruptID(w *workspace, id string) {
	if r, known := s.board.run(id); known {
		s.interruptRun(s.ctx, r)
		return
	}
	_, _ = w.Cancel(s.ctx, id) // it has ended
}

// ranksThatRun returns the ranks that have not ended their part.
func (r *Run) ranksThatRun() []ranklist.Who {
	var found []ranklist.Who
	for _, p := range r.Parts {
		if !p.Who.IsLocal() && p.Status == "" {
			found = append(found, p.Who)
		}
	}
	return found
}

// askToEndPool asks the user whether to end a pool whose ranks do not come back. A workspace has one such question at a time.
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
	if _, err := s.killPoolIn(s.ctx, r.workspace); err != nil && s.ctx.Err() == nil {
		s.client.ShowMessage(protocol.MessageTypeError, err.Error())
	}
}

// The titles of what is offered where ranks wait, for every feature that offers it.
const (
	freeTitle   = "Free ranks"
	stacksTitle = "Show stacks"
)
