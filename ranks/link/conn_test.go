package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	goodGreeting = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	goodReady = "\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"
)

// fakePeer accepts connections that get these bytes, whatever they send, and then stay open.
func fakePeer(t testing.TB, bytes string) (path string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err) // the temporary directory's path is too long for a socket
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(nc, bytes)
			io.Copy(io.Discard, nc)
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

// dial connects to a fakePeer.
func dial(t testing.TB, bytes string) net.Conn {
	t.Helper()
	nc, err := net.Dial("unix", fakePeer(t, bytes))
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestOpen(t *testing.T) {
	if len(goodGreeting) != greetingSize {
		t.Fatalf("greeting of %d bytes", len(goodGreeting))
	}
	for _, test := range []struct{ name, bytes, want string }{
		{"good", goodGreeting + goodReady, ""},
		{"silent", "", "it took too long"},
		{"half a greeting", goodGreeting[:20], "it took too long"},
		{"no READY", goodGreeting, "it took too long"},
		{"not ZMTP", strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 10), "invalid ZMTP signature header"},
		{"ZMTP 2", goodGreeting[:10] + "\x01" + goodGreeting[11:], "invalid ZMTP version"},
		{"CURVE", strings.Replace(goodGreeting, "NULL\x00", "CURVE", 1), "unsupported security mechanism"},
		{"a message for READY", goodGreeting + "\x00\x01x", "a ZMTP message before the handshake"},
		{"long READY", goodGreeting + "\x06\x00\x00\x00\x01\x00\x00\x00\x00", "a ZMTP command of 4294967296 bytes"},
		{"reserved flags", goodGreeting + "\xf4\x00", "not ZMTP: frame flags 0xf4"},
		{"empty command", goodGreeting + "\x04\x00", "unexpected EOF"},
		{"bad metadata", goodGreeting + "\x04\x0a\x05READY\x03abc", "bad metadata"},
		{"a PUB socket", goodGreeting + "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB", "not compatible"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(context.Background(), 200*time.Millisecond, errors.New("it took too long"))
			defer cancel()
			c, err := openConn(ctx, dial(t, test.bytes))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("connection %v, error %v, want %s", c, err, test.want)
			}
		})
	}
}

func TestRecv(t *testing.T) {
	for _, test := range []struct {
		name, bytes string
		frames      []string
		want        string // of the error after that
	}{
		{"one frame", "\x00\x01a", []string{"a"}, ""},
		{"frames", "\x01\x01a\x01\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02bc", []string{"a", "", "bc"}, ""},
		{"long frame", "\x02\x00\x00\x00\x00\x40\x00\x00\x01", nil, "a frame of 1073741825 bytes makes the message longer"},
		{"negative length", "\x02\xff\xff\xff\xff\xff\xff\xff\xff", nil, "a frame of 18446744073709551615 bytes"},
		{"sum of frames", "\x01\x01a\x02\x00\x00\x00\x00\x40\x00\x00\x00", nil, "makes the message longer"},
		{"many frames", strings.Repeat("\x01\x00", 1025), nil, "a message of more than 1024 frames"},
		{"PING", "\x04\x07\x04PING\x00\x00", nil, "a ZMTP command after the handshake"},
		{"command among frames", "\x01\x01a\x04\x01x", nil, "a ZMTP command after the handshake"},
		{"flags", "\x08\x00", nil, "not ZMTP: frame flags 0x08"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := openConn(t.Context(), dial(t, goodGreeting+goodReady+test.bytes))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.drain()
			var got []string
			err = c.receive(func(frames [][]byte) {
				for _, f := range frames {
					got = append(got, string(f))
				}
			})
			if diff := cmp.Diff(test.frames, got); diff != "" {
				t.Error(diff)
			}
			if test.want != "" && (!strings.Contains(err.Error(), test.want) || !Nonsense(err)) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if test.want == "" && err != io.EOF {
				t.Error(err)
			}
		})
	}
}

// certainConn ends for certain. It counts the deadlines that are set.
type certainConn struct {
	net.Conn
	deadlines int
}

func (*certainConn) EndsForCertain() {}

func (c *certainConn) SetReadDeadline(at time.Time) error {
	c.deadlines++
	return c.Conn.SetReadDeadline(at)
}

// Where the end comes for certain, a quiet moment is none.
func TestDrainWaitsForTheEnd(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go io.Copy(io.Discard, theirs)
	go io.WriteString(theirs, goodGreeting+goodReady+"\x00\x01a")
	nc := &certainConn{Conn: ours}
	c, err := openConn(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := nc.deadlines
	c.drain()
	var got []string
	if err := c.receive(func(frames [][]byte) {
		got = append(got, string(frames[0]))
		theirs.Close()
	}); !errors.Is(err, io.EOF) || len(got) != 1 || got[0] != "a" {
		t.Errorf("%q, %v", got, err)
	}
	if nc.deadlines != before {
		t.Errorf("%d deadlines", nc.deadlines-before)
	}
}

// FuzzCut: whatever comes, and in whatever pieces, the messages are the same, and have no more bytes than came.
func FuzzCut(f *testing.F) {
	f.Add([]byte("\x01\x01a\x00\x01b"), uint8(1))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01x\x04\x01y"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		cut := func(pieces iter.Seq[[]byte]) (messages [][]string, err error) {
			var c cutter
			for b := range pieces {
				if err = c.cut(b, func(frames [][]byte) {
					var message []string
					for _, frame := range frames {
						message = append(message, string(frame))
					}
					messages = append(messages, message)
				}); err != nil {
					break
				}
			}
			return messages, err
		}
		whole, err := cut(slices.Values([][]byte{data}))
		size := 0
		for _, message := range whole {
			for _, frame := range message {
				size += len(frame)
			}
		}
		if size > len(data) {
			t.Errorf("%d bytes out of %d", size, len(data))
		}
		parts, partsErr := cut(slices.Chunk(data, max(int(piece), 1)))
		if diff := cmp.Diff(whole, parts); diff != "" || fmt.Sprint(err) != fmt.Sprint(partsErr) {
			t.Errorf("in pieces of %d: %v, whole: %v %s", piece, partsErr, err, diff)
		}
	})
}
