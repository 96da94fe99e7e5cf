package dipexec

import (
	"context"
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
)

// faultyPool is a pool with a bug.
type faultyPool struct{ *fakePool }

func (faultyPool) Ranks(context.Context) ([]Process, error) { panic("a slip") }

// A panic while a run is served fails that run, which says so. The others go on, and no namespace stays taken.
func TestPanicFailsItsRun(t *testing.T) {
	pool := faultyPool{newFakePool(2)}
	e, rec := start(t, Options{Pool: pool})
	everywhere := cells.Directive{Target: target(t, "everywhere")}
	first := mustStart(t, e, Request{Path: "/t.py", Line: 1, Directive: everywhere})
	pool.local.next().ok()
	if r := mustWait(t, e, first); r.Status != event.StatusError || !strings.Contains(r.Reason, "a fault of dipls, please report it: a slip") {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "the stack", func(ev event.Event) bool {
		l, ok := ev.(*event.Log)
		return ok && l.Level == event.LevelError && strings.Contains(l.Text, "faultyPool")
	})
	for range 2 {
		next := mustStart(t, e, Request{Path: "/t.py", Line: 1, Directive: everywhere})
		pool.local.next().ok()
		if r := mustWait(t, e, next); r.Status != event.StatusError {
			t.Errorf("report %+v", r)
		}
	}
}
