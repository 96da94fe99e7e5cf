package ranks

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/internal/stress"
	"dipls/internal/testpython"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/afar/afartest"
)

func afarHost(t testing.TB, name string) *afar.Host {
	return hostOf(t, afartest.Start(t, afartest.Options{Name: name}), name)
}

// hostOf is the host of an agent.
func hostOf(t testing.TB, a *afartest.Agent, name string) *afar.Host {
	t.Helper()
	h, err := afar.New(testContext(t), a.Conn, afar.Options{Name: name, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Whatever holds of nodes and ranks on this machine holds of those on another.
func TestAfar(t *testing.T) {
	testHost = afarHost(t, "gpu2")
	defer func() { testHost = nil }()
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"NodeStartFails", TestNodeStartFails}, {"Local", TestLocal}, {"NodeKilled", TestNodeKilled}, {"NodeStopped", TestNodeStopped},
		{"CloseWhilePreloading", TestCloseWhilePreloading}, {"NodeHasItsOwnSession", TestNodeHasItsOwnSession}, {"CloseTwice", TestCloseTwice},
		{"Pool", TestPool}, {"PoolStartFails", TestPoolStartFails}, {"PoolStartCancelled", TestPoolStartCancelled},
		{"StartPoolAndClose", TestStartPoolAndClose}, {"ManyRanks", TestManyRanks},
		{"Execute", TestExecute}, {"ExecuteInOrder", TestExecuteInOrder}, {"Interrupt", TestInterrupt}, {"States", TestStates}, {"Death", TestDeath},
		{"Vanish", TestVanish}, {"DroppedMessages", TestDroppedMessages}, {"Flood", TestFlood}, {"SlowHandler", TestSlowHandler}, {"Mute", TestMute},
		{"ShutdownLadder", TestShutdownLadder}, {"DeafNode", TestDeafNode}, {"Push", TestPush}, {"TransferDeath", TestTransferDeath},
		{"PythonDeath", TestPythonDeath}, {"PythonKilled", TestPythonKilled}, {"PythonInterrupt", TestPythonInterrupt}, {"PythonFlood", TestPythonFlood},
		{"PythonTransfer", TestPythonTransfer}, {"PythonStandstill", TestPythonStandstill}, {"PythonRefusesToDie", TestPythonRefusesToDie},
	} {
		t.Run(c.name, c.test)
	}
}

// A pool of real ranks over two hosts computes together.
func TestPoolAfar(t *testing.T) {
	var shares []Share
	for _, name := range []string{"gpu1", "gpu2"} {
		n := startPython(t, func(o *Options) { o.Host = afarHost(t, name) })
		shares = append(shares, Share{Node: n, Ranks: 2})
	}
	p, err := StartPool(testContext(t), PoolSpec{}, shares...)
	if err != nil {
		t.Fatal(err)
	}
	var runs []*run
	for _, r := range p.Ranks() {
		runs = append(runs, start(r, "import torch, torch.distributed as d; x = torch.ones(1) * d.get_rank(); d.all_reduce(x); print(x.item())"))
	}
	for rank, r := range runs {
		if r.wait(t); r.output() != "6.0\n" {
			t.Errorf("rank %d printed %q, %+v, %v", rank, r.output(), r.reply, r.err)
		}
	}
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
}

// afarDeaths are ways in which a session on a host ends, and what is then said of its node.
var afarDeaths = map[string]struct {
	act  func(t *testing.T, a *afartest.Agent, n *Node)
	want string
}{
	"relay":      {func(t *testing.T, a *afartest.Agent, n *Node) { a.Relay.Kill() }, "host gpu2 lost: no answer for 3 s"},
	"supervisor": {func(t *testing.T, a *afartest.Agent, n *Node) { kill(t, parentOf(t, n.PID())) }, "the node's guard was killed by SIGKILL"},
	"node":       {func(t *testing.T, a *afartest.Agent, n *Node) { kill(t, n.PID()) }, "node was killed by SIGKILL"},
	"relay and node": {func(t *testing.T, a *afartest.Agent, n *Node) {
		a.Relay.Kill()
		kill(t, n.PID())
	}, "host gpu2 lost: no answer for 3 s"},
	"supervisor and node": {func(t *testing.T, a *afartest.Agent, n *Node) {
		supervisor := parentOf(t, n.PID())
		syscall.Kill(n.PID(), syscall.SIGSTOP) // it cannot clean up
		kill(t, supervisor)
		kill(t, n.PID())
	}, "the node's guard was killed by SIGKILL"},
	"relay and supervisor": {func(t *testing.T, a *afartest.Agent, n *Node) {
		supervisor := parentOf(t, n.PID())
		a.Relay.Kill()
		kill(t, supervisor)
	}, "host gpu2 lost: no answer for 3 s"},
	"relay for a while": {func(t *testing.T, a *afartest.Agent, n *Node) { a.Relay.Signal(syscall.SIGSTOP) }, "host gpu2 lost: no answer for 3 s"},
	"launcher":          {func(t *testing.T, a *afartest.Agent, n *Node) { a.Relay.Signal(syscall.SIGTERM) }, "it was told to end by SIGTERM"},
	"session":           {func(t *testing.T, a *afartest.Agent, n *Node) { a.Vanish() }, "host gpu2 lost: no answer for 3 s"},
	"in order":          {func(t *testing.T, a *afartest.Agent, n *Node) { a.Conn.Close() }, "the conversation with the host was closed"},
}

// Whatever ends a session on a host, nothing that its processes started is left there, and the session is told.
func TestAfarLeftovers(t *testing.T) {
	choices := stress.Rand(t)
	var kinds []string
	for kind := range offspring {
		if kind != "by files" { // torch takes long to import
			kinds = append(kinds, kind)
		}
	}
	for death := range afarDeaths {
		r := newRound(t, choices)
		t.Run(death, func(t *testing.T) {
			t.Parallel()
			r.runAfar(t, kinds, death)
		})
	}
	r := newRound(t, choices)
	t.Run("without a tracker", func(t *testing.T) {
		t.Parallel()
		r.runAfar(t, []string{"memory", "lock", "no tracker"}, "launcher")
	})
}

// A supervisor that stands still ends nothing. The relay ends it, and does its work.
func TestStressAfarSupervisorStopped(t *testing.T) {
	if stress.Rounds(0, 1) == 0 {
		t.Skip("takes ten seconds")
	}
	r := newRound(t, stress.Rand(t))
	a := afartest.Start(t, afartest.Options{Name: "gpu2", Env: []string{"DIPLS_TEST_ROUND=" + r.tag}})
	n, err := StartNode(testContext(t), Options{Python: testpython.Need(t), Host: hostOf(t, a, "gpu2")})
	if err != nil {
		t.Fatal(err)
	}
	startPool(t, n, 2)
	if err := syscall.Kill(parentOf(t, n.PID()), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	a.Conn.Close()
	waitFor(t, "the end of the node", n.Done())
	waitFor(t, "the end of the agent", ended(a))
	r.awaitNothing(t)
}

// runAfar has a session on a host leave things behind and die.
func (r *round) runAfar(t *testing.T, kinds []string, death string) {
	want := afarDeaths[death].want
	var lease time.Duration
	if strings.Contains(want, "no answer for 3 s") {
		lease = 3 * time.Second
	}
	a := afartest.Start(t, afartest.Options{Name: "gpu2", Lease: lease, Env: []string{"DIPLS_TEST_ROUND=" + r.tag, "TMPDIR=" + r.tmp}})
	n, err := StartNode(testContext(t), Options{Python: testpython.Need(t), Host: hostOf(t, a, "gpu2")})
	if err != nil {
		t.Fatal(err)
	}
	local, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	x := execute(t, local, r.code(kinds, false))
	if err := json.Unmarshal([]byte(x.output()), &r.shared); err != nil {
		t.Fatalf("%q: %v", x.output(), err)
	}
	dir := directory(n)
	afarDeaths[death].act(t, a, n)
	waitFor(t, "the end of the node", n.Done())
	if n.Err() == nil || !strings.Contains(n.Err().Error(), want) {
		t.Errorf("the node's error: %v, want %s", n.Err(), want)
	}
	a.Conn.Close()
	a.Relay.Signal(syscall.SIGCONT)
	waitFor(t, "the end of the agent", ended(a))
	await(t, "nothing to be left", func() bool { return len(r.leftWithout(dir)) == 0 })
}

func ended(a *afartest.Agent) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		<-a.Ended
		close(ch)
	}()
	return ch
}

// leftWithout is what there still is of the round, whose session has that directory. Other tests have sessions, too.
func (r *round) leftWithout(dir string) []string {
	left := slices.DeleteFunc(r.left(), func(what string) bool {
		return strings.HasPrefix(what, "session ") && what != "session "+filepath.Base(dir)
	})
	return left
}

// Output survives interruptions: every line comes, once and in order, and so do the last words of a process that dies meanwhile.
func TestStressAfarInterrupted(t *testing.T) {
	choices := stress.Rand(t)
	a := afartest.Start(t, afartest.Options{Name: "gpu2"})
	n := startPython(t, func(o *Options) { o.Host = hostOf(t, a, "gpu2") })
	local, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	const lines = 30_000
	x := start(local, fmt.Sprintf("for i in range(%d): print(i, 'x' * 100)\nimport os; os._exit(3)", lines))
	for seen := 0; seen < stress.Rounds(5, 50); seen++ {
		goal := len(x.output()) + choices.IntN(100_000)
		for len(x.output()) < goal {
			select {
			case <-x.done:
				goal = 0
			case <-time.After(time.Millisecond):
			}
		}
		a.Interrupt()
	}
	x.wait(t)
	wantError(t, x.err, "local exited with code 3")
	i := 0
	for line := range strings.Lines(x.output()) {
		if number, _, _ := strings.Cut(line, " "); number != fmt.Sprint(i) || len(line) != len(number)+len(" \n")+100 {
			t.Fatalf("line %d is %.150q", i, line)
		}
		i++
	}
	if i != lines {
		t.Errorf("%d lines", i)
	}
}

// BenchmarkDispatchAfar is a cell on ranks of another host, but for the network between.
func BenchmarkDispatchAfar(b *testing.B) {
	for _, size := range []int{1, 8} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			n := startPython(b, func(o *Options) { o.Host = afarHost(b, "gpu2") })
			dispatch(b, startPool(b, n, size), "pass")
		})
	}
}
