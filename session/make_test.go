package session

import (
	"context"
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dipls/internal/leaktest"
	"dipls/internal/stress"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// step is one command, what came of it, and the pool that there is then.
type step struct {
	cmd    wire.MakeCommand
	text   string // a regular expression, or
	err    string
	ranks  int // 0: none
	env    string
	notice string
}

// Sessions that read as a person would type them.
func TestMake(t *testing.T) {
	for _, test := range []struct {
		name    string
		gpus    int
		choice  Choice
		notices map[int][]string
		steps   []step
	}{
		{"first", 0, Choice{}, nil, []step{
			{wire.MakeCommand{Ranks: 3}, `^pool of 3 ranks on the CPU over gloo, app torch, ready in \d+\.\d s$`, "", 3, "", "no GPU: 3 CPU ranks over gloo"},
			{wire.MakeCommand{Ranks: 3}, `^there is a pool of 3 ranks already; -r restarts it$`, "", 3, "", ""},
			{wire.MakeCommand{}, `^there is a pool of 3 ranks already; -r restarts it$`, "", 3, "", ""},
			{wire.MakeCommand{Ranks: 2}, "", "there is a pool of 3 ranks; its variables would be lost: add -r to replace it", 3, "", ""},
			{wire.MakeCommand{Ranks: 2, Restart: true}, `^pool of 2 ranks`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
			{wire.MakeCommand{Restart: true}, `^pool of 2 ranks`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
		}},
		{"checked", 0, Choice{}, nil, []step{
			{wire.MakeCommand{Ranks: 2, Check: true, GroupTimeout: 90}, `, collectives are compared, ready`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
			{wire.MakeCommand{GroupTimeout: 90}, `^there is a pool of 2 ranks already`, "", 2, "", ""},
			{wire.MakeCommand{GroupTimeout: 91}, "", "its variables would be lost: add -r", 2, "", ""},
			{wire.MakeCommand{Restart: true}, `app torch, ready`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
			{wire.MakeCommand{Check: true}, "", "its variables would be lost: add -r", 2, "", ""},
			{wire.MakeCommand{GroupTimeout: math.NaN()}, "", "--group-timeout NaN: want seconds", 2, "", ""},
		}},
		{"all without a GPU", 0, Choice{}, nil, []step{
			{wire.MakeCommand{GPUs: gpus("all")}, `^pool of 2 ranks on the CPU`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
		}},
		{"all without a GPU, as many as chosen", 0, Choice{Ranks: 4}, nil, []step{
			{wire.MakeCommand{GPUs: gpus("all"), Restart: true}, `^pool of 4 ranks on the CPU`, "", 4, "", "no GPU: 4 CPU ranks over gloo"},
		}},
		{"a GPU that is not there", 0, Choice{}, nil, []step{
			{wire.MakeCommand{GPUs: gpus("0")}, "", "-g 0: no GPU is visible; -n N makes N ranks on the CPU", 2, "", "no GPU: 2 CPU ranks over gloo"},
		}},
		{"GPUs", 4, Choice{}, nil, []step{
			{wire.MakeCommand{GPUs: gpus("3,1")}, `^pool of 2 ranks on 2 GPUs over gloo`, "", 2, "gpu3,gpu1", ""},
			{wire.MakeCommand{GPUs: gpus("1,3")}, "", "its variables would be lost", 2, "gpu3,gpu1", ""},
			{wire.MakeCommand{GPUs: gpus("1 3"), Restart: true}, `^pool of 2 ranks on 2 GPUs`, "", 2, "gpu1,gpu3", ""},
			{wire.MakeCommand{Restart: true}, `^pool of 2 ranks on 2 GPUs`, "", 2, "gpu1,gpu3", ""},
			{wire.MakeCommand{GPUs: gpus("9"), Restart: true}, "", "there is no GPU 9", 2, "gpu1,gpu3", ""},
			{wire.MakeCommand{GPUs: gpus("all"), Restart: true}, `^pool of 4 ranks on 4 GPUs`, "", 4, "gpu0,gpu1,gpu2,gpu3", ""},
			{wire.MakeCommand{Ranks: 1, Restart: true}, `^pool of 1 rank on 1 GPU over`, "", 1, "gpu0", ""},
		}},
		{"end", 0, Choice{}, nil, []step{
			{wire.MakeCommand{Kill: true}, `^there is no pool to end$`, "", 0, "", ""},
			{wire.MakeCommand{Ranks: 3}, `^pool of 3`, "", 3, "", "no GPU: 3 CPU ranks over gloo"},
			{wire.MakeCommand{Kill: true}, `^the pool of 3 ranks has ended$`, "", 0, "", ""},
			{wire.MakeCommand{Kill: true}, `^there is no pool to end$`, "", 0, "", ""},
			{wire.MakeCommand{}, `^pool of 3`, "", 3, "", "no GPU: 3 CPU ranks over gloo"},
		}},
		{"app", 0, Choice{App: "none"}, nil, []step{
			{wire.MakeCommand{}, `app none, ready`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
			{wire.MakeCommand{App: "none"}, `^there is a pool of 2 ranks already`, "", 2, "", ""},
			{wire.MakeCommand{App: "loud", Verbose: yes(true)}, `^pool of 2 ranks: app loud, verbose$`, "", 2, "", "app loud is loud"},
			{wire.MakeCommand{Ranks: 2, Verbose: yes(true)}, `^there is a pool of 2 ranks already`, "", 2, "", ""},
			{wire.MakeCommand{App: "missing"}, "", "the ranks may not agree on the app now; %makedip -r restarts the pool of 2 ranks (rank ", 2, "", ""},
			{wire.MakeCommand{Restart: true}, `app loud, ready`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
			{wire.MakeCommand{Verbose: yes(false)}, `^pool of 2 ranks: app loud, not verbose$`, "", 2, "", "app loud is loud"},
			{wire.MakeCommand{Restart: true, Ranks: 1, App: "täst.py"}, `app täst.py, ready`, "", 1, "", "no GPU: 1 CPU rank over gloo"},
		}},
		{"notices", 0, Choice{}, map[int][]string{0: {"old", "new"}, 1: {"old"}, 2: {"old", "new"}}, []step{
			{wire.MakeCommand{Ranks: 3}, `.`, "", 3, "", "no GPU: 3 CPU ranks over gloo; old; ranks 0,2: new"},
			{wire.MakeCommand{Ranks: 4, Restart: true}, `.`, "", 4, "", "no GPU: 4 CPU ranks over gloo; ranks 0-2: old; ranks 0,2: new"},
		}},
		{"nonsense", 0, Choice{}, nil, []step{
			{wire.MakeCommand{Ranks: 2}, `.`, "", 2, "", "no GPU: 2 CPU ranks over gloo"},
			{wire.MakeCommand{Ranks: -1}, "", "-n -1: a pool has at least one rank", 2, "", ""},
			{wire.MakeCommand{GPUs: gpus(" ")}, "", "-g: say all", 2, "", ""},
			{wire.MakeCommand{GPUs: gpus("zero"), Restart: true}, "", "-g: ", 2, "", ""},
			{wire.MakeCommand{Timeout: -1, Restart: true}, "", "-t -1: want seconds", 2, "", ""},
			{wire.MakeCommand{Timeout: math.NaN(), Restart: true}, "", "-t NaN: want seconds", 2, "", ""},
			{wire.MakeCommand{Timeout: 1e300, Restart: true}, "", "-t 1e+300: want seconds", 2, "", ""},
			{wire.MakeCommand{Kill: true, Restart: true}, "", "-k ends the pool and goes with no other flag", 2, "", ""},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fakeGPUs(t, test.gpus)
			f := newFixture(t, fakerank.Config{Notices: test.notices}, choose(test.choice))
			for i, s := range test.steps {
				f.step(i, s)
			}
		})
	}
}

func (f *fixture) step(i int, s step) {
	t := f.t
	t.Helper()
	text, err := f.Make(testContext(t), s.cmd)
	if s.err != "" {
		wantError(t, err, s.err)
	} else if err != nil || !regexp.MustCompile(s.text).MatchString(text) {
		t.Errorf("step %d: %q, %v, want %s", i, text, err, s.text)
	}
	if s.ranks == 0 {
		_, err := f.Ranks(testContext(t))
		if !errors.Is(err, errKilled) {
			t.Errorf("step %d: %v", i, err)
		}
	} else {
		processes := f.ranks()
		if len(processes) != s.ranks {
			t.Errorf("step %d: %d ranks, want %d", i, len(processes), s.ranks)
		}
		if got := strings.TrimSpace(printed(t, processes[0], "env CUDA_VISIBLE_DEVICES")); got != s.env {
			t.Errorf("step %d: GPUs %s, want %s", i, got, s.env)
		}
	}
	if got := f.told(); got != s.notice {
		t.Errorf("step %d: told %q, want %q", i, got, s.notice)
	}
}

// A rank has the seed and its number more, the local namespace the seed itself. Restarts keep it, unless they are told another.
func TestSeed(t *testing.T) {
	seed := func(n int64) *int64 { return &n }
	five, err := ranks.NewSeed(5)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, fakerank.Config{}, choose(Choice{Seed: five}))
	want := func(ofLocal string, ofRanks ...string) {
		t.Helper()
		local, err := f.Local(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		got := []string{strings.TrimSpace(printed(t, local.(*ranks.Process), "seed"))}
		for _, p := range f.ranks() {
			got = append(got, strings.TrimSpace(printed(t, p, "seed")))
		}
		if want := append([]string{ofLocal}, ofRanks...); !slices.Equal(got, want) {
			t.Errorf("seeds %v, want %v", got, want)
		}
	}
	want("5", "5", "6")
	for _, s := range []struct {
		cmd   wire.MakeCommand
		says  string
		seeds []string
	}{
		{wire.MakeCommand{Restart: true}, ", seed 5, ready", []string{"5", "6"}},
		{wire.MakeCommand{Restart: true, Ranks: 3, Seed: seed(0)}, ", seed 0, ready", []string{"0", "1", "2"}},
		{wire.MakeCommand{Restart: true}, ", seed 0, ready", []string{"0", "1", "2"}},
		{wire.MakeCommand{Seed: seed(0)}, "there is a pool of 3 ranks already", []string{"0", "1", "2"}},
		{wire.MakeCommand{Restart: true, Seed: seed(-1)}, "app torch, ready", []string{"null", "null", "null"}},
	} {
		if text := f.making(s.cmd); !strings.Contains(text, s.says) && !strings.Contains(text+", ready", s.says) {
			t.Errorf("%+v: %q, want %q", s.cmd, text, s.says)
		}
		want("5", s.seeds...)
	}
	_, err = f.Make(testContext(t), wire.MakeCommand{Seed: seed(7)})
	wantError(t, err, "add -r to replace it")
	_, err = f.Make(testContext(t), wire.MakeCommand{Seed: seed(1 << 32), Restart: true})
	wantError(t, err, "seed 4294967296: want a number from 0 to 4294967295")
	want("5", "null", "null", "null")
}

// A restart ends the old ranks, whatever they run, and gives new ones.
func TestRestartWhileBusy(t *testing.T) {
	f := newFixture(t, fakerank.Config{Processes: true}, func(o *processOptions) { o.Node.Ladder = quick })
	old := f.ranks()
	x := start(old[1], "stubborn\nstuck")
	before := f.pids()
	f.making(wire.MakeCommand{Restart: true})
	waitFor(t, "the end of what ran", x.done)
	for _, p := range old {
		if p.State() != ranks.Stopped {
			t.Errorf("%s is %v", p.Name(), p.State())
		}
	}
	for _, pid := range f.pids() {
		if slices.Contains(before, pid) {
			t.Errorf("pid %d is as before", pid)
		}
	}
}

// A pool that was started ahead, from the defaults, has nothing to lose until it is used.
func TestMakeReplacesWhatNobodyUsed(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	if err := f.Begin(testContext(t), true, true); err != nil {
		t.Fatal(err)
	}
	if got := f.making(wire.MakeCommand{Ranks: 2}); got != "pool of 2 ranks on the CPU over gloo, app torch" {
		t.Errorf("made %q", got)
	}
	if _, err := f.Make(testContext(t), wire.MakeCommand{Ranks: 3}); err == nil {
		t.Error("a pool that was asked for was replaced")
	}

	f = newFixture(t, fakerank.Config{})
	if err := f.Begin(testContext(t), true, false); err != nil {
		t.Fatal(err)
	}
	f.making(wire.MakeCommand{Ranks: 3})
	if got := len(f.ranks()); got != 3 {
		t.Errorf("%d ranks", got)
	}

	f = newFixture(t, fakerank.Config{})
	f.ranks()
	if _, err := f.Make(testContext(t), wire.MakeCommand{Ranks: 3}); err == nil {
		t.Error("a pool that was used was replaced")
	}
}

// A pool that has died is not replaced until somebody asks for that.
func TestMakeAfterDeath(t *testing.T) {
	for _, cmd := range []wire.MakeCommand{{}, {Ranks: 3}, {Restart: true}, {Ranks: 3, Restart: true}} {
		f := newFixture(t, fakerank.Config{}, choose(Choice{Ranks: 3}))
		before := f.ranks()
		waitFor(t, "the end of what rank 1 runs", start(before[1], "signal SIGKILL").done)
		waitFor(t, "the end of rank 1", before[1].Done())
		for range 2 {
			_, err := f.Ranks(testContext(t))
			wantError(t, err, "the pool is dead, and no cell runs on its ranks (rank 1 was killed by SIGKILL")
			wantError(t, err, "what ranks 0,2 still hold can be pulled, as by %dipull -r 0; %makedip -r starts new ranks")
		}
		if info := f.Info(testContext(t)); info.State != "dead" || info.Reason != "rank 1 was killed by SIGKILL" {
			t.Errorf("info %+v", info)
		}
		f.making(cmd)
		if got := f.ranks(); len(got) != 3 || got[0] == before[0] {
			t.Errorf("%d ranks", len(got))
		}
		if before[0].State() != ranks.Stopped {
			t.Errorf("a rank of the dead pool is %v", before[0].State())
		}
	}
}

func TestKillAfterDeath(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	waitFor(t, "the end of rank 1", start(f.ranks()[1], "exit 3").done)
	if got := f.making(wire.MakeCommand{Kill: true}); got != "the pool had ended already" {
		t.Error(got)
	}
	_, err := f.Ranks(testContext(t))
	wantError(t, err, "the pool was ended by %makedip -k; make one with %makedip")
}

// The end of a pool that is being started is the end of its start.
func TestKillWhileStarting(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinHang: []int{0}})
	if err := f.Begin(testContext(t), true, false); err != nil {
		t.Fatal(err)
	}
	await(t, "the start of the ranks", func() bool { return len(leaktest.Sockets("r0-*")) > 0 })
	if got := f.making(wire.MakeCommand{Kill: true}); got != "the start of the pool was given up" {
		t.Error(got)
	}
	if left := leaktest.Sockets("r*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A start that fails leaves nothing, and no default takes its place.
func TestMakeFails(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinExit: map[int]int{2: 7}})
	_, err := f.Make(testContext(t), wire.MakeCommand{Ranks: 3})
	wantError(t, err, "start 3 ranks: rank 2 exited with code 7")
	for range 2 {
		_, err = f.Ranks(testContext(t))
		wantError(t, err, "there is no pool, for the last one could not be started (start 3 ranks: rank 2 exited with code 7")
		wantError(t, err, "; make one with %makedip")
	}
	if info := f.Info(testContext(t)); info.State != "none" || !strings.Contains(info.Reason, "rank 2 exited") {
		t.Errorf("info %+v", info)
	}

	f.making(wire.MakeCommand{Ranks: 2})
	_, err = f.Make(testContext(t), wire.MakeCommand{Ranks: 3, Restart: true})
	wantError(t, err, "the old pool has ended, and the new one could not be started: start 3 ranks: rank 2 exited with code 7")
	if left := leaktest.Sockets("r*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	f.making(wire.MakeCommand{Restart: true}) // as the last one that lived
	if got := len(f.ranks()); got != 2 {
		t.Errorf("%d ranks", got)
	}
}

func TestMakeTimeout(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinHang: []int{1}})
	_, err := f.Make(testContext(t), wire.MakeCommand{Ranks: 2, Timeout: 0.05})
	wantError(t, err, "it took longer than 50ms; -t SECONDS allows more") // on a busy machine the node has not even answered
}

// An interrupt aborts the start, and nothing is left of it.
func TestMakeInterrupted(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinHang: []int{2}, Processes: true})
	f.making(wire.MakeCommand{Ranks: 2})
	ctx, cancel := context.WithCancelCause(testContext(t))
	made := make(chan error, 1)
	go func() {
		_, err := f.Make(ctx, wire.MakeCommand{Ranks: 3, Restart: true})
		made <- err
	}()
	await(t, "the start of the new ranks", func() bool { return len(leaktest.Sockets("r2-*")) > 0 })
	if info := f.Info(testContext(t)); info.State != "starting" || info.Size != 3 {
		t.Errorf("info %+v", info)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := f.Ranks(testContext(t))
		waiting <- err
	}()
	cancel(errors.New("interrupted"))
	wantError(t, <-made, "interrupted")
	wantError(t, <-waiting, "there is no pool")
	if left := leaktest.Sockets("r*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	f.making(wire.MakeCommand{})
}

func TestMakeInterruptedBefore(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	before := f.pids()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, cmd := range []wire.MakeCommand{{}, {Ranks: 2}, {Verbose: yes(true)}} {
		if text, err := f.Make(ctx, cmd); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v: %q, %v", cmd, text, err)
		}
	}
	if !slices.Equal(f.pids(), before) {
		t.Error("the pool is another one")
	}
}

// Close ends what Make starts, and Make then says so.
func TestCloseDuringMake(t *testing.T) {
	f := newFixture(t, fakerank.Config{JoinHang: []int{1}})
	made := make(chan error, 1)
	go func() {
		_, err := f.Make(testContext(t), wire.MakeCommand{Ranks: 2})
		made <- err
	}()
	await(t, "the start of the ranks", func() bool { return len(leaktest.Sockets("r1-*")) > 0 })
	if err := f.Close(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := <-made; err == nil {
		t.Error("a pool was made")
	}
	if left := leaktest.Sockets("*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	_, err := f.Make(testContext(t), wire.MakeCommand{Restart: true})
	if !errors.Is(err, errClosed) {
		t.Errorf("make after Close: %v", err)
	}
}

// A restart is possible right after the death of the node, whether the caller knows of it or not: what is left of the node goes meanwhile.
func TestStressRestartRightAfterNodeDeath(t *testing.T) {
	for _, heard := range []bool{true, false} {
		for round := range stress.Rounds(4, 50) {
			died := make(chan struct{}, 1)
			f := newFixture(t, fakerank.Config{Processes: true}, choose(Choice{Ranks: 2}), func(o *processOptions) {
				o.Node.OnState = func(c ranks.StateChange) {
					if c.Process == nil && c.To == ranks.Dead {
						died <- struct{}{}
					}
				}
			})
			f.ranks()
			if _, err := f.Local(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(f.node.value.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if heard {
				waitFor(t, "the word of the death", died)
			}
			restart := func() error { _, err := f.Make(testContext(t), wire.MakeCommand{Restart: true}); return err }
			again := func() error { return f.RestartLocal(testContext(t)) }
			if round%2 == 1 {
				restart, again = again, restart
			}
			if err := restart(); err != nil {
				t.Fatalf("heard %v, round %d: %v", heard, round, err)
			}
			if err := again(); err != nil {
				t.Fatalf("heard %v, round %d: %v", heard, round, err)
			}
			if got := printed(t, f.ranks()[1], "print on"); got != "on\n" {
				t.Errorf("the new rank prints %q", got)
			}
			if err := f.Close(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A node that was stopped (SIGSTOP) goes on when it is needed.
func TestRestartWithStoppedNode(t *testing.T) {
	f := newFixture(t, fakerank.Config{Processes: true}, choose(Choice{Ranks: 2}))
	before := f.pids()
	stop := func() {
		t.Helper()
		if err := syscall.Kill(f.node.value.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	f.making(wire.MakeCommand{Restart: true})
	if slices.Equal(f.pids(), before) {
		t.Error("the ranks are the same")
	}
	stop()
	if err := f.RestartLocal(testContext(t)); err != nil {
		t.Error(err)
	}
	stop()
	f.making(wire.MakeCommand{Kill: true})
	stop()
}

// A node that died takes everything along; a new pool gets a new node.
func TestMakeAfterNodeDeath(t *testing.T) {
	f := newFixture(t, fakerank.Config{Processes: true})
	local, err := f.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	f.ranks()
	node := f.node.value
	if err := syscall.Kill(node.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of the node", node.Done())
	_, err = f.Ranks(testContext(t))
	wantError(t, err, "the pool is dead")
	f.making(wire.MakeCommand{Restart: true})
	f.ranks()

	_, err = f.Local(testContext(t))
	wantError(t, err, "the local namespace is dead and its variables are lost (local ended with its node: node was killed by SIGKILL)")
	if err := f.RestartLocal(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if fresh, err := f.Local(testContext(t)); err != nil || fresh == local {
		t.Errorf("the local namespace was not replaced: %v", err)
	}
}

// All calls may be made at the same time.
func TestConcurrent(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	ctx := testContext(t)
	var work sync.WaitGroup
	for _, do := range []func(){
		func() { f.Ranks(ctx) },
		func() { f.Local(ctx) },
		func() { f.Info(ctx) },
		func() { f.Make(ctx, wire.MakeCommand{Restart: true}) },
		func() { f.Make(ctx, wire.MakeCommand{Kill: true}) },
		func() { f.Make(ctx, wire.MakeCommand{App: "loud"}) },
		func() { f.RestartLocal(ctx) },
		func() { f.Begin(ctx, true, true) },
		func() {
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			f.Make(short, wire.MakeCommand{Restart: true})
		},
	} {
		work.Go(func() {
			for range 10 {
				do()
			}
		})
	}
	work.Wait()
	f.making(wire.MakeCommand{Restart: true})
	f.ranks()
	for range 2 {
		work.Go(func() {
			if err := f.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	work.Go(func() { f.Make(ctx, wire.MakeCommand{Restart: true}) })
	work.Wait()
	if _, err := f.Ranks(ctx); err == nil {
		t.Error("there are ranks after Close")
	}
}

// slowLook is a machine on which it takes until the test goes on to look for GPUs for the first time.
type slowLook struct {
	host.Host
	looked        atomic.Bool
	looking, goOn chan struct{}
}

func (h *slowLook) GPUs(ctx context.Context, mask *string) ([]host.GPU, error) {
	if h.looked.CompareAndSwap(false, true) {
		close(h.looking)
		<-h.goOn
	}
	return h.Host.GPUs(ctx, mask)
}

// A pool that a cell needs while another front thinks about making one is that front's to keep or to replace: none is forgotten.
func TestMakeIsOvertaken(t *testing.T) {
	h := &slowLook{Host: fakerank.NewHost(fakerank.Config{}), looking: make(chan struct{}), goOn: make(chan struct{})}
	f := newFixture(t, fakerank.Config{}, choose(Choice{Ranks: 2}), func(o *processOptions) { o.Node.Host = h })
	made := make(chan error, 1)
	go func() {
		_, err := f.Make(testContext(t), wire.MakeCommand{Ranks: 3})
		made <- err
	}()
	waitFor(t, "a look for GPUs", h.looking)
	before := f.pids()
	close(h.goOn)
	wantError(t, <-made, "its variables would be lost: add -r")
	if now := f.pids(); len(before) != 2 || !slices.Equal(now, before) {
		t.Errorf("the ranks were %d and are %d", before, now)
	}
}
