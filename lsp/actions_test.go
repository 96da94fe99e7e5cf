package lsp_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// action is a code action, or a command for a client that knows no code actions.
type action struct {
	Title       string
	Kind        string
	IsPreferred bool
	Diagnostics []any
	Edit        *struct {
		Changes         map[string][]edit
		DocumentChanges []struct {
			TextDocument struct {
				URI     string
				Version int
			}
			Edits []edit
		}
	}
	Command json.RawMessage
}

type edit struct {
	Range   lsptest.Range
	NewText string
}

// actions asks for code actions.
func actions(t *testing.T, e *lsptest.Editor, name string, r lsptest.Range, context lsptest.Object) []action {
	t.Helper()
	if context == nil {
		context = lsptest.Object{}
	}
	if context["diagnostics"] == nil {
		context["diagnostics"] = []any{}
	}
	var list []action
	params := lsptest.Object{"textDocument": lsptest.Object{"uri": e.URI(name)}, "range": r, "context": context}
	if err := e.Call("textDocument/codeAction", params, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func only(kinds ...string) lsptest.Object { return lsptest.Object{"only": kinds} }

// titles returns the titles of actions; preferred ones begin with *.
func titlesOf(list []action) []string {
	titles := []string{}
	for _, a := range list {
		if a.IsPreferred {
			a.Title = "*" + a.Title
		}
		titles = append(titles, a.Title)
	}
	return titles
}

// perform does what an editor does with an action: its edit, then its command, whose answer it returns.
func perform(t *testing.T, e *lsptest.Editor, name string, a action) (reply struct{ Run string }) {
	t.Helper()
	if a.Edit != nil {
		for _, change := range a.Edit.DocumentChanges {
			for _, edit := range change.Edits {
				e.Edit(name, lsptest.Edit{Range: edit.Range, Text: edit.NewText})
			}
		}
	}
	if a.Command != nil {
		var command struct {
			Command   string
			Arguments []any
		}
		if err := json.Unmarshal(a.Command, &command); err != nil {
			t.Fatal(err)
		}
		if err := e.Call("workspace/executeCommand", lsptest.Object{"command": command.Command, "arguments": command.Arguments}, &reply); err != nil {
			t.Fatal(err)
		}
	}
	return reply
}

var ableToFix = lsptest.Object{
	"workspace": lsptest.Object{"workspaceEdit": lsptest.Object{"documentChanges": true}},
	"textDocument": lsptest.Object{"codeAction": lsptest.Object{
		"isPreferredSupport": true, "codeActionLiteralSupport": lsptest.Object{"codeActionKind": lsptest.Object{"valueSet": []string{"quickfix"}}},
	}},
}

// The code actions of every marked place are those of its mark: quick fixes (fix), runs (run). The edits of the quick fixes make the golden text.
func TestActions(t *testing.T) {
	server := program(t)
	lsptest.Files(t, "testdata/actions/*.txtar", func(t *testing.T, m *lsptest.Marked) {
		e := openMarked(t, m, lsptest.Options{Server: server, Capabilities: ableToFix})
		e.Until(m.Value("diagnostics")+" diagnostics", func(all []lsptest.Message) bool {
			return fmt.Sprint(len(published(e, all, "a.py"))) == m.Value("diagnostics")
		})
		fixes := map[lsptest.Position]action{}
		for _, mark := range m.Marks {
			kind := map[string]string{"fix": "quickfix", "run": "dip.run"}[mark.Kind]
			want := slices.Clone(mark.Args)
			if want == nil {
				want = []string{}
			}
			list := actions(t, e, mark.File, mark.Range, only(kind))
			if got := titlesOf(list); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", mark, got, want)
			}
			for _, a := range list {
				if a.Kind != kind || (kind == "quickfix") != (len(a.Diagnostics) == 1) {
					t.Errorf("%s: %+v", mark, a)
				}
				if a.Edit != nil {
					fixes[a.Edit.DocumentChanges[0].Edits[0].Range.Start] = a
				}
			}
		}
		if len(fixes) == 0 {
			return
		}
		byPlace := slices.SortedFunc(maps.Keys(fixes), func(a, b lsptest.Position) int { return b.Line - a.Line })
		for _, at := range byPlace { // from the end, so that places stay
			perform(t, e, "a.py", fixes[at])
		}
		m.Golden(t, "a.py", e.Text("a.py"))
	})
}

// A name is pushed and the cell runs again where it failed; its diagnostic goes.
func TestPushAndRerun(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly, Capabilities: ableToFix})
	e.Open("a.py", "# %%\nfoobar = [1, 2]\n# %%\nprint(f'there is {foobar}')\n")
	runCell(e, 1, "ok")
	uri := e.URI("a.py")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": 2, "target": "remote", "see": "all"}), "error")
	awaitDiagnostics(t, e, "a.py", "3:18-3:24 error NameError NameError: name 'foobar' is not defined — ranks 0-1")
	at := lsptest.Range{Start: lsptest.Position{Line: 3, Character: 20}, End: lsptest.Position{Line: 3, Character: 20}}
	list := actions(t, e, "a.py", at, lsptest.Object{"triggerKind": 2})
	if got := strings.Join(titlesOf(list), "; "); got != "*Push 'foobar' to all ranks; Push 'foobar' to all ranks and rerun" {
		t.Fatal(got)
	}
	if got := describe(list[1].Diagnostics[0]); !strings.HasPrefix(got, "3:18-3:24 error NameError") {
		t.Error(got)
	}
	e.Mark()
	finished(e, perform(t, e, "a.py", list[1]).Run, "ok")
	for rank := range 2 {
		e.Await("the cell's output", lsptest.Has("event", "stream"), lsptest.Has("rank", rank), lsptest.Contains("text", "[1, 2]"))
	}
	e.Await("its end", lsptest.Has("event", "run_finished"), lsptest.Has("cell", 2), lsptest.Has("status", "ok"))
	e.Await("no diagnostics", lsptest.Method("textDocument/publishDiagnostics"), lsptest.Has("diagnostics", []any{}))
}

// Actions come in a form that the client understands.
func TestActionsOfClients(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		const text = "# %%dip --sea all\nx = 1\n"
		here := lsptest.Range{Start: lsptest.Position{Character: 9}, End: lsptest.Position{Character: 9}}
		codeAction := func(literals lsptest.Object) lsptest.Object {
			return lsptest.Object{"textDocument": lsptest.Object{"codeAction": literals}}
		}
		t.Run("edits without versions", func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: server})
			e.Open("a.py", text)
			list := actions(t, e, "a.py", here, only("quickfix"))
			want := map[string][]edit{e.URI("a.py"): {{lsptest.Range{Start: lsptest.Position{Character: 8}, End: lsptest.Position{Character: 13}}, "--see"}}}
			if len(list) != 1 || list[0].IsPreferred || list[0].Edit == nil || !maps.EqualFunc(list[0].Edit.Changes, want, slices.Equal) {
				t.Errorf("%+v", list)
			}
		})
		t.Run("edits with versions", func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: server, Capabilities: ableToFix, Encodings: []string{"utf-8"}})
			e.Open("a.py", "'🚀'\n"+text)
			e.Edit("a.py", lsptest.Edit{Text: "\n"})
			list := actions(t, e, "a.py", lsptest.Range{End: lsptest.Position{Line: 9}}, only("quickfix"))
			if len(list) != 1 || list[0].Edit.DocumentChanges[0].TextDocument.Version != 2 {
				t.Fatalf("%+v", list)
			}
			perform(t, e, "a.py", list[0])
			if got := e.Text("a.py"); got != "\n'🚀'\n# %%dip --see all\nx = 1\n" {
				t.Errorf("%q", got)
			}
		})
		t.Run("commands only", func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: server, Capabilities: codeAction(lsptest.Object{"codeActionLiteralSupport": nil})})
			e.Open("a.py", text+"# %%\ny = 1\n")
			here.Start.Line, here.End.Line = 3, 3
			list := actions(t, e, "a.py", here, nil)
			if len(list) == 0 {
				t.Fatal("no actions")
			}
			for _, a := range list {
				var name string
				if err := json.Unmarshal(a.Command, &name); err != nil || !strings.HasPrefix(name, "dip.") || a.Kind != "" {
					t.Errorf("%+v", a)
				}
			}
		})
		t.Run("not trusted", func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: server, Init: lsptest.Object{"trusted": false}})
			e.Open("a.py", text+"# %%\ny = 1\n")
			if got := strings.Join(titlesOf(actions(t, e, "a.py", lsptest.Range{End: lsptest.Position{Line: 9}}, nil)), "; "); got != "Replace by '--see'" {
				t.Error(got)
			}
		})
		t.Run("kinds", func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{Server: server})
			e.Open("a.py", "x = 1\n")
			for kinds, some := range map[string]bool{"dip": true, "dip.run": true, "dip.r": false, "source": false, "": true} {
				if got := actions(t, e, "a.py", lsptest.Range{}, only(kinds)); (len(got) > 0) != some {
					t.Errorf("only %q: %q", kinds, titlesOf(got))
				}
			}
			if got := actions(t, e, "a.py", lsptest.Range{}, lsptest.Object{"triggerKind": 2}); len(got) > 0 {
				t.Errorf("unasked: %q", titlesOf(got))
			}
		})
	})
}

// What is selected runs by itself, and so does the line of a magic.
func TestNarrowActions(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: quietly})
	e.Open("a.py", "x = 1\n# %dipush x\nprint('not this')\n# %%dip --sea\ny = 1\n")
	for _, test := range []struct {
		from, to lsptest.Position
		want     string
	}{
		{lsptest.Position{}, lsptest.Position{Line: 1}, "Run selection"},
		{lsptest.Position{Line: 1, Character: 4}, lsptest.Position{Line: 1, Character: 4}, "Run this line"},
		{lsptest.Position{Line: 2}, lsptest.Position{Line: 2}, ""},
		{lsptest.Position{Line: 2}, lsptest.Position{Line: 5}, ""},
	} {
		list := actions(t, e, "a.py", lsptest.Range{Start: test.from, End: test.to}, only("dip.run"))
		list = slices.DeleteFunc(list, func(a action) bool { return strings.HasPrefix(a.Title, "Run cell") || a.Title == "Run all cells" })
		if got := strings.Join(titlesOf(list), "; "); got != test.want {
			t.Errorf("%v: %q, want %q", test.from, got, test.want)
		}
		for _, a := range list {
			run := perform(t, e, "a.py", a).Run
			finished(e, run, "ok")
			if printed := e.Messages(lsptest.Has("run", run), lsptest.Contains("text", "not this")); len(printed) > 0 {
				t.Errorf("%s ran the whole cell", a.Title)
			}
		}
	}
}

// What runs can be interrupted, and what has been started can be restarted.
func TestInterruptAction(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: quietly})
	e.Open("a.py", "# %%\nprint on its way\nwait\n# %%dip\nlet x 1\n")
	runCell(e, 2, "ok")
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the cell", lsptest.Has("run", run), lsptest.Contains("text", "on its way"))
	list := actions(t, e, "a.py", lsptest.Range{}, only("dip.interrupt", "dip.restart"))
	want := "Interrupt cell; Interrupt all runs; Restart the ranks; Restart and run all; Restart the local namespace; Restart Python"
	if got := strings.Join(titlesOf(list), "; "); got != want {
		t.Fatal(got)
	}
	perform(t, e, "a.py", list[0])
	finished(e, run, "interrupted")
	await(t, "nothing to interrupt", func() bool { return len(actions(t, e, "a.py", lsptest.Range{}, only("dip.interrupt"))) == 0 })
}
