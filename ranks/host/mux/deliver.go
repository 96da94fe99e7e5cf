package mux

import (
	"slices"
	"sync"
	"time"
)

// stuckAfter is how long the function of a channel may take until other channels go on without it.
const stuckAfter = time.Millisecond

// keptPieces is how much memory for the list of what has come is kept for later.
const keptPieces = 16

// deliveries call the functions that channels have for what comes: see [Channel.Deliver]. One goroutine does that for all channels of a conversation,
// one after the other, since waking one for each would cost more than most of the functions. If it is stuck in one, another goroutine goes on with the
// others. Everything here is under Conn.mu.
type deliveries struct {
	ready      []*Channel  // that have something to deliver, in order
	held       bool        // more will be ready in a moment: nobody is woken before
	goroutines int         // that deliver, the idle one included
	idle       bool        // one of them waits
	wake       *sync.Cond  // for the idle one
	begun      uint64      // how many deliveries have begun
	watch      *time.Timer // looks whether somebody is stuck
	watching   bool
	before     uint64 // begun, when the watch began
}

// Deliver has take called with all that comes from now on, instead of [Channel.Read], and then ended with the error that a read would have. They are
// called one at a time, in order. What take gets is its own. While it waits, the peer writes no more than a window, and other channels go on.
func (ch *Channel) Deliver(take func(b []byte), ended func(err error)) {
	c := ch.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	ch.take, ch.tellEnd = take, ended
	ch.deliverable()
}

// deliverable is called when there may be something to deliver. The caller holds conn.mu.
func (ch *Channel) deliverable() {
	if ch.take == nil || ch.delivering || len(ch.in) == 0 && ch.inEnd == nil {
		return
	}
	ch.delivering = true
	d := &ch.conn.deliveries
	d.ready = append(d.ready, ch)
	if !d.held {
		ch.conn.callDeliverer()
	}
}

// hold has nobody woken until release: more will be ready in a moment. The caller holds c.mu.
func (c *Conn) hold() { c.deliveries.held = true }

// release ends hold. The caller holds c.mu.
func (c *Conn) release() {
	if c.deliveries.held {
		c.deliveries.held = false
		c.callDeliverer()
	}
}

// callDeliverer has what is ready delivered. The caller holds c.mu.
func (c *Conn) callDeliverer() {
	d := &c.deliveries
	switch {
	case len(d.ready) == 0:
	case d.idle:
		d.idle = false
		d.wake.Signal()
	case d.goroutines == 0:
		d.goroutines++
		go c.deliver()
	default:
		c.watchDeliveries()
	}
}

// deliver is the goroutine that delivers. The caller does not hold c.mu.
func (c *Conn) deliver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &c.deliveries
	for {
		for len(d.ready) > 0 {
			ch := d.ready[0]
			d.ready = slices.Delete(d.ready, 0, 1) // not d.ready[1:], so that its memory is used again
			d.begun++
			if len(d.ready) > 0 {
				c.watchDeliveries()
			}
			ch.deliver()
		}
		if d.watching {
			d.watching = false
			d.watch.Stop()
		}
		if d.idle || c.err != nil {
			d.goroutines--
			return
		}
		d.idle = true
		d.wake.Wait()
	}
}

// deliver delivers what has come. The caller holds conn.mu, except while the functions are called.
func (ch *Channel) deliver() {
	c := ch.conn
	pieces := ch.in
	ch.in = nil
	for _, b := range pieces {
		c.mu.Unlock()
		ch.take(b)
		c.mu.Lock()
		ch.took(len(b))
	}
	if ch.in == nil && cap(pieces) <= keptPieces {
		clear(pieces)
		ch.in = pieces[:0]
	}
	end := ch.inEnd
	if end != nil && len(ch.in) == 0 {
		c.mu.Unlock()
		ch.tellEnd(end)
		c.mu.Lock()
		return // it stays delivering: that was the last
	}
	ch.delivering = false
	ch.deliverable()
}

// watchDeliveries has another goroutine deliver if no delivery begins for a while though something is ready. The caller holds c.mu.
func (c *Conn) watchDeliveries() {
	d := &c.deliveries
	if d.watching {
		return
	}
	d.watching, d.before = true, d.begun
	if d.watch == nil {
		d.watch = time.AfterFunc(stuckAfter, c.lookAfterDeliveries)
	} else {
		d.watch.Reset(stuckAfter)
	}
}

// lookAfterDeliveries is what the watch does. The caller does not hold c.mu.
func (c *Conn) lookAfterDeliveries() {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &c.deliveries
	if !d.watching {
		return
	}
	d.watching = false
	if len(d.ready) == 0 || d.idle {
		return
	}
	if d.begun == d.before {
		d.goroutines++
		go c.deliver()
	}
	c.watchDeliveries()
}
