package mux

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// window is how many bytes of a channel one end takes before its reader has read them.
const window = 1 << 20

// Channel is one conversation over a [Conn]. It is a [net.Conn]: its methods may be called concurrently, it keeps deadlines, and it knows nothing of
// interruptions. A reader gets everything that was written before the other end closed the channel, or died.
type Channel struct {
	conn *Conn
	id   uint32

	writing sync.Mutex // held during a Write, whose bytes stay together

	// Under conn.mu. What each message needs is first.
	delivering bool         // a goroutine delivers what has come, or will soon
	take       func([]byte) // gets what comes, instead of reads; nil: nothing does
	in         [][]byte     // what has come and is not read
	unread     int          // bytes in it
	read       int          // bytes that have been read and for which the peer was given no room yet
	inEnd      error        // what a read says when all is read; nil while more may come
	room       int          // how much the peer takes
	outEnd     error        // what a write says; nil while it may write
	tellEnd    func(error)  // gets inEnd after what has come

	readable, writable *sync.Cond
	readBy, writeBy    deadline
	what               json.RawMessage
}

func newChannel(c *Conn, id uint32, what json.RawMessage) *Channel {
	return &Channel{
		conn: c, id: id, what: what, room: window,
		readable: sync.NewCond(&c.mu), writable: sync.NewCond(&c.mu),
	}
}

// What is what the opener said that the channel is for.
func (ch *Channel) What() json.RawMessage { return ch.what }

// Read reads what has come. After the end of the channel it reads the rest first.
func (ch *Channel) Read(p []byte) (int, error) {
	c := ch.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch.unread == 0 || ch.readBy.over() {
		switch {
		case ch.readBy.over():
			return 0, os.ErrDeadlineExceeded
		case ch.inEnd != nil:
			return 0, ch.inEnd
		case len(p) == 0:
			return 0, nil
		}
		ch.readable.Wait()
	}
	n := 0
	for n < len(p) && len(ch.in) > 0 {
		m := copy(p[n:], ch.in[0])
		n += m
		if m == len(ch.in[0]) {
			ch.in[0] = nil
			ch.in = ch.in[1:]
		} else {
			ch.in[0] = ch.in[0][m:]
		}
	}
	ch.took(n)
	return n, nil
}

// took counts bytes that have been read. The caller holds conn.mu.
func (ch *Channel) took(n int) {
	ch.unread -= n
	ch.read += n
	if ch.read >= window/2 && ch.inEnd == nil {
		ch.conn.send(kindWindow, ch.id, binary.BigEndian.AppendUint32(nil, uint32(ch.read)))
		ch.read = 0
	}
}

// Write writes p. It waits while the reader has too much to read, and while the connection, or the spool of an interrupted one, is full.
func (ch *Channel) Write(p []byte) (n int, err error) {
	ch.writing.Lock()
	defer ch.writing.Unlock()
	c := ch.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.leaveQueue(ch)
	for len(p) > 0 {
		switch {
		case ch.outEnd != nil:
			return n, ch.outEnd
		case ch.writeBy.over():
			return n, os.ErrDeadlineExceeded
		case ch.room == 0:
			c.leaveQueue(ch)
			ch.writable.Wait()
			continue
		case !c.turn(ch):
			ch.writable.Wait()
			continue
		}
		m := ch.put(p)
		n += m
		p = p[m:]
		c.leaveQueue(ch)
	}
	return n, nil
}

// TryWrite writes as much of p as there is room for at this moment.
func (ch *Channel) TryWrite(p []byte) (n int, err error) {
	if !ch.writing.TryLock() {
		return 0, nil
	}
	defer ch.writing.Unlock()
	c := ch.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 && ch.outEnd == nil && ch.room > 0 && len(c.queue) == 0 && !c.full() {
		m := ch.put(p)
		n += m
		p = p[m:]
	}
	return n, ch.outEnd
}

// put sends as much of p as a frame takes, and the peer. The caller holds conn.mu.
func (ch *Channel) put(p []byte) int {
	n := min(len(p), ch.room, maxPayload)
	ch.conn.send(kindData, ch.id, p[:n])
	ch.room -= n
	return n
}

// CloseWrite tells the other end that no more comes. What comes from there can still be read.
func (ch *Channel) CloseWrite() error {
	c := ch.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.outEnd != nil {
		return ch.outEnd
	}
	ch.outEnd = net.ErrClosed
	c.send(kindClose, ch.id, nil)
	ch.writable.Broadcast()
	c.forget(ch)
	return nil
}

// Close ends both directions. The other end can still read what was written before; what it writes from now on is lost, and its writes fail.
func (ch *Channel) Close() error { return ch.Reset("") }

// Reset is Close with a reason, which is the error of the other end's reads; "" is an ordinary end.
func (ch *Channel) Reset(why string) error {
	c := ch.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels[ch.id] == ch {
		c.send(kindReset, ch.id, []byte(why)[:min(len(why), maxPayload)])
	}
	ch.in, ch.unread = nil, 0
	ch.finish(net.ErrClosed, net.ErrClosed)
	return nil
}

// finish ends both directions; those that have ended keep their error, unless the channel is closed here.
func (ch *Channel) finish(in, out error) {
	if ch.inEnd == nil || in == net.ErrClosed {
		ch.inEnd = in
	}
	if ch.outEnd == nil {
		ch.outEnd = out
	}
	ch.readBy.clear()
	ch.writeBy.clear()
	ch.readable.Broadcast()
	ch.writable.Broadcast()
	ch.conn.forget(ch)
	ch.deliverable()
}

// arrive takes bytes that have come, and reports false if the peer may not send that many. The caller holds conn.mu.
func (ch *Channel) arrive(b []byte) bool {
	if ch.unread+ch.read+len(b) > window {
		return false
	}
	if len(b) > 0 {
		ch.in = append(ch.in, b)
		ch.unread += len(b)
		if ch.take == nil {
			ch.readable.Signal()
		} else {
			ch.deliverable()
		}
	}
	return true
}

// ended is the other end's CLOSE.
func (ch *Channel) ended() {
	if ch.inEnd == nil {
		ch.inEnd = io.EOF
	}
	ch.readable.Broadcast()
	ch.conn.forget(ch)
	ch.deliverable()
}

// SetDeadline sets the deadlines of reads and writes.
func (ch *Channel) SetDeadline(t time.Time) error {
	return firstError(ch.SetReadDeadline(t), ch.SetWriteDeadline(t))
}

// SetReadDeadline sets when reads give up, those that wait included.
func (ch *Channel) SetReadDeadline(t time.Time) error {
	return ch.setDeadline(&ch.readBy, ch.readable, t)
}

// SetWriteDeadline sets when writes give up, those that wait included.
func (ch *Channel) SetWriteDeadline(t time.Time) error {
	return ch.setDeadline(&ch.writeBy, ch.writable, t)
}

func (ch *Channel) setDeadline(d *deadline, waiters *sync.Cond, t time.Time) error {
	ch.conn.mu.Lock()
	defer ch.conn.mu.Unlock()
	if ch.inEnd == net.ErrClosed {
		return net.ErrClosed
	}
	d.set(t, func() {
		ch.conn.mu.Lock()
		defer ch.conn.mu.Unlock()
		waiters.Broadcast()
	})
	waiters.Broadcast()
	return nil
}

// LocalAddr names the conversation; it is no address.
func (ch *Channel) LocalAddr() net.Addr { return address("session") }

// RemoteAddr is the host's name; it is no address.
func (ch *Channel) RemoteAddr() net.Addr { return address(ch.conn.opts.Name) }

type address string

func (address) Network() string  { return "mux" }
func (a address) String() string { return string(a) }

// deadline is a moment at which somebody who waits must look again.
type deadline struct {
	at    time.Time // zero: none
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(t time.Time, look func()) {
	d.clear()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, look)
	}
}

func (d *deadline) clear() {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{}
}

func firstError(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}
