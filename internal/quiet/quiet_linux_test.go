package quiet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// socketPair is a quiet socket and its peer.
func socketPair(t *testing.T) (quietly, peer net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if peer, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	quietly = Conn(nc)
	if _, ok := quietly.(*socket); !ok {
		t.Fatalf("%T", quietly)
	}
	t.Cleanup(func() { quietly.Close(); peer.Close() })
	return quietly, peer
}

// More than fits into the socket's buffer goes through it in both directions at once.
func TestCarriesEverything(t *testing.T) {
	s, peer := socketPair(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	go func() { _, _ = io.Copy(peer, peer) }()
	written := make(chan error, 1)
	go func() {
		n, err := s.Write(data)
		if err == nil && n != len(data) {
			err = io.ErrShortWrite
		}
		written <- err
	}()
	back := make([]byte, len(data))
	if _, err := io.ReadFull(s, back); err != nil || !bytes.Equal(back, data) {
		t.Errorf("what came back is not what was sent: %v", err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// A conversation ends as on any other socket.
func TestEnds(t *testing.T) {
	s, peer := socketPair(t)
	b := make([]byte, 8)
	if n, err := s.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing read: %d, %v", n, err)
	}
	if err := s.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := s.Read(b); !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	if n, err := s.Read(b); string(b[:n]) != "last" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if n, err := s.Read(b); n != 0 || err != io.EOF {
		t.Errorf("the peer has closed it: %d, %v", n, err)
	}
	if _, err := s.Write(b); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the peer has closed it: %v", err)
	}

	s, _ = socketPair(t)
	reading := make(chan error, 1)
	go func() {
		_, err := s.Read(b)
		reading <- err
	}()
	s.Close()
	if err := <-reading; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed meanwhile: %v", err)
	}
	if _, err := s.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestAllocations(t *testing.T) {
	s, peer := socketPair(t)
	b := make([]byte, 64)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := s.Write(b); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(peer, b); err != nil {
			t.Error(err)
		}
		if _, err := peer.Write(b); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(s, b); err != nil {
			t.Error(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
