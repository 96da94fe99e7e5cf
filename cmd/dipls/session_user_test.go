package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/cells"
	"dipls/session"
)

// anotherUser is nobody's uid.
const anotherUser = 54321

// intrude tries what its arguments name, and prints what has succeeded: "connect:SOCKET", "open:PATH", "trace:PID".
func intrude() {
	runtime.LockOSThread()
	for _, try := range os.Args[1:] {
		how, what, _ := strings.Cut(try, ":")
		switch how {
		case "connect":
			c, err := net.Dial("unix", what)
			if err != nil {
				continue
			}
			fmt.Println("connected to", what)
			body := `{"jsonrpc":"2.0","id":1,"method":"about","params":{}}`
			fmt.Fprintf(c, "Content-Length: %d\r\n\r\n%s", len(body), body)
			if answer, _ := io.ReadAll(c); len(answer) > 0 {
				fmt.Printf("told %q\n", answer)
			}
			c.Close()
		case "open":
			f, err := os.Open(what)
			if err != nil {
				continue
			}
			_, err = f.Read(make([]byte, 1))
			_, listed := f.ReadDir(1)
			if err == nil || listed == nil {
				fmt.Println("read", what)
			}
			f.Close()
		case "trace":
			pid, _ := strconv.Atoi(what)
			if syscall.PtraceAttach(pid) == nil {
				fmt.Println("traced", pid)
			}
		}
	}
}

// Another user of the machine gets nothing: neither by the socket, nor from the directories, logs and journals, nor from memory.
func TestSessionTellsOthersNothing(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root may be another user, and only Linux starts a program that is handed over open")
	}
	p := newPlace(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := p.attach(time.Hour)
	p.run(a, cells.Remote, "secret = bytearray(b'x' * 2**20); print(1)")

	var tries []string
	add := func(how string, what ...string) {
		for _, w := range what {
			tries = append(tries, how+":"+w)
		}
	}
	sockets, _ := filepath.Glob(filepath.Join(p.runtime, "dipls", "*", "*"))
	inside, _ := filepath.Glob(filepath.Join(p.runtime, "dipls", "sessions", "*", "*"))
	socket := ""
	for _, path := range append(sockets, inside...) {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			add("connect", path)
			if filepath.Base(path) == "api" {
				socket = path
			}
		}
		add("open", path, filepath.Dir(path))
	}
	add("open", a.About.Log, filepath.Dir(a.About.Log), a.About.Journal)
	shared, _ := filepath.Glob("/dev/shm/*dipls*")
	add("open", shared...)
	processes := []string{strconv.Itoa(a.About.PID)}
	for _, process := range marked(p.mark) {
		pid, _, _ := strings.Cut(process, " ")
		processes = append(processes, pid)
	}
	for _, pid := range processes {
		add("trace", pid)
		for _, file := range []string{"mem", "environ", "maps", "fd", "map_files"} {
			add("open", filepath.Join("/proc", pid, file))
		}
		open, _ := filepath.Glob(filepath.Join("/proc", pid, "fd", "*"))
		add("open", open...)
	}
	if socket == "" || len(processes) < 4 {
		t.Fatalf("socket %q, processes %q", socket, processes)
	}

	intrusion := func(tries ...string) string {
		t.Helper()
		f, err := os.Open(self) // handed over open: its path may lead through directories of root's alone
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := exec.Command("/proc/self/fd/3", tries...)
		cmd.Args[0], cmd.Dir, cmd.ExtraFiles = "intruder", "/", []*os.File{f}
		cmd.Env = []string{"PATH=/usr/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: anotherUser, Gid: anotherUser}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := intrusion("open:/etc/passwd"); got != "read /etc/passwd\n" {
		t.Fatalf("the other user cannot even read what all may: %q", got)
	}
	if got := intrusion(tries...); got != "" {
		t.Errorf("another user has\n%s", got)
	}

	// Even if all modes were wrong, the kernel says whose process it is.
	chmod := func(mode os.FileMode) {
		for dir := socket; dir != filepath.Dir(p.runtime); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod(0o777)
	if got := intrusion("connect:" + socket); got != "connected to "+socket+"\n" {
		t.Errorf("with all modes open another user has\n%s", got)
	}
	chmod(0o700)
	if err := a.Close(t.Context(), session.CloseRequest{}); err != nil {
		t.Error(err)
	}
	p.gone(a.About.PID)
}
