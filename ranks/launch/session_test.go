package launch

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Begin().Main(m) }

// patience is how long something may take that will happen.
const patience = 2 * time.Minute

// fakeAgent is what the session of a test gives its hosts in place of the agent: it joins, and stays as long as its connection. Its line tells what it finds.
const fakeAgent = `
import json, os, socket, ssl, sys, time
assert sys.argv[1:] == ["relay"], sys.argv
start = json.loads(sys.stdin.readline())
names = "SLURM_NODEID SLURMD_NODENAME OMPI_COMM_WORLD_RANK".split()
launcher = {**{n: os.environ[n] for n in names if n in os.environ}, **start["launcher"]}
facts = {"name": socket.gethostname(), "launcher": launcher, "environ": dict(os.environ), "start": start, "pid": os.getpid()}
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.load_verify_locations(cadata=start["certificate"])
def dial():
    address = start["addresses"][0]
    if address.startswith("unix:"):
        way = socket.socket(socket.AF_UNIX)
        way.connect(address[5:])
    else:
        host, port = address.rsplit(":", 1)
        way = socket.create_connection((host, int(port)))
    way = context.wrap_socket(way)
    way.sendall(json.dumps({"protocol": 1, "token": start["token"], "host": facts}).encode() + b"\n")
    return way
way = dial()
while True:
    try:
        said = way.recv(100)
    except OSError:
        said = b""
    if said:
        sys.exit(0)
    facts["again"] = True
    for _ in range(600):
        try:
            way = dial()
            break
        except OSError:
            time.sleep(0.1)
`

// testSession lets in whoever has a token.
type testSession struct {
	t        *testing.T
	agent    []byte
	cert     tls.Certificate
	pem      string
	address  string
	socket   string
	arrivals chan arrival

	mu      sync.Mutex
	fetched int
	events  []Event
	changed chan struct{}
	conns   []net.Conn
}

// arrival is an agent that has come.
type arrival struct {
	token string
	raw   json.RawMessage
	facts testFacts
	conn  net.Conn
}

type testFacts struct {
	Name     string
	Launcher map[string]string
	Environ  map[string]string
	Start    struct {
		Addresses []string
		Scratch   string
	}
	PID   int
	Again bool
}

func newTestSession(t *testing.T, address string) *testSession {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	var agent bytes.Buffer
	w := zip.NewWriter(&agent)
	f, err := w.Create("__main__.py")
	if err == nil {
		_, err = f.Write([]byte(fakeAgent))
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	s := &testSession{
		t: t, agent: agent.Bytes(), cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem:      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		arrivals: make(chan arrival, 64), changed: make(chan struct{}, 1),
		socket: filepath.Join(t.TempDir(), "gate"),
	}
	s.address = s.listen("tcp", address)
	s.listen("unix", s.socket)
	return s
}

func (s *testSession) listen(network, address string) string {
	s.t.Helper()
	l, err := tls.Listen(network, address, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.cert}})
	if err != nil {
		s.t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			work.Go(func() { s.admit(conn) })
		}
	})
	s.t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		work.Wait()
	})
	return l.Addr().String()
}

func (s *testSession) admit(conn net.Conn) {
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return // a host tries whether it reaches us
	}
	var hello struct {
		Token string
		Fetch string
		Host  json.RawMessage
	}
	if err := json.Unmarshal(line, &hello); err != nil {
		s.t.Errorf("hello: %v", err)
		return
	}
	if !strings.HasPrefix(hello.Token, "token") {
		fmt.Fprintln(conn, `{"refused": "wrong token"}`)
		conn.Close()
		return
	}
	if hello.Fetch == "agent" {
		s.mu.Lock()
		s.fetched++
		s.mu.Unlock()
		fmt.Fprintf(conn, "{\"size\": %d}\n", len(s.agent))
		_, _ = conn.Write(s.agent)
		conn.Close()
		return
	}
	a := arrival{token: hello.Token, raw: hello.Host, conn: conn}
	if err := json.Unmarshal(hello.Host, &a.facts); err != nil {
		s.t.Errorf("facts: %v", err)
	}
	s.arrivals <- a
}

// boot is the bootstrap of agents of this session.
func (s *testSession) boot() Bootstrap {
	sum := sha256.Sum256(s.agent)
	return Bootstrap{
		Python: "/usr/bin/python3", Addresses: []string{s.address}, Certificate: s.pem, Agent: hex.EncodeToString(sum[:]), Socket: s.socket,
		Token: func(host int) string { return fmt.Sprintf("token %d", host) },
	}
}

// tell is what a launcher tells events.
func (s *testSession) tell(e Event) {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// await waits for an event.
func (s *testSession) await(kind Kind, host int, text string) Event {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		events := slices.Clone(s.events)
		s.mu.Unlock()
		for _, e := range events {
			if e.Kind == kind && e.Host == host && strings.Contains(e.Text, text) {
				return e
			}
		}
		select {
		case <-s.changed:
		case <-timeout:
			s.t.Fatalf("no event of kind %d for host %d with %q: %+v", kind, host, text, events)
		}
	}
}

// next waits for the next agent that comes.
func (s *testSession) next() arrival {
	s.t.Helper()
	select {
	case a := <-s.arrivals:
		return a
	case <-time.After(patience):
		s.mu.Lock()
		defer s.mu.Unlock()
		s.t.Fatalf("no agent has come: %+v", s.events)
		return arrival{}
	}
}

// placer tells which host of a start an agent is on.
type placer func(raw json.RawMessage, taken func(host int) bool) (host int, err error)

// among places agents on some hosts of an allocation.
func among(a Allocation, expected []int) placer {
	return func(raw json.RawMessage, taken func(int) bool) (int, error) {
		return Place(a.Hosts(), expected, raw, taken)
	}
}

// arrive waits for agents, and returns them by host.
func (s *testSession) arrive(n int, place placer, joins Joins) map[int]arrival {
	s.t.Helper()
	come := make(map[int]arrival)
	for len(come) < n {
		a := s.next()
		host, err := place(a.raw, func(host int) bool { _, taken := come[host]; return taken })
		if err != nil {
			s.t.Fatalf("%s: %v", a.facts.Name, err)
		}
		come[host] = a
		joins.Joined(host)
	}
	return come
}

// leave tells agents to end.
func leave(come map[int]arrival) {
	for _, a := range come {
		fmt.Fprintln(a.conn, "end")
		a.conn.Close()
	}
}

// ends ends a start, and all of it in order.
func ends(t *testing.T, joins Joins) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	joins.End(ctx)
	if ctx.Err() != nil {
		t.Error("the agents have not ended by themselves")
	}
}

// plan is a plan with its launcher's allocation.
func plan(t *testing.T, text string, tell func(Event)) Allocation {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	a, err := p.Launcher(Options{}).Allocate(ctx, tell)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
