package lsp_test

import (
	"strings"
	"testing"

	"dipls/internal/lsptest"
	"dipls/internal/sessiontest"
)

const toBeLost = "# %% Here\nlet x 1\n# %% Ranks\n# %%dip\nlet y 1\n# %% Both\n# %%dip everywhere\nlet z 1\n# %% One\n# %%dip -r 1\nlet u 1\n"

// awaitGone waits until the cells of a document say of what they have left what is wanted of each, and checks that all show the same.
func awaitGone(t *testing.T, e *lsptest.Editor, want ...string) {
	t.Helper()
	for {
		e.Mark()
		cells, got := cellsOf(t, e, "a.py", nil).Cells, []string{}
		for _, c := range cells {
			got = append(got, c.Gone)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			e.Await("what is gone: "+strings.Join(got, "|"), lsptest.Method("dip/cellsChanged"))
			continue
		}
		for _, c := range cells {
			mark := "✓ "
			if c.Gone != "" {
				mark = "○ " + c.Gone + " · "
			}
			line := c.Range.Start.Line
			if hint := hintAt(e, line); c.State != "ok" || !strings.HasPrefix(c.Summary, mark) || !strings.HasPrefix(hint, mark) {
				t.Errorf("cell %d: %q, summary %q, hint %q; want %q", c.Number, c.State, c.Summary, hint, mark)
			}
			if shown := titles(lensesOf(t, e, "a.py"), line); !strings.Contains(shown, "| "+mark) {
				t.Errorf("cell %d: lenses %s, want %q", c.Number, shown, mark)
			}
		}
		return
	}
}

// Whatever ends a namespace, the cells that ran there say so, here and in the next window; those that have run since do not.
func TestGone(t *testing.T) {
	const restarted, ended = "not run since the restart", "not run since the end of the pool"
	h := newHouse(t)
	o := lsptest.Options{Init: lsptest.Object{"events": true, "cells": true}}
	e := h.editor("", "VS Code", o)
	e.Open("a.py", toBeLost)
	run := func(cell int) string {
		id := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell})
		finished(e, id, "ok")
		return id
	}
	run(1)
	onRanks := run(2)
	run(3)
	run(4)
	awaitGone(t, e, "", "", "", "")

	e.Command("dip.restartPool", nil, nil)
	e.Await("word of the run", lsptest.Method("dip/gone"), lsptest.Has("runs.0.run", onRanks), lsptest.Has("runs.0.gone", restarted))
	awaitGone(t, e, "", restarted, restarted+" of the pool", restarted)
	run(2)
	e.Command("dip.restartLocal", nil, nil)
	awaitGone(t, e, restarted, "", restarted, restarted)
	run(1)
	run(3)
	run(4)

	e.Replace("a.py", "let u 1", "exit 3")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 4}), "died")
	e.Replace("a.py", "# %% One\n# %%dip -r 1\nexit 3\n", "")
	awaitGone(t, e, "", "not run since rank 1 died", "not run since rank 1 died")
	e.Command("dip.restartPool", nil, nil)
	e.Command("dip.killPool", nil, nil)
	awaitGone(t, e, "", ended, ended)

	must(t, e.Shutdown())
	e = h.editor(e.Folder, "VS Code", o)
	e.Open("a.py", toBeLost[:strings.Index(toBeLost, "# %% One")])
	awaitGone(t, e, "", ended, ended)
	e.Command("dip.restart", nil, nil)
	awaitGone(t, e, restarted, ended, restarted)

	list, err := h.List(sessiontest.Context(t))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	must(t, h.Stop(sessiontest.Context(t), list[0], "dipls stop"))
	const closed = "not run since the end of the session"
	awaitGone(t, e, closed, closed, closed)
}
