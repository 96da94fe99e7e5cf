package dipexec

import (
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/ranks"
)

// A part has one outcome: the one that it sends, or the run's if the run gives the part up.
func TestPartOutcome(t *testing.T) {
	r := &run{change: make(chan struct{}, 1)}
	r.left.Store(2)
	woken := func() bool { return len(r.change) > 0 }
	sent, givenUp := &part{r: r, started: time.Now()}, &part{r: r, started: time.Now()}
	if sent.outcome() != (outcome{}) || len(r.unfinished([]*part{sent, givenUp})) != 2 {
		t.Error("they have ended")
	}

	sent.own = outcome{status: event.StatusOK, count: 7}
	sent.send(nil)
	sent.giveUp()
	if sent.outcome() != sent.own || r.left.Load() != 1 || woken() {
		t.Errorf("outcome %+v, %d left, woken %v", sent.outcome(), r.left.Load(), woken())
	}

	givenUp.giveUp()
	givenUp.own = outcome{status: event.StatusDied}
	death := new(ranks.ExitError)
	givenUp.send(death)
	if o := givenUp.outcome(); o.status != event.StatusInterrupted || r.left.Load() != 1 {
		t.Errorf("outcome %+v, %d left", o, r.left.Load())
	}
	if r.death.Load() != death || !woken() {
		t.Errorf("death %v, woken %v", r.death.Load(), woken())
	}
}

// The last part wakes its run.
func TestLastPartWakesItsRun(t *testing.T) {
	r := &run{change: make(chan struct{}, 1)}
	r.left.Store(2)
	(&part{r: r}).send(nil)
	if len(r.change) > 0 {
		t.Error("the first one has")
	}
	(&part{r: r}).send(nil)
	if len(r.change) == 0 {
		t.Error("it has not")
	}
}
