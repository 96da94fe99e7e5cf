package lsp_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"dipls/internal/lsptest"
	"dipls/ranks/fakerank"
)

// hold is a cell that goes on until somebody ends it, in Python; fakedHold is one for a faked server.
const (
	hold      = "# %%\nimport time\nprint('begun', flush=True)\nwhile True: time.sleep(0.05)\n"
	fakedHold = "# %%\nprint begun\nwait\n"
)

// holding starts an editor in which a cell runs.
func holding(t *testing.T, hold string, o lsptest.Options) *lsptest.Editor {
	t.Helper()
	o.Init = events
	e := lsptest.Start(t, o)
	e.Open("hold.py", hold)
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("hold.py"), "cell": 1})
	e.Await("the cell", lsptest.Method("dip/event"), lsptest.Contains("text", "begun"))
	return e
}

// However the client leaves, nothing is left of what ran: TestMain looks.
func TestEnd(t *testing.T) {
	test := func(t *testing.T, server lsptest.Server, hold string) {
		t.Run("shutdown", func(t *testing.T) {
			if err := holding(t, hold, lsptest.Options{Server: server}).Shutdown(); err != nil {
				t.Error(err)
			}
		})
		t.Run("exit without shutdown", func(t *testing.T) {
			e := holding(t, hold, lsptest.Options{Server: server})
			e.Notify("exit", nil)
			wantNoShutdown(t, e.AwaitEnd())
		})
		t.Run("end of file", func(t *testing.T) {
			wantNoShutdown(t, holding(t, hold, lsptest.Options{Server: server}).Leave())
		})
		t.Run("death of the editor", func(t *testing.T) {
			parent := exec.Command("sleep", "600")
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			e := holding(t, hold, lsptest.Options{Server: server, ProcessID: &parent.Process.Pid})
			_ = parent.Process.Kill()
			_ = parent.Wait()
			wantNoShutdown(t, e.AwaitEnd())
		})
		t.Run("a client that does not read", func(t *testing.T) {
			e := holding(t, hold, lsptest.Options{Server: server})
			e.StopReading()
			e.Notify("exit", nil)
			wantNoShutdown(t, e.AwaitEnd())
		})
	}
	t.Run("in process", func(t *testing.T) { test(t, faked(t, fakerank.NewHost(fakerank.Config{})), fakedHold) })
	t.Run("program", func(t *testing.T) {
		needPython(t)
		test(t, program(t), hold)
	})
}

// A parent process that could not be seen from the start, such as an editor outside of the container, ends nothing by not being there.
func TestEditorOutOfSight(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t), ProcessID: &gone.Process.Pid})
	e.Await("word of it", lsptest.Method("window/logMessage"), lsptest.Contains("message", "not to be seen"))
	alive(t, e)
}

// A command that names no document is for the workspace that was used last; before there is one, for that of the first document.
func TestAnyWorkspace(t *testing.T) {
	e := lsptest.Start(t, lsptest.Options{Server: inProcess(t), NoFolder: true})
	names := []string{"e/a.py", "d/a.py", "a/a.py", "c/a.py", "b/a.py"}
	for _, name := range names {
		e.Open(name, "x = 1\n")
	}
	on := func(args lsptest.Object) bool {
		var reply struct{ Autodip string }
		e.Command("dip.autodip", args, &reply)
		return reply.Autodip != ""
	}
	on(lsptest.Object{"on": true})
	for _, name := range names {
		if got := on(lsptest.Object{"uri": e.URI(name)}); got != (name == "a/a.py") {
			t.Errorf("autodip of %s is on: %v", name, got)
		}
	}
	on(lsptest.Object{"on": true, "uri": e.URI("d/a.py")})
	if !on(nil) {
		t.Error("that was not the workspace that was used last")
	}
}

func wantNoShutdown(t *testing.T, err error) {
	t.Helper()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() != 1 || exit == nil && !strings.Contains(err.Error(), "without a shutdown") {
		t.Errorf("the end: %v", err)
	}
}

// What a client may ask depends on the state of the connection.
func TestLifecycle(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		e := lsptest.Start(t, lsptest.Options{Server: server, Raw: true})
		for _, step := range []struct {
			method string
			params any
			code   int // 0: it works
		}{
			{"workspace/executeCommand", lsptest.Object{"command": "dip.status"}, -32002},
			{"shutdown", nil, -32002},
			{"no/such", nil, -32601},
			{"initialize", e.InitializeParams(), 0},
			{"initialize", e.InitializeParams(), -32600},
			{"workspace/executeCommand", lsptest.Object{"command": "dip.status"}, 0},
			{"shutdown", nil, 0},
			{"workspace/executeCommand", lsptest.Object{"command": "dip.status"}, -32600},
		} {
			err := e.Call(step.method, step.params, nil)
			var answer *lsptest.Error
			switch {
			case step.code == 0 && err != nil, step.code != 0 && (!errors.As(err, &answer) || answer.Code != step.code):
				t.Errorf("%s: %v, want %d", step.method, err, step.code)
			}
		}
		e.Notify("exit", nil)
		if err := e.AwaitEnd(); err != nil {
			t.Error(err)
		}
	})
}

// dipls without a command and with a pipe as its input is a language server.
func TestWithoutCommand(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	e := lsptest.Start(t, lsptest.Options{Server: lsptest.Program(os.Environ(), path)})
	alive(t, e)
}

// Documents of a workspace folder share a local namespace; one outside of all folders has that of its directory.
func TestWorkspaces(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nlet x 41\n")
	e.Open("sub/b.py", "# %%\nbound\n")
	e.Open("../elsewhere/c.py", "# %%\nbound\n")
	for _, dir := range []string{"/sub", "/../elsewhere"} {
		if err := os.MkdirAll(e.Folder+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ name, want string }{{"a.py", ""}, {"sub/b.py", "[x]"}, {"../elsewhere/c.py", "[]"}} {
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI(step.name), "cell": 1})
		if step.want != "" {
			e.Await(fmt.Sprintf("%q", step.want), lsptest.Has("run", run), lsptest.Contains("text", step.want))
		}
		e.Await("the end", lsptest.Has("run", run), lsptest.Has("event", "run_finished"), lsptest.Has("status", "ok"))
	}
}
