package join

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hop is one end of a hop between hosts, in Python.
type hop struct {
	t     *testing.T
	lines *bufio.Scanner
}

func startHop(t *testing.T, request line) *hop {
	t.Helper()
	cmd := pythonCommand(t, "hop.py")
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(string(text) + "\n")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &hop{t, bufio.NewScanner(out)}
}

// want reads a line.
func (h *hop) want(key, text string) {
	h.t.Helper()
	if said := h.hear(); !strings.Contains(fmt.Sprint(said[key]), text) {
		h.t.Fatalf("it says %v, want %s: %s", said, key, text)
	}
}

func (h *hop) hear() (said line) {
	h.t.Helper()
	if !h.lines.Scan() {
		h.t.Fatalf("it says nothing more: %v", h.lines.Err())
	}
	if err := json.Unmarshal(h.lines.Bytes(), &said); err != nil {
		h.t.Fatal(err)
	}
	return said
}

// hopHosts are the welcomes of hosts of a session, and of one of another session.
func hopHosts(t *testing.T) (first, second, third, foreign welcome) {
	t.Helper()
	all := make([]welcome, 0, 4)
	for _, n := range []int{3, 1} {
		g, hosts := newGate(t, Options{}), []int{0, 1, 2}[:n]
		s := g.expect(t, Expected{Hosts: hosts})
		for range hosts {
			all = append(all, g.join(t, s.Tokens()[0], nil).welcome)
			arrival(t, s)
		}
	}
	return all[0], all[1], all[2], all[3]
}

func (w welcome) identity() line {
	return line{"index": w.Index, "certificate": w.Certificate, "key": w.Key, "authority": w.Authority}
}

// fingerprint is how a carrier is told whom to expect.
func (w welcome) fingerprint() string {
	block, _ := pem.Decode([]byte(w.Certificate))
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

func (w welcome) config(t *testing.T) *tls.Config {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert}
	if w.Certificate != "" {
		cert, err := tls.X509KeyPair([]byte(w.Certificate), []byte(w.Key))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

// A host lets in the one that is to bring a variable, with the token of this transfer, and nobody else. Then it listens no more.
func TestHopIn(t *testing.T) {
	expected, self, other, foreign := hopHosts(t)
	const token = "of this transfer"
	h := startHop(t, line{"identity": self.identity(), "before": line{
		"address": "127.0.0.1", "ports": []int{0, 0}, "peer": expected.fingerprint(), "token": token,
	}})
	address := fmt.Sprintf("127.0.0.1:%.0f", h.hear()["port"])
	silent, err := net.Dial("tcp", address) // it holds up nobody
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	come := func(w welcome, token string) *tls.Conn {
		t.Helper()
		conn, err := tls.Dial("tcp", address, w.config(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(testTimeout))
		_, _ = io.WriteString(conn, token) // it may be refused before
		return conn
	}
	for _, c := range []struct {
		who   welcome
		token string
		why   string
	}{
		{welcome{}, token, "PEER_DID_NOT_RETURN_A_CERTIFICATE"},
		{foreign, token, "CERTIFICATE_VERIFY_FAILED"},
		{other, token, "it is another host than the one that is expected"},
		{expected, "of another one !", "the token is wrong"},
	} {
		conn := come(c.who, c.token)
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: %d bytes are answered", c.why, n)
		}
		h.want("refused", c.why)
	}
	conn := come(expected, token)
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatalf("the expected host is not let in: %v", err)
	}
	if late, err := net.Dial("tcp", address); err == nil {
		late.Close()
		t.Error("it still listens")
	}
	_, _ = io.WriteString(conn, "\x00\x00\x00\x00\x00\x00\x00\x05hello")
	h.want("piece", "hello")
	conn.Close()
	h.want("error", "hung up")
}

// A host that brings a variable says nothing to anybody but the one that it is for.
func TestHopOut(t *testing.T) {
	expected, self, other, foreign := hopHosts(t)
	for _, c := range []struct {
		who  welcome
		why  string // "": it is the right one
		gets string
	}{
		{other, "it is another host than the one that is expected", ""},
		{foreign, "CERTIFICATE_VERIFY_FAILED", ""},
		{expected, "", "token\x00\x00\x00\x07a piece"},
	} {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", c.who.config(t))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		h := startHop(t, line{"identity": self.identity(), "next": line{
			"address": "127.0.0.1", "port": listener.Addr().(*net.TCPAddr).Port, "peer": expected.fingerprint(), "token": "token",
		}})
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(testTimeout))
		if c.why == "" {
			_, _ = io.WriteString(conn, "!")
		}
		got, _ := io.ReadAll(conn) // how it ends is nothing to us
		if string(got) != c.gets {
			t.Errorf("it is told %q, want %q", got, c.gets)
		}
		conn.Close()
		if c.why != "" {
			h.want("error", c.why)
		}
	}
}
