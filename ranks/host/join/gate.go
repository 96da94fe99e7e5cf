// Package join lets hosts into a session, and nobody else.
//
// A [Gate] listens while somebody may come: a start of hosts that has not ended ([Gate.Expect]), or a host that lives and may have to resume its
// connection by the road that it came. At other times nothing listens. It takes TLS 1.3 only.
//
// # How a host comes in
//
// Whoever starts its agent gives it, by standard input or in a file that only the user can read, the session's addresses, certificate and a token.
// The agent trusts that one certificate. Each end says one line of JSON, [Hello] and Welcome, and the host confirms:
//
//	host:    {"protocol": 1, "token": "…", "host": {…}}
//	session: {"index": 3, "lease": 60, "certificate": "…", "key": "…", "authority": "…"}     or {"refused": "why", "again": false}
//	host:    {"joined": true}
//
// Frames of package mux follow. A token is good for the hosts of one start, once each, until the start ends. From then on a host is known by the
// certificate that it was given, which the session's own authority has signed; the authority's key never leaves memory. Hosts know each other by these
// certificates, too (dip_agent/hosts/hop.py). With its own, a host resumes:
//
//	host:    {"protocol": 1, "resume": {"index": 3, "received": 4711}}
//	session: {"index": 3, "lease": 60, "received": 815}
//
// received is how many bytes of counted frames have come. Before all this, a host that lacks the agent asks for it, on a connection of its own:
//
//	host:    {"protocol": 1, "token": "…", "fetch": "agent"}
//	session: {"size": 120000} and so many bytes: a zip
//
// dip_agent/hosts/joining.py is the other end.
package join

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"dipls/internal/quiet"
	"dipls/ranks/host/mux"
)

const (
	// helloPatience is how long somebody who has come may take until we know who it is.
	helloPatience = 10 * time.Second

	// fetchPatience is how long it may take to fetch the agent.
	fetchPatience = 2 * time.Minute

	// maxKnocks is how many may be at the gate of whom we do not know yet who they are. If more come, the one that has been there for longest goes.
	maxKnocks = 1024
)

// ErrClosed is the error of a gate after Close.
var ErrClosed = errors.New("the session takes no more hosts")

// Options say where a gate listens.
type Options struct {
	Listen []string      // IP addresses; "" is all of this machine; none: no port is opened
	Ports  Ports         // which ports it may take
	Socket string        // path of a Unix socket, for connections that ssh forwards, in a directory of the user's; "": none
	Agent  []byte        // the zip that hosts fetch
	Lease  time.Duration // how long a host may be silent; 0 is [mux.DefaultLease]
	Log    *zap.Logger   // nil: none
}

// Gate lets hosts in.
type Gate struct {
	opts     Options
	log      *zap.Logger
	refusals refusals
	ca       *authority
	cert     tls.Certificate // the server's
	config   *tls.Config
	wg       sync.WaitGroup // goroutines that accept and admit

	open context.Context // ends with Close
	end  context.CancelFunc

	mu        sync.Mutex
	listeners []net.Listener
	starts    map[*Start]bool              // that have not ended
	tickets   map[[sha256.Size]byte]ticket // by the hash of the token, also those of starts that have ended
	hosts     map[[sha256.Size]byte]*guest // that live, by the hash of their certificate
	knocks    list.List                    // of net.Conn: who has come and is not known yet
}

// guest is a host that has joined.
type guest struct {
	host int
	cert []byte // DER
	conn *mux.Conn

	resuming sync.Mutex // held between Drop and Attach

	roads map[string]bool // the networks by which it has come: "tcp", "unix"; under Gate.mu
}

// New returns a gate that does not listen yet.
func New(opts Options) (*Gate, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Lease == 0 {
		opts.Lease = mux.DefaultLease
	}
	if err := opts.Ports.check(); err != nil {
		return nil, err
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("make the session's certificates: %w", err)
	}
	cert, err := serverCertificate()
	if err != nil {
		return nil, fmt.Errorf("make the session's certificates: %w", err)
	}
	g := &Gate{
		opts: opts, log: opts.Log, ca: ca, cert: cert,
		starts:  make(map[*Start]bool),
		tickets: make(map[[sha256.Size]byte]ticket),
		hosts:   make(map[[sha256.Size]byte]*guest),
		config: &tls.Config{
			MinVersion:                  tls.VersionTLS13,
			Certificates:                []tls.Certificate{cert},
			ClientAuth:                  tls.VerifyClientCertIfGiven,
			ClientCAs:                   ca.pool(),
			SessionTicketsDisabled:      true,
			DynamicRecordSizingDisabled: true, // records grow to their full size at once: large pieces matter, and the small are small anyway
		},
	}
	g.refusals.log = opts.Log
	g.open, g.end = context.WithCancel(context.Background())
	return g, nil
}

// Certificate is the gate's certificate (PEM). Hosts trust no other.
func (g *Gate) Certificate() string { return certificatePEM(g.cert.Certificate[0]) }

// Close ends all starts, and the gate listens no more. Hosts that have joined stay until they lose their connection: whoever has them closes them
// before.
func (g *Gate) Close() {
	g.mu.Lock()
	g.end()
	starts := make([]*Start, 0, len(g.starts))
	for s := range g.starts {
		starts = append(starts, s)
	}
	g.shut(func(net.Listener) bool { return true })
	g.mu.Unlock()
	for _, s := range starts {
		s.Close()
	}
	g.wg.Wait()
	g.refusals.flush()
}

// knock takes a new connection. The caller has counted it in g.wg.
func (g *Gate) knock(nc net.Conn) {
	defer g.wg.Done()
	g.mu.Lock()
	if g.open.Err() != nil {
		g.mu.Unlock()
		nc.Close()
		return
	}
	if g.knocks.Len() >= maxKnocks {
		first := g.knocks.Remove(g.knocks.Front()).(net.Conn)
		first.Close()
		g.refusals.add(first.RemoteAddr(), errors.New("too many connections that do not say who they are"))
	}
	place := g.knocks.PushBack(nc)
	g.mu.Unlock()
	known := sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.knocks.Remove(place) // nothing, if it had to go
	})
	defer known()
	defer context.AfterFunc(g.open, func() { nc.Close() })()

	err := g.admit(nc, known)
	var refused *refusal
	switch {
	case err == nil:
	case errors.As(err, &refused):
		g.refusals.add(nc.RemoteAddr(), err)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		// It only looked whether something listens here, or its connection broke: then it comes again.
		g.log.Debug("a connection broke before a host had joined", zap.Stringer("address", nc.RemoteAddr()), zap.Error(err))
	default:
		g.refusals.add(nc.RemoteAddr(), err)
	}
}

// admit finds out who has come, and lets it in. It calls known when that is so. If nc has not become a host's connection, it is closed.
func (g *Gate) admit(nc net.Conn, known func()) (err error) {
	kept := false
	tc := &connection{tls.Server(quiet.Conn(nc), g.config), nc}
	defer func() {
		if !kept {
			var refused *refusal
			if errors.As(err, &refused) {
				_ = tc.writeLine(welcome{Refused: refused.text, Again: refused.again}) // it may be gone
				_ = tc.Conn.Close()                                                    // in order: what was written arrives
			}
			nc.Close()
		}
	}()
	nc.SetDeadline(time.Now().Add(helloPatience))
	if err := tc.Handshake(); err != nil {
		return explainHandshake(err)
	}
	var hello Hello
	if err := tc.readLine(&hello); err != nil {
		return err
	}
	if hello.Protocol != protocol {
		return refuse("the host's agent speaks protocol %d, the session %d: are they of different versions of dipls?", hello.Protocol, protocol)
	}
	if hello.Resume != nil {
		kept, err = g.resume(tc, *hello.Resume, known)
		return err
	}
	ticket, err := g.ticket(hello.Token)
	if err != nil {
		return err
	}
	if hello.Fetch != "" {
		known()
		nc.SetDeadline(time.Now().Add(fetchPatience))
		return g.fetch(tc, hello.Fetch)
	}
	kept, err = g.join(tc, ticket, hello.Facts, known)
	return err
}

// ticket finds what a token is good for. Tokens are compared by their hashes, so the time it takes tells nothing of them.
func (g *Gate) ticket(token string) (ticket, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, ok := g.tickets[sha256.Sum256([]byte(token))]
	switch {
	case !ok:
		return t, refuse("the token is wrong: it is not of this session")
	case t.start.ended:
		return t, refuse("the token is no longer valid: the start of the hosts has ended")
	}
	return t, nil
}

func (g *Gate) fetch(tc *connection, what string) error {
	if what != "agent" {
		return refuse("there is no %q to fetch", what)
	}
	if err := tc.writeLine(struct {
		Size int `json:"size"`
	}{len(g.opts.Agent)}); err != nil {
		return err
	}
	if _, err := tc.Write(g.opts.Agent); err != nil {
		return err
	}
	return tc.Conn.Close() // in order: the end arrives, too
}

// join gives a host its number and its certificate, and announces it once it has confirmed that it has them.
func (g *Gate) join(tc *connection, t ticket, facts json.RawMessage, known func()) (kept bool, err error) {
	s := t.start
	host, err := s.take(t.host, facts)
	if err != nil {
		return false, err
	}
	defer func() {
		if !kept {
			g.mu.Lock()
			delete(s.taken, host) // it may come again
			g.mu.Unlock()
		}
	}()
	cert, key, err := g.ca.issue(host)
	if err != nil {
		return false, fmt.Errorf("make a certificate: %w", err)
	}
	err = tc.writeLine(welcome{
		Index: host, Lease: g.opts.Lease.Seconds(), Certificate: certificatePEM(cert), Key: key, Authority: certificatePEM(g.ca.cert.Raw),
	})
	if err != nil {
		return false, err
	}
	var confirmed confirmation
	if err := tc.readLine(&confirmed); err != nil {
		return false, err
	}
	known()

	guest := &guest{host: host, cert: cert, roads: map[string]bool{tc.LocalAddr().Network(): true}}
	id := sha256.Sum256(cert)
	guest.conn = mux.New(mux.Options{Name: s.expected.Name(host, facts), Lease: g.opts.Lease, OnState: func(state mux.State, err error) {
		if s.expected.OnState != nil {
			s.expected.OnState(host, state, err)
		}
		if state == mux.Ended {
			g.mu.Lock()
			defer g.mu.Unlock()
			delete(g.hosts, id)
			g.rest()
		}
	}})
	g.mu.Lock()
	if s.ended {
		g.mu.Unlock()
		guest.conn.Fail(ErrClosed)
		return false, errors.New("the host came too late: the start of the hosts has ended") // when it resumes, it is told
	}
	s.taken[host] = true
	g.hosts[id] = guest
	g.mu.Unlock()
	tc.SetDeadline(time.Time{})
	if err := guest.conn.Attach(tc, 0); err != nil {
		return false, err
	}
	g.mu.Lock()
	if !s.ended {
		s.arrivals <- Arrival{Host: host, Facts: facts, Certificate: id, Conn: guest.conn} // it has room for each host
		g.mu.Unlock()
		return true, nil
	}
	g.mu.Unlock()
	guest.conn.Close()
	return true, nil
}

// resume goes on with a host whose connection broke.
func (g *Gate) resume(tc *connection, r Resume, known func()) (kept bool, err error) {
	certs := tc.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return false, refuse("a connection is resumed with the host's certificate only")
	}
	g.mu.Lock()
	guest := g.hosts[sha256.Sum256(certs[0].Raw)]
	if guest != nil && guest.host == r.Index {
		guest.roads[tc.LocalAddr().Network()] = true
	}
	g.mu.Unlock()
	switch {
	case guest == nil:
		return false, refuse("the session has given up this host")
	case guest.host != r.Index:
		return false, refuse("the certificate is that of host %d, not of host %d", guest.host, r.Index)
	}
	known()
	guest.resuming.Lock()
	defer guest.resuming.Unlock()
	received := guest.conn.Drop()
	if err := tc.writeLine(welcome{Index: guest.host, Lease: g.opts.Lease.Seconds(), Received: received}); err != nil {
		return false, err
	}
	tc.SetDeadline(time.Time{})
	g.log.Info("a host's connection is resumed", zap.Int("host", guest.host), zap.Stringer("address", tc.RemoteAddr()))
	if err := guest.conn.Attach(tc, r.Received); err != nil {
		return false, err
	}
	return true, nil
}
