package mux

import (
	"errors"
	"fmt"
	"time"

	"dipls/internal/trace"
)

// look does what is due: a heartbeat, giving up a silent connection, telling that the host is unreachable or lost.
func (c *Conn) look() {
	c.mu.Lock()
	if c.err == nil {
		now := time.Now()
		c.pardon(now)
		if l := c.link; l != nil && !now.Before(c.heard.Add(c.silence())) {
			c.unlink(l, fmt.Errorf("no answer for %.0f s", now.Sub(c.heard).Seconds()))
			c.broken = c.heard // people are told now
		}
		if l := c.link; l != nil && !now.Before(c.next) {
			c.next = now.Add(c.beat)
			c.ping(l)
			if c.acked < c.received {
				c.sendPlain(l, kindAck, c.received)
				c.acked = c.received
			}
		}
		switch {
		case !now.Before(c.heard.Add(c.opts.Lease)):
			c.end(c.explained(c.lost()))
		case c.link == nil && c.state == Reachable && !now.Before(c.broken.Add(interruptionPatience)):
			c.become(Unreachable, fmt.Errorf("host %s is unreachable: %w", c.opts.Name, c.why))
		}
		if c.err == nil {
			c.schedule()
		}
	}
	c.mu.Unlock()
	c.tell()
}

// pardon has the time not count during which this process did not run: it was stopped, or has waited for a processor. What the peer has sent
// meanwhile may not be read yet.
func (c *Conn) pardon(now time.Time) {
	if late := now.Sub(c.due); late > 0 {
		c.heard = c.heard.Add(min(late, now.Sub(c.heard)))
	}
}

// lost is the error of a lease that has ended.
func (c *Conn) lost() error {
	err := fmt.Errorf("host %s lost: no answer for %g s", c.opts.Name, c.opts.Lease.Seconds())
	if c.link == nil && errors.Is(c.why, ErrHungUp) {
		return fmt.Errorf("%w, after %w", err, c.why)
	}
	return err
}

// silence is how long a connection may be silent.
func (c *Conn) silence() time.Duration { return min(2*c.beat+time.Second, c.opts.Lease) }

// schedule has look called when the next thing is due.
func (c *Conn) schedule() {
	at := time.Now().Add(c.beat) // often enough to see for how long this process did not run
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	sooner(c.heard.Add(c.opts.Lease))
	if c.link != nil {
		sooner(c.next)
		sooner(c.heard.Add(c.silence()))
	} else if c.state == Reachable {
		sooner(c.broken.Add(interruptionPatience))
	}
	c.due = at
	c.timer.Reset(time.Until(at))
}

func (c *Conn) ping(l *link) {
	if now, err := trace.Clock(); err == nil {
		c.sendPlain(l, kindPing, uint64(now))
	}
}

const (
	clockSamples = 8 // of the last heartbeats: clocks drift
	clockBurst   = 4 // pings in a row on a new connection, for the first may be slow
)

// clock compares the peer's clock with ours by the round trips of the last heartbeats.
type clock struct {
	samples [clockSamples]clockSample
	n       int // of all samples
	burst   int // pings that follow at once
}

type clockSample struct{ ahead, roundTrip time.Duration }

func (k *clock) begin() { k.burst = clockBurst - 1 }

// add takes a round trip, and reports whether the next ping should follow at once.
func (k *clock) add(sent, theirs, now int64) bool {
	if now < sent {
		return false // not an answer to a ping of ours
	}
	k.samples[k.n%clockSamples] = clockSample{time.Duration(theirs - (sent + (now-sent)/2)), time.Duration(now - sent)}
	k.n++
	k.burst--
	return k.burst >= 0
}

// best is the sample with the shortest round trip.
func (k *clock) best() (ahead, roundTrip time.Duration, ok bool) {
	for i, s := range k.samples[:min(k.n, clockSamples)] {
		if i == 0 || s.roundTrip < roundTrip {
			ahead, roundTrip = s.ahead, s.roundTrip
		}
	}
	return ahead, roundTrip, k.n > 0
}
