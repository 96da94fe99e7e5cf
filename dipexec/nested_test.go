package dipexec

import (
	"testing"

	"dipls/dipexec/journal"
)

// Without an id, result is about the run that came to the ranks last: a cell's own, or one that a cell has given.
func TestResultOfTheLastRun(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	id, x := startCell(t, e, pool, "local")
	x.command(`{"id":1,"command":"result","run":""}`)
	pool.local.answered(t, `{"id":1,"status":"error","ename":"UsageError","evalue":"nothing has run on the ranks yet"}`)
	x.ok()
	mustWait(t, e, id)

	cell := mustStart(t, e, Request{Target: target(t, "everywhere")})
	y := pool.local.next()
	y.print("here\n")
	y.ok()
	y = pool.ranks[0].next()
	y.print("cell\n")
	y.ok()
	mustWait(t, e, cell)
	_, x = startCell(t, e, pool, "local")
	x.command(`{"id":2,"command":"result","run":""}`)
	pool.local.answered(t, `{"id":2,"status":"ok","run":"`+cell+`","run_status":"ok","parts":[{"rank":0,"status":"ok","output":"cell\n","shown":true}]}`)

	x.command(`{"id":3,"command":"run","code":"f()"}`)
	nested := e.session + "-4"
	pool.local.answered(t, `{"id":3,"status":"ok","run":"`+nested+`","run_status":"","parts":[]}`)
	x.command(`{"id":4,"command":"result","run":""}`)
	y = pool.ranks[0].next()
	y.print("nested\n")
	y.ok()
	pool.local.answered(t, `{"id":4,"status":"ok","run":"`+nested+`","run_status":"ok","parts":[{"rank":0,"status":"ok","output":"nested\n","shown":true}]}`)
	x.ok()
}
