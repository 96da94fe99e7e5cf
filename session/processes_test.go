package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"dipls/internal/leaktest"
	"dipls/internal/testpython"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Nothing is started before it is needed, and then once for all who need it.
func TestLazy(t *testing.T) {
	f := newFixture(t, fakerank.Config{Processes: true})
	if info := f.Info(testContext(t)); info.State != "none" || info.Ranks == nil || info.Local != nil {
		t.Errorf("info %+v", info)
	}
	if left := leaktest.Children(); len(left) > 0 {
		t.Errorf("a node was started: %v", left)
	}
	type outcome struct {
		ranks []*ranks.Process
		local *ranks.Process
	}
	outcomes := make(chan outcome)
	for range 4 {
		go func() {
			var o outcome
			if processes, err := f.Ranks(testContext(t)); err == nil {
				o.ranks = theirs(processes)
			}
			if local, err := f.Local(testContext(t)); err == nil {
				o.local = local.(*ranks.Process)
			}
			outcomes <- o
		}()
	}
	first := <-outcomes
	if len(first.ranks) != 2 || first.local == nil {
		t.Fatalf("%+v", first)
	}
	for range 3 {
		if o := <-outcomes; !slices.Equal(o.ranks, first.ranks) || o.local != first.local {
			t.Errorf("%+v is not %+v", o, first)
		}
	}
}

// If a call gives up, the start goes on for the others.
func TestGiveUpWaiting(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	if _, err := f.Ranks(ctx); err == nil || err.Error() != "enough" {
		t.Errorf("error %v", err)
	}
	if _, err := f.Local(ctx); err == nil || err.Error() != "enough" {
		t.Errorf("error %v", err)
	}
	f.ranks()
}

// A start that failed is not tried again until somebody says so.
func TestStartFails(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinError: map[int]string{1: "no route to host"}})
	for range 2 {
		_, err := f.Ranks(testContext(t))
		wantError(t, err, "start 2 ranks: rank 1: hello failed: RuntimeError: no route to host")
	}
	if got := f.making(wire.MakeCommand{Ranks: 1}); !strings.HasPrefix(got, "pool of 1 rank ") {
		t.Error(got)
	}
}

// A module that is to be preloaded and cannot be is a warning, and the pool is there; where that is wanted it is an error, and there is no pool.
func TestUnmet(t *testing.T) {
	const why = "could not preload nosuch: ModuleNotFoundError: No module named 'nosuch'"
	config := fakerank.Config{PreloadFailed: []string{"nosuch"}}
	var warned string
	f := newFixture(t, config, func(o *processOptions) {
		o.Node.Preload, o.Warn = []string{"json", "nosuch"}, func(text string) { warned = text }
	})
	if err := f.AwaitPool(testContext(t)); err != nil || warned != why {
		t.Errorf("error %v, warned of %q", err, warned)
	}
	f = newFixture(t, config, func(o *processOptions) { o.Node.Preload, o.Strict = []string{"json", "nosuch"}, true })
	wantError(t, f.AwaitPool(testContext(t)), "nothing was run on ranks: "+why)
}

func TestNodeFails(t *testing.T) {
	f := newFixture(t, fakerank.Config{StartError: "no room"})
	_, err := f.Local(testContext(t))
	wantError(t, err, "no room")
	_, err = f.Ranks(testContext(t))
	wantError(t, err, "no room")
	wantError(t, f.Begin(testContext(t), true, true), "no room")
	_, err = f.Make(testContext(t), wire.MakeCommand{})
	wantError(t, err, "no room")
	wantError(t, f.RestartLocal(testContext(t)), "no room")
}

func TestInstall(t *testing.T) {
	asked := 0
	f := newFixture(t, fakerank.Config{Missing: []string{"zmq"}}, func(o *processOptions) {
		o.Install = func(_ context.Context, missing *host.MissingPackagesError) error {
			asked++
			return fmt.Errorf("%s are not to be had", strings.Join(missing.Missing, ", "))
		}
	})
	for range 2 {
		_, err := f.Local(testContext(t))
		wantError(t, err, "pyzmq are not to be had")
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}

	f = newFixture(t, fakerank.Config{Missing: []string{"zmq"}})
	_, err := f.Local(testContext(t))
	var missing *host.MissingPackagesError
	if !errors.As(err, &missing) {
		t.Errorf("error %v", err)
	}
}

func TestRestartLocal(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	old, err := f.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	before := f.ranks()
	waitFor(t, "the end of the local namespace", start(old.(*ranks.Process), "exit 3").done)
	_, err = f.Local(testContext(t))
	wantError(t, err, `the local namespace is dead and its variables are lost (local exited with code 3 (os._exit?)); "Restart the local namespace"`)
	if err := f.RestartLocal(testContext(t)); err != nil {
		t.Fatal(err)
	}
	local, err := f.Local(testContext(t))
	if err != nil || local == old || printed(t, local.(*ranks.Process), "print here") != "here\n" {
		t.Errorf("it was not replaced: %v", err)
	}
	if !slices.Equal(f.ranks(), before) {
		t.Error("the ranks are other ones")
	}
}

func TestInfo(t *testing.T) {
	processes := fakeGPUs(t, 2)
	f := newFixture(t, fakerank.Config{Processes: true}, choose(Choice{Verbose: true}))
	f.ranks()
	if _, err := f.Local(testContext(t)); err != nil {
		t.Fatal(err)
	}
	pids := f.pids()
	text := fmt.Sprintf("%d, 100\n%d, 20\n%d, [N/A]\n1, 5\n", pids[0], pids[0], pids[1])
	if err := os.WriteFile(processes, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	info := f.Info(testContext(t))
	if info.State != "ready" || info.Reason != "" || info.Size != 2 || info.Backend != "gloo" || info.App != "torch" || info.Method != "fork" || !info.Verbose {
		t.Errorf("info %+v", info)
	}
	for rank, r := range info.Ranks {
		if r.Rank != rank || r.PID != pids[rank] || r.Device != "cpu" || r.State != "ready" {
			t.Errorf("rank %+v", r)
		}
		if r.HostBytes == nil || *r.HostBytes < 100<<10 {
			t.Errorf("rank %d has %v bytes", rank, r.HostBytes)
		}
	}
	if used := info.Ranks[0].GPUBytes; used == nil || *used != 120<<20 {
		t.Errorf("GPU memory of rank 0: %v", used)
	}
	if used := info.Ranks[1].GPUBytes; used != nil {
		t.Errorf("GPU memory of rank 1: %v", *used)
	}
	if load := info.Ranks[0].GPULoad; load == nil || *load != 97 {
		t.Errorf("load of rank 0's GPU: %v", load)
	}
	if load := info.Ranks[1].GPULoad; load != nil {
		t.Errorf("load of rank 1's GPU: %v", *load)
	}
	if info.Local == nil || info.Local.PID == 0 || info.Local.State != "ready" || info.Local.HostBytes == nil {
		t.Errorf("local %+v", info.Local)
	}
	glance := f.Glance()
	if glance.Local.HostBytes != nil || glance.Ranks[0].HostBytes != nil || glance.Ranks[0].GPUBytes != nil {
		t.Errorf("memory at a glance: %+v", glance)
	}
	if r := glance.Ranks[1]; glance.Size != 2 || r.PID != pids[1] || r.State != "ready" || glance.Local.PID != info.Local.PID {
		t.Errorf("at a glance: %+v", glance)
	}

	f.making(wire.MakeCommand{Kill: true})
	if info := f.Info(testContext(t)); info.State != "none" || !strings.Contains(info.Reason, "%makedip -k") || len(info.Ranks) != 0 {
		t.Errorf("info %+v", info)
	}
}

// A restart gives new processes, which rendezvous anew, and an empty namespace; the local one stays.
func TestPythonRestart(t *testing.T) {
	python := testpython.Need(t)
	f := newFixture(t, fakerank.Config{}, func(o *processOptions) {
		o.Node = ranks.Options{Python: python, Dir: t.TempDir()}
	})
	local, err := f.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	f.making(wire.MakeCommand{Ranks: 2, Timeout: 60})
	const code = "import os; print(os.getpid(), os.environ['MASTER_PORT'], os.environ['WORLD_SIZE'], 'x' in globals()); x = 1"
	before := strings.Fields(printed(t, f.ranks()[1], code))
	text := f.making(wire.MakeCommand{Restart: true})
	t.Log(text)
	after := strings.Fields(printed(t, f.ranks()[1], code))
	if len(before) != 4 || len(after) != 4 || before[0] == after[0] || before[1] == after[1] || after[2] != "2" || after[3] != "False" {
		t.Errorf("before %q, after %q", before, after)
	}
	if same, err := f.Local(testContext(t)); err != nil || same != local {
		t.Errorf("the local namespace is another one: %v", err)
	}
	info := f.Info(testContext(t))
	if info.Size != 2 || info.Ranks[1].HostBytes == nil || info.Local == nil || info.App == "" {
		t.Errorf("info %+v", info)
	}
}
