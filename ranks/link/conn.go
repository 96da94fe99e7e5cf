package link

import (
	"bytes"
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

	"dipls/internal/quiet"
)

const (
	greetingSize     = 64 // of ZMTP 3.x
	maxReadyCommand  = 4 << 10
	handshakeTimeout = 10 * time.Second

	// drainPause is how long a connection must be quiet after the end of its process before everything counts as read.
	// All that the process wrote is in the socket's buffer then. There may be no end of file: a descendant may have inherited the socket.
	drainPause = 50 * time.Millisecond

	// readSize is how much is read at once, unless a frame is known to be larger.
	readSize = 8 << 10
)

// conn is a ZMTP connection to one process. One goroutine may write while another receives.
type conn struct {
	net.Conn
	draining atomic.Bool
	cutter   cutter // the reader's
}

// openConn does the handshake with the ROUTER at the other end. After an error nc is closed.
func openConn(ctx context.Context, nc net.Conn) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, fmt.Errorf("no ZMTP handshake within %v", handshakeTimeout))
	defer cancel()
	nc = quiet.Conn(nc)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	err := handshake(nc)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &conn{Conn: nc}, nil
}

// handshake turns a panic of zmq4 into an error: its parser of the peer's metadata does not check lengths.
func handshake(nc net.Conn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if rt, ok := p.(runtime.Error); ok {
				err = fmt.Errorf("ZMTP handshake: bad metadata: %w", rt)
				return
			}
			panic(p)
		}
	}()
	_, err = zmq4.Open(&handshakeConn{Conn: nc, greeting: greetingSize}, null.Security(), zmq4.Dealer, nil, false, nil)
	return err
}

// receive reads messages until the connection ends, and calls take with each. The frames are the caller's; their list is valid during the call.
func (c *conn) receive(take func(frames [][]byte)) error {
	block := make([]byte, readSize)
	for {
		var n int
		var err error
		if missing := c.cutter.missing(); len(missing) > readSize {
			n, err = c.read(missing)
			c.cutter.came(n, take)
		} else {
			n, err = c.read(block)
			if bad := c.cutter.cut(bytes.Clone(block[:n]), take); bad != nil {
				return bad
			}
		}
		if err != nil {
			return err
		}
	}
}

// read reads from the socket. Once the connection is draining, a quiet moment counts as the end.
func (c *conn) read(b []byte) (int, error) {
	if c.draining.Load() {
		c.SetReadDeadline(time.Now().Add(drainPause))
	}
	n, err := c.Read(b)
	var timeout net.Error
	if c.draining.Load() && errors.As(err, &timeout) && timeout.Timeout() {
		err = io.EOF
	}
	return n, err
}

// Certain is a connection that ends for certain once its process has ended and all that it wrote has been read. Others do not if another process has
// inherited the socket, so that a quiet moment has to count as the end, which over a network proves nothing.
type Certain interface {
	net.Conn
	EndsForCertain()
}

// Carried is a connection that shares another one with many, and needs no goroutines of its user.
type Carried interface {
	Certain

	// Deliver has take called with all that comes from now on, and ended with the error of the end, one call at a time. What take is given is its
	// own. While take waits, the other end may write no more than a window, and connections that share this one go on.
	Deliver(take func(b []byte), ended func(err error))

	// TryWrite writes as much as there is room for at this moment.
	TryWrite(b []byte) (n int, err error)
}

// drain lets receive read what has arrived and then end, even if another process still holds the peer's end of the socket.
func (c *conn) drain() {
	if _, certain := c.Conn.(Certain); certain {
		return
	}
	c.draining.Store(true)
	c.SetReadDeadline(time.Now().Add(drainPause))
}

// Nonsense reports whether a conversation was ended because the peer broke the protocol. Then the peer may still live.
func Nonsense(err error) bool {
	var fe *frameError
	return errors.As(err, &fe)
}

// handshakeConn is the net.Conn under a handshake of zmq4. It checks what is read, for zmq4 allocates whatever length a frame claims, or panics if it
// cannot. It reads nothing that comes after.
type handshakeConn struct {
	net.Conn
	greeting int    // how many bytes of the greeting zmq4 has not read yet
	head     []byte // of the READY command: what zmq4 has not read yet
	body     int    // of the READY command: how many bytes zmq4 has not read yet
}

func (c *handshakeConn) Read(p []byte) (int, error) {
	left := &c.greeting
	if c.greeting == 0 {
		left = &c.body
		if len(c.head) == 0 && c.body == 0 {
			if err := c.ready(); err != nil {
				return 0, err
			}
		}
		if len(c.head) > 0 {
			n := copy(p, c.head)
			c.head = c.head[n:]
			return n, nil
		}
	}
	n, err := c.Conn.Read(p[:min(len(p), *left)])
	*left -= n
	return n, err
}

// ready reads and checks the head of the READY command.
func (c *handshakeConn) ready() error {
	head := make([]byte, 2, maxHead)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return err
	}
	flags, length := head[0], uint64(head[1])
	if flags&flagLong != 0 {
		head = head[:maxHead]
		if _, err := io.ReadFull(c.Conn, head[2:]); err != nil {
			return err
		}
		length = binary.BigEndian.Uint64(head[1:])
	}
	switch {
	case flags&^flagsKnown != 0:
		return &frameError{fmt.Sprintf("not ZMTP: frame flags %#02x", flags)}
	case flags&flagCommand == 0:
		return &frameError{"a ZMTP message before the handshake"}
	case length > maxReadyCommand:
		return &frameError{fmt.Sprintf("a ZMTP command of %d bytes", length)}
	}
	c.head, c.body = head, int(length)
	return nil
}
