package daemon

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/internal/sessiontest"
	"dipls/session"
	"dipls/session/remote"
)

// A session that was used goes on when its clients leave, and who comes next finds it.
func TestSessionOutlivesItsClients(t *testing.T) {
	h := newHouse(t)
	first := h.attach(session.AttachRequest{Keep: time.Hour, Program: "VS Code"})
	if !first.Started || first.Ended != nil || first.About.Name != filepath.Base(h.dir) || first.About.Keep != time.Hour {
		t.Errorf("%+v", first)
	}
	h.run(first, "print 1")
	h.leave(first)
	second := h.attach(session.AttachRequest{Program: "Neovim"})
	if second.Started || !second.About.Used || second.About.Ends != nil || second.About.Version != "test" {
		t.Errorf("%+v", second)
	}
	h.leave(second)
	h.await("a session that nobody is attached to", func() bool {
		all, err := h.List(sessiontest.Context(t))
		return err == nil && len(all) == 1 && all[0].Ends != nil && all[0].Keep == time.Hour
	})
	log, err := os.ReadFile(second.About.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{
		"session begins", `attached	{"client": "VS Code`, `runs	{"client": "VS Code`, `attached	{"client": "Neovim`, `detached	{"client": "Neovim`,
	} {
		if !strings.Contains(string(log), said) {
			t.Errorf("the log does not say %q:\n%s", said, log)
		}
	}
}

// Who only looks keeps a session from nothing, is not told of, and does not end an unused one.
func TestOnlooker(t *testing.T) {
	h := newHouse(t)
	first := h.attach(session.AttachRequest{Keep: time.Hour, Program: "VS Code"})
	h.leave(h.attach(session.AttachRequest{Program: "dipls status", Looks: true}))
	h.run(first, "print 1") // it was not used before, and lives
	h.leave(first)
	h.await("a session that nobody is attached to", func() bool {
		all, err := h.List(sessiontest.Context(t))
		return err == nil && len(all) == 1 && all[0].Ends != nil
	})
	look := h.attach(session.AttachRequest{Program: "dipls status", Looks: true})
	defer h.leave(look)
	about, err := look.API.About(sessiontest.Context(t), false)
	if err != nil || look.Started || len(about.Clients) > 0 || about.Ends == nil || len(look.Remarks) > 0 {
		t.Errorf("%+v, %v", about, err)
	}
	log, err := os.ReadFile(about.Log)
	if err != nil || strings.Contains(string(log), "dipls status") {
		t.Errorf("%v, %s", err, log)
	}
	if err := look.API.KeepFor(sessiontest.Context(t), time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	h.gone()
}

// How a session ended is told at the next start in its folder, once, but not to who has ended it.
func TestHowItEnded(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*house, *session.Attachment)
		why  string // "": nobody is told
	}{
		{"unused", func(h *house, a *session.Attachment) { h.leave(a) }, ""},
		{"not kept", func(h *house, a *session.Attachment) { h.run(a, "print 1"); h.leave(a) }, "its last client left, and it was not to be kept"},
		{"idle", func(h *house, a *session.Attachment) {
			h.run(a, "print 1")
			if err := a.KeepFor(sessiontest.Context(h.t), time.Millisecond); err != nil {
				h.t.Fatal(err)
			}
			h.leave(a)
		}, "it was idle for "},
		{"after its last run", func(h *house, a *session.Attachment) {
			h.begin(a, "gate go")
			h.leave(a)
			h.machine.Open("go")
		}, "its last client left, and it was not to be kept"},
		{"stopped", func(h *house, a *session.Attachment) {
			all, err := h.List(sessiontest.Context(h.t))
			if err != nil || len(all) != 1 {
				h.t.Fatal(all, err)
			}
			if err := h.Stop(sessiontest.Context(h.t), all[0], "dipls stop"); err != nil {
				h.t.Fatal(err)
			}
		}, ""},
		{"closed by an editor", func(h *house, a *session.Attachment) {
			if err := a.Close(sessiontest.Context(h.t), session.CloseRequest{}); err != nil {
				h.t.Fatal(err)
			}
		}, ""},
		{"signalled", func(h *house, _ *session.Attachment) { h.end(errors.New("the machine was shut down")) }, "the machine was shut down"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			a := h.attach(session.AttachRequest{Program: "VS Code", Keep: session.KeepNever})
			log := a.About.Log
			test.end(h, a)
			h.gone()
			if test.name == "signalled" {
				h.work.Wait()
				next := newHouse(t)
				next.dir = h.dir
				h = next
			}
			next := h.attach(session.AttachRequest{Program: "VS Code"})
			if !next.Started {
				t.Error("the session did not end")
			}
			switch {
			case test.why == "":
				if next.Ended != nil {
					t.Errorf("told %+v", next.Ended)
				}
			case next.Ended == nil || !strings.HasPrefix(next.Ended.Why, test.why) || next.Ended.Log != log || next.Ended.Journal == "":
				t.Errorf("told %+v, want %q", next.Ended, test.why)
			}
			h.leave(next)
			h.gone()
			if again := h.attach(session.AttachRequest{Program: "VS Code"}); again.Ended != nil {
				t.Errorf("told again: %+v", again.Ended)
			}
		})
	}
}

// Clients that start a session at the same time get one.
func TestOneStart(t *testing.T) {
	h := newHouse(t)
	const clients = 8
	pids := make(chan time.Time, clients)
	for range clients {
		go func() {
			a, err := h.Attach(t.Context(), session.AttachRequest{Dir: h.dir, Start: true, Program: "test"})
			if err != nil {
				t.Error(err)
				pids <- time.Time{}
				return
			}
			pids <- a.About.Since
			<-t.Context().Done()
		}()
	}
	first := <-pids
	for range clients - 1 {
		if other := <-pids; !other.Equal(first) {
			t.Errorf("sessions of %v and %v", first, other)
		}
	}
}

// A client whose environment or interpreter is another one is told, once.
func TestRemarks(t *testing.T) {
	t.Setenv("VIRTUAL_ENV", "/venv")
	t.Setenv("CUDA_VISIBLE_DEVICES", "0,1")
	me := sessiontest.Interpreter(t)
	same := map[string]string{"VIRTUAL_ENV": "/venv", "CUDA_VISIBLE_DEVICES": "0,1"}
	with := func(name, value string) map[string]string {
		env := maps.Clone(same)
		env[name] = value
		return env
	}
	for _, test := range []struct {
		name   string
		hello  remote.Hello
		python string // that runs
		want   string // in the remark; "": there is none
	}{
		{"the same", remote.Hello{Env: same}, "/venv/bin/python", ""},
		{"another venv", remote.Hello{Env: with("VIRTUAL_ENV", "/b")}, "/venv/bin/python",
			`session s was started with VIRTUAL_ENV=/venv, and VS Code has VIRTUAL_ENV=/b; it stays with its own, "dipls stop" ends it`},
		{"another venv, whose interpreter runs", remote.Hello{Env: with("VIRTUAL_ENV", "/b")}, "/b/bin/python", ""},
		{"another venv, which the settings overrule", remote.Hello{Env: with("VIRTUAL_ENV", "/b"), Python: me}, me, ""},
		{"other GPUs", remote.Hello{Env: with("CUDA_VISIBLE_DEVICES", "")}, "", "started with CUDA_VISIBLE_DEVICES=0,1, and VS Code has CUDA_VISIBLE_DEVICES=;"},
		{"all GPUs", remote.Hello{Env: map[string]string{"VIRTUAL_ENV": "/venv"}}, "", "and VS Code has no CUDA_VISIBLE_DEVICES;"},
		{"another interpreter", remote.Hello{Env: same, Python: me}, "/other", "session s runs /other, and VS Code would run " + me},
		{"another interpreter, before one runs", remote.Hello{Env: same, Python: me}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r remarks
			test.hello.Program = "VS Code"
			about := session.About{Name: "s", Dir: "/", Python: test.python}
			said := strings.Join(r.about(test.hello, about), "\n")
			if (said == "") != (test.want == "") || !strings.Contains(said, test.want) {
				t.Errorf("%q, want %q", said, test.want)
			}
			if again := r.about(test.hello, about); again != nil {
				t.Errorf("again: %q", again)
			}
		})
	}
}

// A log does not grow without end, and keeps what is newest.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := newLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.f.Close()
	line := strings.Repeat("x", 1000) + "\n"
	for range 3000 {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	l.Write([]byte("the last\n"))
	data, err := os.ReadFile(path)
	if err != nil || len(data) > maxLog || len(data) < maxLog/4 || !strings.HasSuffix(string(data), line+"the last\n") || !strings.HasPrefix(string(data), line) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
