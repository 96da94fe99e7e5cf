package lsp_test

import (
	"fmt"
	"strings"
	"testing"

	"dipls/internal/lsptest"
)

// finished waits for the end of a run.
func finished(e *lsptest.Editor, run, status string) {
	e.Await("the end of "+run, lsptest.Method("dip/event"), lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", status))
}

// order is the cells of the runs that have started, in order.
func order(e *lsptest.Editor) string {
	var cells []string
	for _, m := range e.Messages(lsptest.Has("event", "run_started")) {
		cells = append(cells, fmt.Sprint(m.Get("cell")))
	}
	return strings.Join(cells, " ")
}

// Several cells run one after the other, text cells aside, up to the first that fails.
func TestRunMany(t *testing.T) {
	const text = "let x 0\n# %%\nlet x 1\n# %% [markdown]\n# text\n# %%\n\n# %%\nlet x 2\n# %%\nnowhere\n# %%\nlet x 3\n"
	for _, test := range []struct {
		command string
		cell    int
		want    string
		last    string
		cells   int
	}{
		{"dip.runAbove", 6, "1 2 5", "ok", 3},
		{"dip.runBelow", 5, "5 6", "error", 3},
		{"dip.runAll", 0, "1 2 5 6", "error", 5},
	} {
		t.Run(test.command, func(t *testing.T) {
			e, _ := startFaked(t, lsptest.Options{Init: events})
			e.Open("a.py", text)
			if test.command == "dip.runBelow" {
				finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
				e.Mark()
			}
			var reply struct {
				Run   string
				Cells int
			}
			e.Command(test.command, lsptest.Object{"uri": e.URI("a.py"), "cell": test.cell}, &reply)
			if reply.Cells != test.cells {
				t.Errorf("%+v", reply)
			}
			last := test.want[len(test.want)-1:]
			e.Await("the last cell", lsptest.Has("event", "run_finished"), lsptest.Has("cell", last), lsptest.Has("status", test.last))
			// A run that is asked for now comes after all that is still to come.
			finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
			if got := order(e); got != test.want+" 1" {
				t.Errorf("ran %s, want %s", got, test.want)
			}
		})
	}
}

// A selection runs what it touches.
func TestRunSelection(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events})
	e.Open("a.py", "# %%\nprint('one'); print('two')\nif True:\n    print('three')\n    print('four')\n# %%\nprint('five')\n")
	for _, test := range []struct {
		start, end lsptest.Position
		want       string
	}{
		{lsptest.Position{Line: 1}, lsptest.Position{Line: 1}, "one two"},
		{lsptest.Position{Line: 1, Character: 14}, lsptest.Position{Line: 1, Character: 26}, "two"},
		{lsptest.Position{Line: 3, Character: 2}, lsptest.Position{Line: 4, Character: 9}, "three four"},
		{lsptest.Position{Line: 3}, lsptest.Position{Line: 4}, "three"},
		{lsptest.Position{Line: 2}, lsptest.Position{Line: 7}, "three four five"},
	} {
		e.Mark()
		args := lsptest.Object{"uri": e.URI("a.py"), "range": lsptest.Range{Start: test.start, End: test.end}}
		words := strings.Fields(test.want)
		e.Run("dip.runSelection", args)
		e.Await(test.want, lsptest.Has("event", "stream"), lsptest.Contains("text", words[len(words)-1]))
		var got strings.Builder
		for _, m := range e.Messages(lsptest.Has("event", "stream")) {
			fmt.Fprint(&got, m.Get("text"))
		}
		if printed := strings.Join(strings.Fields(got.String()), " "); printed != test.want {
			t.Errorf("%v to %v printed %s, want %s", test.start, test.end, printed, test.want)
		}
	}
	args := lsptest.Object{"uri": e.URI("a.py"), "range": lsptest.Range{}}
	if err := e.TryCommand("dip.runSelection", args, nil); err == nil || !strings.Contains(err.Error(), "no code to run") {
		t.Error(err)
	}
}

// A mistake in a directive keeps the cell from running.
func TestRefused(t *testing.T) {
	everyServer(t, func(t *testing.T, server lsptest.Server) {
		e := lsptest.Start(t, lsptest.Options{Server: server})
		e.Open("a.py", "# %%dip --sea all\nx = 1\n# %% [markdown]\n# text\n")
		for cell, want := range map[int]string{1: "nothing was run: line 1 of cell 1", 2: "cell 2 has no code to run"} {
			err := e.TryCommand("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell}, nil)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("cell %d: %v", cell, err)
			}
		}
	})
}

// A wrong line keeps only its cell from running. A command that would run it among others is refused before the first of them runs.
func TestRefusedAlone(t *testing.T) {
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"app": "none"}})
	e.Open("a.py", "# %%\nprint one\n# %%dipp everywhere\nlet x 2\n# %%\nlet x 'three\n# %%\nprint four\n")
	for _, command := range []string{"dip.runAll", "dip.runBelow", "dip.runCell"} {
		err := e.TryCommand(command, lsptest.Object{"uri": e.URI("a.py"), "cell": 2}, nil)
		if err == nil || !strings.Contains(err.Error(), "nothing was run: line 3 of cell 2: %%dipp is no directive and no magic; did you mean %%dip?") {
			t.Errorf("%s: %v", command, err)
		}
	}
	for cell, want := range map[int]string{1: "one", 4: "four"} {
		run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell})
		e.Await(want, lsptest.Has("run", run), lsptest.Contains("text", want))
		e.Await("its end", lsptest.Has("event", "run_finished"), lsptest.Has("run", run), lsptest.Has("status", "ok"))
	}
}

// A restart ends what runs in the restarted processes or waits for them, and nothing else.
func TestRestartLeavesOthers(t *testing.T) {
	const hold = "print held\ngate open\n"
	for command, ended := range map[string]string{"dip.restartPool": "remote", "dip.restartLocal": "local"} {
		t.Run(command, func(t *testing.T) {
			e, machine := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 1, "app": "none"}})
			e.Open("a.py", "# %% hold\n"+hold+"# %% then\nlet x 1\n")
			runs := map[string][2]string{}
			for _, target := range []string{"remote", "local"} {
				run := func(cell int) string {
					return e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell, "target": target})
				}
				first := run(1)
				e.Await("the cell", lsptest.Has("run", first), lsptest.Contains("text", "held"))
				runs[target] = [2]string{first, run(2)}
			}
			e.Command(command, nil, nil)
			for _, run := range runs[ended] {
				finished(e, run, "interrupted")
			}
			machine.Open("open")
			delete(runs, ended)
			for _, others := range runs {
				finished(e, others[0], "ok")
				finished(e, others[1], "ok")
			}
		})
	}
}

// The pool's life from the editor.
func TestPoolCommands(t *testing.T) {
	needPython(t)
	server := program(t)
	e := lsptest.Start(t, lsptest.Options{Server: server, Init: events, Settings: lsptest.Object{"ranks": 3, "app": "none"}})
	e.Open("a.py", "x = 'from local'\n# %%dip\nprint(x)\n# %%dip\nimport time\nprint('held', flush=True)\nwhile True: time.sleep(0.05)\n# %%\nprint(y)\n")
	uri := e.URI("a.py")
	cell := func(i int) string { return e.Run("dip.runCell", lsptest.Object{"uri": uri, "cell": i}) }

	finished(e, e.Run("dip.makePool", lsptest.Object{"ranks": 2}), "ok")
	finished(e, cell(1), "ok")
	finished(e, e.Run("dip.push", lsptest.Object{"names": []string{"x"}}), "ok")
	run := e.Run("dip.push", lsptest.Object{"names": []string{"nosuch"}})
	e.Await("what is wrong", lsptest.Has("run", run), lsptest.Has("event", "error"),
		lsptest.Has("evalue", "name 'nosuch' is not defined in the local namespace; nothing was pushed"))
	finished(e, run, "error")
	run = e.Run("dip.makePool", lsptest.Object{"restart": true, "ranks": 2, "app": `{x} $y "'`}) // which mean something to IPython
	e.Await("its title", lsptest.Has("run", run), lsptest.Has("title", `%makedip -n 2 -a "{x} $y \"'" -r`))
	e.Await("the app's name", lsptest.Contains("text", `app {x} $y "': there is no app or module of that name`))
	finished(e, run, "ok")
	finished(e, e.Run("dip.makePool", lsptest.Object{"restart": true, "ranks": 2, "app": "none"}), "ok")
	finished(e, e.Run("dip.push", lsptest.Object{"names": []string{"x"}}), "ok")
	run = cell(2)
	e.Await("what was pushed", lsptest.Has("run", run), lsptest.Contains("text", "from local"))
	finished(e, run, "ok")

	run = cell(3)
	e.Await("the cell", lsptest.Has("run", run), lsptest.Contains("text", "held"))
	var status map[string]any
	e.Command("dip.status", nil, &status)
	for path, want := range map[string]any{
		"workspaces.0.pool.size": 2, "workspaces.0.runs.0.run": run, "workspaces.0.runs.0.state": "running",
		"workspaces.0.runs.0.cell": 3, "workspaces.0.runs.0.parts": 2,
	} {
		if got := lsptest.Dig(status, path); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("status %s: %v, want %v", path, got, want)
		}
	}
	var interrupted struct{ Interrupted int }
	e.Command("dip.interrupt", lsptest.Object{"run": run}, &interrupted)
	if interrupted.Interrupted != 1 {
		t.Errorf("%+v", interrupted)
	}
	finished(e, run, "interrupted")

	var autodip struct{ Autodip string }
	e.Command("dip.autodip", lsptest.Object{"on": true, "flags": "--see all"}, &autodip)
	if autodip.Autodip != "%%dip --see all" {
		t.Errorf("%+v", autodip)
	}
	e.Command("dip.autodip", lsptest.Object{"on": false}, nil)

	run = cell(3)
	e.Await("the cell", lsptest.Has("run", run), lsptest.Contains("text", "held"))
	var text struct{ Text string }
	e.Command("dip.restartPool", nil, &text)
	if !strings.Contains(text.Text, "pool of 2 ranks") {
		t.Errorf("%+v", text)
	}
	finished(e, run, "interrupted")
	run = cell(2)
	e.Await("a NameError", lsptest.Has("run", run), lsptest.Has("ename", "NameError"))
	finished(e, run, "error")

	e.Command("dip.restartLocal", nil, nil)
	finished(e, cell(4), "error")
	e.Command("dip.killPool", nil, &text)
	if text.Text != "the pool of 2 ranks has ended" {
		t.Errorf("%+v", text)
	}
	run = cell(2)
	finished(e, run, "died")
}

// A restart comes before the cells that it is for: they find nothing of what was there, and autodip as in a new session. What keeps cells from running is
// told before anything is lost.
func TestRestartAndRun(t *testing.T) {
	const text = "# %%\nlet x 1\nvars\n# %%\n# %%dip\nvars\nlet y 1\n# %%\n%autodip on\n# %%\nvars\n# %%\n# %%dip --sea\nlet z 1\n"
	e, _ := startFaked(t, lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}})
	e.Open("a.py", text)
	var reply struct {
		Run   string
		Cells int
	}
	args := func(cell int) lsptest.Object { return lsptest.Object{"uri": e.URI("a.py"), "cell": cell} }
	started := func(cell int, target string) {
		t.Helper()
		e.Await(fmt.Sprintf("cell %d", cell), lsptest.Has("event", "run_started"), lsptest.Has("cell", float64(cell)), lsptest.Has("target", target))
	}
	for range 2 { // the first time there is nothing to restart
		e.Mark()
		e.Command("dip.restartAndRunTo", args(4), &reply)
		if reply.Cells != 4 {
			t.Errorf("%+v", reply)
		}
		started(1, "local")
		started(4, "remote")
		e.Await("the end of the last cell", lsptest.Has("event", "run_finished"), lsptest.Has("cell", 4.0), lsptest.Has("status", "ok"))
	}
	printed := ""
	for _, m := range e.Messages(lsptest.Has("event", "stream"), lsptest.Has("cell", 2.0)) {
		printed += fmt.Sprint(m.Get("text"))
	}
	if strings.Contains(printed, "y") {
		t.Errorf("the ranks had %q before the cell that makes it", printed)
	}
	e.Mark()
	if err := e.TryCommand("dip.restartAndRunAll", lsptest.Object{"uri": e.URI("a.py")}, nil); err == nil || !strings.Contains(err.Error(), "--sea") {
		t.Error(err)
	}
	if lost := e.Messages(lsptest.Has("event", "pool_state")); len(lost) > 0 {
		t.Errorf("the pool was restarted in vain: %v", lost)
	}
}

// A run that waits for its turn is taken out of the queue by its own interrupt, and the one that runs goes on.
func TestInterruptQueued(t *testing.T) {
	e, machine := startFaked(t, lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint begun\ngate go\n# %%\nlet x 1\n")
	run := func(cell int) string { return e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell}) }
	first := run(1)
	e.Await("the first cell", lsptest.Has("run", first), lsptest.Contains("text", "begun"))
	second := run(2)
	list := awaitLenses(t, e, 3, `.*… queued \| Interrupt`)
	click(t, e, titled(t, list[len(list)-1:], "Interrupt"), nil)
	finished(e, second, "interrupted")
	awaitLenses(t, e, 3, laterLenses)
	machine.Open("go")
	finished(e, first, "ok")
}
