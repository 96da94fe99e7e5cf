package ranks

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dipls/ranks/fakerank"
	"dipls/ranks/host"
)

func TestNodeStartFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		config fakerank.Config
		want   string
	}{
		{"error", fakerank.Config{StartError: "no space left"}, "node could not start: no space left"},
		{"exit", fakerank.Config{StartExit: 5}, "node could not start: node exited with code 5: fake node gives up"},
		{"hang", fakerank.Config{StartHang: true}, "is not ready: it took longer than 1s"},
		{"garbage", fakerank.Config{BadHello: true}, "start the node: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			timeout := testTimeout
			if test.config.StartHang {
				timeout = time.Second
			}
			n, err := StartNode(testContext(t), Options{Command: fakerank.Command(test.config), Timeout: timeout, Host: testHost})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("node %v, error %v, want %s", n, err, test.want)
			}
			if left := sessions(); len(left) > 0 {
				t.Errorf("runtime directories left: %v", left)
			}
		})
	}

	if _, err := StartNode(testContext(t), Options{Command: []string{"/no/such/python"}, Host: testHost}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing interpreter: %v", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := StartNode(ctx, Options{Command: fakerank.Command(fakerank.Config{}), Host: testHost}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMissingPackages(t *testing.T) {
	_, err := StartNode(testContext(t), Options{Command: fakerank.Command(fakerank.Config{Missing: []string{"zmq", "IPython"}}), Python: "/usr/bin/python3"})
	var missing *host.MissingPackagesError
	if !errors.As(err, &missing) || !slices.Equal(missing.Missing, []string{"pyzmq", "ipython"}) || missing.Python != "/usr/bin/python3" {
		t.Errorf("missing packages: %v", err)
	}
}

func TestLocal(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	p, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := n.Local(testContext(t)); again != p || err != nil {
		t.Errorf("a second call gives %v, %v", again, err)
	}
	if !p.Who().IsLocal() || p.Name() != "local" {
		t.Errorf("it is %q, %v", p.Name(), p.Who())
	}
	if got := execute(t, p, "print here").output(); got != "here\n" {
		t.Errorf("printed %q", got)
	}
	if err := n.RestartLocal(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if p.State() != Stopped {
		t.Errorf("the old one is %v", p.State())
	}
	fresh, err := n.Local(testContext(t))
	if err != nil || fresh == p {
		t.Fatalf("after the restart: %v, %v", fresh, err)
	}
	execute(t, fresh, "exit 1")
	waitFor(t, "its end", fresh.Done())
	if err := n.RestartLocal(testContext(t)); err != nil {
		t.Errorf("restart of a dead one: %v", err)
	}
}

func TestNodeKilled(t *testing.T) {
	for _, processes := range []bool{false, true} {
		n := startFake(t, fakerank.Config{Processes: processes})
		p := startPool(t, n, 2)
		local, err := n.Local(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		x := start(p.Ranks()[0], "wait")
		if err := syscall.Kill(n.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		x.wait(t)
		var exit *ExitError
		if want := "rank 0 ended with its node: node was killed by SIGKILL"; !errors.As(x.err, &exit) || x.err.Error() != want {
			t.Errorf("error %v, want %s", x.err, want)
		}
		waitFor(t, "the end of the node", n.Done())
		waitFor(t, "the end of the pool", p.Done())
		waitFor(t, "the end of the local namespace", local.Done())
		if want := "node was killed by SIGKILL"; n.Err() == nil || n.Err().Error() != want {
			t.Errorf("the node's error: %v", n.Err())
		}
		for _, r := range append(p.Ranks(), local) {
			if processes && running(r.ID()) {
				t.Errorf("%s (pid %d) outlived its node", r.Name(), r.PID())
			}
		}
		if left := sessions(); len(left) > 0 {
			t.Errorf("runtime directories left: %v", left)
		}
		if _, err := n.StartPool(testContext(t), PoolSpec{Ranks: 1}); !errors.As(err, &exit) {
			t.Errorf("StartPool on a dead node: %v", err)
		}
	}
}

// A stopped node keeps its sockets open and answers nothing.
func TestNodeStopped(t *testing.T) {
	n := startFake(t, fakerank.Config{Processes: true}, func(o *Options) { o.Ladder = quick; o.Ladder.Kill = 2 * time.Second })
	p := startPool(t, n, 2)
	if err := syscall.Kill(n.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	closeNode(t, n)
	for _, r := range p.Ranks() {
		if running(r.ID()) {
			t.Errorf("%s (pid %d) is left", r.Name(), r.PID())
		}
	}
}

// A node that runs nothing yet, but is deaf because it imports, is not waited for, however patient the ladder.
func TestCloseWhilePreloading(t *testing.T) {
	n := startFake(t, fakerank.Config{Imports: true, Deaf: true}, func(o *Options) {
		o.Ladder = Ladder{Ask: time.Hour, Interrupt: time.Hour, Terminate: time.Hour, Kill: testTimeout}
	})
	errs := make(chan error)
	go func() { _, err := n.StartPool(context.Background(), PoolSpec{Ranks: 2}); errs <- err }()
	go func() { _, err := n.Local(context.Background()); errs <- err }()
	await(t, "the local namespace to be asked for", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.procs["local"] != nil
	})
	go n.Close(context.Background())
	waitFor(t, "the end", n.Done())
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}

// What runs under a node has no terminal that could stop it: /dev/tty is that of the session.
func TestNodeHasItsOwnSession(t *testing.T) {
	n := startFake(t, fakerank.Config{Processes: true})
	for _, pid := range []int{n.PID(), startPool(t, n, 1).Ranks()[0].PID()} {
		if sid, err := unix.Getsid(pid); sid != n.PID() || err != nil {
			t.Errorf("process %d is in session %d (%v), not in that of the node, %d", pid, sid, err, n.PID())
		}
	}
}

func TestCloseTwice(t *testing.T) {
	n := startFake(t, fakerank.Config{})
	startPool(t, n, 2)
	done := make(chan error, 3)
	for range 3 {
		go func() { done <- n.Close(testContext(t)) }()
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n.Err() != nil {
		t.Errorf("error after Close: %v", n.Err())
	}
}

func TestFileDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	cycle := func() {
		n := startFake(t, fakerank.Config{})
		p := startPool(t, n, 8)
		start(p.Ranks()[0], "flood 1048576\nexit 1").wait(t)
		closeNode(t, n)
	}
	cycle() // what the first use of something opens for good
	before := count()
	for range 3 {
		cycle()
	}
	if after := count(); after > before {
		t.Errorf("%d file descriptors before, %d after", before, after)
	}
}
