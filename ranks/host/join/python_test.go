package join

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/internal/stress"
	"dipls/internal/testpython"
	"dipls/ranks/host/mux"
)

// pythonHost is testdata/host.py, which runs until the test ends.
type pythonHost struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	stdout  bytes.Buffer
	ended   chan struct{}
}

// pythonCommand runs a script of testdata with the agent, under another command if one is given.
func pythonCommand(t testing.TB, script string, under ...string) *exec.Cmd {
	t.Helper()
	python := testpython.Path()
	if _, err := os.Stat(python); err != nil {
		t.Skipf("no Python: %v", err)
	}
	src, err := filepath.Abs("../../agent/src")
	if err != nil {
		t.Fatal(err)
	}
	command := append(under, python, "-S", filepath.Join("testdata", script))
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+src, "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

// startPython starts it, under another command if one is given.
func startPython(t testing.TB, startup line, under ...string) *pythonHost {
	t.Helper()
	var err error
	h := &pythonHost{process: pythonCommand(t, "host.py", under...), ended: make(chan struct{})}
	h.process.Stdout, h.process.Stderr = &h.stdout, &h.stdout
	if h.stdin, err = h.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.ended)
		h.process.Wait()
	}()
	t.Cleanup(func() {
		h.process.Process.Kill()
		<-h.ended
		if t.Failed() {
			t.Logf("the host says: %s", h.stdout.String())
		}
	})
	text, err := json.Marshal(startup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.stdin.Write(append(text, '\n')); err != nil {
		t.Fatal(err)
	}
	return h
}

// wantEnd waits until the host ends, and compares why.
func (h *pythonHost) wantEnd(t testing.TB, want string) {
	t.Helper()
	select {
	case <-h.ended:
	case <-time.After(testTimeout):
		t.Fatal("the host does not end")
	}
	if got := strings.TrimSpace(h.stdout.String()); !strings.Contains(got, want) {
		t.Errorf("the host says %q, want %q", got, want)
	}
}

func (g *testGate) startup(token string, addresses ...string) line {
	if len(addresses) == 0 {
		addresses = g.Addresses()
	}
	return line{"addresses": addresses, "certificate": g.Certificate(), "token": token}
}

func open(t testing.TB, c *mux.Conn, what line) *mux.Channel {
	t.Helper()
	ch, err := c.Open(what)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// wantPattern checks what a source of testdata/host.py has sent.
func wantPattern(t testing.TB, got []byte, size int) {
	t.Helper()
	if len(got) != size {
		t.Errorf("%d bytes came, want %d", len(got), size)
	}
	for i, b := range got {
		if b != byte(i%251) {
			t.Fatalf("byte %d is %d, want %d", i, b, i%251)
		}
	}
}

// sink sends bytes to a sink, and checks what the sink has got.
func wantSink(ch *mux.Channel, data []byte) error {
	if _, err := ch.Write(data); err != nil {
		return err
	}
	if err := ch.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(ch)
	if want := fmt.Sprintf("%d %x", len(data), sha256.Sum256(data)); err == nil && string(got) != want {
		err = fmt.Errorf("the host got %q, want %q", got, want)
	}
	return err
}

func randomData(size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{7}).Read(data)
	return data
}

func TestPython(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{5}, Own: true})
	// The first address is not there, at the second somebody else answers.
	other := newGate(t, Options{})
	other.expect(t, Expected{})
	python := startPython(t, g.startup(s.Tokens()[0], "127.0.0.1:1", other.Addresses()[0], g.Addresses()[0]))
	a := arrival(t, s)
	if a.Host != 5 || string(a.Facts) != `{"name": "python"}` {
		t.Errorf("host %d arrived with %s", a.Host, a.Facts)
	}
	echo := open(t, a.Conn, line{"echo": 1})
	wantEcho(t, echo, "hello")
	lazy := open(t, a.Conn, line{"lazy": 1})
	lazy.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := lazy.Write(make([]byte, 5<<20)); n != 1<<20 || err == nil {
		t.Errorf("a reader that does not read took %d bytes: %v", n, err)
	}
	wantEcho(t, echo, "beside a slow one")
	if err := wantSink(open(t, a.Conn, line{"sink": 1}), randomData(5<<20+77)); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(open(t, a.Conn, line{"source": 5<<20 + 77}))
	if err != nil {
		t.Error(err)
	}
	wantPattern(t, got, 5<<20+77)
	if _, err := open(t, a.Conn, line{"no such": 1}).Read(make([]byte, 1)); err == nil || err.Error() != "no no such here" {
		t.Errorf("a refusal is %v", err)
	}
	if ahead, trip, ok := a.Conn.Clock(); !ok || ahead.Abs() > trip {
		t.Errorf("the same clock is %v ahead, by a round trip of %v (%v)", ahead, trip, ok)
	}
	a.Conn.Close()
	python.wantEnd(t, "the session has ended")
	other.wantRefusal(t, "does not trust the session's certificate")
}

// The clock of a host that was booted at another time is known.
func TestPythonClock(t *testing.T) {
	under := []string{"unshare", "--time", "--monotonic", "100000", "--fork", "--kill-child"}
	if out, err := exec.Command(under[0], append(under[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no clock of its own for a process here: %v: %s", err, out)
	}
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}})
	startPython(t, g.startup(s.Tokens()[0]), under...)
	a := arrival(t, s)
	wantEcho(t, open(t, a.Conn, line{"echo": 1}), "after the first pings")
	ahead, trip, ok := a.Conn.Clock()
	if off := ahead - 100_000*time.Second; !ok || off.Abs() > trip {
		t.Errorf("the clock is %v ahead, by a round trip of %v (%v)", ahead, trip, ok)
	}
	a.Conn.Close()
}

// A host that ends tells the session.
func TestPythonEnds(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}})
	python := startPython(t, g.startup(s.Tokens()[0]))
	a := arrival(t, s)
	if _, err := io.WriteString(python.stdin, "end\n"); err != nil {
		t.Fatal(err)
	}
	<-a.Conn.Done()
	if got := a.Conn.Err().Error(); got != "host h0 has ended: told to end" {
		t.Error(got)
	}
}

func TestPythonRefused(t *testing.T) {
	g := newGate(t, Options{})
	g.expect(t, Expected{Hosts: []int{0}})
	startPython(t, g.startup("not the token")).wantEnd(t, "the session refuses this host: the token is wrong")
	g.wantRefusal(t, "the token is wrong")
}

// proxy is a network that may be cut: everything between a host and the gate goes through it.
type proxy struct {
	net.Listener
	gate string

	mu    sync.Mutex
	ways  []net.Conn // both ends of each
	state proxyState
	wg    sync.WaitGroup
}

type proxyState int

const (
	passing proxyState = iota
	shut               // new connections are closed
	deaf               // what comes is thrown away
)

func newProxy(t testing.TB, gate string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, gate: gate}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		p.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		nc, err := p.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", p.gate)
		if err == nil && p.is(shut) {
			to.Close()
			err = net.ErrClosed
		}
		if err != nil {
			nc.Close()
			continue
		}
		p.mu.Lock()
		p.ways = append(p.ways, nc, to)
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(nc, to) })
		p.wg.Go(func() { p.pass(to, nc) })
	}
}

func (p *proxy) pass(from, to net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err == nil && !p.is(deaf) {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

// cut breaks all connections, wherever in a frame or a handshake they are.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range p.ways {
		nc.Close()
	}
	p.ways = nil
}

func (p *proxy) set(state proxyState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
}

func (p *proxy) is(state proxyState) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == state
}

// Cut at any moment, nothing is lost and nothing comes twice.
func TestStressCuts(t *testing.T) {
	random := stress.Rand(t)
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}})
	p := newProxy(t, g.Addresses()[0])
	startPython(t, g.startup(s.Tokens()[0], p.Addr().String()))
	a := arrival(t, s)
	size := 20<<20 + 13
	data := randomData(size)
	for range stress.Rounds(1, 30) {
		done := make(chan error, 3)
		sink, source, echo := open(t, a.Conn, line{"sink": 1}), open(t, a.Conn, line{"source": size}), open(t, a.Conn, line{"echo": 1})
		go func() { done <- wantSink(sink, data) }()
		go func() {
			got, err := io.ReadAll(source)
			if err == nil {
				wantPattern(t, got, size)
			}
			done <- err
		}()
		go func() {
			for i := range 200 {
				text := fmt.Sprintf("line %d\n", i)
				got := make([]byte, len(text))
				if _, err := io.WriteString(echo, text); err != nil {
					done <- err
					return
				}
				if _, err := io.ReadFull(echo, got); err != nil || string(got) != text {
					done <- fmt.Errorf("%q came back: %v", got, err)
					return
				}
			}
			done <- nil
		}()
		for left := 3; left > 0; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				left--
			case <-time.After(time.Duration(random.IntN(60)) * time.Millisecond):
				p.cut()
			}
		}
	}
	a.Conn.Close()
}

// A host that cannot be reached for a while is told of, and comes back with everything that was written meanwhile.
func TestPythonUnreachable(t *testing.T) {
	g := newGate(t, Options{})
	states := make(chan string, 100)
	s := g.expect(t, Expected{Hosts: []int{0}, OnState: func(_ int, state mux.State, err error) { states <- fmt.Sprint(state, " ", err) }})
	p := newProxy(t, g.Addresses()[0])
	startPython(t, g.startup(s.Tokens()[0], p.Addr().String()))
	a := arrival(t, s)
	echo := open(t, a.Conn, line{"echo": 1})
	wantEcho(t, echo, "hello")
	p.set(shut)
	p.cut()
	for _, want := range []string{"reachable <nil>", "unreachable host h0 is unreachable: "} {
		if got := <-states; !strings.HasPrefix(got, want) {
			t.Errorf("the state is %q, want %q", got, want)
		}
	}
	if _, err := io.WriteString(echo, "meanwhile"); err != nil {
		t.Fatal(err)
	}
	p.set(passing)
	got := make([]byte, len("meanwhile"))
	if _, err := io.ReadFull(echo, got); err != nil || string(got) != "meanwhile" {
		t.Errorf("after the network is mended: %q, %v", got, err)
	}
	if got := <-states; got != "reachable <nil>" {
		t.Error(got)
	}
	a.Conn.Close()
}

// Heartbeats keep a quiet conversation. A network that swallows everything, with all connections open, is noticed by both ends.
func TestPythonLease(t *testing.T) {
	g := newGate(t, Options{Lease: 2 * time.Second})
	s := g.expect(t, Expected{Hosts: []int{0}})
	p := newProxy(t, g.Addresses()[0])
	python := startPython(t, g.startup(s.Tokens()[0], p.Addr().String()))
	a := arrival(t, s)
	echo := open(t, a.Conn, line{"echo": 1})
	wantEcho(t, echo, "hello")
	select {
	case <-a.Conn.Done():
		t.Fatal(a.Conn.Err())
	case <-time.After(g.opts.Lease + g.opts.Lease/3):
	}
	wantEcho(t, echo, "after more than the lease")
	p.set(deaf)
	python.wantEnd(t, "no answer from the session for 2 s")
	<-a.Conn.Done()
	if got := a.Conn.Err().Error(); !strings.HasPrefix(got, "host h0 lost: no answer for 2 s") { // maybe "after it hung up"
		t.Error(got)
	}
}
