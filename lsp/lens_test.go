package lsp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
	"dipls/ranks/fakerank"
)

// codeLens is one as the client sees it.
type codeLens struct {
	Range   lsptest.Range   `json:"range"`
	Data    json.RawMessage `json:"data,omitempty"`
	Command *struct {
		Title     string           `json:"title"`
		Command   string           `json:"command"`
		Arguments []lsptest.Object `json:"arguments,omitempty"`
	} `json:"command,omitempty"`
}

// lensesOf asks for a document's lenses and resolves them.
func lensesOf(t *testing.T, e *lsptest.Editor, name string) []codeLens {
	t.Helper()
	var list []codeLens
	if err := e.Call("textDocument/codeLens", inDocument(e, name), &list); err != nil {
		t.Fatal(err)
	}
	for i, lens := range list {
		if lens.Command != nil {
			continue
		}
		err := e.Call("codeLens/resolve", lens, &list[i])
		var refused *lsptest.Error
		switch {
		case errors.As(err, &refused) && refused.Code == contentModified: // a run has ended since
		case err != nil:
			t.Fatalf("%s: %v", lens.Data, err)
		}
	}
	return slices.DeleteFunc(list, func(lens codeLens) bool { return lens.Command == nil })
}

// contentModified is LSP's error code for a request about something that has changed since.
const contentModified = -32801

// awaitLenses waits until a line's lenses fit a pattern, as an editor does: it asks again whenever it is told to.
func awaitLenses(t *testing.T, e *lsptest.Editor, line int, pattern string) []codeLens {
	t.Helper()
	for {
		e.Mark()
		list := lensesOf(t, e, "a.py")
		if regexp.MustCompile("^" + pattern + "$").MatchString(titles(list, line)) {
			return list
		}
		e.Await(fmt.Sprintf("a refresh: lenses %q do not fit %q", titles(list, line), pattern), lsptest.Method("workspace/codeLens/refresh"))
	}
}

// click runs the command of a lens.
func click(t *testing.T, e *lsptest.Editor, lens codeLens, result any) {
	t.Helper()
	e.Command(lens.Command.Command, lens.Command.Arguments[0], result)
}

// inDocument is the beginning of most requests' parameters.
func inDocument(e *lsptest.Editor, name string) lsptest.Object {
	return lsptest.Object{"textDocument": lsptest.Object{"uri": e.URI(name)}}
}

// titles are the titles of the lenses of a line.
func titles(list []codeLens, line int) string {
	var found []string
	for _, lens := range list {
		if lens.Range.Start.Line == line {
			found = append(found, lens.Command.Title)
		}
	}
	return strings.Join(found, " | ")
}

// titled returns the lens with a title; there must be only one.
func titled(t *testing.T, list []codeLens, title string) codeLens {
	t.Helper()
	var found []codeLens
	for _, lens := range list {
		if lens.Command.Title == title {
			found = append(found, lens)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d lenses %q in %+v", len(found), title, list)
	}
	return found[0]
}

// settingsIn is the settings that a case asks for.
func settingsIn(t *testing.T, m *lsptest.Marked) lsptest.Object {
	t.Helper()
	settings := lsptest.Object{}
	if text := m.Value("settings"); text != "" {
		if err := json.Unmarshal([]byte(text), &settings); err != nil {
			t.Fatal(err)
		}
	}
	return settings
}

// forFiles runs a test for every case of a directory of testdata, with every server. The editor has opened the case's documents.
func forFiles(t *testing.T, dir string, test func(*testing.T, *lsptest.Editor, *lsptest.Marked)) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		lsptest.Files(t, "testdata/"+dir+"/*.txtar", func(t *testing.T, m *lsptest.Marked) {
			o := lsptest.Options{Server: server, Init: settingsIn(t, m)}
			if text := m.Value("capabilities"); text != "" {
				if err := json.Unmarshal([]byte(text), &o.Capabilities); err != nil {
					t.Fatal(err)
				}
			}
			e := lsptest.Start(t, o)
			m.Open(e)
			test(t, e, m)
		})
	})
}

// The lenses of documents in which nothing has run.
func TestLenses(t *testing.T) {
	forFiles(t, "lens", func(t *testing.T, e *lsptest.Editor, m *lsptest.Marked) {
		var b strings.Builder
		for _, lens := range lensesOf(t, e, "a.py") {
			fmt.Fprintf(&b, "%d: %s", lens.Range.Start.Line, lens.Command.Title)
			if lens.Range.Start != lens.Range.End || lens.Range.Start.Character != 0 {
				fmt.Fprintf(&b, " at %v", lens.Range)
			}
			if lens.Command.Command != "" {
				fmt.Fprintf(&b, " → %s", lens.Command.Command)
			}
			for _, arg := range lens.Command.Arguments {
				if arg["uri"] != e.URI("a.py") {
					t.Errorf("uri %v", arg["uri"])
				}
				delete(arg, "uri")
				delete(arg, "id")
				text, _ := json.Marshal(arg)
				fmt.Fprintf(&b, " %s", text)
			}
			b.WriteString("\n")
		}
		m.Golden(t, "lenses", b.String())
	})
}

// The lenses of a first cell that does not say where it runs, and of a later one.
const (
	firstLenses = `Run cell · locally \| Run on all ranks \| Everywhere \| Run below`
	laterLenses = `Run cell · locally \| Run on all ranks \| Everywhere \| Run above \| Run below`
)

// A cell's lenses tell how its run goes and went, and its hints the same.
func TestLensesOfRuns(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Settings: lsptest.Object{"ranks": 3, "app": "none"}})
	e.Open("a.py", unindent(`
		# %% Rank 1 goes on
		print begun
		on 1 gate end
		# %% Only rank 2 fails
		on 2 foobar
		# %% Local
		let x 1
	`))
	list := awaitLenses(t, e, 0, firstLenses)
	click(t, e, titled(t, list[:4], "Run on all ranks"), nil)
	list = awaitLenses(t, e, 0, firstLenses+` \| … 2/3 done \| Interrupt`)
	if got := hintsOf(t, e, 0, 9); got != "0.19 … 2/3 done" {
		t.Errorf("hints %q", got)
	}
	click(t, e, titled(t, list, "Interrupt"), nil)
	awaitLenses(t, e, 0, firstLenses+` \| ✗ interrupted · .*s`)

	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2, "target": "remote"}, nil)
	list = awaitLenses(t, e, 3, laterLenses+` \| ✗ rank 2: NameError`)
	if lens := titled(t, list, "✗ rank 2: NameError"); lens.Command.Command != "dip.showOutput" {
		t.Errorf("%+v", lens.Command)
	}
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 3}, nil)
	awaitLenses(t, e, 5, laterLenses+` \| ✓ [\d.]+ m?s`)
	want := `^3\.22 ✗ rank 2: NameError · [\d.]+ m?s \(rank 2: NameError: name 'foobar' is not defined\)\n5\.10 ✓ [\d.]+ m?s$`
	if got := hintsOf(t, e, 1, 9); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("hints %q", got)
	}

	// A cell that has been edited since its run is stale, until its text is again as it was.
	e.Replace("a.py", "let x 1", "let x 2")
	awaitLenses(t, e, 5, laterLenses+` \| ✓ [\d.]+ m?s · stale`)
	if got := hintsOf(t, e, 5, 5); !regexp.MustCompile(`^5\.10 ✓ [\d.]+ m?s · stale$`).MatchString(got) {
		t.Errorf("hints %q", got)
	}
	e.Replace("a.py", "let x 2", "let x 1")
	e.Replace("a.py", "# %% Local", "\n# %% Renamed")
	awaitLenses(t, e, 6, laterLenses+` \| ✓ [\d.]+ m?s`)

	e.Mark()
	e.Command("dip.clear", lsptest.Object{"uri": e.URI("a.py")}, nil)
	e.Await("a refresh of lenses", lsptest.Method("workspace/codeLens/refresh"))
	e.Await("a refresh of hints", lsptest.Method("workspace/inlayHint/refresh"))
	awaitLenses(t, e, 6, laterLenses)
	if got := hintsOf(t, e, 0, 9); got != "" {
		t.Errorf("hints %q", got)
	}
}

// While a cell runs, its lens and hint say for how long, and how much time is left where a progress bar says so.
func TestElapsed(t *testing.T) {
	e, machine := startFaked(t, lsptest.Options{Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", "# %% Trains\n# %%dip --see 1\non 1 draw \"\\r 45%|████▌     | 45/100 [00:10<01:05,  4.50it/s]\"\ngate end\n")
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}, nil)
	awaitLenses(t, e, 0, `.* \| … 0/2 done · \d+ s · 1 min 5 s left \| Interrupt`)
	if got := hintsOf(t, e, 0, 0); !strings.Contains(got, "s · 1 min 5 s left") {
		t.Errorf("hints %q", got)
	}
	machine.Open("end")
	awaitLenses(t, e, 0, `.* \| ✓ 2/2 ranks · [\d.]+ s`)
}

// hintsOf asks for the hints of lines, and writes each as place, label and (tooltip).
func hintsOf(t *testing.T, e *lsptest.Editor, first, last int) string {
	t.Helper()
	params := inDocument(e, "a.py")
	params["range"] = lsptest.Range{Start: lsptest.Position{Line: first}, End: lsptest.Position{Line: last, Character: 100}}
	var list []struct {
		Position       lsptest.Position
		Label, Tooltip string
	}
	must(t, e.Call("textDocument/inlayHint", params, &list))
	var lines []string
	for _, h := range list {
		line := place(h.Position) + " " + h.Label
		if h.Tooltip != "" {
			line += " (" + h.Tooltip + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// The hints of every document are those of its marks: hint "label (tooltip)", at the end of the line. Before they are asked for, cells run ("run: 1 2")
// and texts are replaced ("edits: old → new; old → new").
func TestHints(t *testing.T) {
	duration := regexp.MustCompile(`[\d.]+ m?s\b`)
	lsptest.Files(t, "testdata/hints/*.txtar", func(t *testing.T, m *lsptest.Marked) {
		e := openMarked(t, m, lsptest.Options{Server: faked(t, fakerank.NewHost(fakerank.Config{}))})
		for _, edit := range strings.Split(m.Value("edits"), "; ") {
			if old, text, ok := strings.Cut(edit, " → "); ok {
				e.Replace("a.py", old, text)
			}
		}
		var want []string
		for _, mark := range m.Kinds("hint") {
			want = append(want, place(mark.Range.End)+" "+mark.Args[0])
		}
		if got := duration.ReplaceAllString(hintsOf(t, e, 0, 1000), "TIME"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}

// A lens means its cell, wherever that is when it is clicked, and a line's lens means that text.
func TestLensesOfMovedCells(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", "# %% First\nlet x here\n# %% Second\n# %dipush x\n# %% Third target=\"remote\"\nvars\n")
	var unresolved []codeLens
	must(t, e.Call("textDocument/codeLens", inDocument(e, "a.py"), &unresolved))
	list := lensesOf(t, e, "a.py")
	third := list[len(list)-4]
	line := titled(t, list, "Run this line")

	e.Edit("a.py", lsptest.Edit{Text: "# %%\nnowhere\n"})
	if err := e.TryCommand("dip.runLine", line.Command.Arguments[0], nil); err == nil || !strings.Contains(err.Error(), "no magic in line 4") {
		t.Error(err)
	}
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2}), "ok")
	var reply struct{ Run string }
	click(t, e, titled(t, lensesOf(t, e, "a.py"), "Run this line"), &reply)
	finished(e, reply.Run, "ok")
	click(t, e, third, &reply)
	e.Await("what was pushed", lsptest.Has("run", reply.Run), lsptest.Contains("text", "x"))
	finished(e, reply.Run, "ok")

	e.Replace("a.py", "# %dipush x", "# %dipush y")
	moved := lsptest.Object{"uri": e.URI("a.py"), "position": lsptest.Position{Line: 5}, "text": "%dipush x"}
	if err := e.TryCommand("dip.runLine", moved, nil); err == nil || !strings.Contains(err.Error(), "line 6 says %dipush y now") {
		t.Error(err)
	}
	e.SetText("a.py", "")
	for i, lens := range unresolved {
		var refused *lsptest.Error
		if err := e.Call("codeLens/resolve", lens, nil); !errors.As(err, &refused) || refused.Code != contentModified {
			t.Errorf("%s: %v", unresolved[i].Data, err)
		}
	}
	if err := e.TryCommand("dip.runCell", third.Command.Arguments[0], nil); err == nil || !strings.Contains(err.Error(), "not there any more") {
		t.Error(err)
	}
}

// The client is asked to look again only when there is something else to see, and only if it supports that.
func TestRefreshOfLenses(t *testing.T) {
	refreshes := func(e *lsptest.Editor) int {
		return len(e.Messages(lsptest.Method("workspace/codeLens/refresh"))) + len(e.Messages(lsptest.Method("workspace/inlayHint/refresh")))
	}
	t.Run("not supported", func(t *testing.T) {
		e, _ := startFaked(t, lsptest.Options{Init: events, Capabilities: lsptest.Object{"workspace": lsptest.Object{
			"codeLens": nil, "inlayHint": lsptest.Object{"refreshSupport": false},
		}}})
		e.Open("a.py", "# %%\nlet x 1\n")
		finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
		finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
		if n := refreshes(e); n > 0 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("output", func(t *testing.T) {
		e, _ := startFaked(t, lsptest.Options{Init: events})
		e.Open("a.py", "# %%\n"+strings.Repeat("print line\n", 30))
		finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
		if n := refreshes(e); n > 2*4 { // queued, starting, running, ended
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("settings", func(t *testing.T) {
		e, _ := startFaked(t, lsptest.Options{Settings: lsptest.Object{}})
		e.Open("a.py", "# %%\nlet x 1\n")
		awaitLenses(t, e, 0, firstLenses)
		e.Settings(lsptest.Object{"codeLens": []string{"runLocal"}})
		awaitLenses(t, e, 0, "Locally")
	})
}

// The first lens of a cell says where it goes, and dip/cells says the same: autodip counts, too.
func TestWhereCellsGo(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: lsptest.Object{"cells": true, "events": true, "prewarm": false}})
	e.Open("a.py", "# A preamble.\n# %% Not said\nx\n# %% Said\n# %%dip everywhere -r 1\nx\n# %% Empty\n")
	goes := func() string {
		var found []string
		for _, c := range cellsOf(t, e, "a.py", nil).Cells {
			found = append(found, c.Goes)
		}
		return strings.Join(found, ", ")
	}
	const others = ` \| Everywhere \| Run below`
	awaitLenses(t, e, 1, `Run cell · locally \| Run on all ranks`+others)
	if got := goes(); got != ", locally, local and rank 1, " {
		t.Errorf("cells go %q", got)
	}
	e.Mark()
	e.Command("dip.autodip", lsptest.Object{"on": true, "flags": "--see all"}, nil)
	e.Await("a change of cells", lsptest.Method("dip/cellsChanged"), lsptest.Has("uri", e.URI("a.py")))
	awaitLenses(t, e, 1, `Run cell · all ranks \| Everywhere \| Locally \| Run below`)
	if got := goes(); got != ", all ranks, local and rank 1, " {
		t.Errorf("cells go %q", got)
	}
}
