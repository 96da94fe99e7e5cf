package lsp_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

var severities = map[string]string{"1": "error", "2": "warning", "3": "information", "4": "hint"}

// published are the diagnostics of a document as they are now, each as "LINE:FROM-TO severity code message".
func published(e *lsptest.Editor, all []lsptest.Message, name string) []string {
	var list []string
	for _, m := range slices.Backward(all) {
		if m.Method != "textDocument/publishDiagnostics" || m.Get("uri") != e.URI(name) {
			continue
		}
		diagnostics, _ := m.Get("diagnostics").([]any)
		for _, d := range diagnostics {
			list = append(list, describe(d))
		}
		break
	}
	slices.Sort(list)
	return list
}

func describe(d any) string {
	get := func(path string) string { return fmt.Sprint(lsptest.Dig(d, path)) }
	return fmt.Sprintf("%s:%s-%s:%s %s %s %s", get("range.start.line"), get("range.start.character"), get("range.end.line"),
		get("range.end.character"), severities[get("severity")], get("code"), get("message"))
}

// expected returns the diagnostics that the marks of a document ask for.
func expected(m *lsptest.Marked, name string) []string {
	var list []string
	for _, mark := range m.Kinds("diag") {
		if mark.File == name {
			r := mark.Range
			list = append(list, fmt.Sprintf("%d:%d-%d:%d %s", r.Start.Line, r.Start.Character, r.End.Line, r.End.Character, strings.Join(mark.Args, " ")))
		}
	}
	slices.Sort(list)
	return list
}

// awaitDiagnostics waits until the diagnostics of a document are these.
func awaitDiagnostics(t *testing.T, e *lsptest.Editor, name string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	t.Cleanup(func() {
		if t.Failed() && !slices.Equal(got, want) {
			t.Logf("%s: got\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	})
	e.Until("the diagnostics of "+name, func(all []lsptest.Message) bool {
		got = published(e, all, name)
		return slices.Equal(got, want)
	})
}

// openMarked starts an editor with the documents of a case, whose files are on disk as well, and runs the cells that it names: "run: 1 2 b.py:1".
func openMarked(t *testing.T, m *lsptest.Marked, o lsptest.Options) *lsptest.Editor {
	t.Helper()
	o.Init = events
	if text := m.Value("settings"); text != "" {
		if err := json.Unmarshal([]byte(text), &o.Settings); err != nil {
			t.Fatal(err)
		}
	}
	e := lsptest.Start(t, o)
	for name, text := range m.Documents {
		if err := os.WriteFile(filepath.Join(e.Folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m.Open(e)
	for _, word := range strings.Fields(m.Value("run")) {
		name, cell, named := strings.Cut(word, ":")
		if !named {
			name, cell = "a.py", word
		}
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI(name), "cell": json.Number(cell)})
		e.Await("the end of cell "+word, lsptest.Has("event", "run_finished"), lsptest.Has("run", run))
	}
	return e
}

// The diagnostics of every document are those of its marks: diag:WHERE severity code "message".
func TestDiagnostics(t *testing.T) {
	needPython(t)
	server := program(t)
	lsptest.Files(t, "testdata/diagnostics/*.txtar", func(t *testing.T, m *lsptest.Marked) {
		e := openMarked(t, m, lsptest.Options{Server: server})
		for name := range m.Documents {
			awaitDiagnostics(t, e, name, expected(m, name)...)
		}
	})
}

// quietly has settings under which only failures are shown.
var quietly = lsptest.Object{"ranks": 2, "app": "none", "diagnostics": lsptest.Object{"output": "off"}}

// runCell runs a cell of a.py to its end.
func runCell(e *lsptest.Editor, cell int, status string) {
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell}), status)
}

// What a run leaves moves with edits, goes when its cell is edited, is back when that is undone, survives that the file is closed, and goes
// when the cell runs again or is cleared.
func TestDiagnosticsStay(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	e.Open("a.py", "# %%\nx = 1\n# %% 🚀\n'🚀', foobar\n# %%\ny = 1\n")
	runCell(e, 2, "error")
	const message = "error NameError NameError: name 'foobar' is not defined"
	awaitDiagnostics(t, e, "a.py", "3:6-3:12 "+message)

	e.Replace("a.py", "x = 1\n", "x = 1\n\n\n")
	awaitDiagnostics(t, e, "a.py", "5:6-5:12 "+message)
	version := e.Await("a version", lsptest.Method("textDocument/publishDiagnostics"), lsptest.Has("diagnostics.0.range.start.line", 5)).Get("version")
	if fmt.Sprint(version) != "2" {
		t.Errorf("version %v", version)
	}
	e.Replace("a.py", "foobar\n", "foobar  # edited\n")
	awaitDiagnostics(t, e, "a.py")
	e.Replace("a.py", "foobar  # edited\n", "foobar\n")
	awaitDiagnostics(t, e, "a.py", "5:6-5:12 "+message)
	e.Replace("a.py", "# %% 🚀", "# %%dip --bad 🚀")
	awaitDiagnostics(t, e, "a.py", "4:8-4:13 error unknown-flag %%dip has no flag --bad; known are -S --see -q --quiet -a --appcmd -r --ranks --anyway -h --help")
	e.Replace("a.py", "# %%dip --bad 🚀", "# %% Other title")
	awaitDiagnostics(t, e, "a.py", "5:6-5:12 "+message)

	text := e.Text("a.py")
	e.Close("a.py")
	awaitDiagnostics(t, e, "a.py")
	e.Mark()
	e.Open("a.py", "# %%\n\n"+text)
	awaitDiagnostics(t, e, "a.py", "7:6-7:12 "+message)

	e.SetText("a.py", strings.ReplaceAll(e.Text("a.py"), "x = 1", "foobar = 1"))
	awaitDiagnostics(t, e, "a.py", "7:6-7:12 "+message)
	runCell(e, 2, "ok")
	awaitDiagnostics(t, e, "a.py", "7:6-7:12 "+message)
	runCell(e, 3, "ok")
	awaitDiagnostics(t, e, "a.py")

	e.Replace("a.py", "y = 1", "y = z")
	runCell(e, 4, "error")
	awaitDiagnostics(t, e, "a.py", "9:4-9:5 error NameError NameError: name 'z' is not defined")
	e.Command("dip.clear", lsptest.Object{"uri": e.URI("a.py")}, nil)
	awaitDiagnostics(t, e, "a.py")
}

// A cell that is edited above while it runs fails where its lines are now; one that is edited itself fails nowhere, until that is undone.
func TestDiagnosticsOfOldText(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	e.Open("a.py", "# %%\nx = 1\n# %%\nprint('on its way', flush=True)\nwhile x: pass\n")
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2})
	e.Await("the cell", lsptest.Has("event", "error"))
	finished(e, run, "error") // x is not defined yet
	runCell(e, 1, "ok")
	for _, edited := range []bool{false, true} {
		run = e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2})
		e.Await("the cell", lsptest.Has("run", run), lsptest.Contains("text", "on its way"))
		awaitDiagnostics(t, e, "a.py")
		e.Replace("a.py", "x = 1\n", "\nx = 1\n")
		if edited {
			e.Replace("a.py", "pass", "continue")
		}
		e.Command("dip.interrupt", lsptest.Object{"run": run}, nil)
		finished(e, run, "interrupted")
		if edited {
			e.Replace("a.py", "continue", "pass")
		}
		line := 5
		if edited {
			line = 6
		}
		awaitDiagnostics(t, e, "a.py", fmt.Sprintf("%d:0-%d:13 information KeyboardInterrupt KeyboardInterrupt", line, line))
	}
}

// Failures that differ only in numbers are one, which says what differs.
func TestDiagnosticsApart(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	e.Open("a.py", "# %%\n# %%dip\nimport os\nraise ValueError(f'loss {os.environ[\"RANK\"]}')\n")
	runCell(e, 1, "error")
	awaitDiagnostics(t, e, "a.py", "3:0-3:46 error ValueError ValueError: loss 0 — ranks 0-1\nrank 0: loss 0\nrank 1: loss 1")
}

// A failure in a function stands in the cell that has defined it, whatever has run since at the lines on which that was.
func TestDiagnosticsOfOldLines(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	e.Open("a.py", "# %%\nx = 1\n# %%\ndef f():\n    return 1 / 0\n# %%\nf()\n")
	runCell(e, 2, "ok")
	e.Replace("a.py", "x = 1\n", "x = 1\ny = 2\nz = 3\nw = 4\n")
	runCell(e, 1, "ok")
	runCell(e, 3, "error")
	awaitDiagnostics(t, e, "a.py", "7:4-7:16 error ZeroDivisionError ZeroDivisionError: division by zero")
}

// The rest of a traceback is related information, in other open documents and files as well, for clients that can show it.
func TestRelatedInformation(t *testing.T) {
	needPython(t)
	server := program(t)
	const helpers = "def inner(f):\n    return f()\ndef outer(f):\n    inner(f)\n"
	const text = "# %%\nimport related_helpers\ndef fail():\n    1 / 0\n# %%\nrelated_helpers.outer(fail)\n"
	for _, able := range []bool{true, false} {
		e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly, Capabilities: lsptest.Object{
			"textDocument": lsptest.Object{"publishDiagnostics": lsptest.Object{"relatedInformation": able, "versionSupport": able}},
		}})
		if err := os.WriteFile(filepath.Join(e.Folder, "related_helpers.py"), []byte(helpers), 0o644); err != nil {
			t.Fatal(err)
		}
		e.Open("a.py", text)
		e.Open("related_helpers.py", "\n\n"+helpers[:20]) // "inner", which is not where it was
		runCell(e, 1, "ok")
		e.Edit("a.py", lsptest.Edit{Text: "\n"})
		runCell(e, 2, "error")
		m := e.Await("the failure", lsptest.Method("textDocument/publishDiagnostics"), lsptest.Has("diagnostics.0.code", "ZeroDivisionError"))
		if got := describe(m.Get("diagnostics.0")); got != "4:4-4:9 error ZeroDivisionError ZeroDivisionError: division by zero" {
			t.Error(got)
		}
		var related []string
		list, _ := m.Get("diagnostics.0.relatedInformation").([]any)
		for _, r := range list {
			related = append(related, fmt.Sprintf("%s:%v %v", filepath.Base(fmt.Sprint(lsptest.Dig(r, "location.uri"))),
				lsptest.Dig(r, "location.range.start.line"), lsptest.Dig(r, "message")))
		}
		want := []string{"a.py:6 in <module>", "related_helpers.py:3 in outer", "related_helpers.py:1 in inner"}
		if !able {
			want = nil
		}
		if !slices.Equal(related, want) || able == (m.Get("version") == nil) {
			t.Errorf("able %v: %v, want %v (version %v)", able, related, want, m.Get("version"))
		}
	}
}

// Output is shown while the cell runs, with the line that is not finished, and goes when the setting says so.
func TestOutputWhileRunning(t *testing.T) {
	needPython(t)
	server := program(t)
	settings := func(output string) lsptest.Object {
		return lsptest.Object{"diagnostics": lsptest.Object{"output": output}}
	}
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: settings("last")})
	flag := filepath.Join(e.Folder, "go")
	e.Open("a.py", fmt.Sprintf("# %%%%\nimport os, time\nfor i in range(3):\n    print('epoch', i)\nprint('\\r 40%%', end='', flush=True)\n"+
		"while not os.path.exists(%q): time.sleep(0.01)\nprint('\\r100%%')\n", flag))
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	awaitDiagnostics(t, e, "a.py", "0:0-0:4 information output epoch 0\nepoch 1\nepoch 2\n 40%")
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	finished(e, run, "ok")
	awaitDiagnostics(t, e, "a.py", "0:0-0:4 information output epoch 0\nepoch 1\nepoch 2\n100%")
	e.Settings(settings("off"))
	awaitDiagnostics(t, e, "a.py")
	e.Settings(settings("full"))
	awaitDiagnostics(t, e, "a.py", "0:0-0:4 information output epoch 0\nepoch 1\nepoch 2\n100%")
	e.Replace("a.py", "epoch", "step")
	awaitDiagnostics(t, e, "a.py")
}

// Other runs do not take a cell's diagnostics away: a selection only those of its lines.
func TestDiagnosticsOfSelections(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	e.Open("a.py", "# %%\nx = 1\nfoobar\nx = 2\n")
	line := func(n int) lsptest.Object {
		return lsptest.Object{"uri": e.URI("a.py"), "range": lsptest.Range{Start: lsptest.Position{Line: n}, End: lsptest.Position{Line: n}}}
	}
	const message = " error NameError NameError: name 'foobar' is not defined"
	runCell(e, 1, "error")
	awaitDiagnostics(t, e, "a.py", "2:0-2:6"+message)
	finished(e, e.Run("dip.runSelection", line(1)), "ok")
	e.Replace("a.py", "x = 2", "x = barfoo")
	finished(e, e.Run("dip.runSelection", line(3)), "error")
	awaitDiagnostics(t, e, "a.py", "3:4-3:10 error NameError NameError: name 'barfoo' is not defined")
	e.Replace("a.py", "x = barfoo", "x = 2")
	awaitDiagnostics(t, e, "a.py", "2:0-2:6"+message)
	e.Replace("a.py", "x = 1", "foobar = 1")
	finished(e, e.Run("dip.runSelection", line(1)), "ok")
	e.Replace("a.py", "foobar = 1", "x = 1")
	awaitDiagnostics(t, e, "a.py", "2:0-2:6"+message)
	finished(e, e.Run("dip.runSelection", line(2)), "ok")
	awaitDiagnostics(t, e, "a.py")
}

// A collective that some ranks would never reach is only a warning: the cell runs, alone and among others, and no lens says that it cannot.
func TestCollectiveWarnings(t *testing.T) {
	needPython(t)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Init: events, Settings: quietly})
	e.Open("a.py", "# %% Set up\nrank, dist = 1, __import__('types').SimpleNamespace(barrier=print)\n# %% Wait\nif rank == 0:\n    dist.barrier()\n")
	await(t, "the warning", func() bool {
		list := published(e, e.Messages(), "a.py")
		return len(list) == 1 && strings.HasPrefix(list[0], "4:4-4:") && strings.Contains(list[0], "warning") &&
			strings.Contains(list[0], "barrier waits for every rank")
	})
	if lenses := titles(lensesOf(t, e, "a.py"), 2); !strings.Contains(lenses, "Run cell · locally") || strings.Contains(lenses, "⚠") {
		t.Error(lenses)
	}
	var reply struct {
		Run   string
		Cells int
	}
	e.Command("dip.runAll", lsptest.Object{"uri": e.URI("a.py")}, &reply)
	if reply.Cells != 2 {
		t.Errorf("%+v", reply)
	}
	finished(e, reply.Run, "ok")
	e.Await("the end of the second cell", lsptest.Has("event", "run_finished"), lsptest.Has("cell", 2), lsptest.Has("status", "ok"))
}
