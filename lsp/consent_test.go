package lsp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/internal/lsptest"
	"dipls/internal/testpython"
	"dipls/internal/trust"
	"dipls/lsp"
	"dipls/session"
)

// hostile is a folder as somebody may hand it out: a file with a cell for the ranks, an interpreter of its own, and files beside it that have the names of
// modules. Each of them tells when it runs: see whatRan.
func hostile(t *testing.T, own bool) (folder, python string) {
	t.Helper()
	folder = t.TempDir()
	tell := func(name string) string {
		return fmt.Sprintf("open(%q, 'a').write(%q)\n", folder+"/ran", name+" ")
	}
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"torch", "numpy", "bdb", "json", "IPython", "zmq", "sitecustomize", "usercustomize"} {
		write(name+".py", tell(name), 0o644)
	}
	write(".env", "PYTHONSTARTUP="+folder+"/json.py\n", 0o644)
	write("a.py", "# %%dip everywhere\nprint('hello')\n# %%\nprint('local')\n", 0o644)
	python = testpython.Path()
	if own {
		python = filepath.Join(folder, ".venv/bin/python")
		write(".venv/bin/python", fmt.Sprintf("#!/bin/sh\necho -n 'interpreter ' >> '%s/ran'\nexec '%s' \"$@\"\n", folder, testpython.Path()), 0o755)
	}
	return folder, python
}

// noPythonNamed lets the folder's own interpreter be found. It comes before a program is made, which gets the environment of then.
func noPythonNamed(t *testing.T) {
	t.Helper()
	for _, name := range []string{"DIPLS_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"} {
		t.Setenv(name, "")
	}
}

// whatRan tells what has run of a folder.
func whatRan(folder string) string {
	data, _ := os.ReadFile(folder + "/ran")
	return strings.TrimSpace(string(data))
}

// trusted is the memory of the servers of tests.
func trusted() *trust.Store { return trust.Open(os.Getenv("XDG_STATE_HOME") + "/dipls/trusted") }

// To open a file, and whatever else runs no cell, uses nothing of its folder if the client says nothing of trust.
func TestOpeningRunsNothing(t *testing.T) {
	needPython(t)
	for name, own := range map[string]bool{"interpreter from elsewhere": false, "interpreter of the folder": true} {
		t.Run(name, func(t *testing.T) {
			if own {
				noPythonNamed(t)
			}
			folder, _ := hostile(t, own)
			core, logged := observer.New(zap.InfoLevel)
			server := func(ctx context.Context, stream io.ReadWriteCloser) error {
				sessions := lsp.NewSessions(func(dir string) session.API {
					return session.New(session.Options{Dir: dir, Log: zap.New(core), Trust: trusted()})
				}, nil)
				served := lsp.Serve(ctx, stream, lsp.Deps{Sessions: sessions, Log: zap.New(core)})
				return errors.Join(served, sessions.Close(ctx))
			}
			e := lsptest.Start(t, lsptest.Options{
				Server: server, Folder: folder, Init: events, Settings: lsptest.Object{"preload": []string{"numpy"}, "ranks": 2},
			})
			e.Open("a.py", "# %%dip everywhere\nprint('hello')\n")
			await(t, "the decision not to start Python", func() bool {
				return logged.FilterMessageSnippet("Python waits for a command").Len() == 1
			})
			e.Replace("a.py", "hello", "hell")
			for _, method := range []string{"textDocument/hover", "textDocument/completion", "textDocument/codeAction", "textDocument/codeLens"} {
				params := inDocument(e, "a.py")
				params["position"] = lsptest.Position{Line: 1, Character: 3}
				params["range"] = lsptest.Range{}
				params["context"] = lsptest.Object{"diagnostics": []any{}, "triggerKind": 1}
				if err := e.Call(method, params, nil); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
			for _, name := range []string{"status", "variables", "stack", "interrupt", "autodip"} {
				_ = e.TryCommand("dip."+name, nil, nil)
			}
			if logged.FilterMessage("interpreter").Len() > 0 || whatRan(folder) != "" {
				t.Errorf("what ran: %q; logged %v", whatRan(folder), logged.All())
			}
			if left, _ := filepath.Glob(os.Getenv("XDG_RUNTIME_DIR") + "/dipls/*/*"); len(left) > 0 {
				t.Errorf("something runs: %v", left)
			}
			if all := e.Messages(lsptest.Method("window/showMessage")); len(all) > 0 {
				t.Errorf("told: %v", all)
			}
			if _, ok := trusted().Find(folder); ok {
				t.Error("it is trusted")
			}
		})
	}
}

// The first command that runs something is the consent for its folder. One message says what will run; the next editor hears none, and starts Python ahead.
func TestCommandIsConsent(t *testing.T) {
	needPython(t)
	server := program(t)
	folder, python := hostile(t, false)
	message := "from now on dipls runs the cells of " + folder + ", with the variables of " + folder + "/.env, with " + python +
		"; `dipls trust --remove '" + folder + "'`"
	told := []lsptest.Condition{lsptest.Method("window/showMessage"), lsptest.Contains("message", message)}
	options := lsptest.Options{Server: server, Folder: folder, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}}
	e := lsptest.Start(t, options)
	e.Open("a.py", "# %%dip everywhere\nprint('hello')\n")
	for range 2 {
		finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	}
	if all := e.Messages(told...); len(all) != 1 || all[0].Get("type") != float64(3) {
		t.Errorf("told: %v", all)
	}
	if all := e.Messages(lsptest.Method("window/showMessageRequest")); len(all) > 0 {
		t.Errorf("asked: %v", all)
	}
	if whatRan(folder) != "" {
		t.Errorf("what ran of the folder: %q", whatRan(folder))
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	if entry, ok := trusted().Find(link); !ok || entry.Python != "" {
		t.Errorf("remembered: %+v", entry)
	}
	if err := e.Shutdown(); err != nil {
		t.Fatal(err)
	}
	options.Settings["preload"] = []string{"marker"}
	if err := os.WriteFile(folder+"/marker.py", []byte("open('imported', 'w').close()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e = lsptest.Start(t, options)
	e.Open("a.py", "# %%dip everywhere\nprint('hello')\n")
	exists(t, folder+"/imported") // ahead
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	if all := e.Messages(lsptest.Method("window/showMessage")); len(all) > 0 {
		t.Errorf("told: %v", all)
	}
}

// Consent that is taken back no longer counts at the next start of Python, also in the same editor.
func TestConsentIsTakenBack(t *testing.T) {
	needPython(t)
	folder, _ := hostile(t, false)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Folder: folder, Init: events})
	e.Open("a.py", "# %%\nprint('local')\n")
	cell := lsptest.Object{"uri": e.URI("a.py"), "cell": 1}
	for range 2 {
		e.Mark()
		finished(e, e.Run("dip.runCell", cell), "ok")
		if all := e.Messages(lsptest.Method("window/showMessage"), lsptest.Contains("message", "from now on")); len(all) != 1 {
			t.Errorf("told: %v", all)
		}
		if known, err := trusted().Remove(folder); !known || err != nil {
			t.Errorf("known %v, %v", known, err)
		}
		if err := e.TryCommand("dip.restart", lsptest.Object{"uri": e.URI("a.py")}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// The user is asked once about an interpreter that belongs to the folder; a no keeps it from running.
func TestOwnInterpreterIsAskedAbout(t *testing.T) {
	needPython(t)
	noPythonNamed(t)
	server := program(t)
	folder, python := hostile(t, true)
	var answer any
	options := lsptest.Options{
		Server: server, Folder: folder, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"},
		Answers: lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any { return answer }},
	}
	asked := []lsptest.Condition{
		lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", python), lsptest.Contains("message", "belongs to the folder"),
	}
	e := lsptest.Start(t, options)
	e.Open("a.py", "# %%\nprint('local')\n")
	cell := lsptest.Object{"uri": e.URI("a.py"), "cell": 1}
	for range 2 { // after a no the user is asked again at the next try
		e.Mark()
		run := e.Run("dip.runCell", cell)
		e.Await("the question", asked...)
		end := e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run))
		reason := fmt.Sprint(end.Get("reason"))
		if end.Get("status") == "ok" || !strings.Contains(reason, "nothing was run") || !strings.Contains(reason, "dipls trust "+folder) {
			t.Errorf("ended %v: %v", end.Get("status"), reason)
		}
		if whatRan(folder) != "" {
			t.Fatalf("what ran: %q", whatRan(folder))
		}
	}
	answer = lsptest.Object{"title": "Run"}
	e.Mark()
	for range 2 {
		finished(e, e.Run("dip.runCell", cell), "ok")
	}
	if all := e.Messages(asked...); len(all) != 1 {
		t.Errorf("asked: %v", all)
	}
	if whatRan(folder) != "interpreter" {
		t.Errorf("what ran: %q", whatRan(folder))
	}
	if err := e.Shutdown(); err != nil {
		t.Fatal(err)
	}
	e = lsptest.Start(t, options)
	e.Open("a.py", "# %%\nprint('local')\n")
	finished(e, e.Run("dip.runCell", cell), "ok")
	if all := e.Messages(asked[0]); len(all) > 0 {
		t.Errorf("asked: %v", all)
	}
}

// Consent to a folder with an interpreter from elsewhere is none to an interpreter that the folder has later.
func TestOwnInterpreterThatComesLater(t *testing.T) {
	needPython(t)
	noPythonNamed(t)
	folder, python := hostile(t, true)
	if err := trusted().Add(folder, ""); err != nil {
		t.Fatal(err)
	}
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Folder: folder, Init: events})
	e.Open("a.py", "# %%\nprint('local')\n")
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", python))
	e.Await("the end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Contains("reason", "nothing was run"))
	if whatRan(folder) != "" {
		t.Errorf("what ran: %q", whatRan(folder))
	}
}

// A client that cannot ask is told, and goes on.
func TestClientThatCannotAsk(t *testing.T) {
	needPython(t)
	noPythonNamed(t)
	server := program(t)
	folder, python := hostile(t, true)
	e := lsptest.Start(t, lsptest.Options{
		Server: server, Folder: folder, Init: events,
		Answers: lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any {
			return &lsptest.Error{Code: -32601, Message: "no such method"}
		}},
	})
	e.Open("a.py", "# %%\nprint('local')\n")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	all := e.Messages(lsptest.Method("window/showMessage"))
	if len(all) != 1 || !lsptest.Contains("message", python+", which belongs to the folder")(all[0]) {
		t.Errorf("told: %v", all)
	}
}

// A client that says that the folders are trusted is told nothing of consent, and asked nothing.
func TestClientThatTrusts(t *testing.T) {
	needPython(t)
	noPythonNamed(t)
	folder, _ := hostile(t, true)
	e := lsptest.Start(t, lsptest.Options{Server: program(t), Folder: folder, Init: lsptest.Object{"events": true, "trusted": true}})
	e.Open("a.py", "# %%\nprint('local')\n")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	for _, method := range []string{"window/showMessage", "window/showMessageRequest"} {
		if all := e.Messages(lsptest.Method(method)); len(all) > 0 {
			t.Errorf("%s: %v", method, all)
		}
	}
	if _, ok := trusted().Find(folder); ok {
		t.Error("it is remembered, though the editor keeps that itself")
	}
}
