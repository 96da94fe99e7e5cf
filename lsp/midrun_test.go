package lsp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dipls/internal/lsptest"
)

// While a cell runs, everything is edited. The run has the text that it began with. What it says of a cell that has only moved is shown where the cell is
// now.
func TestEditWhileCellRuns(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{"ranks": 2, "diagnostics.output": "off"}})
	gate := filepath.Join(e.Folder, "gate 🚪")
	e.Open("train.py", unindent(fmt.Sprintf(`
		# %%%% above
		a = 1
		# %%%% everywhere
		# %%%%dip everywhere --see all
		import os, time
		print("begun", flush=True)
		while not os.path.exists(%q): time.sleep(0.01)
		word = "🚀 old"; print(word); undefined
		# %%%% below
		b = 1
	`, gate)))
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "cell": 2, "target": "remote"})
	for rank := range 2 {
		e.Await("the beginning", lsptest.Has("run", run), lsptest.Has("rank", rank), lsptest.Contains("text", "begun"))
	}
	e.Replace("train.py", "a = 1\n", "a = '𝔘𝔫𝔦'\n# %% new\nn = 1\nn = 2\n") // three lines, and a cell, above it
	e.Replace("train.py", "b = 1\n", "b = (\n")
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e.Await("the old text's output", lsptest.Has("run", run), lsptest.Contains("text", "🚀 old"))
	finished(e, run, "error")
	e.Await("its failure, three lines further down", lsptest.Method("textDocument/publishDiagnostics"), func(m lsptest.Message) bool {
		list, _ := m.Get("diagnostics").([]any)
		for _, d := range list {
			if lsptest.Dig(d, "code") == "NameError" {
				return fmt.Sprint(lsptest.Dig(d, "range.start.line")) == "10" &&
					lsptest.Dig(d, "message") == "NameError: name 'undefined' is not defined — ranks 0-1"
			}
		}
		return false
	})

	// The text that fails is edited while it runs again: nothing is said of lines that are not those that ran.
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	e.Mark()
	run = e.Run("dip.runCell", lsptest.Object{"uri": e.URI("train.py"), "cell": 3, "target": "remote"})
	e.Await("the beginning", lsptest.Has("run", run), lsptest.Contains("text", "begun"))
	e.Replace("train.py", "🚀 old", "🚀 new")
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e.Await("the old text's output", lsptest.Has("run", run), lsptest.Contains("text", "🚀 old"))
	finished(e, run, "error")
	e.Mark()
	e.Replace("train.py", "b = (\n", "b = ()\n")
	e.Await("diagnostics of the last text", lsptest.Method("textDocument/publishDiagnostics"), func(m lsptest.Message) bool {
		list, _ := m.Get("diagnostics").([]any)
		return len(list) == 0
	})
}
