package lsp

import (
	"context"
	"errors"
	"sync"

	"go.lsp.dev/protocol"
)

// posed are the questions that the user has not answered. A message that asks may be hidden by then, so it can be shown once more.
type posed struct {
	s *server

	mu   sync.Mutex // guards what follows
	open map[*oneQuestion]struct{}
}

// oneQuestion is a question that is not answered.
type oneQuestion struct {
	w     *workspace
	again context.CancelCauseFunc // takes the message back, so that the question is asked anew
}

var errAgain = errors.New("the question is asked anew")

func newPosed(s *server) *posed { return &posed{s: s, open: map[*oneQuestion]struct{}{}} }

// ask is [rpc.Client.TryAsk], as often as the user wants to be asked. Runs of the workspace that have not begun wait for the answer, if they do.
func (p *posed) ask(ctx context.Context, w *workspace, runsWait bool, t protocol.MessageType, text string, actions ...string) (string, error) {
	if runsWait {
		p.s.board.wait(w, 1)
		defer p.s.board.wait(w, -1)
	}
	one := &oneQuestion{w: w}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, one)
	}()
	for {
		once, again := context.WithCancelCause(ctx)
		p.mu.Lock()
		one.again = again
		p.open[one] = struct{}{}
		p.mu.Unlock()
		chosen, err := p.s.client.TryAsk(once, t, text, actions...)
		repeat := ctx.Err() == nil && context.Cause(once) == errAgain
		again(nil)
		if !repeat {
			return chosen, err
		}
	}
}

// repeat asks the open questions of a workspace anew, and says how many there are.
func (p *posed) repeat(w *workspace) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.open {
		if w == nil || one.w == w {
			n++
			one.again(errAgain)
		}
	}
	return n
}

// showQuestionReply answers how many questions were shown.
type showQuestionReply struct {
	Shown int `json:"shown"`
}

func (s *server) showQuestion(ctx context.Context, a *whereArgs) (*showQuestionReply, error) {
	var w *workspace
	if a.URI != "" {
		dir, err := a.dir(s, ctx)
		if err != nil {
			return nil, err
		}
		w = s.joined(dir, "")
	}
	return &showQuestionReply{Shown: s.posed.repeat(w)}, nil
}
