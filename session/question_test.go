package session

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/testpython"
	"dipls/internal/trust"
	"dipls/ranks/fakerank"
)

// front is a front with the events that it got.
type front struct {
	t     testing.TB
	sub   Subscription
	heard []event.Event
}

// newFront subscribes.
func newFront(t testing.TB, s *Session, r SubscribeRequest) *front {
	t.Helper()
	sub, err := s.Subscribe(testContext(t), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	return &front{t: t, sub: sub}
}

// await waits for an event that is meant.
func (f *front) await(what string, meant func(event.Event) bool) event.Event {
	f.t.Helper()
	for {
		if i := slices.IndexFunc(f.heard, meant); i >= 0 {
			ev := f.heard[i]
			f.heard = f.heard[i+1:]
			return ev
		}
		evs, err := f.sub.Next(testContext(f.t))
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		f.heard = append(f.heard, evs...)
	}
}

// question waits for a question in a state.
func (f *front) question(state event.QuestionState) *event.Question {
	f.t.Helper()
	return f.await("a question that is "+string(state), func(ev event.Event) bool {
		q, ok := ev.(*event.Question)
		return ok && q.State == state
	}).(*event.Question)
}

// died waits for the end of a run that could not begin, and gives the reason.
func died(t testing.TB, s *Session, run string) string {
	t.Helper()
	report, err := s.Wait(testContext(t), run)
	if err != nil || report.Status != event.StatusDied {
		t.Errorf("ended %s, %v", report.Status, err)
	}
	return report.Reason
}

// answer answers a question.
func answer(t testing.TB, s *Session, q *event.Question, choice string) {
	t.Helper()
	if err := s.Answer(testContext(t), q.ID, choice); err != nil {
		t.Error(err)
	}
}

// A front that has left may come back under its name; whoever closes the old subscription once more does it no harm.
func TestFrontComesBack(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	old := newFront(t, s, SubscribeRequest{Front: "one"})
	_, err := s.Subscribe(testContext(t), SubscribeRequest{Front: "one"})
	wantCode(t, err, CodeInvalid)
	old.sub.Close()
	again := newFront(t, s, SubscribeRequest{Front: "one"})
	old.sub.Close()
	s.tellCaller(Caller{Front: "one"}, event.LevelInfo, "hello")
	if q := again.question(event.QuestionOver); q.Text != "hello" {
		t.Errorf("%+v", q)
	}
}

// Calls that need the same wait for one answer; the front of the first call is asked.
func TestQuestionIsAskedOnce(t *testing.T) {
	s := newSession(t, fakerank.Config{Missing: []string{"zmq"}})
	one, other := newFront(t, s, SubscribeRequest{Front: "one"}), newFront(t, s, SubscribeRequest{Front: "other"})
	by := wants(Choice{})
	by.Front = "one"
	first := began(t, s, by, on(cells.Local, ""))
	q := one.question(event.QuestionAsked)
	if !strings.Contains(q.Text, "lacks pyzmq.\nInstall into") || !slices.Equal(q.Choices, []string{"Install"}) || q.Default != "" {
		t.Errorf("asked %+v", q)
	}
	by.Front = "other"
	second := began(t, s, by, on(cells.Remote, ""))
	await(t, "the second run, which waits for a pool", func() bool {
		p := s.present()
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.current != nil
	})
	wantCode(t, s.Answer(testContext(t), q.ID, "Perhaps"), CodeInvalid)
	wantCode(t, s.Answer(testContext(t), "none", ""), CodeInvalid)
	answer(t, s, q, "")
	for _, run := range []string{first[0], second[0]} {
		if reason := died(t, s, run); !strings.Contains(reason, "then run the cell again") {
			t.Errorf("run %s: %s", run, reason)
		}
	}
	if over := one.question(event.QuestionOver); over.ID != q.ID || over.Answer != "" {
		t.Errorf("over: %+v", over)
	}
	wantCode(t, s.Answer(testContext(t), q.ID, ""), CodeInvalid)
	_ = s.Say(testContext(t), Note{Level: event.LevelInfo, Text: "end"})
	other.await("the end", func(ev event.Event) bool {
		if _, ok := ev.(*event.Question); ok {
			t.Errorf("another front was asked: %+v", ev)
		}
		l, ok := ev.(*event.Log)
		return ok && l.Text == "end"
	})
}

// If nobody can be asked, missing packages are an error. A front that leaves, or the end of the session, ends its questions.
func TestQuestionWithNobody(t *testing.T) {
	s := newSession(t, fakerank.Config{Missing: []string{"zmq"}})
	run := began(t, s, wants(Choice{}), on(cells.Local, ""))
	if reason := died(t, s, run[0]); !strings.Contains(reason, "lacks pyzmq: install with") {
		t.Error(reason)
	}
	by := wants(Choice{})
	by.Front = "one"
	one := newFront(t, s, SubscribeRequest{Front: "one"})
	_, err := s.Subscribe(testContext(t), SubscribeRequest{Front: "one"})
	wantCode(t, err, CodeInvalid)
	run = began(t, s, by, on(cells.Local, ""))
	one.question(event.QuestionAsked)
	one.sub.Close()
	if reason := died(t, s, run[0]); !strings.Contains(reason, "nobody has answered") {
		t.Error(reason)
	}
	one = newFront(t, s, SubscribeRequest{Front: "one"})
	began(t, s, by, on(cells.Local, ""))
	one.question(event.QuestionAsked)
	if err := s.Close(testContext(t), CloseRequest{}); err != nil {
		t.Error(err)
	}
	if over := one.question(event.QuestionOver); over.Note == "" {
		t.Errorf("over: %+v", over)
	}
}

// A start ahead of time asks nothing; a run that needs Python meanwhile asks nevertheless.
func TestPrepareAsksNothing(t *testing.T) {
	s := newSession(t, fakerank.Config{Missing: []string{"zmq"}})
	one := newFront(t, s, SubscribeRequest{Front: "one"})
	by := wants(Choice{})
	by.Front = "one"
	wantCode(t, s.Prepare(testContext(t), by, Preparation{}), CodePackages)
	began(t, s, by, on(cells.Remote, ""))
	answer(t, s, one.question(event.QuestionAsked), "")
	by.Settings.Trust = TrustUnsaid
	wantCode(t, s.Prepare(testContext(t), by, Preparation{}), CodeConsent)
}

// own makes a folder with an interpreter of its own, which is what Settings that say nothing mean there.
func own(t *testing.T) (folder, python string) {
	t.Helper()
	for _, name := range []string{"DIPLS_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"} {
		t.Setenv(name, "")
	}
	folder = t.TempDir()
	python = filepath.Join(folder, ".venv/bin/python")
	if err := os.MkdirAll(filepath.Dir(python), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(python, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return folder, python
}

// The interpreter that belongs to the folder runs once the user has said so, and is remembered; another call's settings may make the question moot.
func TestConsent(t *testing.T) {
	folder, python := own(t)
	store := trust.Open(filepath.Join(t.TempDir(), "trusted"))
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Dir, o.Trust = folder, store })
	one := newFront(t, s, SubscribeRequest{Front: "one", Kinds: []event.Kind{event.KindQuestion}})
	by := Caller{Front: "one"}
	run := began(t, s, by, on(cells.Local, ""))
	q := one.question(event.QuestionAsked)
	if !strings.Contains(q.Text, python) || q.Default != "Run" || q.Unasked == "" {
		t.Errorf("asked %+v", q)
	}
	answer(t, s, q, "")
	if reason := died(t, s, run[0]); !strings.Contains(reason, "you have not let it run") {
		t.Error(reason)
	}
	run = began(t, s, by, on(cells.Local, ""))
	one.question(event.QuestionAsked)
	other := by
	other.Settings.Python = "/bin/sh"
	ahead := other
	ahead.Front = "other"
	wantCode(t, s.Prepare(testContext(t), ahead, Preparation{}), CodeConsent)
	s.mu.Lock()
	for _, q := range s.questions {
		if q.ctx.Err() != nil {
			t.Error("a front that only starts something ahead has withdrawn the other one's question")
		}
	}
	s.mu.Unlock()
	second := began(t, s, other, on(cells.Local, "")) // it comes after the run that waits for the answer
	if over := one.question(event.QuestionOver); over.Note == "" {
		t.Errorf("over: %+v", over)
	}
	if reason := died(t, s, run[0]); !strings.Contains(reason, "has changed") {
		t.Error(reason)
	}
	if told := one.question(event.QuestionOver); !strings.Contains(told.Text, "/bin/sh") || told.Choices != nil {
		t.Errorf("told %+v", told)
	}
	if got := ran(t, s, second...); got[0] != event.StatusOK {
		t.Error(got)
	}
	if err := s.EndPython(testContext(t)); err != nil {
		t.Error(err)
	}
	run = began(t, s, by, on(cells.Local, ""))
	answer(t, s, one.question(event.QuestionAsked), "Run")
	if got := ran(t, s, run...); got[0] != event.StatusOK {
		t.Error(got)
	}
	if e, ok := store.Find(folder); !ok || e.Python != python {
		t.Errorf("remembered %+v", e)
	}
}

// To trust the folder answers the question whether its interpreter may run.
func TestTrustAnswers(t *testing.T) {
	folder, _ := own(t)
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Dir = folder })
	one := newFront(t, s, SubscribeRequest{Front: "one"})
	run := began(t, s, Caller{Front: "one"}, on(cells.Local, ""))
	one.question(event.QuestionAsked)
	run = append(run, began(t, s, wants(Choice{}), on(cells.Local, ""))...)
	if over := one.question(event.QuestionOver); over.Answer != "Run" {
		t.Errorf("over: %+v", over)
	}
	if got := ran(t, s, run...); got[0] != event.StatusOK || got[1] != event.StatusOK {
		t.Error(got)
	}
}

// If nobody can be asked, the interpreter that belongs to the folder runs with a warning.
func TestConsentWithNobody(t *testing.T) {
	folder, python := own(t)
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Dir = folder })
	all := newFront(t, s, SubscribeRequest{})
	run := began(t, s, Caller{}, on(cells.Local, ""))
	all.await("the warning", func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && l.Level == event.LevelWarning && strings.Contains(l.Text, python)
	})
	if got := ran(t, s, run...); got[0] != event.StatusOK {
		t.Error(got)
	}
}

// An interpreter that belongs to the folder does not run because the front has gone that would have been asked.
func TestConsentOfFrontThatIsGone(t *testing.T) {
	folder, _ := own(t)
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Dir = folder })
	newFront(t, s, SubscribeRequest{Front: "one"}).sub.Close()
	run := began(t, s, Caller{Front: "one"}, on(cells.Local, ""))
	if reason := died(t, s, run[0]); !strings.Contains(reason, "nobody has answered") {
		t.Error(reason)
	}
}

// Missing packages are installed once the user agrees, and the front sees the progress.
func TestInstallFromQuestion(t *testing.T) {
	python := testpython.Bare(t, testpython.Need(t))
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Host = nil })
	one := newFront(t, s, SubscribeRequest{Front: "one"})
	by := wants(Choice{})
	by.Front, by.Settings.Python = "one", python
	run := began(t, s, by, on(cells.Local, "1 + 1"))
	answer(t, s, one.question(event.QuestionAsked), "Install")
	if q := one.question(event.QuestionWorking); !slices.Equal(q.Choices, []string{"Cancel"}) || !strings.HasPrefix(q.Note, "Installing ") {
		t.Errorf("working: %+v", q)
	}
	if q := one.question(event.QuestionOver); q.Note != "installed" || q.Answer != "Install" {
		t.Errorf("over: %+v", q)
	}
	if got := ran(t, s, run...); got[0] != event.StatusOK {
		t.Error(got)
	}
	_, err := s.Bound(context.Background(), []string{"_"})
	if err != nil {
		t.Error(err)
	}
}

// Settings that are told settle the questions of their own front, and start nothing.
func TestHeed(t *testing.T) {
	folder, _ := own(t)
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Dir = folder })
	one := newFront(t, s, SubscribeRequest{Front: "one", Kinds: []event.Kind{event.KindQuestion}})
	by := Caller{Front: "one"}
	run := began(t, s, by, on(cells.Local, ""))
	asked := one.question(event.QuestionAsked)
	for _, says := range []Caller{{Front: "other", Settings: Settings{Python: "/bin/sh"}}, by} {
		if err := s.Heed(testContext(t), says); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		if q := s.questions[asked.ID]; q == nil || q.ctx.Err() != nil {
			t.Errorf("%+v has withdrawn the question", says)
		}
		s.mu.Unlock()
	}
	if err := s.Heed(testContext(t), Caller{Front: "one", Settings: Settings{Python: "/bin/sh"}}); err != nil {
		t.Fatal(err)
	}
	if over := one.question(event.QuestionOver); over.ID != asked.ID {
		t.Errorf("over: %+v", over)
	}
	if reason := died(t, s, run[0]); !strings.Contains(reason, "has changed") {
		t.Error(reason)
	}
	run = began(t, s, by, on(cells.Local, ""))
	one.question(event.QuestionAsked)
	if err := s.Heed(testContext(t), Caller{Front: "one", Settings: Settings{Trust: TrustYes}}); err != nil {
		t.Fatal(err)
	}
	if got := ran(t, s, run...); got[0] != event.StatusOK {
		t.Error(got)
	}
}
