package remote

import (
	"context"
	"fmt"
	"strconv"

	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/session"
)

// front is a subscription of a client's whose user can be asked. It outlives its connection as long as something may ask.
type front struct {
	p    *peer
	name string // as the client calls it
	sub  session.Subscription
	// typist says that the client's user can be asked for what code wants to be typed, as long as the client is there; nil: they cannot.
	typist session.Subscription

	// Under the server's mu:
	uses   int  // runs that have not ended and calls that go on, which may ask
	left   bool // the client has closed it
	gone   bool // its connection has ended: questions are answered by their defaults
	closed bool
}

// inSession is the name of a front in the session: clients do not know each other's.
func (p *peer) inSession(front string) string {
	if front == "" {
		return ""
	}
	return fmt.Sprintf("%d/%s", p.number, front)
}

// newFront makes a front.
func (p *peer) newFront(ctx context.Context, name string, types bool) error {
	s := p.s
	taken := &session.Error{Code: session.CodeInvalid, Text: fmt.Sprintf("a front %q has subscribed already", name)}
	s.mu.Lock()
	exists := p.fronts[name] != nil
	s.mu.Unlock()
	if exists {
		return taken
	}
	sub, err := s.o.API.Subscribe(ctx, session.SubscribeRequest{Front: p.inSession(name), Kinds: []event.Kind{event.KindQuestion}})
	if err != nil {
		return err
	}
	f := &front{p: p, name: name, sub: sub}
	if types {
		if f.typist, err = s.o.API.Subscribe(ctx, session.SubscribeRequest{Types: true, Kinds: []event.Kind{event.KindQuestion}}); err != nil {
			sub.Close()
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.ctx.Err() != nil || s.closing:
		f.discard()
		return context.Canceled
	case p.fronts[name] != nil:
		f.discard()
		return taken
	}
	p.fronts[name] = f
	s.tasks.Go(f.hear)
	return nil
}

// discard closes the subscriptions.
func (f *front) discard() {
	f.stopTyping()
	f.sub.Close()
}

// stopTyping says that the client's user cannot be asked any more for what code wants to be typed.
func (f *front) stopTyping() {
	if f.typist != nil {
		f.typist.Close()
	}
}

// leave closes a front that its client does not want any more. Nobody answers its questions.
func (f *front) leave() {
	f.p.s.mu.Lock()
	defer f.p.s.mu.Unlock()
	if f.p.fronts[f.name] == f {
		delete(f.p.fronts, f.name)
	}
	f.left = true
	f.stopTyping()
	f.close()
}

// abandon is called when the connection has ended.
func (f *front) abandon() {
	s := f.p.s
	s.mu.Lock()
	f.gone = true
	f.stopTyping()
	var open []*event.Question
	for _, a := range s.questions {
		if a.front == f && a.told.State == event.QuestionAsked {
			open = append(open, a.told)
		}
	}
	f.closeUnused()
	s.mu.Unlock()
	for _, q := range open {
		f.answerDefault(q)
	}
}

// asked is a question that is not over, as it was told last, and where it belongs.
type asked struct {
	front *front
	told  *event.Question
}

// hear hands on questions until the subscription ends.
func (f *front) hear() {
	s := f.p.s
	for {
		events, err := f.sub.Next(s.ctx)
		if err != nil {
			break
		}
		for _, ev := range events {
			if q, ok := ev.(*event.Question); ok {
				if fault := contain.Do(func() { f.question(q) }); fault != nil {
					s.fault("question", fault)
				}
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, a := range s.questions {
		if a.front == f {
			delete(s.questions, id)
		}
	}
}

// question hands on the state of a question. If the client has gone, its default is the answer.
func (f *front) question(q *event.Question) {
	s := f.p.s
	s.mu.Lock()
	_, known := s.questions[q.ID]
	if q.State == event.QuestionOver {
		delete(s.questions, q.ID)
	} else {
		s.questions[q.ID] = asked{f, q}
	}
	gone := f.gone
	s.mu.Unlock()
	switch {
	case !gone:
		_ = f.p.notify(methodQuestion, questionParams{f.name, q}) // an error means that the client has gone
	case q.State == event.QuestionAsked:
		f.answerDefault(q)
	case q.State == event.QuestionOver && !known:
		f.keep(q.Level, q.Text)
	case q.State == event.QuestionOver && q.Note != "":
		f.keep(q.Level, q.Note)
	}
}

// answerDefault answers a question that nobody can be asked any more.
func (f *front) answerDefault(q *event.Question) {
	s := f.p.s
	if s.o.API.Answer(s.ctx, q.ID, q.Default) != nil {
		return // it was answered, or is over
	}
	answer := "none of the choices"
	if q.Default != "" {
		answer = strconv.Quote(q.Default)
	}
	s.log.Warn("a question was answered by its default", f.p.field(), zap.String("question", q.Text), zap.String("answer", q.Default))
	f.keep(q.Level, fmt.Sprintf("%s The answer was %s, as nobody said otherwise.", q.Text, answer))
}

// keep keeps what the client's user would have been told, for whoever comes next.
func (f *front) keep(l event.Level, text string) {
	f.p.s.events.Append(event.NewLog(l, session.Unattended+text))
}

// kept finds what was kept of a text.
func kept(text string) func(event.Event) bool {
	return func(ev event.Event) bool { return session.IsUnattended(ev) && ev.(*event.Log).Text == text }
}

// release says that something does not use the front any more. The server's mu is held.
func (f *front) release() {
	f.uses--
	f.closeUnused()
}

// closeUnused closes a front that is gone and that nothing can ask. The server's mu is held.
func (f *front) closeUnused() {
	if f.gone && f.uses == 0 {
		f.close()
	}
}

// close ends the subscription. The server's mu is held.
func (f *front) close() {
	if !f.closed {
		f.closed = true
		f.sub.Close()
	}
}
