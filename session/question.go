package session

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"dipls/dipexec/event"
)

// choiceCancel cancels the work that follows an answer.
const choiceCancel = "Cancel"

var (
	errFrontGone        = &Error{Code: CodeConsent, Text: "nobody has answered the question", Hint: "run the cell again"}
	errWithdrawn        = &Error{Code: CodeConsent, Text: "the setting that the question was about has changed", Hint: "run the cell again"}
	errInstallCancelled = errors.New("the installation was cancelled")
)

// leave ends the questions of a subscription: nobody can be asked there any more.
func (s *Session) leave(u *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fronts[u.front] == u { // otherwise it has left before
		delete(s.fronts, u.front)
	}
	for _, q := range s.questions {
		if q.sub == u {
			q.stop(errFrontGone)
		}
	}
}

// question is a question to a user, until it is over.
type question struct {
	s       *Session
	sub     *subscription
	settled func(Caller) (choice string, ok bool) // how another call's settings answer it; ok is false if they do not
	ctx     context.Context                       // ends when nobody wants the answer, or the work that follows, any more
	stop    context.CancelCauseFunc
	chosen  chan string // cap 1

	told     event.Question // its latest state; under the session's lock, like the fields below
	answered bool
}

// pose asks a caller's user. Nil: nobody can be asked. Otherwise over must be called.
func (s *Session) pose(ctx context.Context, by Caller, settled func(Caller) (string, bool), told event.Question) *question {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.fronts[by.Front]
	if sub == nil {
		return nil
	}
	s.posed++
	q := &question{s: s, sub: sub, settled: settled, chosen: make(chan string, 1), told: told}
	q.ctx, q.stop = context.WithCancelCause(ctx)
	q.told.Kind, q.told.ID, q.told.State = event.KindQuestion, fmt.Sprintf("question-%d", s.posed), event.QuestionAsked
	s.questions[q.told.ID] = q
	q.tell()
	return q
}

// tell tells the front the state of the question. The caller holds the session's lock, which keeps these events in order.
func (q *question) tell() {
	told := q.told
	q.sub.Tell(&told)
}

// await waits for the user's choice, "" for none. An error says why nobody wants to know any more.
func (q *question) await() (choice string, err error) {
	select {
	case choice = <-q.chosen:
		return choice, nil
	case <-q.ctx.Done():
		return "", context.Cause(q.ctx)
	}
}

// working says that the choice is being carried out, and how far that is.
func (q *question) working(note string) {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	q.told.State, q.told.Choices, q.told.Note = event.QuestionWorking, []string{choiceCancel}, note
	q.tell()
}

// over ends the question, and says how.
func (q *question) over(note string) {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	q.told.State, q.told.Choices, q.told.Note = event.QuestionOver, nil, note
	q.tell()
	delete(q.s.questions, q.told.ID)
	q.stop(nil)
}

// Answer implements [API].
func (s *Session) Answer(_ context.Context, id, choice string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.questions[id]
	switch {
	case q == nil:
		return errorf(CodeInvalid, "there is no question %s, or it is over", id)
	case choice != "" && !slices.Contains(q.told.Choices, choice):
		return errorf(CodeInvalid, "%q is no choice of question %s", choice, id)
	case q.told.State == event.QuestionWorking && choice == choiceCancel:
		q.stop(errInstallCancelled)
	case q.answered:
		return errorf(CodeInvalid, "question %s has been answered", id)
	default:
		q.answered, q.told.Answer = true, choice
		q.chosen <- choice
	}
	return nil
}

// Shown implements [API]. What a session in this process tells, its front has heard.
func (s *Session) Shown(context.Context, string) error { return nil }

// Heed implements [API].
func (s *Session) Heed(_ context.Context, by Caller) error {
	s.hear(by, true)
	s.width(by)
	return nil
}

// hear looks whether the settings of a call answer what is being asked. A call that starts nothing, or only something ahead, has nothing to say to other
// fronts' questions: own. Nor has one that may start nothing.
func (s *Session) hear(by Caller, own bool) {
	s.mu.Lock()
	open := make([]*question, 0, len(s.questions))
	for _, q := range s.questions {
		if !q.answered && (!own && by.Settings.Trust != TrustNo || q.sub.front == by.Front) {
			open = append(open, q)
		}
	}
	s.mu.Unlock()
	for _, q := range open {
		switch choice, ok := q.settled(by); {
		case !ok:
		case choice == "":
			q.stop(errWithdrawn)
		default:
			_ = s.Answer(context.Background(), q.told.ID, choice) // an error means that it has just been answered
		}
	}
}

// tellCaller tells a caller's user something, or everybody if the caller has no user.
func (s *Session) tellCaller(by Caller, l event.Level, text string) {
	s.mu.Lock()
	sub := s.fronts[by.Front]
	s.posed++
	id := fmt.Sprintf("question-%d", s.posed)
	s.mu.Unlock()
	if sub == nil {
		s.say(l, text, "")
		return
	}
	sub.Tell(&event.Question{Header: event.Header{Kind: event.KindQuestion}, ID: id, State: event.QuestionOver, Level: l, Text: text})
}
