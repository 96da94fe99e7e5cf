package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/dipexec"
	"dipls/internal/leaktest"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/wire"
)

func TestMain(m *testing.M) {
	fakerank.Main()
	tests := leaktest.Begin()
	os.Setenv("CUDA_VISIBLE_DEVICES", "") // what this machine has is no part of the tests
	tests.Main(m)
}

// testTimeout is for what should take no time at all.
const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// quick is a ladder for processes that are known to refuse.
var quick = ranks.Ladder{Ask: 50 * time.Millisecond, Interrupt: 50 * time.Millisecond, Terminate: 50 * time.Millisecond, Kill: 10 * time.Second}

// fixture is a session, and the sentences that it has told.
type fixture struct {
	*processes
	t testing.TB

	mu      sync.Mutex
	notices []string
}

// newFixture makes a session on a fake machine, or on a fake node if processes are wanted, that is gone when the test ends.
func newFixture(t testing.TB, c fakerank.Config, change ...func(*processOptions)) *fixture {
	t.Helper()
	f := &fixture{t: t}
	o := processOptions{
		Notice: func(text string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.notices = append(f.notices, text)
		},
	}
	if c.Processes {
		o.Node.Command = fakerank.Command(c)
	} else {
		o.Node.Host = fakerank.NewHost(c)
	}
	for _, apply := range change {
		apply(&o)
	}
	f.processes = newProcesses(o)
	t.Cleanup(func() {
		if err := f.Close(testContext(t)); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return f
}

// choose makes a session's choice.
func choose(c Choice) func(*processOptions) { return func(o *processOptions) { o.Pool = c } }

// told is what the session has told since the last call.
func (f *fixture) told() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.Join(f.notices, "; ")
	f.notices = nil
	return text
}

// making makes, and fails the test if that does.
func (f *fixture) making(cmd wire.MakeCommand) string {
	f.t.Helper()
	text, err := f.Make(testContext(f.t), cmd)
	if err != nil {
		f.t.Fatalf("make %+v: %v", cmd, err)
	}
	return text
}

// ranks are the ranks, which there must be.
func (f *fixture) ranks() []*ranks.Process {
	f.t.Helper()
	processes, err := f.Ranks(testContext(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	return theirs(processes)
}

func theirs(processes []dipexec.Process) []*ranks.Process {
	var own []*ranks.Process
	for _, p := range processes {
		own = append(own, p.(*ranks.Process))
	}
	return own
}

// pids are the ranks' process ids.
func (f *fixture) pids() []int {
	f.t.Helper()
	var pids []int
	for _, p := range f.ranks() {
		pids = append(pids, p.PID())
	}
	return pids
}

// run is a ranks.Handler that keeps what is printed.
type run struct {
	done chan struct{}

	mu   sync.Mutex
	text strings.Builder
	err  error
}

func (r *run) Happened(h ranks.Happening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if output, ok := h.(ranks.Output); ok {
		r.text.Write(output.Data)
	}
}

func (r *run) Done(_ *wire.ExecuteReply, err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	close(r.done)
}

// start executes code.
func start(p *ranks.Process, code string) *run {
	r := &run{done: make(chan struct{})}
	p.Execute(wire.ExecuteRequest{Code: code, Path: "/fake.py", Line: 1}, r)
	return r
}

// printed executes code, waits for its end and gives what it printed.
func printed(t testing.TB, p *ranks.Process, code string) string {
	t.Helper()
	r := start(p, code)
	waitFor(t, "the end of an execution", r.done)
	return r.text.String()
}

func waitFor(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(testTimeout):
		t.Fatalf("no sign of %s", what)
	}
}

// await waits for a condition that another process brings about.
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

// wantError fails a test whose error does not contain that.
func wantError(t testing.TB, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want %q", err, part)
	}
}

// fakeGPUs puts an nvidia-smi on PATH that knows so many GPUs, gpu0 and so on. The file whose path it returns is what it says of
// processes.
func fakeGPUs(t *testing.T, n int) (processes string) {
	t.Helper()
	dir := t.TempDir()
	processes = filepath.Join(dir, "processes")
	var gpus strings.Builder
	for i := range n {
		fmt.Fprintf(&gpus, "%d, gpu%d, Fake, 1000, 10\n", i, i)
	}
	script := "#!/bin/sh\ncase \"$1\" in\n*compute-apps*) exec /bin/cat '" + processes + "' ;;\n" +
		"*utilization*) printf 'gpu0, 97\ngpu1, [N/A]'; exit ;;\nesac\n/bin/cat <<'END'\n" + gpus.String() + "END\n"
	for name, text := range map[string]string{"nvidia-smi": script, "processes": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv("CUDA_VISIBLE_DEVICES", "") // so that it comes back
	os.Unsetenv("CUDA_VISIBLE_DEVICES")
	return processes
}

func gpus(list string) *string { return &list }

func yes(b bool) *bool { return &b }
