package remote_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/session"
	"dipls/session/remote"
)

// serveAsking serves a session whose folder has an interpreter of its own, about which users are asked.
func serveAsking(t *testing.T, change ...func(*remote.ServerOptions)) *place {
	t.Helper()
	for _, name := range []string{"DIPLS_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	python := filepath.Join(dir, ".venv", "bin", "python")
	if err := os.MkdirAll(filepath.Dir(python), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(python, fmt.Appendf(nil, "#!/bin/sh\nexec '%s' \"$@\"\n", sessiontest.Interpreter(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	machine := fakerank.NewHost(fakerank.Config{})
	p := serve(t, session.New(session.Options{Dir: dir, Journal: store(t), Host: machine}), change...)
	p.machine = machine
	return p
}

// asking is a caller whose user can be asked.
func asking(front string) session.Caller {
	return session.Caller{Front: front, Settings: session.Settings{Pool: session.Choice{Ranks: 2}}}
}

// startAs starts a local cell for a caller.
func (p *place) startAs(s session.API, by session.Caller, code string) string {
	p.t.Helper()
	runs, err := s.Start(sessiontest.Context(p.t), by, session.Sequence{Cells: []session.Cell{cell(cells.Local, code)}})
	if err != nil {
		p.t.Fatal(err)
	}
	return runs[0]
}

// A question goes only to the connection whose call has caused it, and only that one may answer, though another front has the same name.
func TestQuestionsArePrivate(t *testing.T) {
	p := serveAsking(t)
	one, other := p.attach(remote.Hello{Program: "one"}), p.attach(remote.Hello{Program: "other"})
	hears := sessiontest.Subscribe(t, one, session.SubscribeRequest{Front: "editor"})
	overhears := sessiontest.Subscribe(t, other, session.SubscribeRequest{Front: "editor"})
	run := p.startAs(one, asking("editor"), "")
	asked := hears.Question(event.QuestionAsked)
	wantCode(t, other.Answer(sessiontest.Context(t), asked.ID, asked.Default), session.CodeInvalid)
	if err := one.Answer(sessiontest.Context(t), asked.ID, asked.Default); err != nil {
		t.Fatal(err)
	}
	p.ends(one, run)
	if n := count(overhears.Until(run), func(*event.Question) bool { return true }); n > 0 {
		t.Errorf("%d questions of another's", n)
	}
}

// A question of a client that goes is answered by its default, and kept for whoever comes next; so is one that comes up later.
func TestQuestionsOfGoneClients(t *testing.T) {
	for name, early := range map[string]bool{"while it is open": false, "before it is asked": true} {
		t.Run(name, func(t *testing.T) {
			core, logged := observer.New(zap.InfoLevel)
			p := serveAsking(t, func(o *remote.ServerOptions) { o.Log = zap.New(core) })
			holder, c := p.attach(remote.Hello{Program: "holder"}), p.attach(remote.Hello{Program: "one"})
			held := sessiontest.Subscribe(t, holder, session.SubscribeRequest{Front: "editor"})
			front := sessiontest.Subscribe(t, c, session.SubscribeRequest{Front: "editor"})
			var first *event.Question
			if early { // another question has to be answered before
				p.startAs(holder, asking("editor"), "")
				first = held.Question(event.QuestionAsked)
			}
			run := p.startAs(c, asking("editor"), "")
			if !early {
				front.Question(event.QuestionAsked)
			}
			if err := c.Detach(sessiontest.Context(t)); err != nil {
				t.Fatal(err)
			}
			if early {
				if err := holder.Answer(sessiontest.Context(t), first.ID, ""); err != nil {
					t.Fatal(err)
				}
			}
			p.ends(holder, run)
			var kept *event.Log
			for _, program := range []string{"one that dies before it shows it", "two"} {
				next := p.attach(remote.Hello{Program: program, History: true})
				front = sessiontest.Subscribe(t, next, session.SubscribeRequest{History: true})
				kept = front.Await("what was asked", session.IsUnattended).(*event.Log)
				if !strings.Contains(kept.Text, "python") || !strings.Contains(kept.Text, `"Run"`) || kept.Level != event.LevelWarning {
					t.Errorf("%+v", kept)
				}
				if program == "two" {
					if err := next.Shown(sessiontest.Context(t), kept.Text); err != nil {
						t.Fatal(err)
					}
				}
				if err := next.Detach(sessiontest.Context(t)); err != nil {
					t.Fatal(err)
				}
			}
			late := p.attach(remote.Hello{Program: "three", History: true})
			sub, err := late.Subscribe(sessiontest.Context(t), session.SubscribeRequest{History: true})
			if err != nil {
				t.Fatal(err)
			}
			for sub.Position() < sub.Past() {
				events, err := sub.Next(sessiontest.Context(t))
				if err != nil || slices.ContainsFunc(events, session.IsUnattended) {
					t.Fatalf("told again: %+v, %v", events, err)
				}
			}
			sub.Close()
			if n := logged.FilterMessage("a question was answered by its default").Len(); n != 1 {
				t.Errorf("%d lines in the log", n)
			}
		})
	}
}

// Who attached, ran, interrupted, answered, stopped and left stands in the log.
func TestLog(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	p := serveAsking(t, func(o *remote.ServerOptions) { o.Log = zap.New(core) })
	c := p.attach(remote.Hello{Program: "VS Code", Build: "1.2"})
	front := sessiontest.Subscribe(t, c, session.SubscribeRequest{Front: "editor"})
	run := p.startAs(c, asking("editor"), "print on\nwait")
	asked := front.Question(event.QuestionAsked)
	if err := c.Answer(sessiontest.Context(t), asked.ID, asked.Default); err != nil {
		t.Fatal(err)
	}
	front.Printed(run, "on")
	if _, err := c.Cancel(sessiontest.Context(t), run); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(sessiontest.Context(t), run); err != nil {
		t.Fatal(err)
	}
	if err := c.Detach(sessiontest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if err := remote.Stop(sessiontest.Context(t), p.socket, "dipls stop"); err != nil {
		t.Fatal(err)
	}
	<-p.closed
	client := fmt.Sprintf("VS Code (pid %d)", os.Getpid())
	for _, what := range []string{"attached", "runs", "answers", "interrupts", "detached"} {
		found := logged.FilterMessage(what).FilterField(zap.String("client", client)).Len()
		if found != 1 {
			t.Errorf("%q: %d lines", what, found)
		}
	}
	if n := logged.FilterMessage("stops the session").Len(); n != 1 {
		t.Errorf("%d lines of the end", n)
	}
}
