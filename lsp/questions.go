package lsp

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"dipls/dipexec/event"
	"dipls/lsp/rpc"
)

// questions asks the user what sessions want to know because of what this client has done, and shows the work that follows an answer.
type questions struct {
	s *server

	mu   sync.Mutex
	open map[questionKey]*question // that are not over
}

// questionKey names a question.
type questionKey struct {
	w  *workspace
	id string
}

// question is a question that is not over.
type question struct {
	questionKey
	asking  context.Context // ends when no answer is wanted any more
	settled context.CancelFunc
	news    chan *event.Question // capacity 1: the latest that was told since it was asked
}

func newQuestions(s *server) feature {
	q := &questions{s: s, open: map[questionKey]*question{}}
	return feature{event: q.event}
}

// event enters what is told of a question.
func (q *questions) event(w *workspace, ev event.Event) {
	told, ok := ev.(*event.Question)
	if !ok {
		return
	}
	key := questionKey{w, told.ID}
	q.mu.Lock()
	one := q.open[key]
	switch {
	case one == nil && told.State == event.QuestionAsked:
		one = &question{questionKey: key, news: make(chan *event.Question, 1)}
		one.asking, one.settled = context.WithCancel(q.s.ctx)
		q.open[key] = one
	case told.State == event.QuestionOver:
		delete(q.open, key)
	}
	q.mu.Unlock()
	switch {
	case one == nil:
		q.s.client.ShowMessage(typeOfLevel(told.Level), told.Text)
	case told.State == event.QuestionAsked:
		q.s.goOn("a question", func() { q.ask(one, told) })
	default:
		one.settled()
		select {
		case <-one.news: // it is out of date
		default:
		}
		one.news <- told
	}
}

// ask asks, and follows the question until it is over.
func (q *questions) ask(one *question, told *event.Question) {
	defer one.settled()
	q.answer(one, told)
	var work *rpc.Work
	for {
		select {
		case told = <-one.news:
		case <-q.s.ctx.Done():
			return
		}
		switch {
		case told.State == event.QuestionOver:
			work.End(told.Note)
			return
		case work == nil:
			work = q.s.client.BeginWork(q.s.ctx, told.Note, "", q.cancelOf(one, told))
		default:
			work.Report(told.Note)
		}
	}
}

// cancelOf returns what ends the work that follows an answer; nil: nothing can.
func (q *questions) cancelOf(one *question, told *event.Question) func() {
	if len(told.Choices) == 0 {
		return nil
	}
	return func() { q.send(one, told.Choices[0]) }
}

// answer asks the user and returns the answer. If the editor cannot ask, the default is the answer, and the user is told.
func (q *questions) answer(one *question, told *event.Question) {
	level := typeOfLevel(told.Level)
	chosen, err := q.s.posed.ask(one.asking, one.w, true, level, told.Text, told.Choices...)
	if one.asking.Err() != nil {
		return
	}
	if errors.Is(err, rpc.ErrCannotAsk) {
		chosen = told.Default
		q.s.client.ShowMessage(level, cmp.Or(told.Unasked, told.Text))
	}
	q.send(one, chosen) // after any other error none
}

// send sends an answer. It may come too late; that does not matter.
func (q *questions) send(one *question, chosen string) {
	_ = one.w.Answer(q.s.ctx, one.id, chosen)
}
