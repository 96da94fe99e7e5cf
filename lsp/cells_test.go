package lsp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// cellsAnswer is what dip/cells answers.
type cellsAnswer struct {
	Version int
	Cells   []cellInfo
}

type cellInfo struct {
	ID, Number, Depth   int
	Kind, Title         string
	Range, Header, Body lsptest.Range
	Target, Goes        string
	State, Run          string
	Stale               bool
	Summary, Gone       string
}

// cellsOf asks for cells, those in a range unless that is nil.
func cellsOf(t *testing.T, e *lsptest.Editor, name string, in *lsptest.Range) (a cellsAnswer) {
	t.Helper()
	params := inDocument(e, name)
	if in != nil {
		params["range"] = *in
	}
	must(t, e.Call("dip/cells", params, &a))
	return a
}

func (c cellInfo) String() string {
	text := fmt.Sprintf("%d %s %q depth %d %s header %s body %s", c.Number, c.Kind, c.Title, c.Depth, span(c.Range), span(c.Header), span(c.Body))
	if c.Target != "" {
		text += " " + c.Target
	}
	return text
}

func span(r lsptest.Range) string { return place(r.Start) + "-" + place(r.End) }

// The cells of documents in which nothing has run.
func TestCells(t *testing.T) {
	forFiles(t, "cells", func(t *testing.T, e *lsptest.Editor, m *lsptest.Marked) {
		var b strings.Builder
		for _, c := range cellsOf(t, e, "a.py", nil).Cells {
			fmt.Fprintln(&b, c)
			if c.State != "" || c.Run != "" || c.Summary != "" || c.Stale || c.ID == 0 {
				t.Errorf("%+v has run, or has no id", c)
			}
		}
		m.Golden(t, "cells", b.String())
	})
}

// A client asks for the cells that can be seen.
func TestCellsInRange(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t)})
	e.Open("a.py", "# ---\n# front: matter\n# ---\na\n# %%\nb\n# %%\nc\n# %%\nd\n")
	at := func(line, character int) lsptest.Position { return lsptest.Position{Line: line, Character: character} }
	for _, test := range []struct {
		in   lsptest.Range
		want []int
	}{
		{lsptest.Range{}, []int{}},
		{lsptest.Range{End: at(3, 0)}, []int{1}},
		{lsptest.Range{Start: at(5, 1), End: at(5, 1)}, []int{2}},
		{lsptest.Range{Start: at(5, 0), End: at(6, 0)}, []int{2, 3}},
		{lsptest.Range{Start: at(7, 0), End: at(1<<30, 1<<30)}, []int{3, 4}},
		{lsptest.Range{Start: at(1<<30, 0), End: at(1<<30, 0)}, []int{4}},
		{lsptest.Range{Start: at(8, 0), End: at(4, 0)}, []int{}},
	} {
		got := []int{}
		for _, c := range cellsOf(t, e, "a.py", &test.in).Cells {
			got = append(got, c.Number)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: cells %v, want %v", span(test.in), got, test.want)
		}
	}
	if err := e.Call("dip/cells", inDocument(e, "b.py"), nil); err == nil || !strings.Contains(err.Error(), "is not open") {
		t.Error(err)
	}
}

// A moved cell keeps its id and its last run. A client that has asked for that is told when to look again.
func TestCellsThatRan(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: lsptest.Object{"cells": true, "events": true, "prewarm": false}})
	e.Open("a.py", "# %% One\nlet x 1\n# %% Two\nerror ZeroDivisionError by zero\n# %% Three\n\nprint held\nwait\n# %% Four\nresult 1\n")
	e.Open("b.py", "# %%\n")
	uri := e.URI("a.py")
	before := cellsOf(t, e, "a.py", nil)
	awaitCells := func(what string, fits func([]cellInfo) bool) cellsAnswer {
		t.Helper()
		for {
			if a := cellsOf(t, e, "a.py", nil); fits(a.Cells) {
				return a
			}
			e.Await(what+": a change", lsptest.Method("dip/cellsChanged"), lsptest.Has("uri", uri))
			e.Mark()
		}
	}
	state := func(i int, want string) func([]cellInfo) bool {
		return func(all []cellInfo) bool { return all[i].State == want }
	}

	one := e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 1})
	a := awaitCells("the end of the first cell", state(0, "ok"))
	if c := a.Cells[0]; c.Run != one || !strings.HasPrefix(c.Summary, "✓ ") || c.Stale || c.ID != before.Cells[0].ID {
		t.Errorf("%+v", c)
	}
	e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 2})
	a = awaitCells("the end of the second cell", state(1, "failed"))
	if c := a.Cells[1]; !strings.HasPrefix(c.Summary, "✗ ZeroDivisionError") {
		t.Errorf("%+v", c)
	}

	three := e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 3})
	e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 4})
	a = awaitCells("the third cell", state(2, "running"))
	if a.Cells[3].State != "queued" {
		t.Errorf("%+v", a.Cells[3])
	}
	e.Command("dip.interrupt", lsptest.Object{"run": three}, nil)
	awaitCells("the interrupt", state(2, "interrupted"))
	awaitCells("the last cell", state(3, "ok"))

	e.Replace("a.py", "let x 1", "let x 2")
	e.Replace("a.py", "# %% Two\n", "# %% New\n\n# %% Two\n")
	a = cellsOf(t, e, "a.py", nil)
	if a.Version != 3 || !a.Cells[0].Stale || a.Cells[2].Stale || a.Cells[2].ID != before.Cells[1].ID || a.Cells[2].State != "failed" || a.Cells[1].State != "" {
		t.Errorf("%+v", a)
	}
	e.Mark()
	e.Command("dip.clear", lsptest.Object{"uri": uri}, nil)
	awaitCells("to be cleared", state(0, ""))
	if told := e.Messages(lsptest.Has("uri", e.URI("b.py"))); len(told) > 0 {
		t.Errorf("told of a document of which nothing ran: %v", told)
	}
}

// A client that has not asked for it is not told.
func TestCellsChangedUnasked(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "let x 1\n")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	must(t, e.Shutdown())
	if told := e.Messages(lsptest.Method("dip/cellsChanged")); len(told) > 0 {
		t.Errorf("%v", told)
	}
}
