package ranks

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"dipls/internal/leaktest"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

func TestMain(m *testing.M) {
	fakerank.Main()
	serverMain()
	leaktest.Begin().Main(m)
}

// sessions are the sessions' directories that exist.
func sessions() []string {
	entries, _ := os.ReadDir(os.Getenv("XDG_RUNTIME_DIR") + "/dipls")
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// testTimeout is for what should take no time at all.
const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// quick is a ladder for processes that are known to refuse.
var quick = Ladder{Ask: 50 * time.Millisecond, Interrupt: 50 * time.Millisecond, Terminate: 50 * time.Millisecond, Kill: 10 * time.Second}

func testLog(t testing.TB) *zap.Logger {
	if testing.Verbose() {
		return zaptest.NewLogger(t, zaptest.WrapOptions(zap.AddStacktrace(zap.PanicLevel)))
	}
	return zap.NewNop()
}

// testHost is the machine that the nodes of tests run on; nil is this one.
var testHost host.Host

// startFake starts a fake node that is gone when the test ends.
func startFake(t testing.TB, c fakerank.Config, change ...func(*Options)) *Node {
	t.Helper()
	o := Options{Command: fakerank.Command(c), Log: testLog(t), Host: testHost}
	for _, f := range change {
		f(&o)
	}
	n, err := StartNode(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

func closeNode(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Close(testContext(t)); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := os.Lstat(directory(n)); err == nil {
		t.Errorf("Close left %s", directory(n))
	}
}

// directory is that of a node's sockets: XDG_RUNTIME_DIR is set, and usable.
func directory(n *Node) string {
	return filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "dipls", n.proc.Session())
}

// running reports whether a process is there and no zombie.
func running(p host.Process) bool {
	if runtime.GOOS == "linux" {
		return !host.Local{}.Ended(p)
	}
	return syscall.Kill(p.PID, 0) == nil
}

func startPool(t testing.TB, n *Node, ranks int) *Pool {
	t.Helper()
	p, err := n.StartPool(testContext(t), PoolSpec{Ranks: ranks})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run is a Handler that records.
type run struct {
	done chan struct{}

	mu       sync.Mutex
	happened []Happening     // but for output
	text     strings.Builder // stdout and stderr
	reply    *wire.ExecuteReply
	err      error
	ended    int
}

func newRun() *run { return &run{done: make(chan struct{})} }

func (r *run) Happened(h Happening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended > 0 {
		panic("something happened after Done")
	}
	if output, ok := h.(Output); ok {
		r.text.Write(output.Data)
		return
	}
	r.happened = append(r.happened, h)
}

func (r *run) Done(reply *wire.ExecuteReply, err error) {
	r.mu.Lock()
	r.reply, r.err = reply, err
	r.ended++
	r.mu.Unlock()
	close(r.done) // panics if it is called twice
}

// output is what was printed so far.
func (r *run) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// wait waits for the end.
func (r *run) wait(t testing.TB) *run {
	t.Helper()
	waitFor(t, "the end of an execution", r.done)
	return r
}

func waitFor(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(testTimeout):
		t.Fatalf("no sign of %s", what)
	}
}

// start executes code.
func start(p *Process, code string) *run {
	r := newRun()
	p.Execute(wire.ExecuteRequest{Code: code, Path: "/fake.py", Line: 1}, r)
	return r
}

// execute executes code and waits for its end.
func execute(t testing.TB, p *Process, code string) *run {
	t.Helper()
	return start(p, code).wait(t)
}

// await waits for a condition that something outside brings about.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(testTimeout)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
