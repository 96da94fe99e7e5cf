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
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"dipls/internal/trace"
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

// link is one connection.
type link struct {
	nc    net.Conn
	plain []byte        // uncounted frames to send
	work  *sync.Cond    // on Conn.mu: there is something to send, or the link is over
	gone  chan struct{} // closed: it is over
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

// send adds a counted frame to what is sent.
func (c *Conn) send(k kind, channel uint32, payload []byte) {
	if c.err != nil {
		return
	}
	c.spool.add(head{k, channel, len(payload)}, payload)
	if c.link != nil {
		c.link.work.Signal()
	}
}

// sendPlain sends an uncounted frame.
func (c *Conn) sendPlain(l *link, k kind, numbers ...uint64) {
	l.plain = appendHead(l.plain, head{kind: k, size: 8 * len(numbers)})
	for _, n := range numbers {
		l.plain = binary.BigEndian.AppendUint64(l.plain, n)
	}
	l.work.Signal()
}

// full reports whether writers must wait.
func (c *Conn) full() bool {
	return c.spool.end-c.spool.acked >= maxSpool || c.link != nil && c.spool.end-c.spool.sent >= maxQueued
}

// turn reports whether a channel may write a frame now. If not, it has a place in the queue, and is woken when its turn comes.
func (c *Conn) turn(ch *Channel) bool {
	if len(c.queue) > 0 && c.queue[0] != ch || c.full() {
		if !slices.Contains(c.queue, ch) {
			c.queue = append(c.queue, ch)
		}
		return false
	}
	return true
}

// leaveQueue gives a channel's turn to the next.
func (c *Conn) leaveQueue(ch *Channel) {
	if i := slices.Index(c.queue, ch); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
	c.nextTurn()
}

// nextTurn wakes the channel whose turn it is.
func (c *Conn) nextTurn() {
	if len(c.queue) > 0 && !c.full() {
		c.queue[0].writable.Broadcast()
	}
}

// forget removes a channel that has ended in both directions.
func (c *Conn) forget(ch *Channel) {
	if ch.inEnd != nil && ch.outEnd != nil {
		delete(c.channels, ch.id)
	}
}

// write sends what there is to send, as much as there is at once, until the link is over. The caller does not hold c.mu.
func (c *Conn) write(l *link) {
	var scratch []byte
	var parts [][]byte
	for {
		c.mu.Lock()
		for c.link == l && len(l.plain) == 0 && c.spool.sent == c.spool.end {
			l.work.Wait()
			// Others that can run, run first. What they write goes out in the same piece.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		if c.link != l {
			c.mu.Unlock()
			return
		}
		if c.acked < c.received {
			c.sendPlain(l, kindAck, c.received)
			c.acked = c.received
		}
		parts = append(parts[:0], l.plain)
		l.plain = nil
		parts = c.spool.unsent(parts)
		c.nextTurn()
		c.mu.Unlock()

		// What is small goes out in one piece: a call, a packet and a TLS record.
		var err error
		scratch = scratch[:0]
		for _, p := range parts {
			if len(scratch)+len(p) > largeBlock {
				if err = writeAll(l.nc, scratch); err != nil {
					break
				}
				scratch = scratch[:0]
			}
			if len(p) > smallBlock {
				if err = writeAll(l.nc, scratch); err != nil {
					break
				}
				scratch = scratch[:0]
				err = writeAll(l.nc, p)
			} else {
				scratch = append(scratch, p...)
			}
			if err != nil {
				break
			}
		}
		if err == nil {
			err = writeAll(l.nc, scratch)
		}
		clear(parts)
		if cap(scratch) > 4*smallBlock {
			scratch = nil // hosts are many, and most are quiet
		}

		c.mu.Lock()
		if err != nil {
			c.unlink(l, err)
		}
		c.mu.Unlock()
	}
}

func writeAll(w io.Writer, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// read takes what comes until the link is over. The caller does not hold c.mu.
func (c *Conn) read(l *link) {
	err := c.readFrames(l, bufio.NewReaderSize(l.nc, smallBlock))
	c.mu.Lock()
	c.unlink(l, err)
	c.mu.Unlock()
	c.tell()
}

func (c *Conn) readFrames(l *link, r *bufio.Reader) error {
	defer func() {
		c.mu.Lock()
		c.release()
		c.mu.Unlock()
	}()
	for {
		b, err := r.Peek(headSize)
		if err != nil {
			return err
		}
		h, bad := parseHead(b)
		var payload []byte
		if bad == nil {
			_, _ = r.Discard(headSize) // it has been peeked at
			payload = make([]byte, h.size)
			if _, err := io.ReadFull(r, payload); err != nil {
				return err
			}
		}
		c.mu.Lock()
		if c.link != l {
			c.mu.Unlock()
			return nil
		}
		c.hold()
		if bad == nil {
			bad = c.arrive(l, h, payload)
		}
		if !isFrame(r) {
			c.release()
		}
		if bad != nil {
			c.end(c.nonsense(bad))
		}
		news := len(c.news) > 0
		c.mu.Unlock()
		if news {
			c.tell()
		}
	}
}

// isFrame reports whether a whole frame has been read from the connection.
func isFrame(r *bufio.Reader) bool {
	if r.Buffered() < headSize {
		return false
	}
	b, _ := r.Peek(headSize)
	h, err := parseHead(b)
	return err == nil && r.Buffered() >= headSize+h.size
}

// arrive takes a frame.
func (c *Conn) arrive(l *link, h head, payload []byte) error {
	c.heard = time.Now()
	if h.kind.counted() {
		c.received += headSize + uint64(len(payload))
		if c.received-c.acked >= ackAfter {
			c.sendPlain(l, kindAck, c.received)
			c.acked = c.received
		}
	}
	ch := c.channels[h.channel] // nil: it was closed here while the frame was on its way
	switch h.kind {
	case kindOpen:
		return c.opened(h.channel, payload)
	case kindData:
		if ch != nil && !ch.arrive(payload) {
			return fmt.Errorf("channel %d got more than it has room for", h.channel)
		}
	case kindWindow:
		if ch != nil {
			n := int(binary.BigEndian.Uint32(payload))
			if ch.room+n > window {
				return fmt.Errorf("channel %d was given too much room", h.channel)
			}
			ch.room += n
			ch.writable.Broadcast()
		}
	case kindClose:
		if ch != nil {
			ch.ended()
		}
	case kindReset:
		switch {
		case h.channel == 0:
			c.end(c.explained(c.farewell(string(payload))))
		case ch != nil && len(payload) == 0:
			ch.finish(io.EOF, io.ErrClosedPipe)
		case ch != nil:
			err := errors.New(string(payload))
			ch.finish(err, err)
		}
	case kindAck:
		err := c.spool.ack(binary.BigEndian.Uint64(payload))
		c.nextTurn()
		return err
	case kindPing:
		if now, err := trace.Clock(); err == nil {
			c.sendPlain(l, kindPong, binary.BigEndian.Uint64(payload), uint64(now))
		}
	case kindPong:
		now, err := trace.Clock()
		sent, theirs := binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])
		if err == nil && c.clock.add(int64(sent), int64(theirs), int64(now)) {
			c.ping(l)
		}
	}
	return nil
}

// farewell is the error of an end that the peer has told.
func (c *Conn) farewell(why string) error {
	if why == "" {
		return fmt.Errorf("host %s has ended", c.opts.Name)
	}
	return fmt.Errorf("host %s has ended: %s", c.opts.Name, why)
}

func (c *Conn) opened(id uint32, what []byte) error {
	if id%2 == c.last%2 || id != c.peerLast+2 {
		return fmt.Errorf("channel %d was opened out of order", id)
	}
	c.peerLast = id
	ch := newChannel(c, id, what)
	if len(c.waiting) >= maxUnaccepted {
		c.send(kindReset, id, []byte("too many channels wait to be accepted"))
		return nil
	}
	c.channels[id] = ch
	c.waiting = append(c.waiting, ch)
	c.callAcceptor()
	return nil
}

// callAcceptor wakes who waits for a channel.
func (c *Conn) callAcceptor() {
	select {
	case c.accepts <- struct{}{}:
	default: // it is awake
	}
}
