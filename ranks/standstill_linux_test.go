package ranks

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Why a rank answers nothing is read off the system: it was stopped, or native code keeps Python's lock.
func TestPythonStandstill(t *testing.T) {
	n := startPython(t)
	p := startPool(t, n, 2)
	r := p.Ranks()[1]
	look := func() string { return r.standstill(testContext(t), 100*time.Millisecond) }
	// Who answers does not have to be quick.
	patiently := func() string { return r.Standstill(testContext(t)) }
	if got := patiently(); got != "" {
		t.Errorf("a rank without work: %s", got)
	}
	busy := start(r, "import ctypes, time\nprint('on', flush=True)\nwhile True: pass")
	await(t, "the cell to run", func() bool { return busy.output() != "" })
	if got := patiently(); got != "" {
		t.Errorf("a busy rank: %s", got)
	}

	if err := syscall.Kill(r.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("rank 1 (pid %d) is stopped: kill -CONT %d lets it go on", r.PID(), r.PID())
	await(t, "the word of its stop", func() bool { return look() == want })
	if err := syscall.Kill(r.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, "the word of its going on", func() bool { return look() == "" })
	if err := r.Interrupt(testContext(t), ""); err != nil {
		t.Fatal(err)
	}
	busy.wait(t)

	// PyDLL keeps the lock while it is in C, and so does a built-in function.
	for code, how := range map[string]string{
		"ctypes.PyDLL(None).sleep(2)": "native code holds Python's lock and waits (",
		"sum(range(100_000_000))":     "native code holds Python's lock and computes",
	} {
		x := start(r, code)
		told := ""
		ctx, cancel := context.WithCancel(testContext(t))
		go func() { defer cancel(); x.wait(t) }()
		for ctx.Err() == nil && told == "" {
			told = look()
		}
		if !strings.HasPrefix(told, fmt.Sprintf("rank 1 (pid %d) has answered nothing for 100ms: ", r.PID())) || !strings.Contains(told, how) {
			t.Errorf("%s: told is %q, want %q", code, told, how)
		}
		<-ctx.Done()
	}
	if got := patiently(); got != "" {
		t.Errorf("afterwards: %s", got)
	}
}
