package host

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dipls/internal/testpython"
)

// running reports whether a process is there and no zombie.
func running(p Process) bool {
	st, err := statProcess(p.PID)
	return err == nil && st.startTime == p.Start && st.state != 'Z'
}

func TestMemory(t *testing.T) {
	st, err := statProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p := st.id()
	if n, ok := (Local{}).Memory(t.Context(), p); !ok || n < 1<<20 || n > 1<<40 {
		t.Errorf("%d bytes, %v", n, ok)
	}
	p.Start++
	if n, ok := (Local{}).Memory(t.Context(), p); ok {
		t.Errorf("another process with that number has %d bytes", n)
	}
	if n, ok := (Local{}).Memory(t.Context(), Process{}); ok {
		t.Errorf("a process that never was has %d bytes", n)
	}
}

func TestKillProcess(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	st, err := statProcess(pid)
	if err != nil || st.ppid != os.Getpid() {
		t.Fatalf("%+v, %v", st, err)
	}
	p := st.id()
	if gone, err := killProcess(Process{pid, p.Start + 1}); !gone || err != nil || !running(p) {
		t.Errorf("another process with that number: gone %v, %v, running %v", gone, err, running(p))
	}
	if gone, err := killProcess(p); gone || err != nil {
		t.Errorf("gone %v, %v", gone, err)
	}
	await(t, "its end", func() bool { gone, _ := killProcess(p); return gone })
	cmd.Wait()
	if gone, err := killProcess(p); !gone || err != nil {
		t.Errorf("after its end: gone %v, %v", gone, err)
	}
}

// A process whose first thread has ended looks like a zombie while others run.
func TestHasEnded(t *testing.T) {
	cmd := exec.Command(testpython.Need(t), "-c", `
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).pthread_exit(None)
`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var st procStat
	await(t, "the end of its first thread", func() (ended bool) {
		var err error
		st, err = statProcess(cmd.Process.Pid)
		return err == nil && st.state == 'Z'
	})
	if st.threads < 2 || hasEnded(st.id()) {
		t.Errorf("a process with %d threads counts as ended: %v", st.threads, hasEnded(st.id()))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "its end", func() bool { return hasEnded(st.id()) })
}

// A process that adopts orphans does not adopt those that it starts to be nobody's child, and adopts others again afterwards.
func TestWithoutOrphans(t *testing.T) {
	if os.Getenv("DIPLS_TEST_ORPHANS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWithoutOrphans$", "-test.v")
		cmd.Env = append(os.Environ(), "DIPLS_TEST_ORPHANS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := AdoptOrphans(); err != nil {
		t.Fatal(err)
	}
	// orphan starts a process that loses its parent, and says whether it is ours then.
	orphan := func() (ours bool) {
		out, err := exec.Command("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!").Output()
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		st, err := statProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := killProcess(st.id()); err != nil {
			t.Error(err)
		}
		if ours = st.ppid == os.Getpid(); ours {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
				t.Error(err)
			}
		}
		return ours
	}
	if !orphan() {
		t.Error("an orphan was not adopted")
	}
	var ours bool
	if err := WithoutOrphans(func() error { ours = orphan(); return nil }); err != nil || ours {
		t.Errorf("one that was to be nobody's child was adopted: %v, %v", ours, err)
	}
	if !orphan() {
		t.Error("an orphan was not adopted any more")
	}
}
