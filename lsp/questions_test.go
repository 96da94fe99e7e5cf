package lsp_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// questionTest is an editor whose session asks questions.
type questionTest struct {
	*lsptest.Editor
	t *testing.T
}

func newQuestionTest(t *testing.T, answer func(lsptest.Message) any) *questionTest {
	t.Helper()
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t), Answers: lsptest.Answers{"window/showMessageRequest": answer}})
	e.Open("a.py", "x = 1\n")
	e.Command("dip.autodip", lsptest.Object{"uri": e.URI("a.py")}, nil) // so that there is a session
	return &questionTest{e, t}
}

// tell tells how far a question is; more is added.
func (q *questionTest) tell(id, state string, more lsptest.Object) {
	q.t.Helper()
	ev := lsptest.Object{"event": "question", "id": id, "state": state, "level": "warning", "text": "Shall I?"}
	for key, value := range more {
		ev[key] = value
	}
	must(q.t, q.Call("test/publish", lsptest.Object{"event": ev}, nil))
}

// answered waits for answers.
func (q *questionTest) answered(want ...string) {
	q.t.Helper()
	await(q.t, strings.Join(want, ", "), func() bool {
		var all []string
		must(q.t, q.Call("test/answered", nil, &all))
		return slices.Equal(all, want)
	})
}

// A question of a session is shown, its answer is sent, and the work that follows is shown and can be cancelled.
func TestQuestion(t *testing.T) {
	q := newQuestionTest(t, func(m lsptest.Message) any { return m.Get("actions.1") })
	q.tell("test", "asked", lsptest.Object{"choices": []string{"Yes", "Always"}})
	asked := q.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Has("message", "Shall I?"), lsptest.Has("type", 2))
	if first, second := asked.Get("actions.0.title"), asked.Get("actions.1.title"); first != "Yes" || second != "Always" {
		t.Error(first, second)
	}
	q.answered("test: Always")
	q.tell("test", "working", lsptest.Object{"choices": []string{"Cancel"}, "note": "Doing it"})
	begin := q.Await("the work", progress("begin"), lsptest.Has("value.title", "Doing it"), lsptest.Has("value.cancellable", true))
	q.tell("test", "working", lsptest.Object{"choices": []string{"Cancel"}, "note": "half of it"})
	q.Await("how far it is", progress("report"), lsptest.Has("value.message", "half of it"))
	q.Notify("window/workDoneProgress/cancel", lsptest.Object{"token": begin.Get("token")})
	q.answered("test: Always", "test: Cancel")
	q.tell("test", "over", lsptest.Object{"note": "cancelled"})
	q.Await("its end", progress("end"), lsptest.Has("value.message", "cancelled"))
	if asked := q.Messages(lsptest.Method("window/showMessageRequest")); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

// A question that nobody wants answered any more is taken back, and what is chosen then is not sent.
func TestQuestionIsWithdrawn(t *testing.T) {
	choose := make(chan struct{})
	q := newQuestionTest(t, func(m lsptest.Message) any {
		return lsptest.Later(func() any {
			<-choose
			return m.Get("actions.0")
		})
	})
	q.tell("test", "asked", lsptest.Object{"choices": []string{"Yes"}})
	q.tell("test too", "asked", lsptest.Object{"choices": []string{"Yes"}, "text": "This, too?"})
	asked := q.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Has("message", "Shall I?"))
	q.Await("the other one", lsptest.Method("window/showMessageRequest"), lsptest.Has("message", "This, too?"))
	q.tell("test", "over", lsptest.Object{"note": "the setting has changed"})
	taken := q.Await("that it is taken back", lsptest.Method("$/cancelRequest"))
	if id := string(asked.ID); taken.Get("id") == nil || !strings.Contains(taken.String(), `"id":`+id) {
		t.Errorf("%v was asked, and %v taken back", asked, taken)
	}
	close(choose)
	q.answered("test too: Yes")
}

// Where the editor cannot ask, the default is the answer, and its user is told. What an editor answers that makes no sense is none of the choices.
func TestQuestionThatCannotBeAsked(t *testing.T) {
	var answer any = &lsptest.Error{Code: -32601, Message: "no such method"}
	q := newQuestionTest(t, func(lsptest.Message) any { return answer })
	q.tell("test", "asked", lsptest.Object{"choices": []string{"Yes"}, "default": "Yes", "unasked": "I do it"})
	q.Await("the message", lsptest.Method("window/showMessage"), lsptest.Has("message", "I do it"), lsptest.Has("type", 2))
	q.answered("test: Yes")
	q.tell("test 2", "asked", lsptest.Object{"choices": []string{"Yes"}, "level": "info"})
	q.Await("the message", lsptest.Method("window/showMessage"), lsptest.Has("message", "Shall I?"), lsptest.Has("type", 3))
	q.answered("test: Yes", "test 2: ")
	answer = 7
	q.tell("test 3", "asked", lsptest.Object{"choices": []string{"Yes"}, "default": "Yes"})
	q.answered("test: Yes", "test 2: ", "test 3: ")
}

// A question without choices is only shown.
func TestQuestionThatTells(t *testing.T) {
	q := newQuestionTest(t, func(lsptest.Message) any {
		t.Error("asked")
		return nil
	})
	q.tell("test", "over", lsptest.Object{"text": "By the way", "level": "info"})
	q.Await("the message", lsptest.Method("window/showMessage"), lsptest.Has("message", "By the way"), lsptest.Has("type", 3))
	if told := q.Messages(lsptest.Method("dip/event")); len(told) > 0 {
		t.Errorf("told %v", told)
	}
}

// A command that starts something waits for the settings that the client was asked for. Messages after it are handled meanwhile, and commands keep their
// order.
func TestCommandsWaitForSettings(t *testing.T) {
	known := make(chan struct{})
	e := lsptest.Start(t, lsptest.Options{
		Server: inProcess(t), Init: events, Settings: lsptest.Object{},
		Answers: lsptest.Answers{"workspace/configuration": func(m lsptest.Message) any {
			return lsptest.Later(func() any {
				<-known
				items, _ := m.Get("items").([]any)
				return slices.Repeat([]any{lsptest.Object{"python": "/no/python"}}, len(items))
			})
		}},
	})
	e.Open("a.py", "# %%\n1\n# %%\n2\n")
	run := func(cell int) lsptest.Sent {
		return e.Send("workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell}))
	}
	sent := []lsptest.Sent{run(1), e.Send("workspace/executeCommand", command("dip.autodip", lsptest.Object{"uri": e.URI("a.py"), "on": true})), run(2)}
	given := run(1)
	e.Notify("$/cancelRequest", lsptest.Object{"id": json.Number(given.ID)})
	e.Replace("a.py", "2\n", "3\n")
	var text string
	must(t, e.Call("test/text", lsptest.Object{"uri": e.URI("a.py")}, &text))
	if text != "# %%\n1\n# %%\n3\n" {
		t.Errorf("%q", text)
	}
	if begun := e.Messages(lsptest.Method("dip/event")); len(begun) > 0 {
		t.Errorf("before the settings were known: %v", begun)
	}
	close(known)
	var first, autodip, second struct{ Run, Autodip string }
	for i, reply := range []any{&first, &autodip, &second} {
		must(t, e.Wait(sent[i], reply))
	}
	var answer *lsptest.Error
	if err := e.Wait(given, nil); !errors.As(err, &answer) || answer.Code != -32800 {
		t.Errorf("the one that was given up: %v", err)
	}
	if !strings.HasSuffix(first.Run, "-1") || autodip.Autodip != "%%dip" || !strings.HasSuffix(second.Run, "-2") {
		t.Error(first, autodip, second)
	}
	for _, run := range []string{first.Run, second.Run} {
		e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Contains("reason", "/no/python"))
	}
	if begun := e.Messages(lsptest.Has("event", "run_started")); len(begun) != 2 {
		t.Errorf("%d have begun", len(begun))
	}
}

// A cell that waits for the answer to a question says so, and leads to it. A question whose setting has changed is taken back, before anything else is run.
func TestQuestionIsOverWithItsSetting(t *testing.T) {
	noPythonNamed(t)
	folder, python := hostile(t, true)
	choose := make(chan struct{})
	e, _ := startFaked(t, lsptest.Options{
		Folder: folder, Settings: lsptest.Object{"python": ""},
		Answers: lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any {
			return lsptest.Later(func() any {
				<-choose
				return nil
			})
		}},
	})
	e.Open("a.py", "print one\n")
	const waits = "… waiting for your answer"
	outcome := func() (summary string, lenses []string) {
		document := lsptest.Object{"textDocument": lsptest.Object{"uri": e.URI("a.py")}}
		var answer struct{ Cells []struct{ Summary string } }
		must(t, e.Call("dip/cells", document, &answer))
		var list []lsptest.Object
		must(t, e.Call("textDocument/codeLens", document, &list))
		for _, lens := range list {
			var resolved struct {
				Command struct{ Title, Command string }
			}
			must(t, e.Call("codeLens/resolve", lens, &resolved))
			lenses = append(lenses, resolved.Command.Title+" "+resolved.Command.Command)
		}
		return answer.Cells[0].Summary, lenses
	}
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}, nil)
	asks := []lsptest.Condition{lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", python)}
	e.Await("the question", asks...)
	if summary, lenses := outcome(); summary != waits || !slices.Contains(lenses, waits+" dip.showQuestion") {
		t.Errorf("%q, %q", summary, lenses)
	}
	e.Mark()
	var shown struct{ Shown int }
	if e.Command("dip.showQuestion", lsptest.Object{"uri": e.URI("a.py")}, &shown); shown.Shown != 1 {
		t.Error(shown)
	}
	e.Await("the question once more", asks...)
	e.Await("that the first one is taken back", lsptest.Method("$/cancelRequest"))
	e.Mark()
	e.Settings(lsptest.Object{"python": "/bin/sh"})
	e.Await("that it is taken back", lsptest.Method("$/cancelRequest"))
	close(choose)
	await(t, "that the cell waits no more", func() bool {
		summary, _ := outcome()
		return summary != waits
	})
	if e.Command("dip.showQuestion", lsptest.Object{}, &shown); shown.Shown != 0 {
		t.Error(shown)
	}
}
