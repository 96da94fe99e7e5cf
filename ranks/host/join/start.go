package join

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"dipls/ranks/host/mux"
)

// Expected are the hosts of a start.
type Expected struct {
	Hosts []int // their numbers
	Own   bool  // each has a token of its own; else one token is for all, and Place tells who is who

	// Place tells by what a host says of itself which of Hosts it is; taken knows those that have joined, or are about to. An error refuses it; its text is
	// told there. It must not wait for the gate. nil: they are numbered as they come.
	Place func(facts json.RawMessage, taken func(host int) bool) (host int, err error)

	// Name is what to call a host in errors.
	Name func(host int, facts json.RawMessage) string

	// OnState gets the states of a host's connection, in order, the first maybe before its arrival. It must not wait for the connection; nil: nobody does.
	OnState func(host int, state mux.State, err error)
}

// Arrival is a host that has joined.
type Arrival struct {
	Host        int               // its number
	Facts       json.RawMessage   // what it says of itself
	Certificate [sha256.Size]byte // the SHA-256 of its certificate
	Conn        *mux.Conn         // the caller closes it
}

// Start is a start of hosts. Its tokens are valid until Close.
type Start struct {
	gate     *Gate
	expected Expected
	tokens   []string
	arrivals chan Arrival

	// Under gate.mu.
	ended bool
	taken map[int]bool // hosts that have joined (true), or are about to
}

// Expect makes tokens for a start, and listens. The error is about the addresses and ports to listen at.
func (g *Gate) Expect(e Expected) (*Start, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open.Err() != nil {
		return nil, ErrClosed
	}
	if err := g.listen(); err != nil {
		return nil, err
	}
	s := &Start{gate: g, expected: e, arrivals: make(chan Arrival, len(e.Hosts)), taken: make(map[int]bool)}
	issue := func(host int) {
		token := base64.RawURLEncoding.EncodeToString(randomBytes(32))
		s.tokens = append(s.tokens, token)
		g.tickets[sha256.Sum256([]byte(token))] = ticket{s, host}
	}
	if e.Own {
		for _, host := range e.Hosts {
			issue(host)
		}
	} else {
		issue(-1)
	}
	g.starts[s] = true
	return s, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// Tokens are the tokens of the start: one for each host, in the order of [Expected.Hosts], or one for all.
func (s *Start) Tokens() []string { return s.tokens }

// Arrivals gets each host as it joins. It is closed by Close.
func (s *Start) Arrivals() <-chan Arrival { return s.arrivals }

// Close ends the start: whoever comes now is too late. Hosts that have joined stay, unless nobody has taken them from Arrivals.
func (s *Start) Close() {
	g := s.gate
	g.mu.Lock()
	if s.ended {
		g.mu.Unlock()
		return
	}
	s.ended = true
	delete(g.starts, s)
	close(s.arrivals)
	g.rest()
	g.mu.Unlock()
	for a := range s.arrivals {
		g.wg.Go(func() { a.Conn.Close() })
	}
}

// ticket is what a token is good for.
type ticket struct {
	start *Start
	host  int // -1: any of the start
}

// take reserves a host of the start for somebody who has the token for it. host is -1 if it is for any.
func (s *Start) take(host int, facts json.RawMessage) (int, error) {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	taken := func(host int) bool { _, is := s.taken[host]; return is }
	switch {
	case host >= 0:
	case s.expected.Place != nil:
		var err error
		if host, err = s.expected.Place(facts, taken); err != nil {
			return 0, &refusal{text: err.Error(), again: s.mayChange()}
		}
		if !slices.Contains(s.expected.Hosts, host) {
			return 0, refuse("host %d is not expected", host)
		}
	default:
		free := slices.IndexFunc(s.expected.Hosts, func(host int) bool { return !taken(host) })
		if free < 0 {
			return 0, &refusal{text: fmt.Sprintf("all %d hosts have joined: the token is used up", len(s.expected.Hosts)), again: s.mayChange()}
		}
		host = s.expected.Hosts[free]
	}
	if joined, taken := s.taken[host]; taken {
		return 0, &refusal{text: fmt.Sprintf("host %d has joined already: its token is used up", host), again: !joined}
	}
	s.taken[host] = false
	return host, nil
}

// mayChange reports whether a host is about to join: it may not. The caller holds gate.mu.
func (s *Start) mayChange() bool {
	for _, joined := range s.taken {
		if !joined {
			return true
		}
	}
	return false
}
