package join

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWrongToken(t *testing.T) {
	g := newGate(t, Options{Agent: []byte("secret")})
	s := g.expect(t, Expected{Hosts: []int{0}})
	good := s.Tokens()[0]
	for _, token := range []string{"", "x", good[:len(good)-1], good + "x", strings.ToUpper(good)} {
		v := g.dial(t, nil)
		v.say(t, joining(token, nil))
		v.wantRefused(t, "the token is wrong")
		v = g.dial(t, nil)
		v.say(t, line{"protocol": 1, "token": token, "fetch": "agent"})
		v.wantRefused(t, "the token is wrong")
	}
	g.wantRefusal(t, "the token is wrong")
	g.join(t, good, nil) // which is still good
	arrival(t, s)
}

// A token that was used is good for nothing, not even for who used it.
func TestReplayedToken(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0, 1}, Own: true})
	if len(s.Tokens()) != 2 || s.Tokens()[0] == s.Tokens()[1] {
		t.Fatalf("tokens: %q", s.Tokens())
	}
	g.join(t, s.Tokens()[1], nil)
	if a := arrival(t, s); a.Host != 1 {
		t.Errorf("host %d came with the token of host 1", a.Host)
	}
	v := g.dial(t, nil)
	v.say(t, joining(s.Tokens()[1], nil))
	v.wantRefused(t, "host 1 has joined already")
	g.wantRefusal(t, "host 1 has joined already")
}

func TestLateToken(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}})
	next := g.expect(t, Expected{Hosts: []int{0}}) // so that it still listens
	slow, _ := g.welcomed(t, s.Tokens()[0], nil)
	s.Close()
	v := g.dial(t, nil)
	v.say(t, joining(s.Tokens()[0], nil))
	v.wantRefused(t, "the start of the hosts has ended")
	slow.say(t, line{"joined": true})
	slow.wantClosed(t)
	g.wantRefusal(t, "the host came too late")
	if _, ok := <-s.Arrivals(); ok {
		t.Error("a host arrived after the end of its start")
	}
	g.join(t, next.Tokens()[0], nil)
	arrival(t, next)
}

// A host that had arrived at a start that ends without it is told to go.
func TestUnclaimedArrival(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}})
	h := g.join(t, s.Tokens()[0], nil)
	for len(s.arrivals) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	<-h.Done()
	g.awaitQuiet(t)
}

func TestMoreJoinsThanHosts(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{4, 6}})
	token := s.Tokens()[0]
	g.join(t, token, nil)
	a := arrival(t, s)
	third, w := g.welcomed(t, token, nil)
	if w.Index != 6 {
		t.Errorf("the second host is %d", w.Index)
	}
	// It has not confirmed, so another may soon have its place.
	v := g.dial(t, nil)
	v.say(t, joining(token, nil))
	var again welcome
	if v.hear(t, &again); again.Refused != "all 2 hosts have joined: the token is used up" || !again.Again {
		t.Errorf("while one may not come: %+v", again)
	}
	third.Close()
	g.joinSoon(t, token, nil)
	if b := arrival(t, s); a.Host != 4 || b.Host != 6 {
		t.Errorf("hosts %d and %d arrived", a.Host, b.Host)
	}
	v = g.dial(t, nil)
	v.say(t, joining(token, nil))
	var never welcome
	if v.hear(t, &never); never.Refused != "all 2 hosts have joined: the token is used up" || never.Again {
		t.Errorf("when all have joined: %+v", never)
	}
}

// joinSoon joins when a place is free again.
func (g *testGate) joinSoon(t *testing.T, token string, facts any) {
	t.Helper()
	for {
		v := g.dial(t, nil)
		v.say(t, joining(token, facts))
		var w welcome
		v.hear(t, &w)
		if w.Refused == "" {
			v.say(t, line{"joined": true})
			return
		}
		if !w.Again {
			t.Fatal(w.Refused)
		}
		v.Close()
		time.Sleep(time.Millisecond)
	}
}

// Who is nobody that was expected is told so.
func TestPlace(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}, Place: func(facts json.RawMessage, _ func(int) bool) (int, error) {
		if string(facts) == `"mine"` {
			return 0, nil
		}
		return 3, map[bool]error{true: errors.New("nobody has asked for gpu9")}[string(facts) == `"gpu9"`]
	}})
	for facts, want := range map[string]string{"gpu9": "nobody has asked for gpu9", "gpu8": "host 3 is not expected"} {
		v := g.dial(t, nil)
		v.say(t, joining(s.Tokens()[0], facts))
		v.wantRefused(t, want)
	}
	g.join(t, s.Tokens()[0], "mine")
	arrival(t, s)
}

// The end of a gate does not wait for a host that fetches the agent and does not read it.
func TestCloseWhileFetching(t *testing.T) {
	g := newGate(t, Options{Agent: make([]byte, 64<<20)}) // more than any socket takes
	s := g.expect(t, Expected{Hosts: []int{0}})
	v := g.dial(t, nil)
	v.say(t, line{"protocol": 1, "token": s.Tokens()[0], "fetch": "agent"})
	v.hear(t, new(struct{ Size int }))
	closed := make(chan struct{})
	go func() {
		g.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(fetchPatience / 2):
		t.Error("it waits until the host gives up")
	}
}

// An agent that breaks off before it has confirmed comes again, and is the same host.
func TestPlaceAgain(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0, 1}, Place: func(facts json.RawMessage, taken func(int) bool) (host int, err error) {
		if err = json.Unmarshal(facts, &host); err == nil && taken(host) {
			err = errors.New("a second agent has come from it")
		}
		return host, err
	}})
	broken, _ := g.welcomed(t, s.Tokens()[0], 1)
	v := g.dial(t, nil)
	v.say(t, joining(s.Tokens()[0], 1))
	var w welcome
	if v.hear(t, &w); w.Refused != "a second agent has come from it" || !w.Again {
		t.Errorf("while the first may still confirm: %+v", w)
	}
	broken.Close()
	g.joinSoon(t, s.Tokens()[0], 1)
	if a := arrival(t, s); a.Host != 1 {
		t.Errorf("host %d has arrived", a.Host)
	}
	v = g.dial(t, nil)
	v.say(t, joining(s.Tokens()[0], 1))
	v.wantRefused(t, "a second agent has come from it")
}

// Only the very certificate that a host was given resumes its connection.
func TestForeignCertificates(t *testing.T) {
	g, other := newGate(t, Options{}), newGate(t, Options{})
	s, foreign := g.expect(t, Expected{Hosts: []int{0, 1}}), other.expect(t, Expected{Hosts: []int{0}})
	first := g.join(t, s.Tokens()[0], nil)
	a := arrival(t, s)
	second := g.join(t, s.Tokens()[0], nil)
	arrival(t, s)
	_, stranger := other.welcomed(t, foreign.Tokens()[0], nil)
	first.echo(t)
	ch, err := a.Conn.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, ch, "before")

	resume := func(w *welcome, index int) *visitor {
		v := g.dial(t, w)
		v.say(t, line{"protocol": 1, "resume": line{"index": index, "received": 0}})
		return v
	}
	resume(nil, 0).wantRefused(t, "with the host's certificate only")
	resume(&second.welcome, 0).wantRefused(t, "the certificate is that of host 1, not of host 0")

	// That of another session is refused by TLS.
	v := g.dial(t, &stranger)
	v.Write([]byte("{}\n")) // it may be refused before
	if _, err := v.Read(make([]byte, 1)); err == nil {
		t.Error("a foreign certificate was taken")
	}
	g.wantRefusal(t, "certificate signed by unknown authority")

	// One that our authority has signed, for a host that was never announced, is not enough either.
	cert, key, err := g.ca.issue(0)
	if err != nil {
		t.Fatal(err)
	}
	resume(&welcome{Certificate: certificatePEM(cert), Key: key}, 0).wantRefused(t, "given up this host")

	wantEcho(t, ch, "undisturbed")
	a.Conn.Close()
	resume(&first.welcome, 0).wantRefused(t, "given up this host")
}

// A host that resumes with claims that cannot be is lost, with a word; the others are not.
func TestResumeWithNonsense(t *testing.T) {
	g := newGate(t, Options{})
	s := g.expect(t, Expected{Hosts: []int{0}})
	h := g.join(t, s.Tokens()[0], nil)
	a := arrival(t, s)
	h.Drop()
	v := g.dial(t, &h.welcome)
	v.say(t, line{"protocol": 1, "resume": line{"index": 0, "received": 1 << 40}})
	<-a.Conn.Done()
	if got := a.Conn.Err().Error(); !strings.HasPrefix(got, "host h0 lost: the conversation broke: it claims to have 1099511627776 bytes") {
		t.Error(got)
	}
}

// What is not TLS, no line, or too long a line gets nowhere.
func TestNoise(t *testing.T) {
	g := newGate(t, Options{})
	g.expect(t, Expected{Hosts: []int{0}})
	for _, noise := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n", strings.Repeat("\x00", 100), "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000),
	} {
		nc, err := net.Dial("tcp", g.Addresses()[0])
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(testTimeout))
		nc.Write([]byte(noise)) // it may be refused before the end
		if _, err := io.ReadAll(nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: the connection goes on", noise)
		}
		nc.Close()
	}
	g.wantRefusal(t, "no host: tls: first record does not look like a TLS handshake")

	for said, want := range map[string]string{
		"hello\n":                                   "not the line of a host",
		`{"protocol": 2, "token": "x"}` + "\n":      "the host's agent speaks protocol 2, the session 1",
		`{"protocol": 1, "fetch": "/etc/x"}` + "\n": "the token is wrong",
		strings.Repeat("x", maxLine+1):              "a line of more than 65536 bytes",
	} {
		v := g.dial(t, nil)
		v.Write([]byte(said))
		v.wantRefused(t, want)
	}
	// TLS 1.2 is not spoken.
	_, err := tls.Dial("tcp", g.Addresses()[0], &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
		t.Errorf("TLS 1.2: %v", err)
	}
}

// Somebody who only looks whether a port is open is not worth a word.
func TestProbe(t *testing.T) {
	g := newGate(t, Options{})
	g.expect(t, Expected{Hosts: []int{0}})
	for range 3 {
		nc, err := net.Dial("tcp", g.Addresses()[0])
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	g.Close()
	if n := g.logs.Len(); n > 0 {
		t.Errorf("logged: %v", g.logs.All())
	}
}

// Who says little, or says it slowly, is sent away after some seconds.
func TestSlowHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, Options{Listen: []string{}})
		g.expect(t, Expected{Hosts: []int{0}})
		knock := func() net.Conn {
			here, there := net.Pipe()
			g.wg.Add(1)
			go g.knock(here)
			return there
		}
		begin := time.Now()
		silent := knock()
		if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil || time.Since(begin) != helloPatience {
			t.Errorf("who says nothing is sent away after %v: %v", time.Since(begin), err)
		}
		begin = time.Now()
		slow := tls.Client(knock(), &tls.Config{InsecureSkipVerify: true})
		for {
			if _, err := slow.Write([]byte(" ")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(begin); d < helloPatience || d > helloPatience+2*time.Second {
			t.Errorf("who says a byte a second is sent away after %v", d)
		}
		g.wantRefusal(t, "it did not say who it is within 10s")
	})
}

// So many strangers keep nobody out: the one that has been there for longest goes.
func TestManyStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, Options{Listen: []string{}})
		g.expect(t, Expected{Hosts: []int{0}})
		var strangers []net.Conn
		for range maxKnocks + 1 {
			here, there := net.Pipe()
			strangers = append(strangers, there)
			g.wg.Add(1)
			go g.knock(here)
			synctest.Wait()
		}
		begin := time.Now()
		strangers[0].Read(make([]byte, 1))
		if d := time.Since(begin); d > 0 {
			t.Errorf("the first had to go after %v", d)
		}
		strangers[1].Read(make([]byte, 1))
		if d := time.Since(begin); d != helloPatience {
			t.Errorf("the second had to go after %v", d)
		}
		synctest.Wait() // the others, too
		g.Close()
		var counted bool
		for _, e := range g.logs.All() {
			counted = counted || e.Message == "more joins were refused" && e.ContextMap()["count"] == int64(maxKnocks+1-refusalsShown)
		}
		if n := g.logs.Len(); n != refusalsShown+1 || !counted {
			t.Errorf("%d lines are logged, the last: %v", n, g.logs.All()[n-1])
		}
	})
}

// Named ports are taken and no others.
func TestPorts(t *testing.T) {
	if _, err := New(Options{Ports: Ports{9, 1}}); err == nil {
		t.Error("ports 9 to 1 are taken for a range")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	g := newGate(t, Options{Ports: Ports{port, port}})
	if _, err := g.Expect(Expected{Hosts: []int{0}}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
	if a := g.Addresses(); len(a) > 0 {
		t.Errorf("it listens at %q", a)
	}
	g = newGate(t, Options{Ports: Ports{port, min(port+50, 65535)}})
	g.expect(t, Expected{Hosts: []int{0}})
	var got int
	if _, err := fmt.Sscanf(g.Addresses()[0], "127.0.0.1:%d", &got); err != nil || got <= port || got > port+50 {
		t.Errorf("it listens at %q: %v", g.Addresses(), err)
	}
	g = newGate(t, Options{Listen: []string{""}})
	g.expect(t, Expected{Hosts: []int{0}})
	a := g.Addresses()
	if len(a) == 0 || slices.ContainsFunc(a, func(a string) bool { return strings.HasPrefix(a, "0.0.0.0") || strings.HasPrefix(a, "[::]") }) {
		t.Errorf("a gate at all addresses tells %q", a)
	}
}
