package lsp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

const methodInput = "dip/input"

// inputs asks the client's user for what code wants to be typed, if the client can do that.
type inputs struct {
	s *server

	mu   sync.Mutex // guards what follows
	open map[inputKey]*openInput
}

// inputKey names a question.
type inputKey struct {
	w      *workspace
	run    string
	number int
}

// openInput is a question that somebody waits at.
type openInput struct {
	told *event.Input       // latest
	stop context.CancelFunc // takes it from the client; nil: the client has it no more, or not yet
}

// inputParams are those of dip/input.
type inputParams struct {
	Run      string  `json:"run" doc:"id of the run that asks"`
	Input    int     `json:"input" doc:"number of the question in the run, as in the event"`
	URI      uri.URI `json:"uri,omitempty" doc:"the document of the run's cell"`
	Title    string  `json:"title" doc:"which cell asks, for people"`
	Who      string  `json:"who" doc:"who asks, for people; empty: the local namespace"`
	Ranks    []int   `json:"ranks,omitempty" doc:"the ranks that ask"`
	Prompt   string  `json:"prompt" doc:"one line"`
	Password bool    `json:"password,omitempty" doc:"what is typed must not be shown"`
}

// inputAnswer is what the client's user has typed.
type inputAnswer struct {
	Text  *string           `json:"text,omitempty" doc:"for all that ask"`
	Texts map[string]string `json:"texts,omitempty" doc:"in place of text: for each rank, by its number"`
}

func newInputs(s *server) *inputs { return &inputs{s: s, open: map[inputKey]*openInput{}} }

// event enters what is told of a question.
func (in *inputs) event(w *workspace, ev event.Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch ev := ev.(type) {
	case *event.RunFinished: // of a session that is gone
		for key := range in.open {
			if key.w == w && key.run == ev.Run {
				in.close(key)
			}
		}
	case *event.Input:
		key := inputKey{w, ev.Run, ev.Input}
		q := in.open[key]
		switch {
		case !ev.Open():
			in.close(key)
		case q != nil:
			q.told = ev
		default:
			in.open[key] = &openInput{told: ev}
			if in.s.wants.Input {
				in.s.goOn("input", func() { in.pose(key) })
			}
		}
	}
}

// close forgets a question, and takes it from the client. The caller holds mu.
func (in *inputs) close(key inputKey) {
	if q := in.open[key]; q != nil && q.stop != nil {
		q.stop()
	}
	delete(in.open, key)
}

// pose asks the client a question, unless it is asked that already, or the question is over once all that has happened was entered.
func (in *inputs) pose(key inputKey) {
	if in.s.catchUp(in.s.ctx, key.w) != nil {
		return
	}
	in.mu.Lock()
	q := in.open[key]
	if q == nil || q.stop != nil {
		in.mu.Unlock()
		return
	}
	ctx, stop := context.WithCancel(in.s.ctx)
	q.stop = stop
	told := q.told
	in.mu.Unlock()
	defer stop()
	r, _ := in.s.board.run(key.run)
	params := inputParams{
		Run: key.run, Input: key.number, URI: r.Doc, Title: r.Label(), Ranks: told.Asking(), Prompt: clean.Line(told.Prompt), Password: told.Password,
	}
	if len(params.Ranks) > 0 {
		params.Who = ranklist.NameOn(params.Ranks, r.HostOf)
	}
	var answer *inputAnswer
	err := in.s.client.Call(ctx, methodInput, params, &answer)
	withdrawn := ctx.Err() != nil
	in.mu.Lock()
	q.stop = nil // it may be asked again
	in.mu.Unlock()
	if err != nil || withdrawn || answer == nil {
		return
	}
	in.send(key, answer)
}

// send sends what was typed. It may come too late; that does not matter.
func (in *inputs) send(key inputKey, answer *inputAnswer) {
	a := session.InputAnswer{Run: key.run, Input: key.number}
	if answer.Text != nil {
		a.Text = *answer.Text
		_ = key.w.AnswerInput(in.s.ctx, a)
		return
	}
	for _, of := range slices.Sorted(maps.Keys(answer.Texts)) {
		rank, err := strconv.Atoi(of)
		if err != nil || rank < 0 {
			continue
		}
		a.Ranks, a.Text = ranklist.Of(rank), answer.Texts[of]
		_ = key.w.AnswerInput(in.s.ctx, a)
	}
}

type answerInputArgs struct {
	Run string `json:"run,omitempty" doc:"id of the run; without it, all runs of the workspace"`
	whereArgs
}

// answerInputReply answers how many questions the user is asked.
type answerInputReply struct {
	Asked int `json:"asked"`
}

// answerInput is the command dip.answerInput.
func (s *server) answerInput(ctx context.Context, a *answerInputArgs) (*answerInputReply, error) {
	if !s.wants.Input {
		return nil, errors.New("this client cannot ask for text: its initializationOptions lack input")
	}
	var w *workspace
	if a.Run == "" {
		var err error
		if w, err = a.workspace(s, ctx); err != nil {
			return nil, err
		}
	}
	asked := 0
	s.inputs.mu.Lock()
	defer s.inputs.mu.Unlock()
	for key := range s.inputs.open {
		if key.w == w || w == nil && key.run == a.Run {
			asked++
			s.goOn("input", func() { s.inputs.pose(key) })
		}
	}
	if asked == 0 {
		s.client.ShowMessage(protocol.MessageTypeInfo, "nothing waits for you to type")
	}
	return &answerInputReply{asked}, nil
}
