package link

import (
	"net"
	"sync/atomic"
	"testing"

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
		raw := newFrameConn(counting)
		zc, err := handshake(raw)
		if err != nil {
			t.Fatal(err)
		}
		counting.written = make(chan struct{}, 1)
		before := counting.writes.Load()
		l := newLink(&conn{zc, raw}, "test", wire.NewKey(), zap.NewNop())
		for range queued {
			l.Post(wire.TypeExecuteRequest, []byte(`{"code":"pass"}`))
		}
		l.Start(func(*wire.Message) {}, func(error) {})
		<-counting.written
		l.conn.close()
		<-l.Done()
		if n := counting.writes.Load() - before; n != 1 {
			t.Errorf("%d writes for %d requests", n, queued)
		}
	}
}
