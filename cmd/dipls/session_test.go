package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dipls/cells"
	"dipls/internal/testdisk"
	"dipls/internal/testpython"
	"dipls/session"
	"dipls/session/registry"
)

// place is where a test has sessions of its own, whose processes are this program.
type place struct {
	*registry.Registry
	t             *testing.T
	dir           string // a folder without links
	runtime, mark string
	state         string
}

// newPlace makes one. The test fails if a process or a socket is left.
func newPlace(t *testing.T) *place {
	t.Helper()
	runtime, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &place{
		t: t, Registry: openRegistry(), dir: filepath.Join(dir, "proj ü"), runtime: runtime, mark: filepath.Base(runtime), state: filepath.Join(dir, "state"),
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"XDG_RUNTIME_DIR": runtime, "XDG_STATE_HOME": p.state, "XDG_CACHE_HOME": filepath.Join(dir, "cache"), "HOME": dir, "DIPLS_TEST_MARK": p.mark,
		"DIPLS_RUNTIME_DIR": "",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(func() {
		checkNothingLeft(t, p.mark, runtime)
		os.RemoveAll(runtime)
	})
	return p
}

// attach attaches to the session, and starts it if need be.
func (p *place) attach(keep time.Duration) *session.Attachment {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := p.Attach(ctx, session.AttachRequest{Dir: p.dir, Start: true, Keep: keep, Program: "test"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = a.Detach(context.Background()) })
	return a
}

// run runs code on two ranks with real Python, or in the local namespace.
func (p *place) run(a *session.Attachment, where cells.Where, code string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	by := session.Caller{Settings: session.Settings{
		Python: testpython.Need(p.t), Trust: session.TrustYes, Pool: session.Choice{Ranks: 2, App: "none"},
	}}
	runs, err := a.Start(ctx, by, session.Sequence{Cells: []session.Cell{{Code: code, Target: cells.Target{Where: where}}}})
	if err == nil {
		_, err = a.Wait(ctx, runs[0])
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// gone waits until a process has ended.
func (p *place) gone(pid int) {
	p.t.Helper()
	if left := awaitNothing(func() []string {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return nil
		}
		return []string{fmt.Sprint(pid)}
	}); left != nil {
		p.t.Fatalf("process %s lives", left[0])
	}
}

// A session's process is nobody's child, leads a login session of its own without a terminal, and stands in its folder with its starter's environment.
func TestSessionIsDetached(t *testing.T) {
	p := newPlace(t)
	t.Setenv("OF_THE_STARTER", "yes")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	inherited, err := syscall.Dup(int(write.Fd())) // as the starter has it from a shell
	if err != nil {
		t.Fatal(err)
	}
	write.Close()
	a := p.attach(time.Hour)
	syscall.Close(inherited)
	if _, err := read.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("it keeps its starter's descriptors open: %v", err)
	}
	pid := a.About.PID
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skip(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:])) // state, ppid, pgrp, session, tty
	if fields[1] == fmt.Sprint(os.Getpid()) || fields[2] != fmt.Sprint(pid) || fields[3] != fmt.Sprint(pid) || fields[4] != "0" {
		t.Errorf("parent %s, process group %s, login session %s, terminal %s of process %d", fields[1], fields[2], fields[3], fields[4], pid)
	}
	link := func(name string) string {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
		return target
	}
	if link("cwd") != p.dir || link("fd/0") != os.DevNull || link("fd/1") != a.About.Log || link("fd/2") != a.About.Log {
		t.Errorf("in %s, with %s, %s and %s", link("cwd"), link("fd/0"), link("fd/1"), link("fd/2"))
	}
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if !bytes.Contains(environ, []byte("OF_THE_STARTER=yes\x00")) {
		t.Error("it has not the environment of its starter")
	}
	for path, mode := range map[string]os.FileMode{a.About.Log: 0o600, filepath.Dir(a.About.Log): 0o700, filepath.Join(p.runtime, "dipls", "sessions"): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := a.Detach(t.Context()); err != nil {
		t.Error(err)
	}
	p.gone(pid) // nobody has used it
}

// Processes that start a session at the same time start one, whoever they are.
func TestSessionStartsOnce(t *testing.T) {
	p := newPlace(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		const starters = 4
		answers := make(chan registry.Answer, starters)
		var work sync.WaitGroup
		for range starters {
			work.Go(func() {
				cmd := exec.Command(self, "session", "--dir", p.dir, "--keep", "0")
				cmd.Args[0] = "dipls"
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				var a registry.Answer
				if err == nil {
					err = json.Unmarshal(out, &a)
				}
				if err != nil {
					t.Errorf("%q, %v", out, err)
				}
				answers <- a
			})
		}
		taken := 0
		for range starters {
			a := <-answers
			if a.Error != "" {
				t.Error(a.Error)
			}
			if a.Taken {
				taken++
			}
		}
		work.Wait()
		if taken != starters-1 {
			t.Errorf("round %d: %d of %d were told that there is one", round, taken, starters)
		}
		a := p.attach(time.Hour)
		if a.Started {
			t.Errorf("round %d: none of them was found", round)
		}
		if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", a.About.PID)); err == nil && cwd != p.dir {
			t.Errorf("round %d: it stands in %s", round, cwd)
		}
		if err := a.Detach(t.Context()); err != nil {
			t.Error(err)
		}
		p.gone(a.About.PID)
	}
}

// A session's end by a signal is in order, and the next one tells of it. One that is killed leaves nothing, and the next one tells that, too. SIGHUP is
// ignored.
func TestSessionEndsBySignals(t *testing.T) {
	p := newPlace(t)
	before := ""
	for _, test := range []struct {
		signal syscall.Signal
		why    string
	}{
		{syscall.SIGTERM, "it was told to end (SIGTERM), by a logout, a shutdown, or somebody"},
		{syscall.SIGINT, "it was told to end (SIGINT), by a logout, a shutdown, or somebody"},
		{syscall.SIGKILL, "its process was killed"},
	} {
		a := p.attach(time.Hour)
		if told := ended(a); !a.Started || !strings.HasPrefix(told, before) || before == "" && told != "" {
			t.Errorf("started %v, told %q, want %q", a.Started, told, before)
		}
		p.run(a, cells.Remote, "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
		lost := make(chan error, 1)
		go func() {
			_, err := a.Wait(context.Background(), "no run")
			for err == nil || strings.Contains(err.Error(), "there is no run") {
				time.Sleep(time.Millisecond)
				_, err = a.Wait(context.Background(), "no run")
			}
			lost <- err
		}()
		for _, s := range []syscall.Signal{syscall.SIGHUP, test.signal} {
			if err := syscall.Kill(a.About.PID, s); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-lost; code(err) != session.CodeClosed {
			t.Errorf("the client was told %v", err)
		}
		p.gone(a.About.PID)
		if left := awaitNothing(func() []string { return marked(p.mark) }); left != nil {
			t.Errorf("left after %v:\n%s", test.signal, strings.Join(left, "\n"))
		}
		before = test.why
	}
	last := p.attach(session.KeepNever)
	if told := ended(last); !strings.HasPrefix(told, before) || last.Ended.Log == "" || last.Ended.Journal == "" {
		t.Errorf("told %+v", last.Ended)
	}
	if err := last.Detach(t.Context()); err != nil {
		t.Error(err)
	}
	p.gone(last.About.PID)
}

func ended(a *session.Attachment) string {
	if a.Ended == nil {
		return ""
	}
	return a.Ended.Why
}

func code(err error) session.Code {
	e, ok := err.(*session.Error)
	if !ok {
		return ""
	}
	return e.Code
}

// A start that fails says why.
func TestSessionThatCannotStart(t *testing.T) {
	p := newPlace(t)
	if err := os.Chmod(p.runtime, 0o777); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(p.dir, "tmp")
	t.Setenv("TMPDIR", tmp) // there is none
	_, err := p.Attach(t.Context(), session.AttachRequest{Dir: p.dir, Start: true, Program: "test"})
	if err == nil || !strings.Contains(err.Error(), p.runtime+" is open to others (mode 0777)") {
		t.Errorf("a runtime directory that others can write to: %v", err)
	}
	_, err = p.Attach(t.Context(), session.AttachRequest{Dir: filepath.Join(p.dir, "none"), Start: true, Program: "test"})
	if err == nil || !strings.Contains(err.Error(), "none: no such file or directory") {
		t.Errorf("no folder: %v", err)
	}
}

// A session whose disk is full runs cells and ends well.
func TestSessionOnAFullDisk(t *testing.T) {
	p := newPlace(t)
	if err := os.Mkdir(p.state, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount, err := testdisk.Mount(p.state, 1<<16)
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	}()
	if err := os.Chmod(p.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.state, "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	a := p.attach(session.KeepNever)
	p.run(a, cells.Local, "print(1)")
	if err := a.Detach(t.Context()); err != nil {
		t.Error(err)
	}
	p.gone(a.About.PID)
}
