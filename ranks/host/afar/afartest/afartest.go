// Package afartest has hosts for tests: agents of real Python on this machine, spoken to as those on others.
package afartest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dipls/internal/testpython"
	"dipls/ranks/host/mux"
)

// Relay plays the relay.
func Relay(t testing.TB) *mux.Conn {
	session, there := mux.New(mux.Options{Name: "far"}), mux.New(mux.Options{Name: "session", Host: true})
	ours, theirs := net.Pipe()
	if err := errors.Join(session.Attach(ours, 0), there.Attach(theirs, 0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			ch, err := there.Accept(ctx)
			if err != nil {
				return
			}
			work.Go(func() { relay(t, ch) })
		}
	})
	t.Cleanup(func() {
		session.Close()
		there.Fail(io.EOF)
		cancel()
		work.Wait()
	})
	return session
}

func relay(t testing.TB, ch *mux.Channel) {
	var what struct{ Serve, Socket string }
	json.Unmarshal(ch.What(), &what)
	var there net.Conn
	var err error
	if what.Socket != "" {
		there, err = net.Dial("unix", what.Socket)
	} else {
		var fds [2]int
		fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		theirs, ours := os.NewFile(uintptr(fds[0]), "theirs"), os.NewFile(uintptr(fds[1]), "ours")
		_, file, _, _ := runtime.Caller(0)
		cmd := exec.Command(testpython.Need(t), "-s", "-S", filepath.Join(filepath.Dir(file), "../../../agent/src"), what.Serve)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Error(err)
		}
		theirs.Close()
		there, _ = net.FileConn(ours)
		ours.Close()
		defer cmd.Wait()
	}
	if err != nil {
		ch.Reset(err.Error())
		return
	}
	go func() {
		io.Copy(there, ch)
		there.(*net.UnixConn).CloseWrite()
	}()
	io.Copy(ch, there)
	there.Close()
	ch.CloseWrite()
}
