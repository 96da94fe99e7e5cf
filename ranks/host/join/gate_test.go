package join

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"dipls/ranks/host/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// testGate is a gate at 127.0.0.1, and what it logs.
type testGate struct {
	*Gate
	logs *observer.ObservedLogs
}

func newGate(t testing.TB, opts Options) *testGate {
	t.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	opts.Log = zap.New(core)
	if opts.Listen == nil && opts.Socket == "" {
		opts.Listen = []string{"127.0.0.1"}
	}
	g, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return &testGate{g, logs}
}

func (g *testGate) expect(t testing.TB, e Expected) *Start {
	t.Helper()
	e.Name = func(host int, _ json.RawMessage) string { return fmt.Sprintf("h%d", host) }
	s, err := g.Expect(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// wantRefusal waits until a refusal is logged.
func (g *testGate) wantRefusal(t testing.TB, text string) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		var seen []string
		for _, e := range g.logs.All() {
			why := fmt.Sprint(e.Message, ": ", e.ContextMap()["error"])
			if strings.Contains(why, text) {
				return
			}
			seen = append(seen, why)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no refusal %q is logged: %q", text, seen)
		}
	}
}

// visitor is a host's end of a connection with a gate.
type visitor struct {
	*tls.Conn
	r *bufio.Reader
}

// dial connects with the certificate and key that an earlier welcome has brought (nil: none).
func (g *testGate) dial(t testing.TB, w *welcome) *visitor {
	t.Helper()
	return g.dialAt(t, g.Addresses()[0], w)
}

func (g *testGate) dialAt(t testing.TB, address string, w *welcome) *visitor {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(testTimeout))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(g.Certificate()))
	config := &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool})
			return err
		},
	}
	if w != nil {
		cert, err := tls.X509KeyPair([]byte(w.Certificate), []byte(w.Key))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	tc := tls.Client(nc, config)
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return &visitor{tc, bufio.NewReader(tc)}
}

func (v *visitor) say(t testing.TB, line any) {
	t.Helper()
	b, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Write(append(b, '\n')); err != nil {
		t.Fatal(err)
	}
}

func (v *visitor) hear(t testing.TB, line any) {
	t.Helper()
	b, err := v.r.ReadBytes('\n')
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if err := json.Unmarshal(b, line); err != nil {
		t.Fatal(err)
	}
}

// wantClosed waits for the end of the connection.
func (v *visitor) wantClosed(t testing.TB) {
	t.Helper()
	if rest, err := io.ReadAll(v.r); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on: %d bytes, %v", len(rest), err)
	}
}

func (v *visitor) wantRefused(t testing.TB, text string) {
	t.Helper()
	var w welcome
	v.hear(t, &w)
	if !strings.Contains(w.Refused, text) || w.Certificate != "" || w.Key != "" {
		t.Errorf("the answer is %+v, want a refusal: %s", w, text)
	}
	v.wantClosed(t)
}

type line map[string]any

func joining(token string, facts any) line { return line{"protocol": 1, "token": token, "host": facts} }

// welcomed joins, up to the confirmation.
func (g *testGate) welcomed(t testing.TB, token string, facts any) (*visitor, welcome) {
	t.Helper()
	v := g.dial(t, nil)
	v.say(t, joining(token, facts))
	var w welcome
	v.hear(t, &w)
	if w.Refused != "" {
		t.Fatalf("refused: %s", w.Refused)
	}
	return v, w
}

// host is a host that has joined.
type host struct {
	*mux.Conn
	gate    *testGate
	welcome welcome
}

func (g *testGate) join(t testing.TB, token string, facts any) *host {
	t.Helper()
	v, w := g.welcomed(t, token, facts)
	v.say(t, line{"joined": true})
	h := &host{mux.New(mux.Options{Name: "session", Host: true}), g, w}
	t.Cleanup(func() { h.Fail(net.ErrClosed) })
	h.attach(t, v, 0)
	return h
}

func (h *host) attach(t testing.TB, v *visitor, received uint64) {
	t.Helper()
	v.SetDeadline(time.Time{})
	if err := h.Attach(v.Conn, received); err != nil {
		t.Fatal(err)
	}
}

func (h *host) resume(t testing.TB) {
	t.Helper()
	received := h.Drop()
	v := h.gate.dial(t, &h.welcome)
	v.say(t, line{"protocol": 1, "resume": line{"index": h.welcome.Index, "received": received}})
	var w welcome
	v.hear(t, &w)
	if w.Refused != "" {
		t.Fatalf("refused: %s", w.Refused)
	}
	h.attach(t, v, w.Received)
}

func arrival(t testing.TB, s *Start) Arrival {
	t.Helper()
	select {
	case a, ok := <-s.Arrivals():
		if !ok {
			t.Fatal("the start has ended")
		}
		t.Cleanup(func() { a.Conn.Fail(net.ErrClosed) })
		return a
	case <-testContext(t).Done():
		t.Fatal("no host arrives")
	}
	panic("unreachable")
}

// echo sends back what comes on one channel that the session opens.
func (h *host) echo(t testing.TB) {
	go func() {
		ch, err := h.Accept(context.Background())
		if err != nil {
			return
		}
		io.Copy(ch, ch)
		ch.Close()
	}()
}

func wantEcho(t testing.TB, ch net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.WriteString(ch, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(ch, got); err != nil || string(got) != text {
		t.Fatalf("%q came back: %v", got, err)
	}
}

func (g *testGate) awaitQuiet(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); len(g.Addresses()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it still listens at %q", g.Addresses())
		}
	}
}

// Hosts join, lose their connection, and resume it; the gate listens just as long as somebody may come.
func TestJoin(t *testing.T) {
	g := newGate(t, Options{Agent: []byte("a zip")})
	if a := g.Addresses(); len(a) > 0 {
		t.Errorf("it listens at %q before anybody may come", a)
	}
	var mu sync.Mutex
	states := make(map[int]string)
	s := g.expect(t, Expected{
		Hosts: []int{3, 7},
		Place: func(facts json.RawMessage, _ func(int) bool) (int, error) {
			var f struct{ Name int }
			return f.Name, json.Unmarshal(facts, &f)
		},
		OnState: func(host int, state mux.State, err error) {
			mu.Lock()
			defer mu.Unlock()
			states[host] += fmt.Sprintf("%v %v. ", state, err)
		},
	})
	if len(s.Tokens()) != 1 {
		t.Fatalf("%d tokens for all", len(s.Tokens()))
	}
	address := g.Addresses()[0]

	fetching := g.dial(t, nil)
	fetching.say(t, line{"protocol": 1, "token": s.Tokens()[0], "fetch": "agent"})
	var size struct{ Size int }
	fetching.hear(t, &size)
	if zip, err := io.ReadAll(fetching.r); err != nil || string(zip) != "a zip" || size.Size != 5 {
		t.Errorf("fetched %q of %d bytes: %v", zip, size.Size, err)
	}

	h := g.join(t, s.Tokens()[0], line{"name": 7})
	a := arrival(t, s)
	if a.Host != 7 || string(a.Facts) != `{"name":7}` || h.welcome.Index != 7 || h.welcome.Lease != 60 {
		t.Errorf("host %d with %s arrived and was welcomed by %+v", a.Host, a.Facts, h.welcome)
	}
	h.echo(t)
	ch, err := a.Conn.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, ch, "first")
	s.Close()
	if _, err := net.Dial("tcp", address); err != nil {
		t.Errorf("nothing listens while a host lives: %v", err)
	}
	for i := range 3 {
		h.resume(t)
		wantEcho(t, ch, fmt.Sprint("again", i))
	}
	a.Conn.Close()
	g.awaitQuiet(t)
	if nc, err := net.Dial("tcp", address); err == nil {
		nc.Close()
		t.Error("it listens though nobody may come")
	}
	mu.Lock()
	defer mu.Unlock()
	if states[7] != "reachable <nil>. ended the conversation with the host was closed. " {
		t.Errorf("states: %s", states[7])
	}
	if n := g.logs.Len(); n > 0 {
		t.Errorf("logged: %v", g.logs.All())
	}
}

// A connection may come through a Unix socket; then no port is open.
func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate ü")
	if err := os.WriteFile(path, []byte("left by a dead session"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, Options{Socket: path})
	s := g.expect(t, Expected{Hosts: []int{0}, Own: true})
	if a := g.Addresses(); len(a) != 1 || a[0] != "unix:"+path {
		t.Errorf("it listens at %q", a)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	h := g.join(t, s.Tokens()[0], nil)
	arrival(t, s)
	h.resume(t)
	g.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// Where all hosts have come through the Unix socket, no port stays open.
func TestRoads(t *testing.T) {
	g := newGate(t, Options{Listen: []string{"127.0.0.1"}, Socket: filepath.Join(t.TempDir(), "gate")})
	s := g.expect(t, Expected{Hosts: []int{0}})
	at := g.Addresses()
	if len(at) != 2 {
		t.Fatalf("it listens at %q", at)
	}
	v := g.dialAt(t, at[1], nil)
	v.say(t, joining(s.Tokens()[0], nil))
	v.hear(t, new(welcome))
	v.say(t, line{"joined": true})
	a := arrival(t, s)
	s.Close()
	if got := g.Addresses(); len(got) != 1 || got[0] != at[1] {
		t.Errorf("after all have come through the socket, it listens at %q", got)
	}
	s = g.expect(t, Expected{Hosts: []int{1}})
	if got := g.Addresses(); len(got) != 2 || got[1] != at[1] || !strings.HasPrefix(got[0], "127.0.0.1:") {
		t.Errorf("for another start it listens at %q", got)
	}
	s.Close()
	a.Conn.Close()
	g.awaitQuiet(t)
}
