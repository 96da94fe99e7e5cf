package ranks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/internal/ranklist"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

func TestPool(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	p := startPool(t, n, 3)
	for i, r := range p.Ranks() {
		if got, want := execute(t, r, "rank").output(), fmt.Sprintln(i); got != want {
			t.Errorf("rank %d printed %q, want %q", i, got, want)
		}
		if r.Who() != ranklist.Rank(i) || r.Name() != fmt.Sprint("rank ", i) || r.Device() != "cpu" {
			t.Errorf("rank %d is %v, %q, %q", i, r.Who(), r.Name(), r.Device())
		}
	}
	if p.Size() != 3 || p.Backend() != "gloo" || p.State() != Ready || p.Err() != nil {
		t.Errorf("size %d, backend %q, %v, %v", p.Size(), p.Backend(), p.State(), p.Err())
	}
	if diff := strings.Join(p.Notices(), "\n"); diff != "no GPU: 3 CPU ranks over gloo" {
		t.Errorf("notices %q", p.Notices())
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
	waitFor(t, "the end of the pool", p.Done())
	if p.State() != Stopped || p.Err() != nil {
		t.Errorf("after Shutdown: %v, %v", p.State(), p.Err())
	}

	next := startPool(t, n, 2)
	if got := execute(t, next.Ranks()[1], "rank").output(); got != "1\n" {
		t.Errorf("the next pool's rank 1 printed %q", got)
	}
}

// A pool's start is told of when it begins, and its outcome before StartPool returns.
func TestPoolStates(t *testing.T) {
	changes := make(chan string, 100)
	n := startFake(t, fakerank.Config{}, func(o *Options) {
		o.OnState = func(c StateChange) {
			if c.Process == nil {
				changes <- fmt.Sprintf("%v of %d", c.To, c.Pool.Size())
			}
		}
	})
	told := func(want ...string) {
		t.Helper()
		var got []string
		for len(changes) > 0 {
			got = append(got, <-changes)
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := n.StartPool(ctx, PoolSpec{Ranks: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	n.events.flush()
	told("starting of 2", "stopped of 2")
	startPool(t, n, 3)
	told("starting of 3", "ready of 3")
}

func TestPoolEnvironment(t *testing.T) {
	t.Setenv("OMP_NUM_THREADS", "3")
	for _, name := range launcherEnv { // as if dipls ran under torchrun
		t.Setenv(name, "inherited")
	}
	gpus := []host.GPU{{Index: 3, ID: "GPU-three"}, {Index: 1, ID: "GPU-one"}}
	n := startFake(t, fakerank.Config{})
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, GPUs: gpus})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
		"TORCHELASTIC_RUN_ID": n.proc.Session() + "-1", "TORCHELASTIC_RESTART_COUNT": "0",
		"TORCHELASTIC_USE_AGENT_STORE": "", "TORCHELASTIC_ERROR_FILE": "", "JAX_PROCESS_ID": "",
		"CUDA_VISIBLE_DEVICES": "GPU-three,GPU-one", "OMP_NUM_THREADS": "3",
	} {
		if got := execute(t, p.Ranks()[1], "env "+name).output(); got != want+"\n" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(p.Notices()) != 0 {
		t.Errorf("notices %q", p.Notices())
	}
	local, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range launcherEnv {
		if got := execute(t, local, "env "+name).output(); got != "\n" {
			t.Errorf("locally %s is %q", name, got)
		}
	}
	if env := rankEnv(PoolSpec{Ranks: 1}, shareOf("A=b"), place{groups: 1}, ""); env["OMP_NUM_THREADS"] != "1" || env["CUDA_VISIBLE_DEVICES"] != "" {
		t.Errorf("environment of a CPU rank: %v", env)
	}
}

// shareOf is a rank on a node with an environment.
func shareOf(environ ...string) Share {
	return Share{Node: &Node{opts: Options{Env: environ}}, Ranks: 1}
}

func TestGroupsEnvironment(t *testing.T) {
	names := []string{"DIPLS_GROUP_TIMEOUT", "TORCH_DISTRIBUTED_DEBUG", "TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"}
	for _, test := range []struct {
		inherited []string
		spec      PoolSpec
		want      []string
	}{
		{[]string{"A=b"}, PoolSpec{Ranks: 1}, []string{"", "", "2000", ""}},
		{[]string{"A=b"}, PoolSpec{Ranks: 1, GroupTimeout: 90 * time.Minute, Check: true}, []string{"5400", "DETAIL", "2000", ""}},
		{[]string{"TORCH_FR_BUFFER_SIZE=0"}, PoolSpec{Ranks: 1}, []string{"", "", "", ""}},
		{[]string{"TORCH_NCCL_TRACE_BUFFER_SIZE=9"}, PoolSpec{Ranks: 1}, []string{"", "", "", ""}},
	} {
		env := rankEnv(test.spec, shareOf(test.inherited...), place{groups: 1}, "")
		var got []string
		for _, name := range names {
			got = append(got, env[name])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q, %+v: %q, want %q", test.inherited, test.spec, got, test.want)
		}
	}
}

func TestPoolSpec(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	for _, test := range []struct {
		spec PoolSpec
		want string
	}{
		{PoolSpec{Ranks: 1}, `"" false true`},
		{PoolSpec{Ranks: 1, App: "my app.py", Verbose: true, KeepGPUMemory: true}, `"my app.py" true false`},
	} {
		p, err := n.StartPool(testContext(t), test.spec)
		if err != nil {
			t.Fatal(err)
		}
		wantPrinted(t, p.Ranks()[0], "spec", test.want+"\n")
	}
}

func TestMergeNotices(t *testing.T) {
	many := make([][]string, 40)
	for rank := range 20 {
		many[rank] = []string{"a"}
	}
	for _, test := range []struct {
		said [][]string
		want []string
	}{
		{[][]string{nil, nil}, nil},
		{[][]string{{"a"}}, []string{"a"}},
		{[][]string{{"a", "b"}, {"b", "a"}}, []string{"a", "b"}},
		{[][]string{{"a"}, {"b"}, {"a"}}, []string{"ranks 0,2: a", "rank 1: b"}},
		{[][]string{{"a", "a"}, {"a"}}, []string{"a"}},
		{[][]string{{"a", "a"}, nil}, []string{"rank 0: a"}},
		{many, []string{"ranks 0-19: a"}},
	} {
		if got := mergeNotices(test.said); !slices.Equal(got, test.want) {
			t.Errorf("%q gives %q, want %q", test.said, got, test.want)
		}
	}
}

func TestPoolNotices(t *testing.T) {
	n := startFake(t, fakerank.Config{ForkUnsafe: "pandas started a thread", PreloadFailed: []string{"nosuch"}, Notices: map[int][]string{0: {"hello"}}})
	p := startPool(t, n, 1)
	if p.Method() != StartSpawn {
		t.Errorf("method %v", p.Method())
	}
	got := p.Notices()
	want := []string{
		"no GPU: 1 CPU rank over gloo",
		"could not preload nosuch: ModuleNotFoundError: No module named 'nosuch'",
		"spawned, not forked: pandas started a thread",
		"hello",
	}
	if !slices.Equal(got, want) {
		t.Errorf("notices %q, want %q", got, want)
	}
}

// Where no rank at all gets on, the fork is named as what may be the cause.
func TestPoolThatStandsStillAfterAFork(t *testing.T) {
	const hint = "no rank is ready: it took longer than 1s; they were forked from a process that had imported polars, torch, " +
		"and a library that does not expect that may hang: --start spawn"
	for _, test := range []struct {
		name   string
		config fakerank.Config
		want   bool
	}{
		{"all", fakerank.Config{JoinHang: []int{0, 1}}, true},
		{"some", fakerank.Config{JoinHang: []int{1}}, false},
		{"spawned", fakerank.Config{JoinHang: []int{0, 1}, ForkUnsafe: "a preloaded module started the thread T"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := startFake(t, test.config, func(o *Options) { o.Preload = []string{"polars"} })
			_, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, Timeout: time.Second})
			if err == nil || strings.Contains(err.Error(), hint) != test.want || strings.Contains(err.Error(), "forked") != test.want {
				t.Errorf("%v, want the hint: %v", err, test.want)
			}
		})
	}
}

// A pool that cannot start leaves nothing, and the next one can.
func TestPoolStartFails(t *testing.T) {
	for _, processes := range []bool{false, true} {
		for _, test := range []struct {
			name   string
			config fakerank.Config
			want   string
		}{
			{"join error", fakerank.Config{JoinError: map[int]string{1: "no route to rank 0"}}, "start 3 ranks: rank 1: hello failed: RuntimeError: no route to rank 0"},
			{"join exit", fakerank.Config{JoinExit: map[int]int{2: 7}, JoinPrint: "oh"}, "start 3 ranks: rank 2 exited with code 7 (os._exit?)"},
			{"join hangs", fakerank.Config{JoinHang: []int{0, 2}}, "start 3 ranks: ranks 0,2 are not ready: it took longer than "},
			{"spawn error", fakerank.Config{SpawnError: "too many processes"}, "start 3 ranks: node: spawn_request failed: OSError: too many processes"},
		} {
			t.Run(fmt.Sprintf("%s/%v", test.name, processes), func(t *testing.T) {
				test.config.Processes = processes
				n := startFake(t, test.config)
				timeout := testTimeout
				if test.config.JoinHang != nil {
					timeout = 2 * time.Second
				}
				p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 3, Timeout: timeout})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("pool %v, error %v, want %s", p, err, test.want)
				}
				n.mu.Lock()
				left := len(n.procs)
				n.mu.Unlock()
				if left > 0 {
					t.Errorf("%d processes left", left)
				}
				if test.config.SpawnError == "" {
					if _, err := n.Local(testContext(t)); err != nil {
						t.Errorf("the node is of no use any more: %v", err)
					}
				}
			})
		}
	}
}

func TestPoolStartCancelled(t *testing.T) {
	n := startFake(t, fakerank.Config{JoinHang: []int{0}, Processes: true})
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		// As soon as the ranks have come to life.
		for {
			n.mu.Lock()
			p := n.procs["r0-1"]
			n.mu.Unlock()
			if p != nil && p.PID() != 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := n.StartPool(ctx, PoolSpec{Ranks: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestStartPoolAndClose(t *testing.T) {
	for i := range 10 {
		n := startFake(t, fakerank.Config{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 4})
				if err == nil {
					waitFor(t, "the pool's end", p.Done())
				}
			})
		}
		wg.Go(func() {
			p, err := n.Local(testContext(t))
			if err == nil {
				waitFor(t, "the local namespace's end", p.Done())
			}
		})
		time.Sleep(time.Duration(i) * 3 * time.Millisecond) // any moment will do
		closeNode(t, n)
		wg.Wait()
		if _, err := n.StartPool(testContext(t), PoolSpec{Ranks: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("StartPool after Close: %v", err)
		}
	}
}

func TestManyRanks(t *testing.T) {
	const size = 256 // the benchmark has 1024
	n := startFake(t, fakerank.Config{})
	begin := time.Now()
	p := startPool(t, n, size)
	t.Logf("%d ranks in %v", size, time.Since(begin))
	req := Prepare(wire.ExecuteRequest{Code: "rank"})
	runs := make([]*run, size)
	begin = time.Now()
	for i, r := range p.Ranks() {
		runs[i] = newRun()
		r.ExecutePrepared(req, runs[i])
	}
	for i, x := range runs {
		if got := x.wait(t).output(); got != fmt.Sprintln(i) {
			t.Fatalf("rank %d printed %q", i, got)
		}
	}
	t.Logf("dispatch in %v", time.Since(begin))
}
