package lsp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/lsptest"
	"dipls/internal/sessiontest"
	"dipls/lsp"
	"dipls/ranks/fakerank"
	"dipls/session"
	"dipls/session/daemon"
	"dipls/session/registry"
)

// house has sessions that outlive the editors' servers of a test. They are goroutines over a machine of goroutines; servers reach them by sockets, as always.
type house struct {
	*registry.Registry
	t       *testing.T
	machine *fakerank.Host
	end     context.CancelCauseFunc // of all sessions, as a signal does
	work    sync.WaitGroup
	full    atomic.Bool // the disk, so that no session starts
	deaf    atomic.Bool // the next session that is attached to is gone at once
	lost    sync.Map    // folders whose sessions are just being lost
	first   sync.Map
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, machine: fakerank.NewHost(fakerank.Config{})}
	ctx, end := context.WithCancelCause(context.Background())
	h.end = end
	h.Registry = registry.Open(registry.Options{Build: "test", Start: func(_ context.Context, dir, name string, keep time.Duration) error {
		if h.full.Load() {
			return errors.New("the disk is full")
		}
		c, err := h.Claim(context.Background(), dir, name)
		if err != nil {
			return err
		}
		store := journal.Open(journal.Options{})
		s := session.New(session.Options{Dir: dir, Journal: store, Host: h.machine, Trust: trusted()})
		h.work.Go(func() {
			defer store.Close()
			if err := daemon.Run(ctx, daemon.Options{Claim: c, API: s, Keep: keep, Build: "test", Log: zap.NewNop()}); err != nil {
				t.Errorf("the session: %v", err)
			}
		})
		return nil
	}})
	t.Cleanup(func() {
		end(errors.New("the test is over"))
		h.work.Wait()
	})
	return h
}

// Attach implements [lsp.Attacher].
func (h *house) Attach(ctx context.Context, r session.AttachRequest) (*session.Attachment, error) {
	a, err := h.Registry.Attach(ctx, r)
	if err == nil && h.deaf.CompareAndSwap(true, false) {
		err = a.Detach(ctx)
	}
	if err == nil {
		a.API = &losing{a.API, h}
	}
	return a, err
}

// losing is the way to a session that may be just being lost.
type losing struct {
	session.API
	h *house
}

// Info implements [session.API].
func (l *losing) Info(ctx context.Context, memory bool) (session.PoolInfo, error) {
	about, err := l.API.About(ctx, false)
	if _, lost := l.h.lost.Load(about.Dir); err == nil && lost {
		err = &session.Error{Code: session.CodeClosed, Text: "it is gone"}
	}
	if err != nil {
		return session.PoolInfo{}, err
	}
	return l.API.Info(ctx, memory)
}

// server is a server whose sessions outlive it.
func (h *house) server(ctx context.Context, stream io.ReadWriteCloser) error {
	sessions := lsp.NewSessions(func(dir string) session.API { return session.New(session.Options{Dir: dir, Host: h.machine}) }, h)
	firstTime := func(what string) bool {
		_, told := h.first.LoadOrStore(what, true)
		return !told
	}
	served := lsp.Serve(ctx, stream, lsp.Deps{
		Sessions: sessions, Log: zap.NewNop(), Version: "test", ParentPoll: 10 * time.Millisecond, FirstTime: firstTime,
	})
	patience, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	return errors.Join(served, sessions.Close(patience))
}

// editor starts an editor in a folder; "": a new one.
func (h *house) editor(folder, program string, o lsptest.Options) *lsptest.Editor {
	h.t.Helper()
	o.Folder, o.Server = folder, h.server
	if o.Settings == nil {
		o.Settings = lsptest.Object{"ranks": 2, "app": "none"}
	}
	o.Program, o.Kept = program, true
	return lsptest.Start(h.t, o)
}

// hint is the inlay hint at a line, from 0; "" if there is none.
func hintAt(e *lsptest.Editor, line int) string {
	params := inDocument(e, "a.py")
	params["range"] = lsptest.Range{Start: lsptest.Position{Line: line}, End: lsptest.Position{Line: line + 1}}
	var hints []struct {
		Position lsptest.Position
		Label    string
	}
	if err := e.Call("textDocument/inlayHint", params, &hints); err != nil {
		return err.Error()
	}
	for _, h := range hints {
		if h.Position.Line == line {
			return h.Label
		}
	}
	return ""
}

// containsAll reports whether a text has others in it; "" is that there is no text.
func containsAll(text string, want ...string) bool {
	for _, w := range want {
		if w == "" && text != "" || !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

const (
	past = "# %% Fails\nprint before\nfoobar\n# %%dip --see all\nprint on ranks\n# %% Waits\nprint begun\ngate go\nprint done\n"
	// edited is past after lines were put above, and one cell was changed.
	edited = "# %% new\nprint new\n# %% Fails\nprint before\nfoobar\n# %%dip --see all\nprint on the ranks\n# %% Waits\nprint begun\ngate go\nprint done\n"
)

// What has run in a window is shown in the next one: lenses, hints, diagnostics, events and folded output, where the text is now. A run goes on meanwhile.
func TestNextWindow(t *testing.T) {
	for _, leave := range []struct {
		how string
		do  func(*lsptest.Editor)
	}{
		{"shutdown", func(e *lsptest.Editor) { must(t, e.Shutdown()) }},
		{"end of file", func(e *lsptest.Editor) { wantNoShutdown(t, e.Leave()) }},
	} {
		t.Run(leave.how, func(t *testing.T) {
			h := newHouse(t)
			e := h.editor("", "VS Code", lsptest.Options{Init: events})
			e.Open("a.py", past)
			e.Await("word of the session", lsptest.Method("dip/session"), lsptest.Has("state", "attached"))
			run := func(cell int) string { return e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": cell}) }
			failed := run(1)
			finished(e, failed, "error")
			onRanks := run(2)
			finished(e, onRanks, "ok")
			waits := run(3)
			e.Await("the cell", lsptest.Has("run", waits), lsptest.Contains("text", "begun"))
			leave.do(e)

			e = h.editor(e.Folder, "Neovim", lsptest.Options{Init: lsptest.Object{"events": true, "folded": true}})
			e.Open("a.py", edited)
			back := e.Await("word of the session", lsptest.Method("dip/session"), lsptest.Has("state", "reattached"), lsptest.Has("past", true))
			if back.Get("ranks") != 2.0 {
				t.Errorf("%v", back)
			}
			e.Until("word that the first one has gone", func([]lsptest.Message) bool { // the session may hear of that later than the editor
				return slices.ContainsFunc(e.Messages(lsptest.Method("dip/session")), func(m lsptest.Message) bool { return m.Get("clients.0") == "Neovim" })
			})
			e.Await("the past", lsptest.Method("dip/event"), lsptest.Has("event", "run_queued"), lsptest.Has("run", failed))
			e.Await("the past", lsptest.Method("dip/event"), lsptest.Has("run", failed), lsptest.Has("text", "before\n"))
			e.Await("its end", lsptest.Method("dip/event"), lsptest.Has("event", "run_finished"), lsptest.Has("run", onRanks))
			e.Await("the present", lsptest.Method("dip/session"), lsptest.Has("past", nil))
			e.Until("folded output", func([]lsptest.Message) bool {
				return len(e.Messages(lsptest.Method("dip/folded"), lsptest.Contains("items.0.text", "Fails"))) > 0
			})
			e.Until("the diagnostic of the failure where it is now", func([]lsptest.Message) bool {
				for _, m := range e.Messages(lsptest.Method("textDocument/publishDiagnostics")) {
					list, _ := m.Get("diagnostics").([]any)
					for _, d := range list {
						if lsptest.Dig(d, "code") == "NameError" && lsptest.Dig(d, "range.start.line") == 4.0 {
							return true
						}
					}
				}
				return false
			})
			for line, want := range map[int]string{0: "", 2: "NameError", 5: "stale", 7: "running"} {
				if got := hintAt(e, line); !containsAll(got, want) {
					t.Errorf("line %d: hint %q, want %q", line, got, want)
				}
			}
			h.machine.Open("go")
			e.Await("what is printed now", lsptest.Method("dip/event"), lsptest.Has("run", waits), lsptest.Has("text", "done\n"))
			finished(e, waits, "ok")
			if popped := e.Messages(lsptest.Method("window/showMessage"), lsptest.Has("type", 1)); len(popped) > 0 {
				t.Errorf("popped up: %v", popped)
			}
		})
	}
}

// A document that is opened long after the session was attached to shows what has run in it; a plain client reads the past in its log, and nothing pops up.
func TestOpenedLater(t *testing.T) {
	h := newHouse(t)
	e := h.editor("", "Helix", lsptest.Options{})
	e.Open("a.py", past)
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the failure", lsptest.Method("window/showMessage"), lsptest.Contains("message", "NameError"))
	must(t, e.Shutdown())

	e = h.editor(e.Folder, "Helix", lsptest.Options{})
	e.Open("b.py", "# %%\nprint b\n")
	e.Await("the past", lsptest.Method("window/logMessage"), lsptest.Contains("message", "before"))
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("b.py"), "cell": 1})
	e.Await("the present", lsptest.Method("window/logMessage"), lsptest.Contains("message", "b"))
	e.Open("a.py", edited)
	e.Await("the diagnostic", lsptest.Method("textDocument/publishDiagnostics"), lsptest.Has("uri", e.URI("a.py")),
		lsptest.Has("diagnostics.0.range.start.line", 4))
	await(t, "the hint", func() bool { return containsAll(hintAt(e, 2), "NameError") })
	if popped := e.Messages(lsptest.Method("window/showMessage"), lsptest.Contains("message", "NameError")); len(popped) > 0 {
		t.Errorf("popped up: %v", popped)
	}
}

// A failure pops up in the windows that are there when it happens, also where a part of its run had failed before.
func TestFailedMeanwhile(t *testing.T) {
	h := newHouse(t)
	const text = "# %%dip\non 0 error KeyError before\non 1 gate go\non 1 error KeyError after\n"
	first := h.editor("", "VS Code", lsptest.Options{Init: events})
	first.Open("a.py", text)
	run := first.Run("dip.runCell", lsptest.Object{"uri": first.URI("a.py"), "cell": 1})
	first.Await("the first failure", lsptest.Has("event", "error"), lsptest.Has("run", run))
	second := h.editor(first.Folder, "Helix", lsptest.Options{})
	second.Open("a.py", text)
	second.Await("the first failure", lsptest.Method("window/logMessage"), lsptest.Contains("message", "KeyError: before"))
	h.machine.Open("go")
	second.Await("the second failure", lsptest.Method("window/showMessage"), lsptest.Contains("message", "KeyError: after"))
	if popped := second.Messages(lsptest.Method("window/showMessage"), lsptest.Contains("message", "before")); len(popped) > 0 {
		t.Errorf("popped up: %v", popped)
	}
}

// Of two windows on one folder, each sees the other's runs, also those that wait, and may interrupt them.
func TestTwoWindows(t *testing.T) {
	h := newHouse(t)
	first := h.editor("", "VS Code", lsptest.Options{Init: events})
	second := h.editor(first.Folder, "Neovim", lsptest.Options{Init: events, Settings: lsptest.Object{"ranks": 3, "app": "none"}})
	for _, e := range []*lsptest.Editor{first, second} {
		e.Open("a.py", "# %% Holds\nprint begun\nwait\n# %% Next\nprint next\n")
		e.Await("the session", lsptest.Method("dip/session"))
	}
	holds := first.Run("dip.runCell", lsptest.Object{"uri": first.URI("a.py"), "cell": 1})
	next := first.Run("dip.runCell", lsptest.Object{"uri": first.URI("a.py"), "cell": 2})
	second.Await("a run that waits", lsptest.Has("event", "run_queued"), lsptest.Has("run", next), lsptest.Has("by", "VS Code"))
	second.Await("output", lsptest.Has("run", holds), lsptest.Contains("text", "begun"))
	if got := hintAt(second, 3); !containsAll(got, "queued") {
		t.Errorf("hint %q", got)
	}
	if got := hintAt(second, 0); !containsAll(got, "running") {
		t.Errorf("hint %q", got)
	}
	second.Command("dip.interrupt", lsptest.Object{"run": holds}, nil)
	finished(first, holds, "interrupted")
	finished(first, next, "ok")
	finished(second, next, "ok")
	second.Await("who is attached", lsptest.Method("dip/session"), lsptest.Has("clients", []any{"VS Code", "Neovim"}))
	// The pool is as the first window wants it; that is no reason to ask the second one, whose settings are others.
	finished(first, first.Run("dip.makePool", nil), "ok")
	second.Settings(lsptest.Object{"ranks": 3, "app": "none", "see": "all"})
	second.Command("dip.status", nil, nil)
	if asked := second.Messages(lsptest.Method("window/showMessageRequest")); len(asked) > 0 {
		t.Errorf("asked %v", asked)
	}
}

// Who else is attached is told at once, and so is what the session is called; who only looks is not told of.
func TestWhoIsAttached(t *testing.T) {
	h := newHouse(t)
	first := h.editor("", "VS Code", lsptest.Options{Init: events})
	first.Open("a.py", "# %%\nprint 1\n")
	finished(first, first.Run("dip.runCell", lsptest.Object{"uri": first.URI("a.py"), "cell": 1}), "ok")
	look, err := h.Attach(sessiontest.Context(t), session.AttachRequest{Dir: first.Folder, Program: "dipls status", Looks: true})
	must(t, err)
	second, err := h.Attach(sessiontest.Context(t), session.AttachRequest{Dir: first.Folder, Program: "dipls attach"})
	must(t, err)
	first.Await("who has come", lsptest.Method("dip/session"), lsptest.Has("clients", []any{"VS Code", "dipls attach"}))
	must(t, second.Rename(sessiontest.Context(t), "train"))
	first.Await("its name", lsptest.Method("dip/session"), lsptest.Has("name", "train"))
	first.Mark()
	must(t, second.Detach(sessiontest.Context(t)))
	first.Await("who has left", lsptest.Method("dip/session"), lsptest.Has("clients", []any{"VS Code"}))
	must(t, look.Detach(sessiontest.Context(t)))
	if told := first.Messages(lsptest.Contains("clients", "dipls status")); len(told) > 0 {
		t.Errorf("told of who only looks: %v", told)
	}
}

// What ranks hold of GPUs is told after runs, which change it.
func TestGPUMemoryAfterRuns(t *testing.T) {
	lsp.HurryMemory(t)
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$1\" in\n*compute-apps*) exec /bin/cat '" + dir + "/processes' ;;\n*utilization*) exit ;;\nesac\n" +
		"echo '0, gpu0, Fake, 1000, 10'\n"
	must(t, os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "processes"), nil, 0o600))
	t.Setenv("PATH", dir)
	t.Setenv("CUDA_VISIBLE_DEVICES", "0")
	h := newHouse(t)
	h.machine = fakerank.NewHost(fakerank.Config{Device: "cuda:0"})
	e := h.editor("", "VS Code", lsptest.Options{Init: events, Settings: lsptest.Object{"gpus": "all", "app": "none"}})
	e.Open("a.py", "# %%dip\nprint 1\n")
	run := func() { finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok") }
	run()
	e.Await("the ranks", lsptest.Method("dip/session"), lsptest.Has("devices", []any{"cuda:0"}))
	var status struct {
		Workspaces []struct {
			Pool struct{ Ranks []struct{ PID int } }
		}
	}
	e.Command("dip.status", nil, &status)
	must(t, os.WriteFile(filepath.Join(dir, "processes"), fmt.Appendf(nil, "%d, 512\n", status.Workspaces[0].Pool.Ranks[0].PID), 0o600))
	run()
	e.Await("what they hold", lsptest.Method("dip/session"), lsptest.Has("memory", float64(512<<20)))
}

// When the session is gone, the user is told why, and the next command starts another one.
func TestSessionGone(t *testing.T) {
	h := newHouse(t)
	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", fakedHold)
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("the cell", lsptest.Contains("text", "begun"))
	list, err := h.List(sessiontest.Context(t))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	must(t, h.Stop(sessiontest.Context(t), list[0], "dipls stop"))
	e.Await("word of it", lsptest.Method("dip/session"), lsptest.Has("state", "gone"), lsptest.Contains("text", "dipls stop"))
	e.Await("word of it", lsptest.Method("window/showMessage"), lsptest.Has("type", 1), lsptest.Contains("message", "dipls stop"))
	if ended := e.Messages(lsptest.Has("event", "run_finished"), lsptest.Has("run", run)); len(ended) != 1 {
		t.Errorf("the run's end: %v", ended)
	}
	again := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("another session", lsptest.Method("dip/session"), lsptest.Has("state", "attached"))
	e.Command("dip.interrupt", nil, nil)
	finished(e, again, "interrupted")
}

// A session that is gone as soon as it was attached to keeps nobody from the next one.
func TestSessionGoneAtOnce(t *testing.T) {
	h := newHouse(t)
	h.deaf.Store(true)
	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint 1\n")
	e.Await("word of it", lsptest.Method("window/showMessage"), lsptest.Contains("message", "there is no session"))
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
}

// A session that cannot be had is told once, with what to do; commands try again.
func TestNoSession(t *testing.T) {
	h := newHouse(t)
	h.full.Store(true)
	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint 1\n")
	e.Await("word of it", lsptest.Method("window/showMessage"), lsptest.Contains("message", "the disk is full"), lsptest.Contains("message", "session.keep"))
	run := lsptest.Object{"uri": e.URI("a.py"), "cell": 1}
	if err := e.TryCommand("dip.runCell", run, nil); err == nil || !containsAll(err.Error(), "the disk is full") {
		t.Error(err)
	}
	e.Open("b.py", "# %%\nprint 2\n")
	if err := e.TryCommand("dip.runCell", lsptest.Object{"uri": e.URI("b.py"), "cell": 1}, nil); err == nil {
		t.Error("it runs")
	}
	h.full.Store(false)
	finished(e, e.Run("dip.runCell", run), "ok")
	if told := e.Messages(lsptest.Method("window/showMessage"), lsptest.Contains("message", "the disk is full")); len(told) != 1 {
		t.Errorf("told %v", told)
	}
}

// Where a folder has several sessions, and none of its own name, the user says which is meant.
func TestSeveralSessions(t *testing.T) {
	h := newHouse(t)
	folder := t.TempDir()
	for _, name := range []string{"day", "night"} {
		a, err := h.Attach(sessiontest.Context(t), session.AttachRequest{Dir: folder, Name: name, Start: true, Program: "test"})
		must(t, err)
		defer func() { must(t, a.Detach(sessiontest.Context(t))) }()
	}
	e := h.editor(folder, "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint 1\n")
	e.Await("word of it", lsptest.Method("window/showMessage"), lsptest.Contains("message", "night in "), lsptest.Contains("message", "dip.attachSession"))
	e.Command("dip.attachSession", lsptest.Object{"name": "night"}, nil)
	e.Await("the session", lsptest.Method("dip/session"), lsptest.Has("name", "night"))
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
}

// A client of an untrusted workspace attaches to nothing; once it is trusted, it does. With keep 0 there is no session that stays.
func TestAttachesToNothing(t *testing.T) {
	h := newHouse(t)
	none := func() {
		t.Helper()
		if list, err := h.List(sessiontest.Context(t)); err != nil || len(list) > 0 {
			t.Errorf("%v %v", list, err)
		}
	}
	e := h.editor("", "VS Code", lsptest.Options{Init: lsptest.Object{"events": true, "trusted": false}})
	e.Open("a.py", "# %%\nprint 1\n")
	for _, command := range []string{"dip.runCell", "dip.sessions", "dip.attachSession", "dip.stopSession", "dip.freeMemory"} {
		if err := e.TryCommand(command, lsptest.Object{"uri": e.URI("a.py"), "cell": 1, "name": "x"}, nil); err == nil {
			t.Errorf("%s answers", command)
		}
	}
	none()
	e.Notify("dip/trusted", nil)
	e.Await("the session", lsptest.Method("dip/session"), lsptest.Has("state", "attached"))
	must(t, e.Shutdown())
	for len(listed(t, h)) > 0 { // nobody has used it, so it ends with its last client
		time.Sleep(time.Millisecond)
	}

	e = h.editor("", "VS Code", lsptest.Options{Init: lsptest.Object{"events": true, "session": lsptest.Object{"keep": "0"}}})
	e.Open("a.py", "# %%\nprint 1\n")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	e.Await("whose session it is", lsptest.Method("dip/session"), lsptest.Has("state", "own"), lsptest.Has("keep", 0))
	none()
	e.Open("module.py", "print 1\n")
}

func listed(t *testing.T, h *house) []session.Listed {
	t.Helper()
	list, err := h.List(sessiontest.Context(t))
	must(t, err)
	return list
}

// The commands about sessions: to list, rename, attach to another one, free memory, stop.
func TestSessionCommands(t *testing.T) {
	h := newHouse(t)
	other := h.editor("", "Neovim", lsptest.Options{Init: events})
	other.Open("a.py", "# %% There\nprint there\n")
	finished(other, other.Run("dip.runCell", lsptest.Object{"uri": other.URI("a.py"), "cell": 1}), "ok")
	other.Command("dip.renameSession", lsptest.Object{"name": "train"}, nil)
	other.Await("its name", lsptest.Method("dip/session"), lsptest.Has("name", "train"))

	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %% Here\nprint here\n")
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	var list struct {
		Sessions []struct {
			Name, Dir, Text string
			Current         bool
		}
	}
	e.Command("dip.sessions", nil, &list)
	if len(list.Sessions) != 2 {
		t.Fatalf("%+v", list)
	}
	for _, s := range list.Sessions {
		if s.Current != (s.Name != "train") || !containsAll(s.Text, s.Name+" in ") {
			t.Errorf("%+v", s)
		}
	}
	var reply struct{ Text string }
	e.Command("dip.attachSession", lsptest.Object{"name": "train", "dir": other.Folder}, &reply)
	e.Await("the other session", lsptest.Method("dip/session"), lsptest.Has("state", "reattached"), lsptest.Has("name", "train"))
	if got := hintAt(e, 0); got != "" || !containsAll(reply.Text, "train") {
		t.Errorf("hint %q, answer %q", got, reply.Text)
	}
	finished(e, e.Run("dip.freeMemory", nil), "ok")
	var status struct {
		Workspaces []struct {
			Session struct {
				Name    string
				Clients []string
			}
		}
	}
	e.Command("dip.status", nil, &status)
	if len(status.Workspaces) != 1 || status.Workspaces[0].Session.Name != "train" || len(status.Workspaces[0].Session.Clients) != 2 {
		t.Errorf("%+v", status)
	}
	e.Command("dip.stopSession", nil, &reply)
	e.Await("its end", lsptest.Method("dip/session"), lsptest.Has("state", "gone"))
	other.Await("its end", lsptest.Method("dip/session"), lsptest.Has("state", "gone"))
}

// Which session a folder was attached to survives a reload of the window, also when that session has got another name. When it has ended, the folder has its
// own again, and so it has when the user wants that.
func TestChosenSession(t *testing.T) {
	h := newHouse(t)
	other := h.editor("", "Neovim", lsptest.Options{Init: events})
	other.Open("a.py", "# %%\nprint there\n")
	other.Command("dip.renameSession", lsptest.Object{"name": "train"}, nil)

	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	own := filepath.Base(e.Folder)
	opened := func(name string) {
		t.Helper()
		e.Open("a.py", "# %%\nprint here\n")
		e.Await("the session", lsptest.Method("dip/session"), lsptest.Has("name", name))
		if told := e.Messages(lsptest.Method("dip/session")); len(told) == 0 || told[0].Get("name") != name {
			t.Errorf("another one came first: %v", told)
		}
	}
	reload := func() {
		t.Helper()
		must(t, e.Shutdown())
		e = h.editor(e.Folder, "VS Code", lsptest.Options{Init: events})
	}
	attach := func(to lsptest.Object) {
		t.Helper()
		e.Command("dip.attachSession", to, nil)
	}
	opened(own)
	attach(lsptest.Object{"name": "train"})
	reload()
	opened("train")
	other.Command("dip.renameSession", lsptest.Object{"name": "night"}, nil)
	reload()
	opened("night")

	var list struct{ Own string }
	await(t, "word that the folder's own is not there", func() bool { // nobody has used it, so it ends when it is left
		e.Command("dip.sessions", nil, &list)
		return list.Own == e.Folder
	})
	attach(lsptest.Object{"dir": e.Folder})
	e.Await("its own session", lsptest.Method("dip/session"), lsptest.Has("state", "attached"), lsptest.Has("name", own))
	reload()
	opened(own)

	attach(lsptest.Object{"name": "night"})
	finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok")
	must(t, e.Shutdown())
	for _, one := range listed(t, h) {
		must(t, h.Stop(sessiontest.Context(t), one, "")) // as a signal does
	}
	e = h.editor(e.Folder, "VS Code", lsptest.Options{Init: events})
	opened(own)
	e.Await("word of the end", lsptest.Method("window/showMessage"), lsptest.Contains("message", "night in "),
		lsptest.Contains("message", "was chosen for this folder"))
}

// Without sessions that outlive the editor, the folder's own is one that ends with the editor. A client that cannot show lists is asked with it.
func TestChosenSessionAndNoneThatStays(t *testing.T) {
	h := newHouse(t)
	other := h.editor("", "Neovim", lsptest.Options{Init: events})
	other.Open("a.py", "# %%\nprint there\n")
	other.Command("dip.renameSession", lsptest.Object{"name": "train"}, nil)
	last := lsptest.Answers{"window/showMessageRequest": func(m lsptest.Message) any { return m.Get("actions.1") }}
	e := h.editor("", "Kate", lsptest.Options{Answers: last, Init: lsptest.Object{"session": lsptest.Object{"keep": "0"}}})
	e.Open("a.py", "# %%\nprint here\n")
	var reply struct{ Text string }
	e.Command("dip.attachSession", lsptest.Object{"name": "train"}, &reply)
	if !containsAll(reply.Text, "attached to session train") {
		t.Error(reply.Text)
	}
	third := h.editor("", "VS Code", lsptest.Options{Init: events})
	third.Open("a.py", "# %%\nprint third\n")
	third.Await("its session", lsptest.Method("dip/session"))
	e.Command("dip.attachSession", nil, &reply)
	e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Has("actions.1.title", "the folder's own ("+e.Folder+")"))
	if !containsAll(reply.Text, "ends with the editor") {
		t.Error(reply.Text)
	}
	e.Command("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}, nil)
	e.Await("its output", lsptest.Method("window/logMessage"), lsptest.Contains("message", "here"))
}

// The first time that there are ranks, the user is told that they stay; a client that cannot show lists is asked which session, and before one ends.
func TestSessionOfPlainClient(t *testing.T) {
	h := newHouse(t)
	other := h.editor("", "Kate", lsptest.Options{})
	other.Open("a.py", "# %%\nprint there\n")
	other.Command("dip.renameSession", lsptest.Object{"name": "train"}, nil)
	var status struct {
		Workspaces []struct {
			Session struct{ Name string }
			Runs    []any
		}
	}
	e := h.editor("", "Helix", lsptest.Options{Answers: choose})
	e.Open("a.py", "# %%dip\nprint here\n")
	e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("that ranks stay", lsptest.Method("window/showMessage"), lsptest.Contains("message", "stays for 4h when you close the editor"))
	e.Await("its output", lsptest.Method("window/logMessage"), lsptest.Contains("message", "here"))
	for e.Command("dip.status", nil, &status); len(status.Workspaces[0].Runs) > 0; e.Command("dip.status", nil, &status) {
	}
	e.Command("dip.stopSession", nil, nil)
	e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", "variables of 2 ranks"))
	e.Command("dip.attachSession", nil, nil)
	e.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", "which session"),
		lsptest.Contains("actions.0.title", "train ("))
	e.Command("dip.status", nil, &status)
	if len(status.Workspaces) != 1 || status.Workspaces[0].Session.Name != "train" {
		t.Errorf("%+v", status)
	}
}

// The status of a folder whose session is just being lost is missing, and that of the others is not.
func TestStatusWhileOneIsLost(t *testing.T) {
	h := newHouse(t)
	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	other, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	name, err := filepath.Rel(e.Folder, filepath.Join(other, "b.py"))
	must(t, err)
	for _, file := range []string{"a.py", name} {
		e.Open(file, "# %%\nprint 1\n")
		finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI(file), "cell": 1}), "ok")
	}
	var status struct{ Workspaces []struct{ Folder string } }
	e.Command("dip.status", nil, &status)
	if len(status.Workspaces) != 2 {
		t.Fatalf("%+v", status)
	}
	h.lost.Store(other, true)
	e.Command("dip.status", nil, &status)
	if len(status.Workspaces) != 1 || status.Workspaces[0].Folder != e.Folder {
		t.Errorf("%+v", status)
	}
}

// A question whether the folder's interpreter may run goes away when somebody else at the same session, who trusts the folder, runs something. Nothing has run
// before that.
func TestConsentOfAnother(t *testing.T) {
	noPythonNamed(t)
	h := newHouse(t)
	folder, _ := hostile(t, true)
	closed := make(chan struct{})
	first := h.editor(folder, "VS Code", lsptest.Options{Init: events, Answers: lsptest.Answers{
		"window/showMessageRequest": func(lsptest.Message) any { return lsptest.Later(func() any { <-closed; return nil }) },
	}})
	first.Open("a.py", "# %%\nprint 1\n")
	cell := lsptest.Object{"uri": first.URI("a.py"), "cell": 1}
	run := first.Run("dip.runCell", cell)
	asked := first.Await("the question", lsptest.Method("window/showMessageRequest"), lsptest.Contains("message", "belongs to the folder"))
	if started := first.Messages(lsptest.Has("event", "pool_state")); len(started) > 0 || whatRan(folder) != "" {
		t.Errorf("it runs: %v, %q", started, whatRan(folder))
	}
	printed := first.Messages(lsptest.Has("event", "stream"))
	second := h.editor(folder, "Neovim", lsptest.Options{Init: lsptest.Object{"events": true, "trusted": true}})
	second.Open("a.py", "# %%\nprint 1\n")
	other := second.Run("dip.runCell", cell)
	taken := first.Await("the end of the question", lsptest.Method("$/cancelRequest"))
	close(closed)
	if !strings.Contains(taken.String(), `"id":`+string(asked.ID)) {
		t.Errorf("%v was asked, and %v taken back", asked, taken)
	}
	for _, id := range []string{run, other} {
		finished(first, id, "ok")
	}
	if len(printed) > 0 {
		t.Errorf("it was printed before anybody had let it run: %v", printed)
	}
}

// What was asked while nobody was attached is shown once, to who comes next.
func TestAskedMeanwhile(t *testing.T) {
	h := newHouse(t)
	e := h.editor("", "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint 1\n")
	run := func() { finished(e, e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1}), "ok") }
	run()
	must(t, e.Shutdown())
	a, err := h.Attach(sessiontest.Context(t), session.AttachRequest{Dir: e.Folder, Program: "test"})
	must(t, err)
	must(t, a.Say(sessiontest.Context(t), session.Note{Level: event.LevelWarning, Text: session.Unattended + "Install zmq? The answer was no."}))
	must(t, a.Detach(sessiontest.Context(t)))

	e = h.editor(e.Folder, "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint 1\n")
	e.Await("what was asked", lsptest.Method("window/showMessage"), lsptest.Contains("message", "Install zmq?"))
	await(t, "word that it was shown", func() bool { return !unattended(t, h, e.Folder) })
	must(t, e.Shutdown())

	e = h.editor(e.Folder, "VS Code", lsptest.Options{Init: events})
	e.Open("a.py", "# %%\nprint 1\n")
	run()
	if told := e.Messages(lsptest.Method("window/showMessage"), lsptest.Contains("message", "Install zmq?")); len(told) > 0 {
		t.Errorf("told again: %v", told)
	}
}

// unattended reports whether a session still has something that was asked while nobody was attached.
func unattended(t *testing.T, h *house, dir string) (found bool) {
	t.Helper()
	a, err := h.Attach(sessiontest.Context(t), session.AttachRequest{Dir: dir, Program: "test", History: true})
	must(t, err)
	defer a.Detach(sessiontest.Context(t))
	sub, err := a.Subscribe(sessiontest.Context(t), session.SubscribeRequest{History: true})
	must(t, err)
	defer sub.Close()
	for sub.Position() < sub.Past() {
		events, err := sub.Next(sessiontest.Context(t))
		must(t, err)
		found = found || slices.ContainsFunc(events, session.IsUnattended)
	}
	return found
}

// With the program that users have and Python: a cell on ranks goes on while its window is gone, and the next window has all that was printed.
func TestProgramNextWindow(t *testing.T) {
	needPython(t)
	o := lsptest.Options{Server: program(t), Kept: true, Init: events, Settings: lsptest.Object{"ranks": 2, "app": "none"}, Program: "VS Code"}
	e := lsptest.Start(t, o)
	o.Folder = e.Folder
	t.Cleanup(func() {
		path, err := binary()
		must(t, err)
		stop := exec.Command(path, "stop")
		stop.Dir = e.Folder
		if out, err := stop.CombinedOutput(); err != nil && !strings.Contains(string(out), "has a session") {
			t.Errorf("dipls stop: %v\n%s", err, out)
		}
	})
	const text = "# %%dip --see all\nimport os, time\nprint('begun', flush=True)\nn = 0\nwhile not os.path.exists('enough'):\n" +
		"    n += 1\n    print('line', n, flush=True)\n    time.sleep(0.01)\nprint('counted', n, flush=True)\n"
	e.Open("a.py", text)
	run := e.Run("dip.runCell", lsptest.Object{"uri": e.URI("a.py"), "cell": 1})
	e.Await("a line", lsptest.Has("run", run), lsptest.Contains("text", "line 3\n"))
	wantNoShutdown(t, e.Leave())

	e = lsptest.Start(t, o)
	e.Open("a.py", text)
	e.Await("the session", lsptest.Method("dip/session"), lsptest.Has("state", "reattached"))
	e.Await("a line of now", lsptest.Method("dip/session"), lsptest.Has("past", nil))
	must(t, os.WriteFile(filepath.Join(e.Folder, "enough"), nil, 0o600))
	finished(e, run, "ok")
	for rank := range 2 {
		var printed strings.Builder
		for _, m := range e.Messages(lsptest.Has("event", "stream"), lsptest.Has("run", run), lsptest.Has("rank", rank)) {
			fmt.Fprint(&printed, m.Get("text"))
		}
		lines := strings.Split(strings.TrimSpace(printed.String()), "\n")
		if want := fmt.Sprintf("counted %d", len(lines)-2); lines[len(lines)-1] != want {
			t.Errorf("rank %d printed %d lines and then %q", rank, len(lines), lines[len(lines)-1])
		}
	}
	var reply struct{ Text string }
	e.Command("dip.stopSession", nil, &reply)
	if !containsAll(reply.Text, "has ended") {
		t.Error(reply.Text)
	}
}
