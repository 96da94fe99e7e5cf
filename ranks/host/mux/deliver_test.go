package mux

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// delivered is what was delivered from a channel.
type delivered struct {
	mu    sync.Mutex
	calls int // that go on; there must not be two
	data  []byte
	came  chan struct{} // cap 1: there is more
	ended chan error
	gate  chan struct{} // take waits until it is closed; nil: it does not wait
}

func deliver(t testing.TB, ch *Channel, gate chan struct{}) *delivered {
	d := &delivered{came: make(chan struct{}, 1), ended: make(chan error, 1), gate: gate}
	ch.Deliver(func(b []byte) {
		defer d.call(t)()
		if d.gate != nil {
			<-d.gate
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.data = append(d.data, b...)
		select {
		case d.came <- struct{}{}:
		default:
		}
	}, func(err error) {
		defer d.call(t)()
		d.ended <- err
	})
	return d
}

// call counts a call until it is over.
func (d *delivered) call(t testing.TB) (over func()) {
	count := func(n int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.calls += n; d.calls > 1 {
			t.Error("two calls at once")
		}
	}
	count(1)
	return func() { count(-1) }
}

// await waits until so many bytes have come, and returns all.
func (d *delivered) await(t testing.TB, n int) []byte {
	t.Helper()
	for {
		d.mu.Lock()
		data := bytes.Clone(d.data)
		d.mu.Unlock()
		if len(data) >= n {
			return data
		}
		select {
		case <-d.came:
		case <-testContext(t).Done():
			t.Fatalf("%d of %d bytes", len(data), n)
		}
	}
}

func (d *delivered) wantEnd(t testing.TB, want error) {
	t.Helper()
	select {
	case err := <-d.ended:
		if !errors.Is(err, want) {
			t.Errorf("end %v, want %v", err, want)
		}
	case <-testContext(t).Done():
		t.Fatal("no end")
	}
}

// What came before is delivered, too, and the end comes last.
func TestDeliver(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	here, there := p.open(t)
	write(t, there, "hello, ")
	wantRead(t, here, "he")
	d := deliver(t, here, nil)
	write(t, there, "world")
	if got := d.await(t, 10); string(got) != "llo, world" {
		t.Errorf("delivered %q", got)
	}
	write(t, there, "!")
	if err := there.Close(); err != nil {
		t.Fatal(err)
	}
	d.wantEnd(t, io.EOF)
	if got := d.await(t, 11); string(got) != "llo, world!" {
		t.Errorf("delivered %q", got)
	}

	here, there = p.open(t)
	there.Reset("no such socket")
	wantError(t, <-deliver(t, here, nil).ended, "no such socket")

	here, _ = p.open(t)
	d = deliver(t, here, nil)
	here.Close()
	d.wantEnd(t, net.ErrClosed)

	here, _ = p.open(t)
	d = deliver(t, here, nil)
	p.session.Fail(ErrClosed)
	d.wantEnd(t, ErrClosed)
}

// Whoever is stuck with what has come from a channel holds up no other, and its peer writes no more than a window.
func TestStuckDelivery(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	stuck, peer := p.open(t)
	gate := make(chan struct{})
	d := deliver(t, stuck, gate)
	data := make([]byte, 2*window)
	for i := range data {
		data[i] = byte(i % 251)
	}
	n, err := peer.Write(data[:window-5])
	if err != nil {
		t.Fatal(err)
	}
	for n < window { // the connection may be full for a moment
		more, err := peer.TryWrite(data[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += more
	}
	for range 3 {
		here, there := p.open(t)
		other := deliver(t, here, nil)
		write(t, there, "others go on")
		other.await(t, len("others go on"))
	}
	if more, err := peer.TryWrite(data[n:]); n != window || more != 0 || err != nil {
		t.Errorf("wrote %d bytes and %d more, %v", n, more, err)
	}
	if d.await(t, 0); len(d.data) != 0 {
		t.Errorf("%d bytes went through", len(d.data))
	}
	close(gate)
	if m, err := peer.Write(data[n:]); m != len(data)-n || err != nil {
		t.Errorf("wrote %d bytes, %v", m, err)
	}
	if !bytes.Equal(d.await(t, len(data)), data) {
		t.Error("what was delivered is not what was written")
	}
}

// Many channels at once, some of them slow: each gets what is its own, in order, up to its end.
func TestDeliveries(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	var work sync.WaitGroup
	for i := range 20 {
		here, there := p.open(t)
		gate := make(chan struct{})
		d := deliver(t, here, gate)
		if i%3 == 0 {
			time.AfterFunc(2*stuckAfter, func() { close(gate) })
		} else {
			close(gate)
		}
		r := rand.New(rand.NewPCG(1, uint64(i)))
		work.Go(func() {
			var want []byte
			for range 50 {
				piece := bytes.Repeat([]byte{byte(r.IntN(256))}, 1+r.IntN(3000))
				want = append(want, piece...)
				if _, err := there.Write(piece); err != nil {
					t.Error(err)
				}
			}
			there.Close()
			d.wantEnd(t, io.EOF)
			if !bytes.Equal(d.await(t, 0), want) {
				t.Errorf("channel %d: what was delivered is not what was written", i)
			}
		})
	}
	work.Wait()
}
