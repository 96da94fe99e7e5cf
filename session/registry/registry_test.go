package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/internal/testdisk"
	"dipls/session"
)

// home gives the test directories of its own for sockets and last words, and a folder for sessions.
func home(t *testing.T) (folder string) {
	t.Helper()
	runtime, err := os.MkdirTemp("/tmp", "dr") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runtime) })
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	state := t.TempDir()
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", state)
	folder, err = filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func claim(t *testing.T, dir, name string) *Claim {
	t.Helper()
	c, err := Open(Options{}).Claim(t.Context(), dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.End("", "") })
	return c
}

func code(err error) session.Code {
	if known, ok := errors.AsType[*session.Error](err); ok {
		return known.Code
	}
	return ""
}

// One session per folder and name; the name that was none is the folder's.
func TestClaim(t *testing.T) {
	dir := home(t)
	r := Open(Options{})
	first := claim(t, dir, "")
	if first.Name() != filepath.Base(dir) || first.Dir() != dir {
		t.Errorf("%s in %s", first.Name(), first.Dir())
	}
	if _, err := r.Claim(t.Context(), dir, ""); !errors.Is(err, ErrTaken) {
		t.Errorf("a second one of the name: %v", err)
	}
	second := claim(t, dir, "other")
	if err := second.Rename(t.Context(), first.Name()); code(err) != session.CodeInvalid {
		t.Errorf("a name that is taken: %v", err)
	}
	for _, name := range []string{"", " a", "a/b", "a\nb", "-a"} {
		if err := second.Rename(t.Context(), name); code(err) != session.CodeInvalid {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	if err := second.Rename(t.Context(), "müller 2"); err != nil {
		t.Fatal(err)
	}
	all, err := living()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d live, %v", len(all), err)
	}
	for _, c := range []*Claim{first, second} {
		if err := c.End("", ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "dipls", "sessions")); err == nil {
		t.Error("the directory of sessions is left without any")
	}
}

// A cleaner of /tmp takes away what it finds old: the session makes it anew, and is found again.
func TestTend(t *testing.T) {
	dir := home(t)
	c := claim(t, dir, "train")
	tend := func(done bool) {
		t.Helper()
		if l, err := c.Tend(t.Context()); err != nil || (l != nil) != done {
			t.Errorf("%v, %v, want something done: %v", l, err, done)
		}
	}
	tend(false)
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	for _, gone := range []string{filepath.Join(c.path, socketName), filepath.Join(c.path, aboutName), c.path, filepath.Join(runtime, "dipls")} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		tend(true)
		tend(false)
		if all, err := living(); err != nil || len(all) != 1 || all[0].Name != "train" || all[0].problem != nil {
			t.Errorf("without %s: %+v, %v", gone, all, err)
		}
		if conn, err := net.Dial("unix", filepath.Join(c.path, socketName)); err != nil {
			t.Errorf("without %s: %v", gone, err)
		} else {
			conn.Close()
		}
	}
	os.RemoveAll(c.path)
	other := claim(t, dir, "train")
	tend(true)
	if c.Name() == other.Name() {
		t.Error("two sessions have one name")
	}
}

// A disk that gets full while a session lives has room for its last words.
func TestLastWordsOnAFullDisk(t *testing.T) {
	folder := home(t)
	state := filepath.Join(t.TempDir(), "state")
	unmount, err := testdisk.Mount(state, 1<<16)
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv("XDG_STATE_HOME", state)
	c := claim(t, folder, "")
	if err := os.WriteFile(filepath.Join(state, "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := c.End("it was idle for 4 h", ""); err != nil {
		t.Error(err)
	}
	if last := tellEnded(folder); last == nil || last.Why != "it was idle for 4 h" {
		t.Errorf("told %+v", last)
	}
	if last := tellEnded(folder); last != nil {
		t.Errorf("told again: %+v", last)
	}
}

func TestFind(t *testing.T) {
	at := func(dir, name string) *entry { return &entry{about: about{Dir: dir, Name: name}} }
	all := []*entry{at("/p", "p"), at("/p", "x"), at("/p/sub", "deep"), at("/q", "q"), at("/q", "q2"), at("/r", "r"), at("/r", "x")}
	const none = "none"
	for _, test := range []struct {
		dir, name string
		start     bool
		only      bool
		want      string // FOLDER/NAME, none, or a code
	}{
		{"/p/sub/more", "", false, false, "/p/sub/deep"},
		{"/p", "", false, false, string(session.CodeAmbiguous)},
		{"/p", "", true, false, "/p/p"},
		{"/p/sub/more", "", true, false, none},
		{"/q", "", true, false, "/q/q"},
		{"/r/a/b", "", false, false, string(session.CodeAmbiguous)},
		{"/elsewhere", "", false, false, none},
		{"/p/sub", "x", false, false, "/p/x"},
		{"/elsewhere", "q2", false, false, "/q/q2"},
		{"/elsewhere", "x", false, false, string(session.CodeAmbiguous)},
		{"/elsewhere", "q2", true, false, none},
		{"/p/sub", "x", true, false, "/p/x"},
		{"/p", "unknown", false, false, none},
		{"/p/sub", "", false, true, "/p/sub/deep"},
		{"/p/sub/more", "", false, true, none},
		{"/elsewhere", "q2", false, true, none},
		{"/p/sub", "x", true, true, none},
		{"/q", "", false, true, string(session.CodeAmbiguous)},
		{"/p/x", "", false, true, "/p/x"},
	} {
		got := none
		e, err := find(all, test.dir, test.name, test.start, test.only)
		if err != nil {
			got = string(code(err))
		} else if e != nil {
			got = e.Dir + "/" + e.Name
		}
		if got != test.want {
			t.Errorf("%q from %s, start %v, only %v: %s, want %s (%v)", test.name, test.dir, test.start, test.only, got, test.want, err)
		}
	}
}

func TestNoSession(t *testing.T) {
	dir := home(t)
	r := Open(Options{})
	if _, err := r.Attach(t.Context(), session.AttachRequest{Dir: dir}); code(err) != session.CodeNoSession {
		t.Errorf("attach: %v", err)
	}
	if _, err := r.Find(t.Context(), session.AttachRequest{Dir: dir, Name: "x"}); code(err) != session.CodeNoSession {
		t.Errorf("find: %v", err)
	}
	if listed, err := r.List(t.Context()); err != nil || len(listed) != 0 {
		t.Errorf("list: %v, %v", listed, err)
	}
	failing := Open(Options{Start: func(context.Context, string, string, time.Duration) error { return errors.New("no room") }})
	_, err := failing.Attach(t.Context(), session.AttachRequest{Dir: dir, Start: true})
	if err == nil || err.Error() != "session "+filepath.Base(dir)+" cannot be started: no room" {
		t.Errorf("a start that fails: %v", err)
	}
}

// A session whose process stands still is listed with what to do, and nobody who wants something of it waits for ever.
func TestSessionThatStandsStill(t *testing.T) {
	dir := home(t)
	for _, patience := range []*time.Duration{&aboutPatience, &helloPatience, &askPatience} {
		before := *patience
		*patience = 20 * time.Millisecond
		t.Cleanup(func() { *patience = before })
	}
	claim(t, dir, "train") // connections wait to be accepted
	r := Open(Options{})
	const remedy = `"dipls stop train" ends it all the same`
	listed, err := r.List(t.Context())
	if err != nil || len(listed) != 1 || listed[0].Name != "train" || !strings.Contains(listed[0].Problem, remedy) {
		t.Fatalf("%+v, %v", listed, err)
	}
	if found, err := r.Find(t.Context(), session.AttachRequest{Dir: dir}); err != nil || !strings.Contains(found.Problem, remedy) {
		t.Errorf("find: %+v, %v", found, err)
	}
	_, err = r.Attach(t.Context(), session.AttachRequest{Dir: dir})
	if code(err) != session.CodeBusy || !strings.Contains(err.Error(), remedy) {
		t.Errorf("attach: %v", err)
	}
	if err = r.Stop(t.Context(), listed[0], "test"); code(err) != session.CodeBusy || !strings.Contains(err.Error(), fmt.Sprintf("kill -9 %d", os.Getpid())) {
		t.Errorf("stop: %v", err)
	}
}

// TestBeDeaf is the process of TestStopOfADeafSession: a session that neither answers nor ends when it is told to.
func TestBeDeaf(t *testing.T) {
	dir := os.Getenv("DIPLS_TEST_DEAF")
	if dir == "" {
		t.Skip("for another test")
	}
	signal.Ignore(syscall.SIGTERM)
	if _, err := Open(Options{}).Claim(t.Context(), dir, "train"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("claimed")
	select {}
}

// A session that does not answer is ended by signals, at last by one that nothing can ignore. Who has wanted that is not told of it.
func TestStopOfADeafSession(t *testing.T) {
	dir := home(t)
	for _, patience := range []*time.Duration{&aboutPatience, &askPatience, &termPatience} {
		before := *patience
		*patience = 20 * time.Millisecond
		t.Cleanup(func() { *patience = before })
	}
	deaf := exec.Command(os.Args[0], "-test.run=^TestBeDeaf$")
	deaf.Env = append(os.Environ(), "DIPLS_TEST_DEAF="+dir)
	out, err := deaf.StdoutPipe()
	if err == nil {
		err = deaf.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "claimed\n" {
		t.Fatal(line, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- deaf.Wait() }()
	r := Open(Options{})
	found, err := r.Find(t.Context(), session.AttachRequest{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context(), found, "dipls stop"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("its process: %v", err)
	}
	if all, err := living(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if told := tellEnded(dir); told != nil {
		t.Errorf("told %+v", told)
	}
}

// Names of folders are bytes, which need not be text.
func TestFolderThatIsNoText(t *testing.T) {
	dir := filepath.Join(home(t), "m\xfcller")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skip(err) // not on every system
	}
	state := filepath.Join(dir, "state")
	t.Setenv("XDG_STATE_HOME", state)
	c := claim(t, dir, "train")
	all, err := living()
	if err != nil || len(all) != 1 || all[0].Dir != dir || all[0].Log != c.Log() || !strings.HasPrefix(all[0].Journal, state+"/") {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := Open(Options{}).Claim(t.Context(), dir, "train"); !errors.Is(err, ErrTaken) {
		t.Errorf("a second one: %v", err)
	}
	if err := c.End("it was idle for 4 h", ""); err != nil {
		t.Fatal(err)
	}
	if told := tellEnded(dir); told == nil || told.Dir != dir || told.Journal != all[0].Journal {
		t.Errorf("told %+v", told)
	}
}

// A session that was started with other variables is told of, with the way to it.
func TestElsewhere(t *testing.T) {
	dir := home(t)
	c := claim(t, dir, "train")
	there := filepath.Dir(filepath.Dir(c.path))
	if told := Elsewhere(""); len(told) != 0 {
		t.Errorf("here: %q", told)
	}
	here, err := os.MkdirTemp("/tmp", "dr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(here) })
	t.Setenv("XDG_RUNTIME_DIR", here)
	want := "DIPLS_RUNTIME_DIR=" + there + " dipls sessions"
	if told := Elsewhere(dir); len(told) != 1 || !strings.HasSuffix(told[0], want) {
		t.Errorf("elsewhere: %q", told)
	}
	if _, err := Open(Options{}).Find(t.Context(), session.AttachRequest{Dir: dir}); code(err) != session.CodeNoSession || !strings.Contains(err.Error(), want) {
		t.Errorf("find: %v", err)
	}
	t.Setenv("DIPLS_RUNTIME_DIR", there)
	if found, err := living(); err != nil || len(found) != 1 {
		t.Errorf("by the way that is told: %v, %v", found, err)
	}
	t.Setenv("DIPLS_RUNTIME_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", filepath.Dir(there))
}
