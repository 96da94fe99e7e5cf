package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"dipls/ranks/wire"
)

const (
	greetingSize     = 64 // of ZMTP 3.x
	maxReadyCommand  = 4 << 10
	handshakeTimeout = 10 * time.Second

	// drainPause is how long a connection must be quiet after the end of its process before everything counts as read.
	// All that the process wrote is in the socket's buffer then. There may be no end of file: a descendant may have inherited the socket.
	drainPause = 50 * time.Millisecond
)

// ZMTP frame flags (https://rfc.zeromq.org/spec/23/).
const (
	flagMore    = 1 << 0
	flagLong    = 1 << 1
	flagCommand = 1 << 2
)

// A frameError tells that the peer broke ZMTP or our limits. The connection is of no more use.
type frameError struct{ msg string }

func (e *frameError) Error() string { return e.msg }

// conn is a ZMTP connection to one process. One goroutine may send while another receives.
type conn struct {
	zmtp *zmq4.Conn
	raw  *frameConn
}

// openConn does the handshake with the ROUTER at the other end. After an error nc is closed.
func openConn(ctx context.Context, nc net.Conn) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, fmt.Errorf("no ZMTP handshake within %v", handshakeTimeout))
	defer cancel()
	raw := newFrameConn(quiet(nc))
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	zc, err := handshake(raw)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &conn{zmtp: zc, raw: raw}, nil
}

// handshake turns a panic of zmq4 into an error: its parser of the peer's metadata does not check lengths.
func handshake(raw *frameConn) (zc *zmq4.Conn, err error) {
	defer func() {
		if p := recover(); p != nil {
			if rt, ok := p.(runtime.Error); ok {
				zc, err = nil, fmt.Errorf("ZMTP handshake: bad metadata: %w", rt)
				return
			}
			panic(p)
		}
	}()
	return zmq4.Open(raw, null.Security(), zmq4.Dealer, nil, false, nil)
}

// send writes one message into a buffer. The caller must call flush before it waits for anything.
func (c *conn) send(frames [][]byte) error { return c.zmtp.SendMsg(zmq4.Msg{Frames: frames}) }

func (c *conn) flush() error { return c.raw.w.Flush() }

// recv reads one message.
func (c *conn) recv() ([][]byte, error) {
	m, err := c.zmtp.RecvMsg()
	if err != nil {
		return nil, err
	}
	return m.Frames, nil
}

// Certain is a connection that ends for certain once its process has ended and all that it wrote has been read. Others do not if another process has
// inherited the socket, so that a quiet moment has to count as the end, which over a network proves nothing.
type Certain interface {
	net.Conn
	EndsForCertain()
}

// drain lets recv read what has arrived and then fail, even if another process still holds the peer's end of the socket.
func (c *conn) drain() {
	if _, certain := c.raw.Conn.(Certain); certain {
		return
	}
	c.raw.draining.Store(true)
	c.raw.Conn.SetReadDeadline(time.Now().Add(drainPause))
}

func (c *conn) close() error { return c.raw.Close() }

// Nonsense reports whether a conversation was ended because the peer broke the protocol. Then the peer may still live.
func Nonsense(err error) bool {
	var fe *frameError
	return errors.As(err, &fe)
}

// frameConn is the net.Conn under a zmq4.Conn.
//
// It gathers writes until Flush, for zmq4 writes the head and the body of each frame separately. It buffers reads, for zmq4 reads two bytes at a
// time. And it checks what is read: zmq4 allocates whatever length a frame claims, or panics if it cannot, and it would answer a PING on the
// reading goroutine, between frames of the writing one. So a frame that is too long, or a command after the handshake, ends the connection here.
type frameConn struct {
	net.Conn
	w        *bufio.Writer
	draining atomic.Bool

	// The reader's: how many bytes of the greeting, of the current frame's head and of its body zmq4 has not read yet.
	r                    *bufio.Reader
	greeting, head, body int

	ready  bool // the handshake's READY command has come
	frames int  // of the current message
	size   int  // of the current message
	more   bool // the current message goes on after this frame
}

func newFrameConn(nc net.Conn) *frameConn {
	c := &frameConn{Conn: nc, w: bufio.NewWriterSize(nc, 4<<10), greeting: greetingSize}
	c.r = bufio.NewReaderSize(patientReader{c}, 8<<10)
	return c
}

// patientReader reads from the socket. Once the connection is draining, a quiet moment counts as the end.
type patientReader struct{ c *frameConn }

func (p patientReader) Read(b []byte) (int, error) {
	if p.c.draining.Load() {
		p.c.Conn.SetReadDeadline(time.Now().Add(drainPause))
	}
	n, err := p.c.Conn.Read(b)
	var timeout net.Error
	if p.c.draining.Load() && errors.As(err, &timeout) && timeout.Timeout() {
		err = io.EOF
	}
	return n, err
}

func (c *frameConn) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err == nil && !c.ready {
		err = c.w.Flush() // the handshake is a dialogue
	}
	return n, err
}

func (c *frameConn) Read(p []byte) (int, error) {
	if c.greeting > 0 {
		n, err := c.r.Read(p[:min(len(p), c.greeting)])
		c.greeting -= n
		return n, err
	}
	if c.head == 0 && c.body == 0 {
		if err := c.nextFrame(); err != nil {
			return 0, err
		}
	}
	left := &c.body
	if c.head > 0 {
		left = &c.head
	}
	n, err := c.r.Read(p[:min(len(p), *left)])
	*left -= n
	return n, err
}

// nextFrame checks the head of the next frame before zmq4 sees it.
func (c *frameConn) nextFrame() error {
	b, err := c.r.Peek(2)
	if err != nil {
		return err
	}
	flags, length := b[0], uint64(b[1])
	head := 2
	if flags&flagLong != 0 {
		head = 9
		if b, err = c.r.Peek(head); err != nil {
			return err
		}
		length = binary.BigEndian.Uint64(b[1:])
	}
	switch {
	case flags&^(flagMore|flagLong|flagCommand) != 0:
		return &frameError{fmt.Sprintf("not ZMTP: frame flags %#02x", flags)}
	case flags&flagCommand != 0:
		if c.ready {
			return &frameError{"a ZMTP command after the handshake"}
		}
		if length > maxReadyCommand {
			return &frameError{fmt.Sprintf("a ZMTP command of %d bytes", length)}
		}
		c.ready = true
	case !c.ready:
		return &frameError{"a ZMTP message before the handshake"}
	default:
		if !c.more {
			c.frames, c.size = 0, 0
		}
		c.frames++
		if length > wire.MaxMessage || c.size+int(length) > wire.MaxMessage {
			return &frameError{fmt.Sprintf("a frame of %d bytes makes the message longer than %d bytes", length, wire.MaxMessage)}
		}
		if c.frames > wire.MaxFrames {
			return &frameError{fmt.Sprintf("a message of more than %d frames", wire.MaxFrames)}
		}
		c.size += int(length)
		c.more = flags&flagMore != 0
	}
	c.head, c.body = head, int(length)
	return nil
}
