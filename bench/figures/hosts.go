package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"dipls/session"
)

// oneConnection is the peer of a push to hosts: the same bytes, over a connection with one host, as safe as a session's.
const oneConnection = "one connection"

// onHosts is a caller whose pool is on p.hosts.
func (p *plan) onHosts() session.Caller {
	by := p.caller()
	by.Settings.Pool.Hosts = p.hosts
	return by
}

// measureHosts measures pass on ranks of several hosts and, taking turns, on as many of this one; and a round trip to the first host. This machine is one
// that can reach them by ssh.
func (p *plan) measureHosts(ctx context.Context) (err error) {
	far, err := openSession()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, far.close(ctx)) }()
	near, err := openSession()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, near.close(ctx)) }()
	sides := []struct {
		session *ownSession
		by      session.Caller
		figure  string
	}{{far, p.onHosts(), "hosts_pass"}, {near, p.caller(), "hosts_pass_here"}}
	for _, side := range sides {
		if _, err := side.session.remote(ctx, side.by, firstCell); err != nil {
			return err
		}
	}
	took := map[string][]float64{}
	for len(took["hosts_pass"]) < p.passes {
		for _, side := range sides {
			samples, err := side.session.passes(ctx, side.by, turn)
			if err != nil {
				return err
			}
			took[side.figure] = append(took[side.figure], samples...)
		}
	}
	to, err := dialReceiver(ctx, p.firstHost())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.end()) }()
	var trips []float64
	for range p.passes {
		trip, err := to.send([]byte{0})
		if err != nil {
			return err
		}
		trips = append(trips, milliseconds(trip))
	}
	for _, side := range sides {
		if err := emit(side.figure, took[side.figure]...); err != nil {
			return err
		}
	}
	return emit("hosts_trip", trips...)
}

// measureHostsPush measures how long a push to ranks of several hosts takes and, taking turns, the same bytes over one connection with one of them.
func (p *plan) measureHostsPush(ctx context.Context) (err error) {
	s, err := openSession()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	by, size := p.onHosts(), p.bytes[0]/8*8
	if _, err := s.remote(ctx, by, firstCell); err != nil {
		return err
	}
	if _, err := s.local(ctx, by, fmt.Sprintf("import numpy\nx = numpy.arange(%d)", size/8)); err != nil {
		return err
	}
	to, err := dialReceiver(ctx, p.firstHost())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.end()) }()
	array := make([]byte, size)
	if _, err := rand.Read(array); err != nil {
		return err
	}
	var pushes, copies []float64
	for range p.repeats + 1 { // the first of each does not count
		took, err := s.local(ctx, by, "%dipush x")
		if err != nil {
			return err
		}
		pushes = append(pushes, milliseconds(took))
		check := fmt.Sprintf("assert x.nbytes == %d and x[-1] == x.size - 1; del x", size)
		if _, err := s.remote(ctx, by, check); err != nil {
			return err
		}
		if took, err = to.send(array); err != nil {
			return err
		}
		copies = append(copies, milliseconds(took))
	}
	figure := "hosts_push_" + p.network
	return errors.Join(emit(figure, pushes[1:]...), emitFor(oneConnection, figure, copies[1:]...))
}

// firstHost is the first of p.hosts.
func (p *plan) firstHost() string {
	host, _, _ := strings.Cut(p.hosts, ",")
	return host
}

// receiver is this program on another host, which takes bytes and says when it has them.
type receiver struct {
	cmd  *exec.Cmd
	conn *tls.Conn
}

// listening is what a receiver says: where it listens, and as whom.
type listening struct {
	Port        int
	Certificate []byte
}

// dialReceiver starts a receiver by ssh, and connects with it.
func dialReceiver(ctx context.Context, host string) (*receiver, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "ssh", host, program+" receive")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var there listening
	if err := json.NewDecoder(out).Decode(&there); err != nil {
		return nil, errors.Join(fmt.Errorf("no receiver on %s: %w", host, err), cmd.Wait())
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("%s:%d", host, there.Port), &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // by name; VerifyConnection does it by certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			if !slices.Equal(s.PeerCertificates[0].Raw, there.Certificate) {
				return errors.New("somebody else listens there")
			}
			return nil
		},
	})
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, errors.Join(err, cmd.Wait())
	}
	return &receiver{cmd, conn}, nil
}

// send sends bytes, and returns how long it took until the receiver had them and this was known here.
func (r *receiver) send(data []byte) (time.Duration, error) {
	begin := time.Now()
	if err := binary.Write(r.conn, binary.BigEndian, uint64(len(data))); err != nil {
		return 0, err
	}
	if _, err := r.conn.Write(data); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(r.conn, make([]byte, 1))
	return time.Since(begin), err
}

// end ends the receiver.
func (r *receiver) end() error {
	return errors.Join(r.conn.Close(), r.cmd.Wait())
}

// receive is the receiver: it serves one connection, until that ends.
func receive() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", ":0", &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}},
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(listening{listener.Addr().(*net.TCPAddr).Port, certificate}); err != nil {
		return err
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	var data []byte
	for in := bufio.NewReaderSize(conn, 1<<20); ; {
		var size uint64
		if err := binary.Read(in, binary.BigEndian, &size); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		data = slices.Grow(data[:0], int(size))[:size]
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
	}
}
