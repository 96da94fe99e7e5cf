// Package afartest has hosts for tests: agents of real Python on this machine, which join as those on other hosts do.
package afartest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"dipls/internal/testpython"
	"dipls/ranks/host/join"
	"dipls/ranks/host/mux"
)

// patience is for what should take no time at all.
const patience = 2 * time.Minute

// Agent is the agent of a host.
type Agent struct {
	join.Arrival
	Relay *os.Process  // what a launcher would have started
	Ended <-chan error // how that ended

	gate *join.Gate
}

// Interrupt breaks the connection of the moment. The agent makes another one.
func (a *Agent) Interrupt() { a.Conn.Drop() }

// Vanish plays the end of the session by a power cut: the agent hears nothing more, and reaches nobody.
func (a *Agent) Vanish() {
	a.gate.Close()
	a.Conn.Drop()
}

// Options say how an agent is.
type Options struct {
	Name    string
	Lease   time.Duration // 0: the usual one
	Beside  *Agent        // whose session it joins, too; nil: it has one of its own
	Env     []string      // besides that of the test, in the form of [os.Environ]
	OnState func(mux.State, error)
}

// Start starts the agent of a host. When the test ends, it is told to end, and must.
func Start(t testing.TB, o Options) *Agent {
	t.Helper()
	gate := newGate(t, o)
	onState := func(_ int, s mux.State, err error) {
		if o.OnState != nil {
			o.OnState(s, err)
		}
	}
	start, err := gate.Expect(join.Expected{Hosts: []int{0}, Name: func(int, json.RawMessage) string { return o.Name }, OnState: onState})
	if err != nil {
		t.Fatal(err)
	}
	defer start.Close()

	startup, err := json.Marshal(map[string]any{"addresses": gate.Addresses(), "certificate": gate.Certificate(), "token": start.Tokens()[0]})
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command(testpython.Need(t), "-s", "-S", filepath.Join(filepath.Dir(file), "../../../agent/src"), "relay")
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = read, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = write.Write(append(startup, '\n'))
	write.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		close(ended)
	}()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a := &Agent{Relay: cmd.Process, Ended: ended, gate: gate}
	select {
	case arrival := <-start.Arrivals():
		a.Arrival = arrival
	case err := <-ended:
		t.Fatalf("the agent has ended: %v", err)
	case <-ctx.Done():
		cmd.Process.Kill()
		t.Fatal("the agent does not join")
	}
	t.Cleanup(func() {
		a.Conn.Close()
		if o.Beside == nil {
			gate.Close()
		}
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
			t.Error("the agent does not end")
		}
	})
	return a
}

// newGate is what an agent joins by.
func newGate(t testing.TB, o Options) *join.Gate {
	t.Helper()
	if o.Beside != nil {
		return o.Beside.gate
	}
	gate, err := join.New(join.Options{Listen: []string{"127.0.0.1"}, Lease: o.Lease})
	if err != nil {
		t.Fatal(err)
	}
	return gate
}
