package lsp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dipls/internal/lsptest"
)

// barring is a cell that draws a progress bar on rank 1, which does not end.
const barring = `# %%dip --see 1
on 1 print a line
on 1 draw "\r  0%|          | 0/100"
on 1 draw "\r\x1b[32m 45%|████▌     | 45/100\x1b[0m"
on 0,2 draw "\r not to be seen"
on 1 gate end
`

// progress fits $/progress of a kind.
func progress(kind string) lsptest.Condition {
	return func(m lsptest.Message) bool {
		return lsptest.Method("$/progress")(m) && lsptest.Has("value.kind", kind)(m)
	}
}

// begun waits for progress with a title and returns its token.
func begun(e *lsptest.Editor, title string) string {
	begin := e.Await("progress of "+title, progress("begin"), lsptest.Has("value.title", title), lsptest.Has("value.cancellable", true))
	token := fmt.Sprint(begin.Get("token"))
	e.Await("its token", lsptest.Method("window/workDoneProgress/create"), lsptest.Has("token", token))
	return token
}

// A run that takes a while is shown, with the progress bar of a rank whose output is shown. A short run is not shown. Cancelling interrupts the run.
func TestProgress(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 3, "app": "none", "prewarm": false}})
	e.Open("a.py", "# %%\n%makedip\n"+barring)
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	e.Mark()
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2})
	token := begun(e, "Cell 2 (all ranks)")
	e.Await("the bar", progress("report"), lsptest.Has("token", token), lsptest.Contains("value.message", " · 45%|████▌     | 45/100"),
		lsptest.Contains("value.message", "2/3 ranks · "))
	e.Notify("window/workDoneProgress/cancel", lsptest.Object{"token": token})
	e.Await("the end of the progress", progress("end"), lsptest.Has("token", token), lsptest.Contains("value.message", "interrupted after "))
	finished(e, run, "interrupted")
	if n := len(e.Messages(progress("begin"))); n != 1 {
		t.Errorf("%d things were shown", n)
	}
	e.Notify("window/workDoneProgress/cancel", lsptest.Object{"token": token}) // what has ended
	e.Notify("window/workDoneProgress/cancel", lsptest.Object{"token": 7})     // what never was
	alive(t, e)
}

// A client that cannot show progress is not asked to.
func TestProgressNotSupported(t *testing.T) {
	for name, can := range map[string]lsptest.Object{
		"not said": {"window": lsptest.Object{"workDoneProgress": nil}},
		"cannot":   {"window": lsptest.Object{"workDoneProgress": false}},
	} {
		t.Run(name, func(t *testing.T) {
			e, machine := startFaked(t, lsptest.Options{Init: events, Capabilities: can})
			e.Open("a.py", "# %%\ngate later\n")
			time.AfterFunc(time.Second, func() { machine.Open("later") })
			finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
			if m := e.Messages(lsptest.Method("$/progress")); len(m) > 0 {
				t.Error(m)
			}
		})
	}
}

// The start of a pool is shown; cancelling gives it up.
func TestProgressOfPool(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "slow.py", "prewarm": false}})
	app := "import os, time\ndef initializer():\n    while not os.path.exists('go'): time.sleep(0.01)\n"
	if err := os.WriteFile(filepath.Join(e.Folder, "slow.py"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Open("a.py", "# %%dip\nx = 1\n# %%\nx = 2\n")
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	token := begun(e, "Starting 2 ranks")
	e.Await("what the cell waits for", lsptest.Method("$/progress"), lsptest.Contains("value.message", "waiting for the pool"))
	e.Notify("window/workDoneProgress/cancel", lsptest.Object{"token": token})
	e.Await("the end of the start", progress("end"), lsptest.Has("token", token))
	e.Await("the end of the run", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", "died"),
		lsptest.Contains("reason", "the start of the pool was cancelled; make one with %makedip"))
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2}), "ok")

	e.Mark()
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 2}), "ok")
	if err := os.WriteFile(filepath.Join(e.Folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.Command("dip.makePool", nil, nil)
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
}
