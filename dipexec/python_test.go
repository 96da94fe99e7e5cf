package dipexec

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/testpython"
	"dipls/ranks"
)

// startPython starts a node with the real agent, with a pool, and an executor on them.
func startPython(t *testing.T, size int) (*Executor, *recorder) {
	t.Helper()
	return startNodeOf(t, ranks.PoolSpec{Ranks: size, App: "none"}, Options{Journal: newJournal(t, journal.Options{})},
		ranks.Options{Python: testpython.Need(t), Dir: t.TempDir()})
}

// cell runs a cell.
func cell(t *testing.T, e *Executor, where, code string) event.Report {
	t.Helper()
	return mustWait(t, e, mustStart(t, e, Request{Code: code, Target: target(t, where)}))
}

// printed is all that a run printed on stdout.
func printed(t *testing.T, r event.Report) string {
	t.Helper()
	reader, err := journal.Read(r.Journal)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var text strings.Builder
	for {
		ev, _, err := reader.Next()
		if err != nil {
			return text.String()
		}
		if s, ok := ev.(*event.Stream); ok && s.Name == "stdout" {
			text.WriteString(s.Text)
		}
	}
}

// prints fails the test if a cell does not end well or prints something else.
func prints(t *testing.T, e *Executor, where, code, want string) {
	t.Helper()
	r := cell(t, e, where, code)
	if got := printed(t, r); r.Status != event.StatusOK || got != want {
		t.Errorf("%s\nended %s and printed %q, want %q", code, r.Status, got, want)
		for _, p := range r.Parts {
			if p.Failure != nil {
				t.Log(strings.Join(p.Failure.Traceback, "\n"))
			}
		}
	}
}

// fails fails the test if a cell does not end with an exception on its first process, whose text has all the parts.
func fails(t *testing.T, e *Executor, where, code string, parts ...string) {
	t.Helper()
	r := cell(t, e, where, code)
	if r.Status != event.StatusError || r.Parts[0].Failure == nil {
		t.Errorf("%s\nended %s %s", code, r.Status, r.Reason)
		return
	}
	text := r.Parts[0].Failure.EName + ": " + r.Parts[0].Failure.EValue
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s\nended with %q, which does not have %q", code, text, p)
		}
	}
}

func TestPythonTransfers(t *testing.T) {
	e, _ := startPython(t, 3)
	prints(t, e, "local", "a, größe = [1, 2], {'x': 3}\na.append(größe)\ndef f(): return größe['x']\n%dipush a größe f", "")
	prints(t, e, "ranks:2", "print(a, a[2] is größe, f())", "[1, 2, {'x': 3}] True 3\n")
	prints(t, e, "remote", "import os; rank = int(os.environ['RANK'])", "")
	prints(t, e, "local", "%dipull -r all rank\nprint(rank)\n%dipull -r 1 rank\nprint(rank)", "[0, 1, 2]\n1\n")
	prints(t, e, "ranks:0,2", "only = 1", "")
	fails(t, e, "local", "%dipull -r all only", "name 'only' is not defined on rank 1; nothing was pulled")
	fails(t, e, "local", "only", "NameError")
	fails(t, e, "local", `
class Odd:
    def __getstate__(self): return {"x": 1}
    def __setstate__(self, state):
        import os
        if os.environ["RANK"] != "0": raise ValueError("not here")
odd, good = Odd(), 1
%dipush good odd`, "odd", "not here (ranks 1-2); nothing was pushed")
	prints(t, e, "ranks:0", "print('good' in globals(), 'odd' in globals())", "False False\n")
}

// Requests without code do what the magics do.
func TestPythonTransfersWithoutALine(t *testing.T) {
	e, _ := startPython(t, 2)
	transfer := func(tr Transfer, want string) {
		t.Helper()
		r := mustWait(t, e, mustStart(t, e, RequestForTransfer(tr)))
		got := string(r.Status)
		if len(r.Parts) == 1 && r.Parts[0].Failure != nil {
			got += " " + strings.Join(r.Parts[0].Failure.Traceback, "\n")
		}
		if got != want {
			t.Errorf("%+v: got %s, want %s", tr, got, want)
		}
	}
	prints(t, e, "local", "x, größe = [1], 2", "")
	transfer(Transfer{Names: []string{"x", "größe"}}, "ok")
	prints(t, e, "ranks:1", "x.append(größe); print(x)", "[1, 2]\n")
	transfer(Transfer{Pull: true, Names: []string{"x"}, Ranks: rankList(t, "1")}, "ok")
	prints(t, e, "local", "print(x)", "[1, 2]\n")
	transfer(Transfer{Pull: true, Names: []string{"x"}, Ranks: rankList(t, "0-1")}, "ok")
	prints(t, e, "local", "print(x)", "[[1], [1, 2]]\n")
	transfer(Transfer{Names: []string{"y"}}, "error NameError: name 'y' is not defined in the local namespace; nothing was pushed")
	transfer(Transfer{Pull: true, Names: []string{"y"}}, "error NameError: name 'y' is not defined on rank 0; nothing was pulled")
	transfer(Transfer{Names: []string{"x"}, Ranks: rankList(t, "5")}, "error ValueError: there is no rank 5: the pool has ranks 0-1")
}

// If a rank dies of a variable, that is reported, and the others do not have the variable.
func TestPythonDeathInPush(t *testing.T) {
	e, rec := startPython(t, 2)
	fails(t, e, "local", `
class Fatal:
    def __getstate__(self): return {"x": 1}
    def __setstate__(self, state):
        import os
        if os.environ["RANK"] == "1": os._exit(3)
fatal = Fatal()
%dipush fatal`, "rank 1 exited with code 3 (os._exit?); nothing was pushed")
	rec.await(t, "its death", func(ev event.Event) bool {
		rs, ok := ev.(*event.RankState)
		return ok && rs.Rank != nil && *rs.Rank == 1 && rs.State == event.StateDead
	})
	prints(t, e, "ranks:0", "print('fatal' in globals())", "False\n")
}

// An interrupt while a rank unpickles ends the push everywhere.
func TestPythonInterruptInPush(t *testing.T) {
	e, rec := startPython(t, 2)
	prints(t, e, "remote", "", "") // so that somebody listens to the ranks
	id := mustStart(t, e, Request{Target: target(t, "local"), Code: `
class Slow:
    def __getstate__(self): return {"x": 1}
    def __setstate__(self, state):
        import os, time
        print("unpickling", flush=True)
        if os.environ["RANK"] == "1": time.sleep(600)
slow = Slow()
%dipush slow`})
	rec.await(t, "the beginning", func(ev event.Event) bool {
		s, ok := ev.(*event.Stream)
		return ok && s.Rank != nil && *s.Rank == 1 && strings.HasPrefix(s.Text, "unpickling")
	})
	if err := e.Cancel(id); err != nil {
		t.Fatal(err)
	}
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || r.Parts[0].Failure.EName != "KeyboardInterrupt" {
		t.Errorf("report %+v", r)
	}
	prints(t, e, "remote", "assert 'slow' not in globals()", "")
}

func TestPythonNestedRuns(t *testing.T) {
	e, rec := startPython(t, 2)
	r := cell(t, e, "everywhere", `
import os
if "RANK" not in os.environ:
    get_ipython().run_line_magic("px", "import os; x = int(os.environ['RANK']); print('on', x); x")
    get_ipython().run_line_magic("pxresult", "")`)
	// The magic repeats values, which are its own output, but not what the ranks have printed.
	if got := printed(t, r); r.Status != event.StatusOK || got != "Out[0]: 0\nOut[1]: 1\n" {
		t.Errorf("report %+v, printed %q", r, got)
	}
	fails(t, e, "local", "%px 1/0", "RankError: ZeroDivisionError: division by zero", "ranks 0-1")

	// A cell that is interrupted while it waits for the ranks interrupts them, too.
	id := mustStart(t, e, Request{Target: target(t, "local"), Code: "%px print('begun', flush=True); import time; time.sleep(600)"})
	for rank := range 2 {
		rec.await(t, "begun", func(ev event.Event) bool {
			s, ok := ev.(*event.Stream)
			return ok && s.Rank != nil && *s.Rank == rank && strings.Contains(s.Text, "begun")
		})
	}
	if err := e.Cancel(id); err != nil {
		t.Fatal(err)
	}
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted {
		t.Errorf("report %+v", r)
	}
	prints(t, e, "ranks:0", "print('free')", "free\n")
}

// The collective of a run that was given up is never paired with one of the next run.
func TestPythonOutOfStep(t *testing.T) {
	p := startTorch(t, 2, Options{InterruptGrace: 100 * time.Millisecond, FreeAfter: time.Hour}) // who waits is not freed in time
	e := p.e
	givenUp := func() {
		t.Helper()
		r := mustWait(t, e, mustStart(t, e, Request{Path: "/d/t.py", Line: 5, Target: target(t, "remote"), Timeout: time.Second, Code: `
if rank == 0:
    raise ValueError("no data")
dist.all_reduce(torch.tensor([100.0]))`}))
		if r.Status != event.StatusInterrupted {
			t.Fatalf("report %+v", r)
		}
	}
	const sum = "t = torch.ones(1); dist.all_reduce(t); print(f'sum {t.item()}\\n', end='')"
	givenUp()
	id := mustStart(t, e, Request{Code: sum, Target: target(t, "remote")})
	if r := p.wait(id); r.Status != event.StatusOK || printed(t, r) != "sum 2.0\nsum 2.0\n" {
		p.fail(r)
	}
	want := "log info: the ranks were out of step (rank 1 is still in all_reduce at t.py:8; rank 0 is 1 collective behind " +
		"(ValueError at t.py:7)): their process groups have been formed anew"
	if lines := linesOf(t, p.rec, id); lines[1] != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), want)
	}
	givenUp()
	prints(t, e, "local", "%dipull -r all kept\nprint(kept)", "[[0], [1]]\n") // also of the one that waits, which goes on with that
	prints(t, e, "local", "kept = kept[0]", "")
	prints(t, e, "local", "kept.append(5)\n%dipush kept", "") // also to the one that waits
	prints(t, e, "remote", "assert kept == [0, 5]", "")
	prints(t, e, "remote", sum, "sum 2.0\nsum 2.0\n")
	givenUp()
	prints(t, e, "local", "%px "+sum, "")
	// A user who knows what is missing can make up for it.
	givenUp()
	prints(t, e, "local", "%%dip --anyway -r 0\ndist.all_reduce(torch.ones(1))", "")
	prints(t, e, "ranks:0-1", sum, "sum 2.0\nsum 2.0\n")
}
