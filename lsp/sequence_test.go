package lsp_test

import (
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// Cells that wait for others to end are queued, by lenses, hints and dip.status; they can be interrupted, and those after them with them.
func TestCellsWait(t *testing.T) {
	e, machine := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "# %%\n\ngate first\n# %% [markdown]\n# %%\nprint two\n# %%\nprint three\n# %%\nprint four\n")
	runCell(e, 4, "ok")
	const queued = laterLenses + ` \| … queued \| Interrupt`
	all := lsptest.Object{"uri": e.URI("a.py")}
	e.Run("dip.runAll", all)
	awaitLenses(t, e, 4, queued)
	awaitLenses(t, e, 6, queued)
	if got := hintsOf(t, e, 1, 9); got != "4.4 … queued\n6.4 … queued\n8.4 … queued" {
		t.Errorf("hints: %s", got)
	}
	var status struct {
		Workspaces []struct{ Runs []struct{ Run, State string } }
	}
	e.Command("dip.status", nil, &status)
	if runs := status.Workspaces[0].Runs; len(runs) != 4 || runs[3].State != "queued" {
		t.Errorf("%+v", runs)
	}

	list := awaitLenses(t, e, 6, queued)
	var reply struct{ Interrupted int }
	for _, lens := range list {
		if lens.Range.Start.Line == 6 && lens.Command.Title == "Interrupt" {
			click(t, e, lens, &reply)
		}
	}
	if reply.Interrupted != 1 {
		t.Errorf("interrupted %d", reply.Interrupted)
	}
	awaitLenses(t, e, 6, laterLenses+` \| ✓ .*`) // as it was before
	awaitLenses(t, e, 8, laterLenses)
	awaitLenses(t, e, 4, queued)
	e.Mark()
	machine.Open("first")
	e.Await("the end of the second one", lsptest.Has("event", "run_finished"), lsptest.Has("cell", 3), lsptest.Has("status", "ok"))
	awaitLenses(t, e, 4, laterLenses+` \| ✓ .*`)
	runCell(e, 5, "ok") // after all that could have begun before it
	if others := e.Messages(lsptest.Has("cell", 4)); len(others) > 0 {
		t.Errorf("it has run: %v", others)
	}
}

// Cells that wait for one that fails are as they were before; to interrupt everything leaves nothing to begin.
func TestCellsWaitInVain(t *testing.T) {
	e, machine := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "# %%\ngate first\nnowhere\n\n# %%\nprint 1\n# %%\nprint 2\n")
	uri := e.URI("a.py")
	const queued = laterLenses + ` \| … queued \| Interrupt`
	for _, end := range []func(){
		func() {
			var reply struct{ Interrupted int }
			e.Command("dip.interrupt", nil, &reply)
			if reply.Interrupted != 3 {
				t.Errorf("interrupted %d", reply.Interrupted)
			}
		},
		func() { machine.Open("first") },
	} {
		e.Mark()
		run := e.Run("dip.runBelow", lsptest.Object{"uri": uri, "cell": 1})
		awaitLenses(t, e, 6, queued)
		var status struct {
			Workspaces []struct{ Runs []struct{ Run, State string } }
		}
		e.Command("dip.status", nil, &status)
		err := e.TryCommand("dip.showOutput", lsptest.Object{"run": status.Workspaces[0].Runs[1].Run}, nil)
		if err == nil || !strings.Contains(err.Error(), "has not begun") {
			t.Error(err)
		}
		end()
		e.Await("the end", lsptest.Has("run", run), lsptest.Has("event", "run_finished"))
		awaitLenses(t, e, 4, laterLenses)
		awaitLenses(t, e, 6, laterLenses)
	}
}

// Cells are compiled before the first of them runs. What is wrong is marked at its line, and the other cells are as they were.
func TestCellsThatDoNotCompile(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint one\n# %%dip\nprint two\nwrong\n# %%\nprint three\n")
	runCell(e, 1, "ok")
	e.Mark()
	e.Run("dip.runAll", lsptest.Object{"uri": e.URI("a.py")})
	awaitDiagnostics(t, e, "a.py", "0:0-0:4 information output one", "4:0-4:5 error SyntaxError SyntaxError: invalid syntax — local")
	e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("cell", 3), lsptest.Has("reason", "cell 2 does not compile"))
	awaitLenses(t, e, 0, `.*✓.*`) // as it was before
	if printed := e.Messages(lsptest.Has("event", "stream")); len(printed) > 0 {
		t.Errorf("something has run: %v", printed)
	}
}
