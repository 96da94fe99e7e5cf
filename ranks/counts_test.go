package ranks

import (
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"dipls/ranks/wire"
)

// countingConn counts the writes.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// A request takes one write, and so do several small ones that are queued together.
func TestWritesOfARequest(t *testing.T) {
	for _, queued := range []int{1, 5} {
		nc, err := net.Dial("unix", fakePeer(t, goodGreeting+goodReady))
		if err != nil {
			t.Fatal(err)
		}
		counting := &countingConn{Conn: nc}
		raw := newFrameConn(counting)
		zc, err := handshake(raw)
		if err != nil {
			t.Fatal(err)
		}
		before := counting.writes.Load()
		l := newLink(&conn{zc, raw}, "test", wire.NewKey(), zap.NewNop())
		for range queued {
			l.post(wire.TypeExecuteRequest, Prepare(wire.ExecuteRequest{Code: "pass", Path: "/home/u/train.py"}).content)
		}
		l.start(func(*wire.Message) {}, func(error) {})
		await(t, "a write", func() bool { return counting.writes.Load() > before })
		l.conn.close()
		waitFor(t, "the end of the link", l.done)
		if n := counting.writes.Load() - before; n != 1 {
			t.Errorf("%d writes for %d requests", n, queued)
		}
	}
}

// A cell that prints nothing takes one message to each rank, one that prints a little takes two, of which one acknowledges the output. What comes
// back the agent's tests count.
func TestMessagesOfACell(t *testing.T) {
	p := startPool(t, startPython(t), 2)
	for _, rank := range p.Ranks() {
		// sent is the number of the message by which a cell is run, of those that were ever sent to the rank.
		sent := func(code string) int {
			h := newRun()
			id := rank.Execute(wire.ExecuteRequest{Code: code, Path: "/t.py", Line: 3, StoreHistory: true}, h)
			h.wait(t)
			n, err := strconv.Atoi(id[strings.LastIndexByte(id, '_')+1:])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		first := sent("x = 1")
		for i := range 3 {
			if n := sent("x = 1") - first; n != i+1 {
				t.Errorf("%s: %d messages for %d silent cells", rank.Name(), n, i+1)
			}
		}
		printed := sent("print(x)")
		if n := sent("x = 1") - printed; n != 2 {
			t.Errorf("%s: %d messages for a cell that prints", rank.Name(), n)
		}
	}
}
