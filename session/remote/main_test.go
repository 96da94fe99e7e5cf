package remote_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"dipls/dipexec/journal"
	"dipls/internal/leaktest"
	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/session"
	"dipls/session/remote"
)

func TestMain(m *testing.M) {
	fakerank.Main()
	tests := leaktest.Begin()
	os.Setenv("CUDA_VISIBLE_DEVICES", "") // what this machine has is no part of the tests
	tests.Main(m)
}

// place is a session that is served, as a process of its own would.
type place struct {
	t       testing.TB
	session *session.Session
	server  *remote.Server
	socket  string
	machine *fakerank.Host
	closed  chan struct{} // closed: every connection has ended
}

// serve serves a session, until the test ends or a client closes it.
func serve(t testing.TB, s *session.Session, change ...func(*remote.ServerOptions)) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "remote") // whose path is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &place{t: t, session: s, socket: filepath.Join(dir, "s"), closed: make(chan struct{})}
	stop := make(chan string, 10)
	o := remote.ServerOptions{API: s, Build: "1.2.3", Stop: func(by string) {
		select {
		case stop <- "stopped by " + by:
		default:
		}
	}}
	for _, apply := range change {
		apply(&o)
	}
	if p.server, err = remote.NewServer(o); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := p.server.Serve(l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	go func() {
		defer close(p.closed)
		reason := <-stop
		ctx, cancel := context.WithTimeout(context.Background(), sessiontest.Timeout)
		defer cancel()
		if err := s.Close(ctx, session.CloseRequest{}); err != nil {
			t.Errorf("Close: %v", err)
		}
		p.server.Close(reason)
	}()
	t.Cleanup(func() {
		select {
		case stop <- "the test is over":
		default:
		}
		<-p.closed
		<-served
	})
	return p
}

// serveFake serves a session over a machine of goroutines.
func serveFake(t testing.TB, change ...func(*remote.ServerOptions)) *place {
	t.Helper()
	machine := fakerank.NewHost(fakerank.Config{})
	p := serve(t, session.New(session.Options{Dir: t.TempDir(), Journal: store(t), Host: machine}), change...)
	p.machine = machine
	return p
}

// store is a journal of the test's.
func store(t testing.TB) *journal.Store {
	s := journal.Open(journal.Options{Dir: filepath.Join(t.TempDir(), "runs")})
	t.Cleanup(s.Close)
	return s
}

// attach attaches a client, which leaves when the test ends.
func (p *place) attach(h remote.Hello) *remote.Client {
	p.t.Helper()
	c, _, err := remote.Dial(sessiontest.Context(p.t), p.socket, h)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Detach(context.Background()) })
	return c
}
