package ranks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"dipls/internal/testpython"
	"dipls/ranks/wire"
)

func startPython(t testing.TB, change ...func(*Options)) *Node {
	t.Helper()
	o := Options{Python: testpython.Need(t), Dir: t.TempDir(), Log: testLog(t), Host: testHost}
	for _, f := range change {
		f(&o)
	}
	begin := time.Now()
	n, err := StartNode(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("node in %v", time.Since(begin))
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

func TestPythonPool(t *testing.T) {
	n := startPython(t, func(o *Options) { o.Log = zap.NewNop() })
	begin := time.Now()
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("8 ranks in %v, %v, %v", time.Since(begin), p.Backend(), p.Notices())
	pids := map[string]bool{fmt.Sprint(os.Getpid()): true, fmt.Sprint(n.PID()): true}
	for _, r := range p.Ranks() {
		got := execute(t, r, "import os; print(os.getpid())")
		if pid := strings.TrimSpace(got.output()); pid != fmt.Sprint(r.PID()) || pids[pid] {
			t.Errorf("%s printed pid %q; its pid is %d; others are %v", r.Name(), pid, r.PID(), pids)
		} else {
			pids[pid] = true
		}
	}
	begin = time.Now()
	if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
		t.Error(err)
	}
	t.Logf("shutdown in %v", time.Since(begin))
	begin = time.Now()
	p, err = n.StartPool(testContext(t), PoolSpec{Ranks: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("8 ranks again in %v, %v", time.Since(begin), p.Ranks()[0].Device())
}

// wantError fails a test whose error does not begin like that.
func wantError(t *testing.T, err error, prefix string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("error %v, want %s", err, prefix)
	}
}

func TestPythonDeath(t *testing.T) {
	n := startPython(t)
	for _, test := range []struct{ code, output, want string }{
		{"print('last words'); import os; os._exit(3)", "last words\n", "rank 1 exited with code 3"},
		{"import ctypes; ctypes.string_at(0)", "", "rank 1 was killed by SIGSEGV (segmentation fault)"},
		{"import os; os.write(1, b'raw\\n'); os.abort()", "raw\n", "rank 1 was killed by SIGABRT"},
	} {
		p := startPool(t, n, 2)
		x := execute(t, p.Ranks()[1], test.code)
		wantError(t, x.err, test.want)
		if !strings.HasPrefix(x.output(), test.output) {
			t.Errorf("%s printed %q, want %q", test.code, x.output(), test.output)
		}
		if got := execute(t, p.Ranks()[0], "print('alive')"); got.output() != "alive\n" {
			t.Errorf("the other rank printed %q, %v", got.output(), got.err)
		}
		if err := p.Shutdown(testContext(t), DefaultLadder); err != nil {
			t.Error(err)
		}
	}
}

func TestPythonKilled(t *testing.T) {
	n := startPython(t)
	p := startPool(t, n, 2)
	r := p.Ranks()[1]
	x := start(r, "print('on', flush=True)\nwhile True: pass")
	await(t, "the cell to run", func() bool { return x.output() != "" })
	if err := syscall.Kill(r.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantError(t, x.wait(t).err, "rank 1 was killed by SIGKILL")

	if err := syscall.Kill(n.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of the node", n.Done())
	wantError(t, p.Ranks()[0].Err(), "rank 0 ended with its node: node was killed by SIGKILL")
	if running(p.Ranks()[0].ID()) {
		t.Error("rank 0 outlived its node")
	}
}

func TestPythonInterrupt(t *testing.T) {
	n := startPython(t)
	local, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	x := start(local, "print('on', flush=True)\nwhile True: pass")
	await(t, "the cell to run", func() bool { return x.output() != "" })
	stack, err := local.Stack(testContext(t))
	if err != nil || len(stack.Threads) == 0 {
		t.Errorf("stack %v, %v", stack, err)
	}
	if err := local.Interrupt(testContext(t), ""); err != nil {
		t.Error(err)
	}
	if x.wait(t); x.err != nil || x.reply.EName != "KeyboardInterrupt" {
		t.Errorf("reply %+v, %v", x.reply, x.err)
	}
	if got := execute(t, local, "print(1+1)"); got.output() != "2\n" {
		t.Errorf("printed %q, %v", got.output(), got.err)
	}
}

// A process tells which names it binds, also while it is busy.
func TestPythonNames(t *testing.T) {
	n := startPython(t)
	local, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	x := start(local, "größe = 1\nprint('on', flush=True)\nwhile True: pass")
	await(t, "the cell to run", func() bool { return x.output() != "" })
	names, err := local.Names(testContext(t), []string{"x", "größe"})
	if err != nil || !slices.Equal(names, []string{"größe"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := local.Interrupt(testContext(t), ""); err != nil {
		t.Error(err)
	}
	x.wait(t)
}

// Processes that refuse to die are killed, and what they have forked goes with them.
func TestPythonRefusesToDie(t *testing.T) {
	n := startPython(t, func(o *Options) { o.Ladder = quick })
	p := startPool(t, n, 2)
	x := start(p.Ranks()[0], `
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child == 0:
    while True: signal.pause()
print(child, flush=True)
while True:
    try:
        while True: pass
    except BaseException:
        pass
`)
	await(t, "the cell to run", func() bool { return strings.HasSuffix(x.output(), "\n") })
	child, err := strconv.Atoi(strings.TrimSpace(x.output()))
	if err != nil {
		t.Fatalf("printed %q", x.output())
	}
	if err := p.Shutdown(testContext(t), quick); err != nil {
		t.Error(err)
	}
	await(t, "the forked child to be gone", func() bool { return gone(child) })
	for _, r := range p.Ranks() {
		if running(r.ID()) {
			t.Errorf("%s (pid %d) is left", r.Name(), r.PID())
		}
	}
}

// gone reports whether no process but a zombie has that number.
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) != nil
	}
	return strings.Contains(string(data), ") Z ")
}

func TestPythonPoolStartFails(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "torch.py"), []byte("raise RuntimeError('no such driver')\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startPython(t, func(o *Options) { o.Env = append(os.Environ(), "PYTHONPATH="+broken) })
	_, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, App: "torch"})
	wantError(t, err, "start 2 ranks: rank ")
	if err != nil && !strings.Contains(err.Error(), "hello failed: RuntimeError: no such driver") {
		t.Errorf("error %v", err)
	}
	n.mu.Lock()
	left := len(n.procs)
	n.mu.Unlock()
	if left > 0 {
		t.Errorf("%d processes left", left)
	}
	if p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, App: "none"}); err != nil {
		t.Error(err)
	} else if len(p.Notices()) != 2 || !strings.HasPrefix(p.Notices()[1], "could not preload torch: ") {
		t.Errorf("notices %q", p.Notices())
	}
}

func TestPythonSpawn(t *testing.T) {
	n := startPython(t, func(o *Options) { o.Start = StartSpawn })
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: 2, App: "none"})
	if err != nil {
		t.Fatal(err)
	}
	got := execute(t, p.Ranks()[1], "import os; print(*(os.environ[k] for k in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS')))")
	if f := strings.Fields(got.output()); len(f) != 5 || f[0] != "1" || f[1] != "1" || f[2] != "2" {
		t.Errorf("printed %q, %v", got.output(), got.err)
	}
}

func TestPythonFlood(t *testing.T) {
	n := startPython(t)
	local, err := n.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	var got int
	done := make(chan struct{})
	begin := time.Now()
	local.Execute(wire.ExecuteRequest{Code: "import os\nfor _ in range(1024): os.write(1, b'x' * 65536)"},
		&countHandler{size: &got, done: func() { close(done) }})
	waitFor(t, "the end", done)
	if got != size {
		t.Errorf("%d bytes, want %d", got, size)
	}
	t.Logf("%.0f MB/s", size/1e6/time.Since(begin).Seconds())
}

func TestPythonServerKilled(t *testing.T) {
	testServerKilled(t, serverSpec{Python: testpython.Need(t), Code: "print('on', flush=True)\nwhile True: pass"})
}

// What a rank has forked is an orphan when the node is killed and takes the rank along. Whoever adopts orphans ends it.
func TestPythonAdoptOrphans(t *testing.T) {
	_, out, report := startServer(t, serverSpec{
		Python: testpython.Need(t), Adopt: true,
		Code: "import os, time\nif os.fork() == 0:\n    while True: time.sleep(1)\nprint('on', flush=True)\nwhile True: pass",
	})
	if err := syscall.Kill(report.Node, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	left, err := out.ReadString('\n')
	if err != nil || strings.TrimSpace(left) != "" {
		t.Errorf("children left: %q, %v", left, err)
	}
	awaitNothing(t, report)
}

// A node that imports tells nobody of the ends of its processes. They are seen to have ended all the same.
func TestPythonCloseWhileTheNodeImports(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"script.py": "", "endless.py": "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(1000)\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := startPython(t, func(o *Options) {
		o.Dir, o.Script, o.Preload = dir, filepath.Join(dir, "script.py"), []string{"endless"}
		o.Env = append(os.Environ(), "PYTHONPATH="+dir)
		o.Ladder = Ladder{Ask: 3 * time.Second, Interrupt: time.Hour, Terminate: time.Hour, Kill: testTimeout}
	})
	if _, err := n.Local(testContext(t)); err != nil {
		t.Fatal(err)
	}
	go n.Preload(testContext(t), "none")
	await(t, "the import", func() bool { _, err := os.Stat(filepath.Join(dir, "importing")); return err == nil })
	go n.Close(context.Background())
	waitFor(t, "the end", n.Done())
}
