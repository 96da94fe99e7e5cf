package mux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"dipls/internal/trace"
)

// link is one connection.
type link struct {
	nc    net.Conn
	plain []byte        // uncounted frames to send
	work  *sync.Cond    // on Conn.mu: there is something to send, or the link is over
	gone  chan struct{} // closed: it is over
}

// What follows is called with Conn.mu held, unless it says otherwise.

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
