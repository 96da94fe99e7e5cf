package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dipls/dipexec/journal"
	"dipls/internal/leaktest"
	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/session"
	"dipls/session/registry"
)

func TestMain(m *testing.M) {
	tests := leaktest.Begin()
	os.Unsetenv("VIRTUAL_ENV")
	os.Setenv("CUDA_VISIBLE_DEVICES", "")
	tests.Main(m)
}

// house is a registry whose sessions are goroutines of the test, over a machine of goroutines.
type house struct {
	*registry.Registry
	t       *testing.T
	dir     string
	machine *fakerank.Host
	started int

	end  context.CancelCauseFunc // as a signal does
	work sync.WaitGroup
}

// newHouse makes one whose sessions have all ended when the test has.
func newHouse(t *testing.T) *house {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: dir, machine: fakerank.NewHost(fakerank.Config{})}
	ctx, end := context.WithCancelCause(context.Background())
	h.end = end
	h.Registry = registry.Open(registry.Options{Build: "test", Start: func(_ context.Context, dir, name string, keep time.Duration) error {
		c, err := h.Claim(context.Background(), dir, name)
		if err != nil {
			return err
		}
		h.started++
		store := journal.Open(journal.Options{})
		log, err := newLog(c.Log())
		if err != nil {
			return err
		}
		s := session.New(session.Options{Dir: dir, Journal: store, Host: h.machine})
		h.work.Go(func() {
			defer store.Close()
			defer log.f.Close()
			if err := Run(ctx, Options{Claim: c, API: s, Keep: keep, Build: "test", Log: newLogger(log)}); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		return nil
	}})
	t.Cleanup(func() {
		end(errors.New("the test is over"))
		h.work.Wait()
	})
	return h
}

// attach attaches, and starts a session if need be.
func (h *house) attach(q session.AttachRequest) *session.Attachment {
	h.t.Helper()
	q.Dir, q.Start, q.History = h.dir, true, true
	a, err := h.Attach(sessiontest.Context(h.t), q)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = a.Detach(context.Background()) })
	return a
}

// run runs code in the local namespace, and waits for its end.
func (h *house) run(a *session.Attachment, code string) {
	h.t.Helper()
	ctx := sessiontest.Context(h.t)
	if _, err := a.Wait(ctx, h.begin(a, code)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) begin(a *session.Attachment, code string) (run string) {
	h.t.Helper()
	by := session.Caller{Settings: session.Settings{Python: sessiontest.Interpreter(h.t), Trust: session.TrustYes}}
	runs, err := a.Start(sessiontest.Context(h.t), by, session.Sequence{Cells: []session.Cell{{Code: code}}})
	if err != nil {
		h.t.Fatal(err)
	}
	return runs[0]
}

// leave detaches.
func (h *house) leave(a *session.Attachment) {
	h.t.Helper()
	if err := a.Detach(sessiontest.Context(h.t)); err != nil {
		h.t.Fatal(err)
	}
}

// gone waits until no session is left.
func (h *house) gone() {
	h.t.Helper()
	h.await("the end of the session", func() bool {
		all, err := h.List(sessiontest.Context(h.t))
		return err == nil && len(all) == 0
	})
}

func (h *house) await(what string, condition func() bool) {
	h.t.Helper()
	ctx := sessiontest.Context(h.t)
	for !condition() {
		if ctx.Err() != nil {
			h.t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
