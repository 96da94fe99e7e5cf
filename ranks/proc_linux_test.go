package ranks

import (
	"os"
	"os/exec"
	"testing"

	"dipls/internal/testpython"
)

// running reports whether a process is there and no zombie.
func running(pid int, startTime uint64) bool {
	st, err := statProcess(pid)
	return err == nil && st.startTime == startTime && st.state != 'Z'
}

func TestHostMemory(t *testing.T) {
	st, err := statProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{pid: os.Getpid(), start: st.startTime}
	if n, ok := p.HostMemory(); !ok || n < 1<<20 || n > 1<<40 {
		t.Errorf("%d bytes, %v", n, ok)
	}
	p.start++
	if n, ok := p.HostMemory(); ok {
		t.Errorf("another process with that number has %d bytes", n)
	}
	if n, ok := new(Process).HostMemory(); ok {
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
	if gone, err := killProcess(pid, st.startTime+1); !gone || err != nil || !running(pid, st.startTime) {
		t.Errorf("another process with that number: gone %v, %v, running %v", gone, err, running(pid, st.startTime))
	}
	if gone, err := killProcess(pid, st.startTime); gone || err != nil {
		t.Errorf("gone %v, %v", gone, err)
	}
	await(t, "its end", func() bool { gone, _ := killProcess(pid, st.startTime); return gone })
	cmd.Wait()
	if gone, err := killProcess(pid, st.startTime); !gone || err != nil {
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
	if st.threads < 2 || hasEnded(st.pid, st.startTime) {
		t.Errorf("a process with %d threads counts as ended: %v", st.threads, hasEnded(st.pid, st.startTime))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "its end", func() bool { return hasEnded(st.pid, st.startTime) })
}
