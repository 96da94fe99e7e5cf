package ranks

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"dipls/ranks/fakerank"
	"dipls/ranks/host"
)

// A pool over two nodes has one world, of which each node runs a group.
func TestPoolOverNodes(t *testing.T) {
	var changes []string
	first := startFake(t, fakerank.Config{}, func(o *Options) {
		o.OnState = func(c StateChange) {
			if c.Process == nil {
				changes = append(changes, c.To.String())
			}
		}
	})
	second := startFake(t, fakerank.Config{})
	p, err := StartPool(testContext(t), PoolSpec{App: "none", Address: "127.0.0.2"},
		Share{Node: first, Ranks: 2, GPUs: []host.GPU{{ID: "GPU-a"}, {ID: "GPU-b"}}, Interface: "eth0"},
		Share{Node: second, Ranks: 1, GPUs: []host.GPU{{ID: "GPU-c"}}, Interface: "ib0"})
	if err != nil {
		t.Fatal(err)
	}
	port := execute(t, p.Ranks()[0], "env MASTER_PORT").output()
	names := []string{"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "GROUP_WORLD_SIZE", "CUDA_VISIBLE_DEVICES",
		"MASTER_ADDR", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}
	for rank, want := range []string{
		"0 0 3 2 0 0 2 GPU-a,GPU-b 127.0.0.2 eth0 eth0", "1 1 3 2 0 0 2 GPU-a,GPU-b 127.0.0.2 eth0 eth0", "2 0 3 1 1 1 2 GPU-c 127.0.0.2 ib0 ib0",
	} {
		var got []string
		for _, name := range names {
			got = append(got, strings.TrimSpace(execute(t, p.Ranks()[rank], "env "+name).output()))
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("rank %d: %q, want %s", rank, got, want)
		}
		if got := execute(t, p.Ranks()[rank], "env MASTER_PORT").output(); got != port {
			t.Errorf("rank %d meets the others at port %q, rank 0 at %q", rank, got, port)
		}
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Fatal(err)
	}
	if changes = slices.Compact(changes); !slices.Equal(changes[:2], []string{"starting", "ready"}) || changes[len(changes)-1] != "stopped" {
		t.Errorf("the pool was %q", changes)
	}
}

// With a node its ranks die, and the pool; those on the other node live on until it is shut down.
func TestDeathOfOneNodeOfAPool(t *testing.T) {
	first, second := startFake(t, fakerank.Config{}), startFake(t, fakerank.Config{Processes: true})
	p, err := StartPool(testContext(t), PoolSpec{}, Share{Node: first, Ranks: 1}, Share{Node: second, Ranks: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(second.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of rank 1", p.Ranks()[1].Done())
	if want := "rank 1 ended with its node: node was killed by SIGKILL"; p.State() != Dead || p.Err().Error() != want {
		t.Errorf("the pool is %v: %v, want %s", p.State(), p.Err(), want)
	}
	if got := execute(t, p.Ranks()[0], "print on").output(); got != "on\n" {
		t.Errorf("the rank on the other node printed %q", got)
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
	if first.Err() != nil {
		t.Errorf("the other node: %v", first.Err())
	}
}

// When the first node of a pool is gone, it is told all the same what becomes of the ranks on the others.
func TestFirstNodeOfAPoolDies(t *testing.T) {
	told := make(chan StateChange, 100)
	first := startFake(t, fakerank.Config{}, func(o *Options) { o.OnState = func(c StateChange) { told <- c } })
	second := startFake(t, fakerank.Config{})
	p, err := StartPool(testContext(t), PoolSpec{}, Share{Node: first, Ranks: 1}, Share{Node: second, Ranks: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of the first node", first.Done())
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
	waitFor(t, "the end of the pool", p.Done())
	var last StateChange
	for len(told) > 0 {
		last = <-told
	}
	if last.Process != p.Ranks()[1] || last.To != Stopped {
		t.Errorf("told last is %v of %v, want the stop of rank 1", last.To, last.Process)
	}
}

// A pool starts on all of its nodes or on none.
func TestPoolOverNodesStartsWholly(t *testing.T) {
	for name, c := range map[string][2]fakerank.Config{
		"spawn on the first":  {{SpawnError: "no room"}, {}},
		"spawn on the second": {{}, {SpawnError: "no room"}},
		"join on the second":  {{}, {JoinError: map[int]string{1: "no room"}}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []*Node{startFake(t, c[0]), startFake(t, c[1])}
			_, err := StartPool(testContext(t), PoolSpec{}, Share{Node: nodes[0], Ranks: 1}, Share{Node: nodes[1], Ranks: 2})
			if err == nil || !strings.HasPrefix(err.Error(), "start 3 ranks: ") || !strings.Contains(err.Error(), "no room") {
				t.Errorf("error %v", err)
			}
			for i, n := range nodes {
				n.mu.Lock()
				left := len(n.procs)
				n.mu.Unlock()
				if left > 0 {
					t.Errorf("node %d has %d processes left", i, left)
				}
			}
		})
	}
}

// Torch joins ranks of two nodes in one process group.
func TestPythonPoolOverNodes(t *testing.T) {
	first, second := startPython(t), startPython(t)
	if first.Info().Packages["torch"] == "" {
		t.Skip("no torch")
	}
	p, err := StartPool(testContext(t), PoolSpec{App: "torch"}, Share{Node: first, Ranks: 1}, Share{Node: second, Ranks: 1})
	if err != nil {
		t.Fatal(err)
	}
	const code = "import os, torch, torch.distributed as dist\nx = torch.ones(1)\ndist.all_reduce(x)\nprint(int(x), os.environ['LOCAL_RANK'])"
	var runs []*run
	for _, rank := range p.Ranks() {
		runs = append(runs, start(rank, code))
	}
	for rank, r := range runs {
		if r.wait(t); r.err != nil || r.output() != "2 0\n" {
			t.Errorf("rank %d: %q, %v", rank, r.output(), r.err)
		}
	}
}
