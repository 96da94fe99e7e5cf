package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// pair is a session's end and a host's, and the connection between them.
type pair struct {
	session, host *Conn
	states        chan string // of the session's end
}

func newPair(t testing.TB, lease time.Duration) *pair {
	p := &pair{states: make(chan string, 100)}
	p.session = New(Options{Name: "gpu2", Lease: lease, OnState: func(s State, err error) {
		text := s.String()
		if err != nil {
			text += ": " + err.Error()
		}
		p.states <- text
	}})
	p.host = New(Options{Name: "session", Lease: lease, Host: true})
	t.Cleanup(func() {
		p.host.Fail(ErrClosed)
		p.session.Fail(ErrClosed)
	})
	return p
}

// join connects the ends, and returns the session's end of the connection.
func (p *pair) join(t testing.TB) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	atSession, atHost := p.session.Drop(), p.host.Drop()
	if err := p.session.Attach(here, atHost); err != nil {
		t.Fatal(err)
	}
	if err := p.host.Attach(there, atSession); err != nil {
		t.Fatal(err)
	}
	return here
}

func (p *pair) open(t testing.TB) (here, there *Channel) {
	t.Helper()
	here, err := p.session.Open("x")
	if err != nil {
		t.Fatal(err)
	}
	there, err = p.host.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return here, there
}

func wantError(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
}

func wantRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
}

func wantEnd(t testing.TB, r io.Reader, want error) {
	t.Helper()
	if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d bytes and %v, want %v", n, err, want)
	}
}

func write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("wrote %d bytes: %v", n, err)
	}
}

func TestConversation(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	here, err := p.session.Open(map[string]string{"socket": "node"})
	if err != nil {
		t.Fatal(err)
	}
	there, err := p.host.Accept(testContext(t))
	if err != nil || string(there.What()) != `{"socket":"node"}` {
		t.Fatalf("accepted %s, %v", there.What(), err)
	}
	write(t, here, "hello")
	wantRead(t, there, "hello")
	write(t, there, "how do you do")
	wantRead(t, here, "how do you do")

	write(t, here, "the end")
	if err := here.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantRead(t, there, "the end")
	wantEnd(t, there, io.EOF)
	write(t, there, "bye")
	if err := there.Close(); err != nil {
		t.Fatal(err)
	}
	wantRead(t, here, "bye")
	wantEnd(t, here, io.EOF)
	_, err = here.Write([]byte("x"))
	wantError(t, err, "closed")
	if len(p.session.channels)+len(p.host.channels) != 0 {
		t.Errorf("%d channels are left", len(p.session.channels)+len(p.host.channels))
	}

	back, err := p.host.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, back, "from the host")
	if err := back.Reset("no such socket"); err != nil {
		t.Fatal(err)
	}
	got, err := p.session.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	wantRead(t, got, "from the host")
	_, err = got.Read(make([]byte, 1))
	wantError(t, err, "no such socket")
	_, err = got.Write([]byte("x"))
	wantError(t, err, "no such socket")
}

// A close tells the peer, and what was written before comes through.
func TestClose(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	here, there := p.open(t)
	write(t, here, "last words")
	if err := p.session.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.host.Done()
	wantRead(t, there, "last words")
	_, err := there.Read(make([]byte, 1))
	wantError(t, err, "host session has ended")
	_, err = here.Write([]byte("x"))
	wantError(t, err, ErrClosed.Error())
	if _, err := p.session.Open(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Open says %v", err)
	}
	if _, err := p.session.Accept(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Accept says %v", err)
	}
}

// A reader that does not read holds up its own channel, and no other.
func TestSlowReader(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	slow, slowThere := p.open(t)
	other, otherThere := p.open(t)
	const size = 5*window + 1234
	sent := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(sent)
	wrote := make(chan error, 1)
	go func() {
		_, err := slow.Write(sent)
		wrote <- err
	}()
	for range 100 {
		write(t, other, "ping")
		wantRead(t, otherThere, "ping")
	}
	select {
	case err := <-wrote:
		t.Fatalf("all was written without a reader: %v", err)
	default:
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(slowThere, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("what came differs: %v", err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// Channels that write as much as they can take turns, and all comes through.
func TestTurns(t *testing.T) {
	p := newPair(t, 0)
	p.join(t)
	const channels, size = 20, 3 << 20
	var wg sync.WaitGroup
	for i := range channels {
		here, there := p.open(t)
		data := bytes.Repeat([]byte{byte(i)}, size)
		wg.Go(func() {
			if _, err := here.Write(data); err != nil {
				t.Error(err)
			}
			if err := here.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if got, err := io.ReadAll(there); err != nil || !bytes.Equal(got, data) {
				t.Errorf("channel %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 0)
		p.join(t)
		here, _ := p.open(t)
		begin := time.Now()
		here.SetReadDeadline(begin.Add(time.Second))
		wantEnd(t, here, os.ErrDeadlineExceeded)
		here.SetWriteDeadline(begin.Add(2 * time.Second))
		n, err := here.Write(make([]byte, 2*window))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("wrote %d bytes after %v: %v", n, time.Since(begin), err)
		}
		go func() {
			time.Sleep(time.Second)
			here.SetReadDeadline(time.Unix(1, 0))
		}()
		here.SetReadDeadline(time.Time{})
		wantEnd(t, here, os.ErrDeadlineExceeded)
		here.Close()
		wantEnd(t, here, net.ErrClosed)
	})
}

// A connection that breaks and is resumed soon is nobody's concern.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 0)
		nc := p.join(t)
		here, there := p.open(t)
		write(t, here, "before")
		nc.Close()
		synctest.Wait()
		write(t, here, ", meanwhile")
		write(t, there, "meanwhile")
		p.join(t)
		wantRead(t, there, "before, meanwhile")
		wantRead(t, here, "meanwhile")
		if len(p.states) != 1 || <-p.states != "reachable" || p.session.State() != Reachable {
			t.Errorf("it was told that the host is unreachable")
		}

		for range 100 { // nothing is sent, and the heartbeats hold
			time.Sleep(time.Minute)
		}
		p.session.Drop()
		time.Sleep(2 * time.Second)
		if s := <-p.states; s != "unreachable: host gpu2 is unreachable: another connection takes its place" {
			t.Error(s)
		}
		p.join(t)
		write(t, here, "again")
		wantRead(t, there, "again")
		if s := <-p.states; s != "reachable" {
			t.Error(s)
		}
	})
}

// silentConn says and hears nothing: the network is cut.
type silentConn struct {
	net.Conn
	cut  chan struct{}
	over chan struct{}
	once sync.Once
}

func (s *silentConn) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	select {
	case <-s.cut:
		<-s.over
		return 0, net.ErrClosed
	default:
	}
	return n, err
}

func (s *silentConn) Write(p []byte) (int, error) {
	select {
	case <-s.cut:
		return len(p), nil
	default:
	}
	return s.Conn.Write(p)
}

func (s *silentConn) Close() error {
	s.once.Do(func() { close(s.over) })
	return s.Conn.Close()
}

// A host that is silent is unreachable after two heartbeats and a second, and lost after the lease. What came before can be read.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 0)
		here, there := net.Pipe()
		silent := &silentConn{Conn: here, cut: make(chan struct{}), over: make(chan struct{})}
		if err := errors.Join(p.session.Attach(silent, 0), p.host.Attach(there, 0)); err != nil {
			t.Fatal(err)
		}
		ch, far := p.open(t)
		write(t, far, "before")
		time.Sleep(10*time.Minute + time.Millisecond)
		if s := p.session.State(); s != Reachable {
			t.Fatal(s)
		}
		close(silent.cut)
		cut := time.Now()
		<-p.states
		if s := <-p.states; s != "unreachable: host gpu2 is unreachable: no answer for 21 s" || time.Since(cut) > 21*time.Second {
			t.Errorf("after %v: %s", time.Since(cut), s)
		}
		write(t, ch, "into the spool")
		<-p.session.Done()
		if d := time.Since(cut); d > time.Minute || d < 59*time.Second {
			t.Errorf("the host was lost after %v", d)
		}
		if s := <-p.states; s != "ended: host gpu2 lost: no answer for 60 s" {
			t.Error(s)
		}
		wantRead(t, ch, "before")
		_, err := ch.Read(make([]byte, 1))
		wantError(t, err, "host gpu2 lost: no answer for 60 s")
		_, err = ch.Write([]byte("x"))
		wantError(t, err, "host gpu2 lost: no answer for 60 s")
		if err := p.session.Attach(here, 0); err == nil {
			t.Error("a lost host came back")
		}
		<-p.host.Done()
		wantError(t, p.host.Err(), "lost: no answer")
	})
	// Why it was lost is said as well as it is known.
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 0)
		p.join(t)
		p.host.Fail(errors.New("it was killed"))
		p.session.Explain("it is out of the queue")
		p.session.Explain("job 4711 was preempted")
		<-p.session.Done()
		wantError(t, p.session.Err(), "host gpu2 lost: no answer for 60 s, after it hung up; job 4711 was preempted")
	})
}

// The time does not count in which this process did not run: what the host has said meanwhile may wait to be read, or to be accepted.
func TestLeaseWhileStopped(t *testing.T) {
	for _, connected := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, 0)
			p.host.opts.Lease, p.host.beat = time.Hour, time.Hour/6 // it says nothing unless it is asked
			p.join(t)
			time.Sleep(time.Minute + time.Second)
			if !connected {
				p.session.Drop()
			}
			p.session.mu.Lock()
			p.session.timer.Stop()
			p.session.mu.Unlock()
			time.Sleep(2 * time.Minute)
			p.session.look()
			if !connected {
				p.join(t)
			}
			time.Sleep(time.Minute)
			if s := p.session.State(); s != Reachable {
				t.Errorf("connected %v: the host is %v", connected, s)
			}
		})
	}
}

// Without a connection the spool takes what is written, up to its bound.
func TestSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 0)
		p.join(t)
		var here, there []*Channel
		for range 20 {
			h, th := p.open(t)
			here, there = append(here, h), append(there, th)
		}
		p.session.Drop()
		data := make([]byte, window)
		rand.NewChaCha8([32]byte{2}).Read(data)
		done := make(chan error, len(here))
		for _, h := range here {
			go func() {
				_, err := h.Write(data)
				done <- err
			}()
		}
		synctest.Wait()
		if n := p.session.spool.end - p.session.spool.acked; n < maxSpool || n > maxSpool+maxPayload+headSize {
			t.Errorf("the spool holds %d bytes", n)
		}
		if len(done) == len(here) {
			t.Error("more was taken than the spool holds")
		}
		p.join(t)
		for _, th := range there {
			got := make([]byte, len(data))
			if _, err := io.ReadFull(th, got); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("what came differs: %v", err)
			}
		}
		for range here {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute) // the last confirmation
		if n := p.session.spool.end - p.session.spool.acked; n > 100 || len(p.session.spool.blocks) > 1 {
			t.Errorf("%d bytes are kept in %d blocks after all was confirmed", n, len(p.session.spool.blocks))
		}
	})
}

// A peer that claims to have more than it was sent, or less than it had confirmed, is not the one that we know.
func TestWrongPosition(t *testing.T) {
	for _, claim := range []uint64{0, 1 << 40} {
		p := newPair(t, 0)
		p.join(t)
		here, there := p.open(t)
		write(t, here, strings.Repeat("x", ackAfter))
		wantRead(t, there, strings.Repeat("x", ackAfter))
		p.session.mu.Lock()
		acked := p.session.spool.acked
		p.session.mu.Unlock()
		if acked == 0 && claim == 0 {
			claim = 1 << 41
		}
		p.session.Drop()
		nc, other := net.Pipe()
		wantError(t, p.session.Attach(nc, claim), "host gpu2 lost: the conversation broke: it claims to have")
		if _, err := other.Read(make([]byte, 1)); err == nil {
			t.Error("the connection was not closed")
		}
		<-p.session.Done()
	}
}

// What is no frame ends the conversation with a word.
func TestNonsense(t *testing.T) {
	frame := func(h head, payload string) string { return string(appendHead(nil, h)) + payload }
	for want, sent := range map[string]string{
		"unknown kind 72":               "HTTP/1.1 400 Bad Request\r\n",
		"a frame of 65537 bytes":        frame(head{kindData, 1, maxPayload + 1}, ""),
		"kind 3 with 2 bytes":           frame(head{kindWindow, 1, 2}, "xx"),
		"out of order":                  frame(head{kindOpen, 8, 0}, ""),
		"channel 1 was opened":          frame(head{kindOpen, 1, 0}, ""),
		"it claims to have":             frame(head{kindAck, 0, 8}, "\x00\x00\x00\x00\x00\x00\xff\xff"),
		"was given too much room":       frame(head{kindWindow, 1, 4}, "\x00\x00\x00\x01"),
		"got more than it has room for": strings.Repeat(frame(head{kindData, 1, maxPayload}, strings.Repeat("x", maxPayload)), 17),
	} {
		c := New(Options{Name: "gpu2"})
		if _, err := c.Open(nil); err != nil {
			t.Fatal(err)
		}
		here, there := net.Pipe()
		if err := c.Attach(here, 0); err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, there)
		go there.Write([]byte(sent))
		select {
		case <-c.Done():
			wantError(t, c.Err(), "host gpu2 lost: the conversation broke: ")
			wantError(t, c.Err(), want)
		case <-time.After(testTimeout):
			t.Errorf("%s: it was taken", want)
		}
		there.Close()
	}
}

func TestClock(t *testing.T) {
	var k clock
	if _, _, ok := k.best(); ok {
		t.Error("a clock without samples tells something")
	}
	ms := int64(time.Millisecond)
	k.begin()
	var more []bool
	for i := range int64(5) { // the second is the quickest
		sent, trip := i*1000*ms, (10-6*(i%2))*ms
		more = append(more, k.add(sent, sent+trip/2+7*ms+i, sent+trip))
	}
	if fmt.Sprint(more) != "[true true true false false]" {
		t.Errorf("pings follow: %v", more)
	}
	if ahead, trip, ok := k.best(); ahead != 7*time.Millisecond+1 || trip != 4*time.Millisecond || !ok {
		t.Errorf("ahead %v, round trip %v", ahead, trip)
	}
	for range clockSamples { // the old ones do not count any more
		k.add(0, 20*ms, 30*ms)
	}
	if ahead, _, _ := k.best(); ahead != 5*time.Millisecond {
		t.Errorf("ahead %v", ahead)
	}
}
