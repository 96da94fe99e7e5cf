// Package sessiontest is for tests of what stands on a session: a session without Python and without processes, and the contract that every
// implementation of [session.API] keeps.
//
// The session is the real one, over a machine whose processes are goroutines of the test ([fakerank.Host]). So queues, sequences, pools, questions and
// subscriptions are the real ones, too. What a cell does, the test writes as the cell's code, in fakerank's commands; it can hold a cell at a gate. Nothing
// depends on time.
package sessiontest

import (
	"context"
	"os"
	"testing"
	"time"

	"dipls/ranks/fakerank"
	"dipls/session"
)

// Timeout is for what should take no time at all.
const Timeout = 2 * time.Minute

// Context ends when something takes too long, or the test is over.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	t.Cleanup(cancel)
	return ctx
}

// Interpreter is an interpreter as far as a session can tell that never runs it.
func Interpreter(t testing.TB) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// New returns a session in dir over a machine of goroutines. It is closed when the test ends.
func New(t testing.TB, machine *fakerank.Host, dir string, change ...func(*session.Options)) *session.Session {
	t.Helper()
	o := session.Options{Dir: dir, Host: machine}
	for _, apply := range change {
		apply(&o)
	}
	return Closed(t, session.New(o))
}

// Closed closes a session when the test ends.
func Closed(t testing.TB, s *session.Session) *session.Session {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Timeout)
		defer cancel()
		if err := s.Close(ctx, session.CloseRequest{}); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}
