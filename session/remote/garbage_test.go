package remote_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/sessiontest"
	"dipls/session"
	"dipls/session/remote"
)

// Garbage ends the connection that it came by, and nothing else.
func TestGarbage(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	p := serveFake(t, func(o *remote.ServerOptions) { o.Log = zap.New(core) })
	c := p.attach(remote.Hello{Program: "test"})
	for name, text := range map[string]string{
		"no header":        "GET / HTTP/1.1\r\n\r\n",
		"no end":           strings.Repeat("x", 1<<20),
		"another header":   "Host: here\r\n\r\n{}",
		"no length":        "Content-Length: many\r\n\r\n{}",
		"negative":         "Content-Length: -5\r\n\r\n{}",
		"oversize":         "Content-Length: 999999999999\r\n\r\n{",
		"beyond int":       "Content-Length: 99999999999999999999999\r\n\r\n{",
		"no JSON":          "Content-Length: 3\r\n\r\n}}}",
		"no message":       "Content-Length: 2\r\n\r\n[]",
		"an unknown shape": "Content-Length: 7\r\n\r\n{\"a\":1}",
		"binary":           "\x00\x01\x02\xff\n\n\n",
	} {
		r := p.dialRaw()
		_, _ = r.Write([]byte(text)) // it may have been refused before its end
		if m, ok := r.next(); ok {
			t.Errorf("%s: it was answered: %+v", name, m)
		}
	}
	if _, err := c.Autodip(sessiontest.Context(t)); err != nil {
		t.Error(err)
	}
	if logged.Len() == 0 {
		t.Error("nothing is logged")
	}
	r := p.dialRaw() // what makes sense as a message, but not as a request, is refused
	r.send(`{"jsonrpc":"2.0","id":1,"method":"session/start","params":{}}`)
	if e := r.answer(1).problem(t); e.Code != session.CodeInvalid {
		t.Errorf("%+v", e)
	}
	r.send(`{"jsonrpc":"2.0","id":2,"method":"hello","params":{"major":1,"program":"raw"}}`)
	r.answer(2)
	r.send(`{"jsonrpc":"2.0","id":3,"method":"session/start","params":{"sequence":7}}`)
	if m := r.answer(3); m.Error == nil || m.Error.Code != -32602 {
		t.Errorf("%+v", m)
	}
	r.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"none"}}`)
	r.send(`{"jsonrpc":"2.0","id":4,"method":"hello","params":{"major":1}}`)
	if e := r.answer(4).problem(t); e.Code != session.CodeInvalid {
		t.Errorf("%+v", e)
	}
}

// faulty is a session with a fault.
type faulty struct{ session.API }

func (faulty) Used(context.Context) (session.Used, error) { panic("a fault of a test's") }

func (faulty) GPUs(context.Context) ([]session.GPU, error) {
	return nil, errors.New("an error without a code")
}

// A panic is the error of the call that it struck; errors without a code stay errors.
func TestPanic(t *testing.T) {
	core, logged := observer.New(zap.ErrorLevel)
	p := serveFake(t, func(o *remote.ServerOptions) { o.API, o.Log = faulty{o.API}, zap.New(core) })
	c := p.attach(remote.Hello{Program: "test"})
	if _, err := c.Used(sessiontest.Context(t)); err == nil || !strings.Contains(err.Error(), "a fault of a test's") {
		t.Error(err)
	}
	if logged.Len() != 1 {
		t.Errorf("%d lines in the log", logged.Len())
	}
	if _, err := c.GPUs(sessiontest.Context(t)); err == nil || err.Error() != "an error without a code" {
		t.Error(err)
	}
	p.ends(c, p.start(c, cell(cells.Local, ""))...)
}

// Names of files are bytes, also where they are no text. Large texts arrive as they are.
func TestBytes(t *testing.T) {
	p := serveFake(t)
	c := p.attach(remote.Hello{Program: "test"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{})
	odd := cell(cells.Local, "print ünï \U0001f480")
	odd.Path, odd.Title, odd.Source = "/tmp/caf\xe9 \U0001f480/a\xff.py", "<&> \u2028 \"title\"", strings.Repeat("ä", 3<<20)
	run := p.start(c, odd)
	events := front.Until(run[0])
	if n := count(events, func(ev *event.RunQueued) bool {
		return string(ev.Path) == odd.Path && ev.Title == odd.Title && ev.Source == odd.Source
	}); n != 1 {
		t.Errorf("%d are queued", n)
	}
	if n := count(events, func(ev *event.RunStarted) bool { return string(ev.Path) == odd.Path }); n != 1 {
		t.Errorf("%d are started", n)
	}
	if n := count(events, func(ev *event.Stream) bool { return ev.Text == "ünï \U0001f480\n" }); n != 1 {
		t.Errorf("%+v", events)
	}
	p.ends(c, run...)
	tooLong := cell(cells.Local, "")
	tooLong.Source = strings.Repeat("x", 65<<20)
	_, err := c.Start(sessiontest.Context(t), by(), session.Sequence{Cells: []session.Cell{tooLong}})
	if err == nil || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
	p.ends(c, p.start(c, cell(cells.Local, ""))...)
}
