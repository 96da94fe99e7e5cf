package lsp_test

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"dipls/internal/lsptest"
)

// asking is an editor whose user is asked for text.
func asking(t *testing.T, answer func(lsptest.Message) any) *lsptest.Editor {
	t.Helper()
	e, _ := startFaked(t, lsptest.Options{
		Init: lsptest.Object{"events": true, "input": true}, Answers: lsptest.Answers{"dip/input": answer},
		Capabilities: relating, Settings: lsptest.Object{"ranks": 2, "app": "none", "codeLens": []string{"runLocal"}},
	})
	return e
}

// printed waits for the end of a run, and gives what its processes have printed, sorted.
func printed(e *lsptest.Editor, run string) (texts []string) {
	of := func(kind string) []lsptest.Condition {
		return []lsptest.Condition{lsptest.Method("dip/event"), lsptest.Has("event", kind), lsptest.Has("run", run)}
	}
	e.Await("the end of the run", of("run_finished")...)
	for _, m := range e.Messages(of("stream")...) {
		texts = append(texts, strings.TrimSpace(m.Get("text").(string)))
	}
	slices.Sort(texts)
	return texts
}

// What code asks for is asked once for all ranks, and each may have its own answer. A question that was closed can be asked again, by a lens or a command.
func TestInput(t *testing.T) {
	var closed atomic.Bool
	e := asking(t, func(m lsptest.Message) any {
		switch {
		case m.Get("prompt") == "each? ":
			return lsptest.Object{"texts": lsptest.Object{"0": "zero", "1": "one"}}
		case m.Get("prompt") == "later? " && !closed.Swap(true):
			return nil
		}
		return lsptest.Object{"text": "typed"}
	})
	e.Open("a.py", "# %% Ask target=\"remote\"\ninput all? \n# %% Each target=\"remote\"\ninput each? \n# %% Later\ngetpass later? \n")
	run := func(cell int) string { return e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell}) }
	if got := printed(e, run(1)); !slices.Equal(got, []string{"typed", "typed"}) {
		t.Errorf("printed %q", got)
	}
	asked := e.Await("the question", lsptest.Method("dip/input"))
	if asked.Get("who") != "ranks 0-1" || asked.Get("title") != "cell 1 Ask" || asked.Get("uri") != e.URI("a.py") {
		t.Errorf("asked %v", asked)
	}
	if got := printed(e, run(2)); !slices.Equal(got, []string{"one", "zero"}) {
		t.Errorf("printed %q", got)
	}
	later := run(3)
	e.Await("the password", lsptest.Method("dip/input"), lsptest.Has("password", true), lsptest.Has("who", ""))
	awaitLenses(t, e, 4, "(?s).*… waits for your answer.*Answer")
	await(t, "the second question", func() bool { // the first one may not have been answered yet
		var reply struct{ Asked int }
		e.Command("dip.answerInput", lsptest.Object{"run": later}, &reply)
		return reply.Asked == 0
	})
	if got := printed(e, later); !slices.Equal(got, []string{"typed"}) {
		t.Errorf("printed %q", got)
	}
}

// A question is taken back when its run is interrupted.
func TestInputIsWithdrawn(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	e := asking(t, func(lsptest.Message) any {
		return lsptest.Later(func() any {
			<-over
			return nil
		})
	})
	e.Open("a.py", "# %%\ninput name? \n")
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	asked := e.Await("the question", lsptest.Method("dip/input"))
	id, err := strconv.Atoi(string(asked.ID))
	must(t, err)
	e.Command("dip.interrupt", lsptest.Object{"run": run}, nil)
	e.Await("the end of the question", lsptest.Method("$/cancelRequest"), lsptest.Has("id", id))
	printed(e, run)
}

// A client that cannot ask for text leaves code with an error.
func TestNobodyTypes(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: lsptest.Object{"events": true}})
	e.Open("a.py", "# %%\ninput name? \n")
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the error", lsptest.Method("dip/event"), lsptest.Has("event", "error"), lsptest.Has("ename", "NoKeyboardError"), lsptest.Has("run", run))
}
