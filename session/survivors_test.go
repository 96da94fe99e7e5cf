package session

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/internal/stress"
	"dipls/internal/testpython"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/wire"
)

// Whichever rank dies, and whatever the others do then, their variables can be pulled, nothing else runs on them, and a restart works.
func TestStressSurvivors(t *testing.T) {
	python := testpython.Need(t)
	rng := stress.Rand(t)
	f := newFixture(t, fakerank.Config{}, func(o *processOptions) {
		o.Node = ranks.Options{Python: python, Dir: t.TempDir()}
	})
	e := dipexec.New(dipexec.Options{Pool: f, Manager: f, DeathGrace: 10 * time.Millisecond})
	defer e.Close(testContext(t))
	run := func(target, code string) event.Report {
		t.Helper()
		where, err := cells.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		id, err := e.Start(dipexec.Request{Code: code, Target: where})
		if err != nil {
			t.Fatal(err)
		}
		report, err := e.Wait(testContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	wantStatus := func(what string, r event.Report, want event.Status) {
		t.Helper()
		if r.Status != want {
			t.Errorf("%s ended %s: %s", what, r.Status, r.Reason)
			for _, p := range r.Parts {
				if p.Failure != nil {
					t.Log(strings.Join(p.Failure.Traceback, "\n"))
				}
			}
		}
	}
	const size = 4
	ways := []string{"pass", "while True: pass", "time.sleep(1000)", "subprocess.call(['sleep', '1000'])", "1 / 0"}
	for round := range stress.Rounds(2, 50) {
		f.making(wire.MakeCommand{Ranks: size, App: "none", Restart: round > 0})
		wantStatus("the first cell", run("remote", "import os, subprocess, time; x = [int(os.environ['RANK'])] * 3"), event.StatusOK)
		victim := rng.IntN(size)
		doing := make([]string, size)
		code := "rank = x[0]\n"
		for rank := range doing {
			doing[rank] = ways[rng.IntN(len(ways))]
			code += fmt.Sprintf("if rank == %d:\n    %s\n", rank, doing[rank])
		}
		code = fmt.Sprintf("rank = x[0]\nif rank == %d: time.sleep(%f); os.kill(os.getpid(), 9)\n", victim, rng.Float64()/20) + code
		outside := rng.IntN(2) == 0
		if outside { // between two cells
			if err := syscall.Kill(f.pids()[victim], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, "the word of the death", func() bool { return f.Info(testContext(t)).State == "dead" })
		}
		wantStatus(fmt.Sprintf("round %d: the cell in which rank %d dies", round, victim), run("remote", code), event.StatusDied)
		for rank := range size {
			want := event.StatusOK
			if rank == victim {
				want = event.StatusError
			}
			what := fmt.Sprintf("round %d: the pull from rank %d (%s) after rank %d has died", round, rank, doing[rank], victim)
			wantStatus(what, run("local", fmt.Sprintf("%%dipull -r %d x\nassert x == [%[1]d] * 3", rank)), want)
		}
		wantStatus("a cell on a survivor", run(fmt.Sprintf("ranks:%d", (victim+1)%size), "y = 1"), event.StatusDied)
	}
	f.making(wire.MakeCommand{Restart: true})
	wantStatus("a cell after the restart", run("remote", "assert 'x' not in globals()"), event.StatusOK)
}
