package host

import (
	"bufio"
	"fmt"
	"maps"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dipls/internal/testpython"
)

// What /proc has told of a rank: computing, and once most of its memory was in swap.
const (
	recordedStat = "4711 (rank 1 (x) y) S 4700 4711 4700 0 -1 4194560 51234 0 1290 0 731 112 0 0 20 0 9 0 892113 5312884736 401822 18446744073709551615 " +
		"1 1 0 0 0 0 0 16781312 17663 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
	laterStat = "4711 (rank 1 (x) y) D 4700 4711 4700 0 -1 4194560 51234 0 2102 0 733 118 0 0 20 0 9 0 892113 5312884736 301822 18446744073709551615 " +
		"1 1 0 0 0 0 0 16781312 17663 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
	stoppedStat  = "4711 (rank 1 (x) y) T 4700 4711 4700 0 -1 4194560 51234 0 1290 0 731 112 0 0 20 0 9 0 892113 5312884736 401822\n"
	recordedRest = "Name:\trank 1\nState:\tS (sleeping)\nTgid:\t4711\nVmRSS:\t  1607288 kB\nVmSwap:\t       0 kB\nThreads:\t9\n" +
		"voluntary_ctxt_switches:\t512\nnonvoluntary_ctxt_switches:\t67\n"
	laterRest = "Name:\trank 1\nState:\tD (disk sleep)\nTgid:\t4711\nVmRSS:\t  107288 kB\nVmSwap:\t 3355443 kB\nThreads:\t9\n" +
		"voluntary_ctxt_switches:\t1324\nnonvoluntary_ctxt_switches:\t67\n"
)

func recorded(t *testing.T, after time.Duration, stat, status string) Vitals {
	t.Helper()
	v, ok := parseVitals([]byte(stat), []byte(status), []byte(stat))
	if !ok {
		t.Fatalf("nothing was made of %q", stat)
	}
	v.At = time.Unix(1000, 0).Add(after)
	return v
}

func TestVitals(t *testing.T) {
	v := recorded(t, 0, recordedStat, recordedRest)
	want := Vitals{At: v.At, State: 'S', CPU: 8430 * time.Millisecond, Main: 8430 * time.Millisecond, Switches: 579, Faults: 1290}
	if v != want {
		t.Errorf("got %+v, want %+v", v, want)
	}
	for _, bad := range []string{"", "4711 (x", "4711 (x) S 1 2", ")"} {
		if v, ok := parseVitals([]byte(bad), nil, nil); ok {
			t.Errorf("%q gives %+v", bad, v)
		}
	}
}

func TestConditionOf(t *testing.T) {
	first := recorded(t, 0, recordedStat, recordedRest)
	same := recorded(t, time.Second, recordedStat, recordedRest)
	moved := same
	moved.Switches++
	worker := same
	worker.Children += clockTick
	thread := same
	thread.CPU += 5 * clockTick
	answers := same
	answers.CPU += 4 * clockTick
	starved := same
	starved.State = 'R'
	for _, c := range []struct {
		what        string
		before, now Vitals
		want        Condition
	}{
		{"stands", first, same, Condition{Still: true}},
		{"answers", first, answers, Condition{Still: true}},
		{"computes in another thread", first, thread, Condition{Works: true}},
		{"moves", first, moved, Condition{Moved: true}},
		{"its workers move", first, worker, Condition{Moved: true}},
		{"gets no core", first, starved, Condition{Moved: true}},
		{"is stopped", first, recorded(t, time.Second, stoppedStat, recordedRest),
			Condition{State: Halted, How: "is stopped: kill -CONT 4711 lets it go on", Still: true}},
		{"swaps", first, recorded(t, time.Second, laterStat, laterRest),
			Condition{State: Swapping, How: "is swapping: 3.2 GiB of it are in swap, and it waits for 812 pages a second", Moved: true, Works: true}},
		{"swaps a little", first, recorded(t, time.Minute, laterStat, laterRest), Condition{Moved: true}},
		{"reads files", first, recorded(t, time.Second, laterStat, recordedRest), Condition{Moved: true, Works: true}},
		{"was not seen before", Vitals{}, recorded(t, time.Second, laterStat, laterRest), Condition{}},
	} {
		if got := conditionOf(4711, c.before, c.now); got != c.want {
			t.Errorf("one that %s: got %+v, want %+v", c.what, got, c.want)
		}
	}
	if cores := coresUsed(first, recorded(t, time.Second, laterStat, laterRest)); cores != 0.08 {
		t.Errorf("%v cores used", cores)
	}
}

// The system call of a Python process's main thread tells what it waits in; sleeping, and reading what a person types, do not count.
func TestMainWaits(t *testing.T) {
	for code, want := range map[string]string{
		"import threading; l = threading.Lock(); l.acquire(); ready(); l.acquire()": "in a lock",
		"import socket; a, b = socket.socketpair(); ready(); a.recv(1)":             "reading a socket",
		"import socket; s = socket.create_server(('', 0)); ready(); s.accept()":     "for a connection",
		"import os; r, w = os.pipe(); ready(); os.read(r, 1)":                       "reading a pipe",
		"import os; p = os.fork(); p or os.read(0, 1); ready(); os.wait()":          "for a process",
		"import time; ready(); time.sleep(600)":                                     "",
		"ready(); input()":                                                          "",
	} {
		p := startPython(t, code)
		await(t, fmt.Sprintf("%s to wait %q", code, want), func() bool {
			st, err := statProcess(p.PID)
			return err == nil && st.state == 'S' && here().mainWaits(t.Context(), p.PID) == want
		})
	}
}

// A thread that gets no core has used no CPU time, like one that waits; whether it could run tells them apart.
func TestThreadWithoutCore(t *testing.T) {
	for _, c := range []struct {
		code string
		want Condition
	}{
		{"import threading; l = threading.Lock(); l.acquire(); ready(); l.acquire()", Condition{Still: true, Waits: "in a lock"}},
		{"import threading\ndef compute():\n while True: pass\nt = threading.Thread(target=compute, daemon=True); t.start(); ready(); t.join()", Condition{}},
	} {
		p := startPython(t, c.code)
		var now Vitals
		await(t, "a main thread that waits", func() (ok bool) {
			now, ok = here().Vitals(t.Context(), p)
			return ok && now.State == 'S' && here().mainWaits(t.Context(), p.PID) == "in a lock"
		})
		before := now
		before.At = now.At.Add(-time.Second)
		if got := (Local{}).Condition(t.Context(), p, before, now, true, 0); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.code, got, c.want)
		}
	}
}

// startPython runs code in a process that ends with the test, and returns when the code has called ready.
func startPython(t *testing.T, code string) Process {
	t.Helper()
	cmd := exec.Command(testpython.Need(t), "-c", "def ready(): print(flush=True)\n"+code)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	st, err := statProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return st.id()
}

// The numbers of system calls are those of the architecture that this test was built for.
func TestWaitingCalls(t *testing.T) {
	want := map[int]waitingCall{
		unix.SYS_READ: waitRead, unix.SYS_RECVFROM: waitRead, unix.SYS_RECVMSG: waitRead,
		unix.SYS_WRITE: waitWrite, unix.SYS_SENDTO: waitWrite, unix.SYS_SENDMSG: waitWrite,
		unix.SYS_FUTEX: waitLock, unix.SYS_WAIT4: waitProcess, unix.SYS_WAITID: waitProcess, unix.SYS_ACCEPT4: waitConnection,
	}
	if got := waitingCalls[here().Architecture]; !maps.Equal(got, want) {
		t.Errorf("of %s: %v, want %v", here().Architecture, got, want)
	}
}
