package rpc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"go.lsp.dev/jsonrpc2"
	"go.uber.org/zap"
)

// peer is the client at the other end of a connection under test.
type peer struct {
	t    *testing.T
	conn *Conn
	net.Conn
	r *bufio.Reader
}

// serve makes a connection that serves methods until the end of the test.
func serve(t *testing.T, methodsOf func(*Conn) map[string]Method) *peer {
	mine, theirs := net.Pipe()
	p := &peer{t, New(theirs, zap.NewNop(), nil), mine, bufio.NewReader(mine)}
	methods := methodsOf(p.conn)
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		p.conn.Serve(ctx, Handler{
			Methods: methods, Log: zap.NewNop(),
			Admit: func(string) error { return nil }, Enter: func(ctx context.Context) context.Context { return ctx },
		})
	})
	t.Cleanup(func() {
		mine.Close()
		cancel()
		served.Wait()
		p.conn.Close()
		p.conn.AwaitWriter(context.Background())
	})
	return p
}

// message is any message of the connection.
type message struct {
	ID, Result, Params json.RawMessage
	Method             string
	Error              *struct{ Code int }
}

// send sends a message; id "" is that of a notification.
func (p *peer) send(id, method, params string) {
	p.t.Helper()
	if id != "" {
		id = `"id":` + id + `,`
	}
	p.write(fmt.Sprintf(`{"jsonrpc":"2.0",%s"method":"%s","params":%s}`, id, method, params))
}

func (p *peer) write(body string) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p, "Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		p.t.Fatal(err)
	}
}

// next is the next message of the connection.
func (p *peer) next() (m message) {
	p.t.Helper()
	var size int
	if _, err := fmt.Fscanf(p.r, "Content-Length: %d\r\n\r\n", &size); err != nil {
		p.t.Fatal(err)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(p.r, data); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		p.t.Fatalf("%.200s: %v", data, err)
	}
	return m
}

// large is a result that records where it is written to.
type large struct {
	json    string
	written chan<- []byte
}

func (l large) AppendJSON(b []byte) []byte {
	b = append(b, l.json...)
	l.written <- b
	return b
}

// A large result arrives in an answer like any other, whatever the client calls its request, and the next one is sent from the same memory.
func TestLargeResults(t *testing.T) {
	written := make(chan []byte, 1)
	var want string
	p := serve(t, func(*Conn) map[string]Method {
		return map[string]Method{
			"small": InOrder(func(context.Context, *struct{}) (string, error) { return "small", nil }),
			"large": InOrder(func(context.Context, *struct{}) (any, error) { return large{want, written}, nil }),
		}
	})
	ask := func(id, method string) message {
		t.Helper()
		p.send(id, method, "{}")
		answer := p.next()
		if string(answer.ID) != id {
			t.Errorf("got id %s, want %s", answer.ID, id)
		}
		if err := p.conn.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	var last uintptr
	for i, id := range []string{"1", `"one"`, `"` + strings.Repeat("long ", 40) + `"`, `"` + strings.Repeat("x", 5000) + `"`, "2147483647"} {
		want = `["` + strings.Repeat("a lens, ", 20_000-1000*i) + `"]`
		if got := ask(id, "large"); string(got.Result) != want {
			t.Errorf("id %.20s: got %.100s", id, got.Result)
		}
		memory := uintptr(unsafe.Pointer(unsafe.SliceData(<-written)))
		if moved := memory - last; last != 0 && moved > headerRoom {
			t.Errorf("id %.20s: the result is in fresh memory", id)
		}
		last = memory
		if got := ask("3", "small"); string(got.Result) != `"small"` {
			t.Errorf("got %s", got.Result)
		}
	}
}

// Messages are handled in the order in which they come. One that is released lets later ones overtake it, and can be cancelled; one that calls the client does
// so once it has been released.
func TestOrder(t *testing.T) {
	var order []string
	note := func(name string) { order = append(order, name) } // one at a time, or the race detector finds it
	p := serve(t, func(conn *Conn) map[string]Method {
		return map[string]Method{
			"note":    Notification(func(_ context.Context, name *string) error { note(*name); return nil }),
			"inOrder": InOrder(func(_ context.Context, name *string) (string, error) { note(*name); return *name, nil }),
			"order":   InOrder(func(context.Context, *struct{}) ([]string, error) { return order, nil }),
			"wait":    Request(func(ctx context.Context, _ *struct{}) (any, error) { <-ctx.Done(); return nil, ctx.Err() }),
			"ask": InOrder(func(ctx context.Context, _ *struct{}) (answer string, err error) {
				note("ask")
				Release(ctx)
				err = conn.Call(ctx, "question", nil, &answer)
				return answer, err
			}),
			"panic": InOrder(func(context.Context, *struct{}) (any, error) { panic("as asked") }),
		}
	})

	p.send("1", "wait", "{}")
	p.send("2", "ask", "{}")
	question := p.next()
	if question.Method != "question" || question.Params != nil {
		t.Fatalf("got %+v", question)
	}
	p.send("", "note", `"a"`)
	p.send("3", "inOrder", `"b"`)
	if m := p.next(); string(m.ID) != "3" || string(m.Result) != `"b"` {
		t.Fatalf("got %+v", m)
	}
	p.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":"yes"}`, question.ID))
	if m := p.next(); string(m.ID) != "2" || string(m.Result) != `"yes"` {
		t.Fatalf("got %+v", m)
	}
	p.write(`{"jsonrpc":"2.0","id":12345,"result":"nobody has asked"}`)
	p.send("", "$/cancelRequest", `{"id":1}`)
	if m := p.next(); string(m.ID) != "1" || m.Error == nil || m.Error.Code != -32800 {
		t.Fatalf("got %+v", m)
	}
	p.send("4", "panic", "{}")
	if m := p.next(); m.Error == nil || m.Error.Code != -32603 {
		t.Fatalf("got %+v", m)
	}
	p.send("", "panic", "{}")
	p.send("5", "no/such", "{}")
	if m := p.next(); m.Error == nil || m.Error.Code != -32601 {
		t.Fatalf("got %+v", m)
	}
	p.send("6", "order", "{}")
	if m := p.next(); string(m.Result) != `["ask","a","b"]` {
		t.Errorf("the order is %s", m.Result)
	}
}

// A call ends with its context, of which the client is told, and with the connection.
func TestCallEnds(t *testing.T) {
	p := serve(t, func(*Conn) map[string]Method { return map[string]Method{} })
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() { failed <- p.conn.Call(ctx, "question", map[string]int{"n": 1}, nil) }()
	question := p.next()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was given up: %v", err)
	}
	if m := p.next(); m.Method != "$/cancelRequest" || string(m.Params) != fmt.Sprintf(`{"id":%s}`, question.ID) {
		t.Errorf("got %+v", m)
	}
	go func() { failed <- p.conn.Call(context.Background(), "question", nil, nil) }()
	p.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, p.next().ID))
	var refusal *jsonrpc2.Error
	if err := <-failed; !errors.As(err, &refusal) || refusal.Code != jsonrpc2.MethodNotFound {
		t.Errorf("a call that was refused: %v", err)
	}
	go func() { failed <- p.conn.Call(context.Background(), "question", nil, nil) }()
	p.next()
	p.Close()
	if err := <-failed; !errors.Is(err, errEnded) {
		t.Errorf("a call without a client: %v", err)
	}
}

// BenchmarkLargeResult answers with the 4 MB that the lenses of 10,000 cells are: written into the message, and made first and then copied, as a library
// that takes results as JSON has it done.
func BenchmarkLargeResult(b *testing.B) {
	json := []byte(`["` + strings.Repeat("a lens, ", 500_000) + `"]`)
	for name, result := range map[string]func() any{
		"appended": func() any { return appended(json) },
		"copied":   func() any { return appended(slices.Clone(json)) },
	} {
		b.Run(name, func(b *testing.B) {
			s := newStream(memory{bytes.NewReader(nil), io.Discard})
			b.SetBytes(int64(len(json)))
			for b.Loop() {
				if err := s.send("", func(f []byte) ([]byte, error) { return appendResult(f, jsonrpc2.NewNumberID(1), result()) }); err != nil {
					b.Fatal(err)
				}
				if err := s.out.flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			s.close()
			<-s.out.done
		})
	}
}

type appended []byte

func (a appended) AppendJSON(b []byte) []byte { return append(b, a...) }
