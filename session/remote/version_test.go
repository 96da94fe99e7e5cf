package remote_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dipls/internal/sessiontest"
	"dipls/session"
	"dipls/session/remote"
)

// raw is the end of a connection at which a test writes and reads messages itself.
type raw struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func newRaw(t testing.TB, c net.Conn) *raw { return &raw{t, c, bufio.NewReader(c)} }

// dialRaw connects to a session.
func (p *place) dialRaw() *raw {
	p.t.Helper()
	c, err := net.Dial("unix", p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return newRaw(p.t, c)
}

// message is any message.
type message struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct {
		Code    int
		Message string
		Data    json.RawMessage
	}
}

func (r *raw) send(format string, args ...any) {
	body := fmt.Sprintf(format, args...)
	_, _ = fmt.Fprintf(r, "Content-Length: %d\r\n\r\n%s", len(body), body) // the other end may have gone
}

// next is the next message; ok is false at the end.
func (r *raw) next() (m message, ok bool) {
	r.t.Helper()
	line, err := r.in.ReadString('\n')
	if err != nil {
		return m, false
	}
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "Content-Length:")))
	if err != nil {
		r.t.Fatalf("%q", line)
	}
	body := make([]byte, 2+size)
	if _, err := io.ReadFull(r.in, body); err != nil {
		return m, false
	}
	if err := json.Unmarshal(body[2:], &m); err != nil {
		r.t.Fatalf("%q: %v", body, err)
	}
	return m, true
}

// answer is the next answer to a request.
func (r *raw) answer(id int) message {
	r.t.Helper()
	for {
		m, ok := r.next()
		if !ok {
			r.t.Fatal("the connection has ended")
		}
		if string(m.ID) == strconv.Itoa(id) && m.Method == "" {
			return m
		}
	}
}

// problem is the session's error in an answer.
func (m message) problem(t testing.TB) *session.Error {
	t.Helper()
	e := new(session.Error)
	if m.Error == nil || json.Unmarshal(m.Error.Data, e) != nil {
		t.Fatalf("no error: %+v", m)
	}
	return e
}

// A client of a newer minor version is understood as far as this one goes: fields that are not known are ignored, methods are refused by their names.
func TestNewerClient(t *testing.T) {
	r := serveFake(t).dialRaw()
	r.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"major":1,"minor":99,"program":"newer","shoes":"brown"}}`)
	var w remote.Welcome
	if m := r.answer(1); json.Unmarshal(m.Result, &w) != nil || w.Major != 1 || w.Build != "1.2.3" {
		t.Fatalf("%+v", m)
	}
	r.send(`{"jsonrpc":"2.0","id":2,"method":"session/info","params":{"memory":true,"colour":"red"}}`)
	if m := r.answer(2); m.Error != nil {
		t.Errorf("%+v", m)
	}
	r.send(`{"jsonrpc":"2.0","id":3,"method":"session/levitate","params":{}}`)
	if e := r.answer(3).problem(t); e.Code != session.CodeVersion || !strings.Contains(e.Text, "session/levitate") || !strings.Contains(e.Text, "1.2.3") {
		t.Errorf("%+v", e)
	}
	r.send(`{"jsonrpc":"2.0","method":"wave","params":{}}`) // a notification that is not known
	r.send(`{"jsonrpc":"2.0","id":4,"method":"session/autodip"}`)
	if m := r.answer(4); m.Error != nil {
		t.Errorf("%+v", m)
	}
}

// fakeServer is a session of another version: it answers each request as told.
func fakeServer(t *testing.T, answers map[string]string) (socket string) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := newRaw(t, c); ; {
					m, ok := r.next()
					if !ok {
						return
					}
					answer, known := answers[m.Method]
					if !known {
						answer = `"error":{"code":1,"message":"unknown","data":{"code":"version","text":"the session runs dipls 0.9, which does not know it"}}`
					}
					r.send(`{"jsonrpc":"2.0","method":"events","params":{"events":[{"event":"sunrise","hue":3}],"at":[1],"end":1}}`)
					r.send(`{"jsonrpc":"2.0","id":%s,%s}`, m.ID, answer)
					if m.Method == "stop" {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// A session of an older minor version can be used; what it does not know it says itself. Events that are not known are left out.
func TestOlderServer(t *testing.T) {
	socket := fakeServer(t, map[string]string{
		"hello":             `"result":{"major":1,"minor":0,"build":"0.9","hat":"green"}`,
		"session/autodip":   `"result":"%%dip"`,
		"session/subscribe": `"result":{"at":0}`,
	})
	c, w, err := remote.Dial(sessiontest.Context(t), socket, remote.Hello{})
	if err != nil || w.Build != "0.9" {
		t.Fatal(w, err)
	}
	defer c.Detach(context.Background())
	sub, err := c.Subscribe(sessiontest.Context(t), session.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := c.Autodip(sessiontest.Context(t)); text != "%%dip" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if events, err := sub.Next(soon); err == nil {
		t.Errorf("%+v", events)
	}
	_, err = c.FreeMemory(sessiontest.Context(t), session.Caller{})
	wantCode(t, err, session.CodeVersion)
}

// A session of an older minor version is not given what it would drop without a word. Where its Python runs, what concerns the start counts nowhere.
func TestOlderServerDrops(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	calls := map[string]func(context.Context, *remote.Client, session.Caller) error{
		"start": func(ctx context.Context, c *remote.Client, by session.Caller) error {
			_, err := c.Start(ctx, by, session.Sequence{})
			return err
		},
		"restartPool": func(ctx context.Context, c *remote.Client, by session.Caller) error {
			_, err := c.RestartPool(ctx, by)
			return err
		},
		"prepare": func(ctx context.Context, c *remote.Client, by session.Caller) error {
			return c.Prepare(ctx, by, session.Preparation{})
		},
	}
	for _, python := range []string{`{}`, `{"python":{"pool":{}}}`} {
		c, _, err := remote.Dial(sessiontest.Context(t), fakeServer(t, map[string]string{
			"hello":               `"result":{"major":1,"minor":4,"build":"0.9"}`,
			"session/used":        `"result":` + python,
			"session/start":       `"result":[]`,
			"session/restartPool": `"result":""`,
			"session/prepare":     `"result":{}`,
		}), remote.Hello{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Detach(context.Background())
		_ = os.Remove(file)
		check := func(call, what string, by session.Caller) {
			t.Helper()
			err := calls[call](sessiontest.Context(t), c, by)
			if e, ok := errors.AsType[*session.Error](err); what == "" && err != nil ||
				what != "" && (!ok || e.Code != session.CodeVersion || !strings.Contains(e.Text, what)) {
				t.Errorf("%s, %s: %v, not about %q", python, call, err, what)
			}
		}
		check("start", "", session.Caller{Settings: session.Settings{EnvFile: file}})
		check("start", "reloading of modules", session.Caller{Autoreload: true})
		if err := os.WriteFile(file, []byte("A=1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for what, settings := range map[string]session.Settings{
			"variables of processes":         {Env: map[string]string{"A": "1"}},
			"file of variables":              {EnvFile: file},
			"working directory of processes": {Cwd: "/"},
			"app that has to be there":       {Strict: true},
		} {
			check("restartPool", what, session.Caller{Settings: settings})
			if python != `{}` {
				what = ""
			}
			check("start", what, session.Caller{Settings: settings})
			check("prepare", what, session.Caller{Settings: settings})
		}
		wantCode(t, c.Prepare(sessiontest.Context(t), session.Caller{}, session.Preparation{Wait: true}), session.CodeVersion)
	}
}

// A session of another major version cannot be used, but asked what it is, and ended.
func TestOtherMajor(t *testing.T) {
	socket := fakeServer(t, map[string]string{
		"hello": `"result":{"major":2,"minor":0,"build":"7.0","about":{"name":"train","dir":"/x"}}`,
		"about": `"result":{"name":"train","dir":"/x","pid":7,"mood":"fine"}`,
		"stop":  `"result":{}`,
	})
	_, w, err := remote.Dial(sessiontest.Context(t), socket, remote.Hello{})
	e := wantCode(t, err, session.CodeVersion)
	if w.About.Name != "train" || !strings.Contains(e.Error(), "dipls 7.0") || !strings.Contains(e.Hint, `"dipls stop train"`) ||
		!strings.Contains(e.Hint, "lost") {
		t.Errorf("%+v, %+v", w, e)
	}
	if a, err := remote.About(sessiontest.Context(t), socket, false); a.PID != 7 || err != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if err := remote.Stop(sessiontest.Context(t), socket, "dipls stop"); err != nil {
		t.Error(err)
	}

	r := serveFake(t).dialRaw() // and the other way round
	r.send(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"major":2,"program":"newer"}}`)
	if m := r.answer(1); json.Unmarshal(m.Result, &w) != nil || w.Major != 1 || w.About.PID == 0 {
		t.Fatalf("%+v", m)
	}
	r.send(`{"jsonrpc":"2.0","id":2,"method":"session/freeAll"}`)
	if e := r.answer(2).problem(t); e.Code != session.CodeInvalid {
		t.Errorf("%+v", e)
	}
	r.send(`{"jsonrpc":"2.0","id":3,"method":"about"}`)
	if m := r.answer(3); m.Error != nil {
		t.Errorf("%+v", m)
	}
}
