// Package mux carries many conversations with a host over one connection, and goes on when that connection breaks.
//
// A [Conn] is the lasting thing: a peer, and the [Channel]s with it. Under it is whatever connection there is at the moment ([Conn.Attach]). What the
// peer has not confirmed is kept. A new connection begins with both ends saying how much they have, and goes on from there: nothing is lost and
// nothing comes twice. The other end is Python, dip_agent/hosts/mux.py.
//
// Both ends send a heartbeat every sixth of the lease. If a host is silent for two of them and a second, the connection is given up and the host
// is [Unreachable]: channels wait, and take what is written until the spool is full. If it is silent for the lease, the conversation has [Ended].
// Time in which this process itself did not run does not count.
//
// Channels do not hold each other up. Each has a window of its own, which only its reader opens, and those that want to write a lot take turns.
//
// A frame is its kind (1 byte), its channel (4), the length of its payload (4; big endian), and the payload: see frame.go for the kinds.
package mux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// DefaultLease is how long a host may be silent.
const DefaultLease = time.Minute

const (
	maxSpool  = 16 << 20  // how many bytes wait for the peer's confirmation before writers wait
	maxQueued = 256 << 10 // how many wait to be sent; few, so that a small message soon has its turn

	ackAfter = 256 << 10 // how many bytes come before they are confirmed; the next heartbeat confirms the rest

	// interruptionPatience is how long a broken connection may take to be resumed before anybody is told.
	interruptionPatience = time.Second

	// closePatience is how long Close waits for the peer to take its leave.
	closePatience = time.Second

	maxUnaccepted = 1024 // channels
)

// ErrClosed is the error of channels after [Conn.Close].
var ErrClosed = errors.New("the conversation with the host was closed")

// ErrHungUp is why a host is unreachable that has closed its connection: its end of it may have ended. Otherwise it was silent.
var ErrHungUp = errors.New("it hung up")

// State is what is known of the peer.
type State uint8

// The states.
const (
	Unattached  State = iota // no connection has been there yet
	Reachable                // it answers
	Unreachable              // it does not answer, and may come back
	Ended                    // it does not come back; [Conn.Err] says why
)

func (s State) String() string {
	return [...]string{"unattached", "reachable", "unreachable", "ended"}[s]
}

// Options say who the peer is.
type Options struct {
	Name  string        // the host's, for errors: "gpu2"
	Lease time.Duration // how long it may be silent; 0 is DefaultLease
	Host  bool          // this is the host's end, as in tests; the two ends number their channels differently

	// OnState gets every change of state, in order, one at a time. err is why for Unreachable and Ended. It must not wait for the Conn; nil: nobody does.
	OnState func(state State, err error)
}

// Conn is a lasting conversation with a host.
type Conn struct {
	opts Options
	beat time.Duration // between heartbeats
	done chan struct{} // closed: it has ended

	mu       sync.Mutex
	link     *link // the connection of the moment; nil if there is none
	state    State
	spool    spool
	received uint64 // bytes of counted frames that have come
	acked    uint64 // of these, the peer knows
	heard    time.Time
	broken   time.Time   // when the connection broke; zero while there is one
	next     time.Time   // the next heartbeat is due
	due      time.Time   // look is called then …
	timer    *time.Timer // … by this
	why      error       // the last connection broke
	reason   string      // for the peer to go, as others say
	err      error       // of the end
	clock    clock

	channels map[uint32]*Channel
	last     uint32        // the channel that was opened last by us …
	peerLast uint32        // … and by the peer
	waiting  []*Channel    // channels that the peer has opened and nobody has accepted
	accepts  chan struct{} // capacity 1: there is one
	queue    []*Channel    // those that want to write, in the order of their turns

	deliveries deliveries

	news    []news // that nobody was told yet
	telling bool
}

type news struct {
	state State
	err   error
}

// New returns a conversation that waits for its first connection.
func New(opts Options) *Conn {
	if opts.Lease == 0 {
		opts.Lease = DefaultLease
	}
	c := &Conn{
		opts: opts, beat: opts.Lease / 6, done: make(chan struct{}), heard: time.Now(), broken: time.Now(),
		channels: make(map[uint32]*Channel), accepts: make(chan struct{}, 1),
	}
	// Hosts have the channels 2, 4, …, sessions 1, 3, …
	if opts.Host {
		c.peerLast--
	} else {
		c.last--
	}
	c.deliveries.wake = sync.NewCond(&c.mu)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(c.opts.Lease, c.look)
	c.schedule()
	return c
}

// Drop gives up the connection of the moment, and tells how much has come: the peer goes on from there.
func (c *Conn) Drop() (received uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.unlink(c.link, errors.New("another connection takes its place"))
	}
	return c.received
}

// Attach goes on over nc, with a peer that has received so many bytes (0 for the first connection). Between [Conn.Drop], whose answer the peer must
// know, and Attach there must be no other Attach. If the peer claims what cannot be, the conversation ends. After an error nc is closed.
func (c *Conn) Attach(nc net.Conn, received uint64) error {
	defer c.tell()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		nc.Close()
		return c.err
	}
	if c.link != nil {
		c.unlink(c.link, errors.New("another connection takes its place"))
	}
	if err := c.spool.rewind(received); err != nil {
		nc.Close()
		c.end(c.nonsense(err))
		return c.err
	}
	l := &link{nc: nc, work: sync.NewCond(&c.mu), gone: make(chan struct{})}
	c.link, c.why, c.broken = l, nil, time.Time{}
	c.heard, c.next = time.Now(), time.Now()
	c.acked = c.received
	c.become(Reachable, nil)
	c.clock.begin()
	c.schedule()
	c.nextTurn()
	go c.read(l)
	go c.write(l)
	return nil
}

// Open opens a channel. what, as JSON, tells the peer what it is for; [Channel.What] is that at the other end. If the peer refuses, that is the error of
// the first Read. Open does not wait.
func (c *Conn) Open(what any) (*Channel, error) {
	text, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	if len(text) > maxPayload {
		return nil, fmt.Errorf("open a channel: a description of %d bytes", len(text))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.last += 2
	ch := newChannel(c, c.last, text)
	c.channels[ch.id] = ch
	c.send(kindOpen, ch.id, text)
	return ch, nil
}

// Accept waits for a channel that the peer opens.
func (c *Conn) Accept(ctx context.Context) (*Channel, error) {
	for {
		c.mu.Lock()
		if len(c.waiting) > 0 {
			ch := c.waiting[0]
			c.waiting = c.waiting[1:]
			if len(c.waiting) > 0 {
				c.callAcceptor()
			}
			c.mu.Unlock()
			return ch, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-c.accepts:
		case <-c.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// State is what is known of the peer now.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Remote is where the connection of the moment comes from; nil if there is none.
func (c *Conn) Remote() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return nil
	}
	return c.link.nc.RemoteAddr()
}

// Clock is how far the monotonic clock of the peer's machine is ahead of ours, and how long the round trip took by which that was found: the truth is at
// most half of it away. ok is false before the first.
func (c *Conn) Clock() (ahead, roundTrip time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.best()
}

// Close ends the conversation, and tells the peer if it is reachable. What was written before reaches it.
func (c *Conn) Close() error {
	c.mu.Lock()
	l := c.link
	if c.err == nil && l != nil {
		c.send(kindReset, 0, nil)
		c.mu.Unlock()
		select {
		case <-l.gone: // the peer has hung up
		case <-time.After(closePatience):
		}
		c.mu.Lock()
	}
	c.end(ErrClosed)
	c.mu.Unlock()
	c.tell()
	return nil
}

// Fail ends the conversation because the peer is known to be gone.
func (c *Conn) Fail(err error) {
	c.mu.Lock()
	c.end(err)
	c.mu.Unlock()
	c.tell()
}

// Explain notes what others know of why the peer goes, or does not answer: "job 4711 was preempted". The error of its end then says that, too.
func (c *Conn) Explain(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = reason
}

// Explained is an error of the peer's end with the reason that was noted for it, if there is one.
func (c *Conn) Explained(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.explained(err)
}

// Done is closed when the conversation has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the conversation has ended; nil while it goes on.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// What follows is called with c.mu held, unless it says otherwise.

// end ends the conversation. What has come can still be read.
func (c *Conn) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.timer.Stop()
	if c.link != nil {
		c.unlink(c.link, err)
	}
	c.spool = spool{}
	for _, ch := range c.channels {
		ch.finish(err, err)
	}
	if c.deliveries.idle { // it has nothing more to wait for
		c.deliveries.idle = false
		c.deliveries.wake.Signal()
	}
	c.become(Ended, err)
	close(c.done)
}

func (c *Conn) explained(err error) error {
	if c.reason == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, c.reason)
}

func (c *Conn) nonsense(err error) error {
	return fmt.Errorf("host %s lost: the conversation broke: %w", c.opts.Name, err)
}

// become changes the state.
func (c *Conn) become(s State, err error) {
	if c.state == s {
		return
	}
	c.state = s
	c.news = append(c.news, news{s, err})
}

// tell tells the news. The caller does not hold c.mu.
func (c *Conn) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.telling {
		return
	}
	c.telling = true
	for len(c.news) > 0 {
		n := c.news[0]
		c.news = c.news[1:]
		if c.opts.OnState != nil {
			c.mu.Unlock()
			c.opts.OnState(n.state, n.err)
			c.mu.Lock()
		}
	}
	c.telling = false
}

// unlink gives up a connection.
func (c *Conn) unlink(l *link, why error) {
	if c.link != l {
		return
	}
	if errors.Is(why, io.EOF) || errors.Is(why, io.ErrUnexpectedEOF) || errors.Is(why, syscall.ECONNRESET) || errors.Is(why, syscall.EPIPE) {
		why = ErrHungUp
	}
	c.link, c.why, c.broken = nil, why, time.Now()
	l.nc.Close()
	close(l.gone)
	l.work.Broadcast()
	c.schedule()
	c.nextTurn()
}

// forget removes a channel that has ended in both directions.
func (c *Conn) forget(ch *Channel) {
	if ch.inEnd != nil && ch.outEnd != nil {
		delete(c.channels, ch.id)
	}
}

// farewell is the error of an end that the peer has told.
func (c *Conn) farewell(why string) error {
	if why == "" {
		return fmt.Errorf("host %s has ended", c.opts.Name)
	}
	return fmt.Errorf("host %s has ended: %s", c.opts.Name, why)
}
