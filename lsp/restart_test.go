package lsp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"dipls/internal/lsptest"
	"dipls/internal/testpython"
)

// choose answers questions with their first action.
var choose = lsptest.Answers{"window/showMessageRequest": func(m lsptest.Message) any { return m.Get("actions.0") }}

// When changed settings need a restart, the user is told, and can choose it there.
func TestChangedSettings(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Answers: choose, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", "# %%\nlet x 1\n# %%dip\nenv WORLD_SIZE\n# %%\nbound\n")
	prints := func(cell int, want string) {
		t.Helper()
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell})
		e.Await(want, lsptest.Has("run", run), lsptest.Contains("text", want))
		finished(e, run, "ok")
	}
	question := func(text string) {
		t.Helper()
		e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", text))
	}
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")

	// There is no pool yet, so the next one is as the settings say.
	e.Settings(lsptest.Object{"ranks": 1, "app": "none"})
	prints(2, "1")
	e.Settings(lsptest.Object{"ranks": 3, "app": "none"})
	question("dip.ranks has changed: it counts for the next pool.")
	e.Await("a new pool", lsptest.Has("event", "log"), lsptest.Contains("text", "pool of 3 ranks"))
	prints(2, "3")
	prints(3, "[x]")
	if asked := e.Messages(lsptest.Method("window/showMessageRequest")); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}

	e.Settings(lsptest.Object{"ranks": 3, "app": "none", "see": "all"}) // which needs no restart
	e.Settings(lsptest.Object{"ranks": 2, "app": "none", "preload": []string{"json"}})
	question("dip.preload, dip.ranks have changed: they count when Python is started anew. All variables are lost then.")
	e.Await("the end of Python", lsptest.Has("event", "log"), lsptest.Contains("text", "Python has ended"))
	prints(3, "[]")
	prints(2, "2")

	e.Command("dip.restart", nil, nil)
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	if asked := e.Messages(lsptest.Method("window/showMessageRequest")); len(asked) != 2 {
		t.Errorf("asked %v", asked)
	}
}

// Where nothing has run yet, nothing is said of variables.
func TestRestartThatLosesNothing(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", "let x 1\n")
	e.Command("dip.makePool", lsptest.Object{"uri": e.URI("a.py")}, nil)
	e.Await("the pool", lsptest.Has("event", "pool_state"), lsptest.Has("state", "ready"))
	e.Settings(lsptest.Object{"ranks": 3, "app": "none"})
	const pool = "dip.ranks has changed: it counts for the next pool."
	e.Await("the question about the pool", lsptest.Method("window/showMessageRequest"), lsptest.Has("message", pool))
	e.Open("b.py", "# %%dip\nlet x 1\n")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("b.py"), "cell": 1}), "ok")
	e.Settings(lsptest.Object{"ranks": 4, "app": "none"})
	e.Await("another one", lsptest.Method("window/showMessageRequest"), lsptest.Has("message", pool+" The ranks' variables are lost then."))
}

// A restart that would change nothing any more is not offered, and what is chosen then restarts nothing.
func TestRestartIsNotOfferedInVain(t *testing.T) {
	choose := make(chan struct{})
	e, _ := startFaked(t, lsptest.Options{
		Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"},
		Answers: lsptest.Answers{"window/showMessageRequest": func(m lsptest.Message) any {
			return lsptest.Later(func() any {
				<-choose
				return m.Get("actions.0")
			})
		}},
	})
	e.Open("a.py", "# %%\n# %%dip\nprint 1\n")
	run := lsptest.Object{"uri": e.URI("a.py"), "cell": 1}
	ranks := func(n int) { e.Settings(lsptest.Object{"ranks": n, "app": "none"}) }
	asked := func(text string) lsptest.Message {
		t.Helper()
		return e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", text))
	}
	finished(e, e.Run("dip.runCell", run), "ok")

	ranks(3)
	first := asked("dip.ranks has changed")
	ranks(2)
	taken := e.Await("that it is taken back", lsptest.Method("$/cancelRequest"))
	if id := string(first.ID); !strings.Contains(taken.String(), `"id":`+id) {
		t.Errorf("%v was asked, and %v taken back", first, taken)
	}

	// A question about a setting that changes once more is taken back, and asked anew.
	e.Mark()
	ranks(5)
	first = asked("dip.ranks has changed: it counts for the next pool. The ranks' variables are lost then.")
	e.Mark()
	ranks(4)
	asked("dip.ranks has changed")
	taken = e.Await("that it is taken back", lsptest.Method("$/cancelRequest"))
	if id := string(first.ID); !strings.Contains(taken.String(), `"id":`+id) {
		t.Errorf("%v was asked, and %v taken back", first, taken)
	}
	e.Command("dip.killPool", nil, nil)
	e.Command("dip.makePool", nil, nil)
	finished(e, e.Run("dip.runCell", run), "ok") // on a pool of 4 ranks
	e.Mark()
	close(choose)
	e.Await("that it is too late", lsptest.Method("window/showMessage"), lsptest.Has("message", "the settings count already: nothing was restarted"))
	if restarted := e.Messages(lsptest.Has("event", "pool_state")); len(restarted) > 0 {
		t.Errorf("restarted: %v", restarted)
	}
}

// What an interpreter lacks is offered to be installed, each time that something needs it, until the user agrees.
func TestMissingPackages(t *testing.T) {
	needPython(t)
	agree := make(chan bool, 2)
	answers := lsptest.Answers{"window/showMessageRequest": func(m lsptest.Message) any {
		if <-agree {
			return m.Get("actions.0")
		}
		return nil
	}}
	e := lsptest.Start(t, lsptest.Options{
		Server: program(t), Init: events, Answers: answers, Settings: lsptest.Object{"python": testpython.Bare(t, testpython.Path())},
	})
	e.Open("a.py", "# %%\nprint('at last')\n")
	agree <- false
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the question", lsptest.Method("window/showMessageRequest"),
		lsptest.Contains("message", "/python lacks "), lsptest.Contains("message", "Install into "))
	e.Await("the refusal", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", "died"),
		lsptest.Contains("reason", "/python -m pip install "), lsptest.Contains("reason", "then run the cell again"))
	e.Mark()
	agree <- true
	run = e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the progress", progress("begin"), lsptest.Contains("value.title", "Installing "), lsptest.Contains("value.title", "cloudpickle"))
	e.Await("its end", progress("end"), lsptest.Has("value.message", "installed"))
	e.Await("output", lsptest.Has("run", run), lsptest.Contains("text", "at last"))
	finished(e, run, "ok")
}

// Starting Python ahead asks no question; the first command that runs something does.
func TestMissingPackagesAhead(t *testing.T) {
	needPython(t)
	started := filepath.Join(t.TempDir(), "started")
	python := filepath.Join(t.TempDir(), "python")
	script := fmt.Sprintf("#!/bin/sh\n: >'%s'\nexec '%s' \"$@\"\n", started, testpython.Bare(t, testpython.Path()))
	if err := os.WriteFile(python, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var ran atomic.Bool
	answers := lsptest.Answers{"window/showMessageRequest": func(lsptest.Message) any {
		if !ran.Load() {
			t.Error("asked before anything ran")
		}
		return nil
	}}
	e := lsptest.Start(t, lsptest.Options{
		Server: program(t), Init: lsptest.Object{"events": true, "trusted": true}, Answers: answers, Settings: lsptest.Object{"python": python},
	})
	e.Open("a.py", "# %%\n# %%dip\nprint('never')\n")
	exists(t, started)
	ran.Store(true)
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", " lacks "))
	finished(e, run, "died")
}

// exists waits for a file.
func exists(t *testing.T, path string) {
	t.Helper()
	await(t, path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// To open a file whose cells run on ranks has Python import what ranks need, unless that is switched off or no cell does.
func TestPrewarm(t *testing.T) {
	needPython(t)
	for _, test := range []struct {
		name, text string
		prewarm    bool
		want       bool
	}{
		{"directive", "# %%dip everywhere\nx = 1\n", true, true},
		{"line magic", "# %%\n# %makedip -n 2\n", true, true},
		{"switched off", "# %%dip everywhere\nx = 1\n", false, false},
		{"none", "# %%\nx = 1\n", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := lsptest.Start(t, lsptest.Options{
				Server: program(t), Init: lsptest.Object{"events": true, "trusted": true},
				Settings: lsptest.Object{"preload": []string{"marker"}, "prewarm": test.prewarm},
			})
			if err := os.WriteFile(e.Folder+"/marker.py", []byte("open('imported', 'w').close()\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			e.Open("a.py", test.text)
			if test.want {
				exists(t, e.Folder+"/imported")
				return
			}
			e.Open("b.py", "x = 1\n")
			finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("b.py"), "cell": 1}), "ok")
			if _, err := os.Stat(e.Folder + "/imported"); err == nil {
				t.Error("it was imported")
			}
		})
	}
}

// Once the user trusts the folder, cells run, and Python starts for the documents that are open.
func TestTrusted(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{
		Server: server, Init: lsptest.Object{"events": true, "trusted": false}, Settings: lsptest.Object{"preload": []string{"marker"}, "ranks": 2, "app": "none"},
	})
	if err := os.WriteFile(e.Folder+"/marker.py", []byte("open('imported', 'w').close()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Open("a.py", "# %%dip\nx = 1\n")
	if err := e.TryCommand("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}, nil); err == nil {
		t.Error("it runs")
	}
	for _, params := range []any{lsptest.Object{"trusted": false}, lsptest.Object{"trusted": true}, []any{false}} {
		e.Mark()
		e.Notify("dip/trusted", params)
		e.Await("a refusal", lsptest.Method("window/logMessage"), lsptest.Contains("message", "takes no parameters"))
	}
	if err := e.TryCommand("dip.gpus", nil, nil); err == nil || !strings.Contains(err.Error(), "not trusted") {
		t.Error(err)
	}
	e.Notify("dip/trusted", nil)
	exists(t, e.Folder+"/imported")
	runCell(e, 1, "ok")
}

// Nothing of a folder that is not trusted is ever run, whatever is opened and asked for.
func TestUntrusted(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		for _, trusted := range []any{false, "yes"} {
			e := lsptest.Start(t, lsptest.Options{
				Server: server, Init: lsptest.Object{"events": true, "trusted": trusted}, Settings: lsptest.Object{"python": "/no/python"},
			})
			e.Open("a.py", "# %%dip everywhere\nx = 1\n")
			cell := lsptest.Object{"uri": e.URI("a.py"), "cell": 1}
			for name, args := range map[string]lsptest.Object{
				"runCell": cell, "runAll": cell, "runBelow": cell, "makePool": nil, "restartPool": nil, "restartLocal": nil, "restart": nil, "killPool": nil,
				"push": lsptest.Object{"names": []string{"x"}}, "autodip": lsptest.Object{"on": true},
				"runSelection": lsptest.Object{"uri": e.URI("a.py"), "range": lsptest.Range{End: lsptest.Position{Line: 2}}},
			} {
				if err := e.TryCommand("dip."+name, args, nil); err == nil || !strings.Contains(err.Error(), "not trusted") {
					t.Errorf("%s: %v", name, err)
				}
			}
			for _, method := range []string{"textDocument/hover", "textDocument/completion"} {
				params := inDocument(e, "a.py")
				params["position"] = lsptest.Position{Line: 1}
				var answer any
				if err := e.Call(method, params, &answer); err != nil || answer != nil {
					t.Errorf("%s: %v, %v", method, answer, err)
				}
			}
			var status struct{ Workspaces []any }
			e.Command("dip.status", nil, &status)
			if len(status.Workspaces) > 0 {
				t.Error(status)
			}
			if left, _ := filepath.Glob(os.Getenv("XDG_RUNTIME_DIR") + "/dipls/*/*"); len(left) > 0 {
				t.Errorf("something runs: %v", left)
			}
		}
	})
}
