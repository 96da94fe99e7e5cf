package link

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"dipls/ranks/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// countingConn counts the writes.
type countingConn struct {
	net.Conn
	writes  atomic.Int64
	written chan struct{} // cap 1: there was a write; nil: nobody waits for one
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	select {
	case c.written <- struct{}{}:
	default:
	}
	return c.Conn.Write(b)
}

// A request takes one write, and so do several small ones that are queued together.
func TestWritesOfARequest(t *testing.T) {
	for _, queued := range []int{1, 5} {
		counting := &countingConn{Conn: dial(t, goodGreeting+goodReady)}
		if err := handshake(counting); err != nil {
			t.Fatal(err)
		}
		counting.written = make(chan struct{}, 1)
		before := counting.writes.Load()
		l := newLink(&conn{Conn: counting}, "test", wire.NewKey(), zap.NewNop())
		for range queued {
			l.Post(wire.TypeExecuteRequest, []byte(`{"code":"pass"}`))
		}
		l.Start(func(*wire.Message) {}, func(error) {})
		<-counting.written
		l.conn.Close()
		<-l.Done()
		if n := counting.writes.Load() - before; n != 1 {
			t.Errorf("%d writes for %d requests", n, queued)
		}
	}
}

// narrowConn is a [Carried] with room for a few bytes at a time. It keeps what is written.
type narrowConn struct {
	net.Conn // nil: all that is used is here
	take     func([]byte)
	ended    func(error)
	end      sync.Once

	mu      sync.Mutex
	tries   int
	written []byte
	wrote   chan struct{} // cap 1: there is more
}

func (*narrowConn) EndsForCertain() {}

func (c *narrowConn) Deliver(take func([]byte), ended func(error)) { c.take, c.ended = take, ended }

func (c *narrowConn) TryWrite(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries++
	return c.keep(b[:min(len(b), c.tries%3*200)]), nil // nothing, a part, all
}

// keep is called with mu held.
func (c *narrowConn) keep(b []byte) int {
	c.written = append(c.written, b...)
	select {
	case c.wrote <- struct{}{}:
	default:
	}
	return len(b)
}

func (c *narrowConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keep(b), nil
}

func (c *narrowConn) Close() error {
	c.end.Do(func() { c.ended(net.ErrClosed) })
	return nil
}

// Over a connection that is carried everything is written in order, whether there is room for it at once or not; and what comes is handled by whoever
// brings it, until the protocol is broken.
func TestCarried(t *testing.T) {
	key := wire.NewKey()
	nc := &narrowConn{wrote: make(chan struct{}, 1)}
	l := newLink(&conn{Conn: nc}, "test", key, zap.NewNop())
	var got []string
	ended := make(chan error, 1)
	l.Start(func(m *wire.Message) { got = append(got, string(m.Content)) }, func(err error) { ended <- err })

	const senders, each = 4, 50
	var work sync.WaitGroup
	for range senders {
		work.Go(func() {
			for range each {
				l.Post(wire.TypeExecuteRequest, []byte(`{"code":"pass"}`))
			}
		})
	}
	work.Wait()
	dec, count := wire.NewDecoder(key), 0
	var c cutter
	for at := 0; count < senders*each; {
		<-nc.wrote
		nc.mu.Lock()
		written := nc.written[at:]
		at = len(nc.written)
		nc.mu.Unlock()
		if err := c.cut(written, func(frames [][]byte) {
			if _, err := dec.Decode(frames); err != nil {
				t.Error(err)
			}
			count++
		}); err != nil {
			t.Fatal(err)
		}
	}
	enc := wire.NewEncoder(key)
	sent := appendMessage(nil, enc.Encode(new(wire.Buffer), 1, wire.TypeStatus, nil, []byte(`{"n":1}`)))
	sent = appendMessage(sent, enc.Encode(new(wire.Buffer), 2, wire.TypeStatus, nil, []byte(`{"n":2}`)))
	nc.take(sent[:30])
	nc.take(sent[30:])
	nc.take([]byte("\x04\x07\x04PING\x00\x00"))
	nc.take(appendMessage(nil, enc.Encode(new(wire.Buffer), 3, wire.TypeStatus, nil, []byte(`{"n":3}`))))
	if err := <-ended; !Nonsense(err) {
		t.Errorf("ended by %v", err)
	}
	<-l.Done()
	if diff := cmp.Diff([]string{`{"n":1}`, `{"n":2}`}, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := l.Post(wire.TypeExecuteRequest, nil); ok {
		t.Error("the link has ended, and takes a message")
	}
}
