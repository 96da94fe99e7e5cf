package lsp_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

var events = lsptest.Object{"events": true}

// A cell runs where it says, and an event client hears of all of it.
func TestRunCell(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{"ranks": 3}})
	e.Open("train.py", unindent(`
		# %% First
		print("hällo")
		# %%dip --see all
		import os
		print("rank", os.environ["RANK"])
	`))
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "cell": 1})
	e.Await("output", lsptest.Method("dip/event"), lsptest.Has("run", run), lsptest.Contains("text", "hällo"))
	e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", "ok"))

	run = e.Run("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "position": lsptest.Position{Line: 3}})
	for rank := range 3 {
		e.Await("a rank's output", lsptest.Has("run", run), lsptest.Has("rank", rank), lsptest.Contains("text", "rank"))
	}
	e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", "ok"))
}

// A directive that asks for help gets it, wherever the cell would run, and the cell does not run.
func TestHelpOfDirective(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events})
	e.Open("a.py", "# %% target=\"remote\"\n%%dip everywhere -h\nprint('ran')\n# %%px --help\n")
	for cell, usage := range map[int]string{1: "usage: %%dip [-S RANKS]", 2: "usage: %%px [-t RANKS]"} {
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell})
		finished(e, run, "ok")
		var printed strings.Builder
		for _, m := range e.Messages(lsptest.Has("event", "stream"), lsptest.Has("run", run)) {
			fmt.Fprint(&printed, m.Get("text"))
		}
		if !strings.Contains(printed.String(), usage) || strings.Contains(printed.String(), "ran\n") {
			t.Errorf("cell %d printed %s", cell, printed.String())
		}
	}
}

// A client that knows nothing but LSP reads folded lines, and is told of failures.
func TestRunCellWithoutEvents(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Settings: lsptest.Object{"ranks": 2}})
	e.Open("train.py", "# %%dip --see all\nprint('epoch 1')\n# %%\nfoobar\n")
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "cell": 1}, nil)
	e.Await("a folded line", lsptest.Method("window/logMessage"), lsptest.Contains("message", "[0-1] epoch 1"))
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "cell": 2}, nil)
	e.Await("the failure", lsptest.Method("window/showMessage"), lsptest.Has("type", 1),
		lsptest.Has("message", "NameError: name 'foobar' is not defined (local, line 4)"))
}

// A rank that prints a lot finishes although the client reads nothing. The client is told what it has missed; the journal has it.
func TestRunPrintsToNobody(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events})
	done := filepath.Join(e.Folder, "done")
	e.Open("a.py", fmt.Sprintf("# %%%%\nfor i in range(1000): print('x' * 10000)\nopen(%q, 'w').close()\n", done))
	resume := e.StopReading()
	sent := e.Send("workspace/executeCommand", command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}))
	exists(t, done)
	resume()
	var reply struct{ Run string }
	if err := e.Wait(sent, &reply); err != nil {
		t.Fatal(err)
	}
	e.Await("word of what is missing", lsptest.Has("event", "log"), lsptest.Contains("text", "left out here"))
	finished(e, reply.Run, "ok")
}

// A run's journal takes no more than the setting says, and the client is told.
func TestJournalLimit(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: lsptest.Object{"events": true, "journalLimit": "16MiB"}})
	e.Open("a.py", "# %%\nfor i in range(400): print('x' * 60_000)\n")
	var reply struct{ Run string }
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}, &reply)
	e.Await("word of the limit", lsptest.Has("event", "log"), lsptest.Contains("text", "the journal of this run has reached its limit, 16 MiB"))
	finished(e, reply.Run, "ok")
}
