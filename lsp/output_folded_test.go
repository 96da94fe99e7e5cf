package lsp_test

import (
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// A client that wants events and what a person reads of them gets both: folded lines with headings and outcomes, and progress bars as they stand.
func TestFolded(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{
		Server: program(t), Init: lsptest.Object{"events": true, "folded": true}, Settings: lsptest.Object{"ranks": 2, "app": "none", "prewarm": false},
	})
	e.Open("a.py", `# %% Greet
# %%dip --see all
print("\x1b[32mhello\x1b[0m")
# %% Fail
1/0
# %% Bar
import time
print("\r 50%", end="", flush=True)
while True: time.sleep(60)
`)
	folded := lsptest.Method("dip/folded")
	item := func(kind, text string) string {
		t.Helper()
		m := e.Await(kind+" "+text, folded, func(m lsptest.Message) bool { return find(m, kind, text) != "" })
		return find(m, kind, text)
	}
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	item("heading", "Cell 1: Greet (all ranks)")
	item("line", "[0-1] \x1b[32mhello\x1b[0m")
	item("outcome", "✓ 2/2 ranks · ")
	e.Await("an event", lsptest.Method("dip/event"), lsptest.Has("event", "stream"), lsptest.Has("run", run))
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2})
	if text := item("failure", "ZeroDivisionError"); !strings.Contains(text, "a.py:5") {
		t.Errorf("the failure says %q", text)
	}
	item("outcome", "✗ ZeroDivisionError · ")
	run = e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 3})
	e.Await("the bar", folded, lsptest.Has("live.0", " 50%"))
	e.Command("dip.interrupt", lsptest.Object{"run": run}, nil)
	item("line", " 50%")
	item("outcome", "✗")
	if e.Messages(folded)[len(e.Messages(folded))-1].Get("live.0") != nil {
		t.Error("the bar is still live after the end")
	}
}

// All that a person reads of a run comes before its end: a client may leave then.
func TestFoldedBeforeTheEnd(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: lsptest.Object{"events": true, "folded": true}, Settings: quietly})
	e.Open("a.py", strings.Repeat("# %%\nstdout hello\nraise E: no\n", 30))
	var runs []string
	for cell := range 30 {
		runs = append(runs, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell + 1}))
	}
	for _, run := range runs {
		e.Await("the end", lsptest.Method("dip/event"), lsptest.Has("event", "run_finished"), lsptest.Has("run", run))
	}
	told := map[string]bool{}
	for _, m := range e.Messages() {
		items, _ := m.Get("items").([]any)
		for _, item := range items {
			if item := item.(map[string]any); item["kind"] == "outcome" {
				told[item["run"].(string)] = true
			}
		}
		if run, _ := m.Get("run").(string); m.Get("event") == "run_finished" && !told[run] {
			t.Errorf("run %s has finished before its outcome was told", run)
		}
	}
}

// find is the text of an item of a notification that is of a kind and begins with, or for failures holds, a text; "" if there is none.
func find(m lsptest.Message, kind, text string) string {
	items, _ := m.Get("items").([]any)
	for _, item := range items {
		if item, ok := item.(map[string]any); ok && item["kind"] == kind {
			if said, _ := item["text"].(string); strings.HasPrefix(said, text) || kind == "failure" && strings.Contains(said, text) {
				return said
			}
		}
	}
	return ""
}
