package dipexec

import (
	"context"
	"math"
	"slices"
	"sync"
)

// place is a place in a queue: runs stand in the order in which they were started, and before a run stands what its cell asks
// for while it runs.
type place struct {
	run uint64 // the run's number
	n   uint64 // itself for the run; else the number of what its cell, or a thread before that runs, asks for
}

// itself is the n of a run's own place: after everything that its cell asks for.
const itself = math.MaxUint64

func (p place) compare(q place) int {
	switch {
	case p == q:
		return 0
	case p.run < q.run, p.run == q.run && p.n < q.n:
		return -1
	default:
		return 1
	}
}

// queue says whose turn it is in a namespace: one at a time, in the order of their places.
//
// Nobody waits in a circle. Whoever has a place is called a holder: a run, or a command that a run has given (its cell did, or the
// run itself if it makes a pool). A holder whose turn it is needs no other turn, with two exceptions: a run that goes everywhere leaves the local
// namespace before it waits for the ranks, and a run in the local namespace waits for the command that it gives. So every wait is one of
//
//   - in either queue, for a holder with a smaller place there;
//   - of a run's turn in the local namespace, for a command on the ranks, whose place is smaller than that of the run itself
//     and larger than those of all earlier runs;
//   - outside of the queues, of a run in a sequence, for the end or the turn of the one before it, whose place is smaller. The waiting run has
//     its places then, but no turn anywhere.
//
// A chain of waits that goes from the local queue to that of the ranks cannot come back. On the ranks it reaches commands,
// which wait for nothing else, and runs with smaller places. Such a run does not wait for the local namespace any more. It
// either never wanted it, or has left it, since the run whose command began the chain has its turn there and comes later. The same holds for
// earlier runs of its sequence, which it may wait for: their places are smaller still. And along each queue, as along each
// sequence, places only get smaller.
//
// A place may be held long before its holder is ready to take its turn, or by a cell that may never take it. Nobody
// with a larger place overtakes it then. But a holder has its turn only when it takes it. So the command of an everywhere cell, given when the
// cell already has its place on the ranks, stands before it and goes first.
type queue struct {
	mu      sync.Mutex // guards what follows, and the tickets; no other lock is taken with it held
	active  *ticket    // whose turn it is; nil: nobody's
	waiting []*ticket  // the others, in the order of their places
}

// holder is whoever has tickets.
type holder interface {
	// cancel asks it to end, without waiting for that.
	cancel()
}

// ticket is a place in a queue, until it leaves.
type ticket struct {
	q      *queue
	at     place
	holder holder
	turn   chan struct{} // closed when the turn has come
	wanted bool          // the holder waits for its turn
}

// enter takes a place in the queue.
func (q *queue) enter(at place, h holder) *ticket {
	t := &ticket{q: q, at: at, holder: h, turn: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	i, _ := slices.BinarySearchFunc(q.waiting, at, func(w *ticket, at place) int { return w.at.compare(at) })
	q.waiting = slices.Insert(q.waiting, i, t)
	return t
}

// current is whose turn it is; nil if it is nobody's.
func (q *queue) current() holder {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.active == nil {
		return nil
	}
	return q.active.holder
}

// advance gives the turn to whoever is first, if it is nobody's and the first wants it. The caller holds mu.
func (q *queue) advance() {
	if q.active != nil || len(q.waiting) == 0 || !q.waiting[0].wanted {
		return
	}
	q.active = q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	close(q.active.turn)
}

// take waits for the turn. An error is ctx's; the turn may have come nevertheless, so the ticket must leave in any case.
func (t *ticket) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.q.mu.Lock()
	t.wanted = true
	t.q.advance()
	t.q.mu.Unlock()
	select {
	case <-t.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives up the turn or the place, and lets the next one go. It is idempotent.
func (t *ticket) leave() {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	if t.q.active == t {
		t.q.active = nil
	} else {
		t.q.waiting = slices.DeleteFunc(t.q.waiting, func(w *ticket) bool { return w == t })
	}
	t.q.advance()
}
