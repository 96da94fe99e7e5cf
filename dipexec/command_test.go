package dipexec

import (
	"testing"
)

// startCell starts a run in the local namespace, and returns its execution there.
func startCell(t *testing.T, e *Executor, pool *fakePool, where string) (id string, x *fakeExecution) {
	t.Helper()
	id = mustStart(t, e, Request{Cell: 4, Path: "/t.py", Target: target(t, where)})
	return id, pool.local.next()
}

func TestPush(t *testing.T) {
	pool := newFakePool(2)
	e, _ := start(t, Options{Pool: pool})
	id, x := startCell(t, e, pool, "local")
	x.command(`{"id":3,"command":"push","names":["a","b"],"ranks":"all","payload":{"files":[]}}`)
	pool.local.answered(t, `{"id":3,"status":"ok","ranks":[0,1]}`)
	x.ok()
	mustWait(t, e, id)
	for _, p := range pool.ranks {
		if got := p.told(); got != "push, commit" {
			t.Errorf("rank %d was told: %s", p.rank, got)
		}
	}
}
