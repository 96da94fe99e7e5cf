package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
)

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "runs")
	}
	j := Open(o)
	t.Cleanup(j.Close)
	return j
}

// readRun reads a journal to its end.
func readRun(t *testing.T, dir string) (Record, []event.Event) {
	t.Helper()
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var events []event.Event
	for {
		e, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Record, events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}

// A server that is killed leaves raw output that no index line tells of, and perhaps half a line.
func TestJournalOfAServerThatDied(t *testing.T) {
	j := open(t, Options{})
	rj, err := j.Begin(Record{Run: "r1", Cell: 1, Target: "remote", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	f := &Output{Rj: rj, Rank: 0}
	rj.Output(f, "stdout", []byte("indexed\n"))
	rj.Event(&event.Log{Header: event.Header{Kind: event.KindLog, Run: "r1"}, Level: event.LevelInfo, Text: "hello"})
	rj.mu.Lock()
	rj.flush()
	rj.mu.Unlock()
	rj.Output(f, "stderr", []byte("not indexed\n"))
	if _, err := rj.files.index.WriteString(`{"time":0.5,"eve`); err != nil {
		t.Fatal(err)
	}
	rj.Off.Store(true) // killed
	f.Close()
	rj.Release()

	record, events := readRun(t, rj.Dir)
	if record.Status != "" || !record.Finished.IsZero() {
		t.Errorf("record %+v", record)
	}
	eventtest.SameLines(t, eventtest.Describe(events),
		`stream rank 0 stdout "indexed\n"`, "log info: hello", `stream rank 0 stdout "not indexed\n"`)
}

func TestJournalRotation(t *testing.T) {
	j := open(t, Options{MaxAge: 24 * time.Hour, MaxBytes: 10_000})
	now := time.Now().Add(time.Hour)
	dirs := map[string]string{}
	for _, old := range []struct {
		name string
		age  time.Duration
		size int
	}{
		{"too old", 25 * time.Hour, 10},
		{"beyond the total", 20 * time.Hour, 9000},
		{"live", 30 * time.Hour, 10},
		{"kept", 10 * time.Hour, 3000},
		{"newest", time.Hour, 3000},
	} {
		rj, err := j.Begin(Record{Run: strings.ReplaceAll(old.name, " ", "-"), Started: now.Add(-old.age - time.Hour)}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		dirs[old.name] = rj.Dir
		f := &Output{Rj: rj, Rank: -1}
		rj.Output(f, "stdout", make([]byte, old.size))
		f.Close()
		if old.name == "live" {
			defer rj.Release()
		} else {
			rj.Release()
		}
		files, err := os.ReadDir(rj.Dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name())
		}
		// The directory itself comes last: a rotation that the writing has started may be measuring it.
		for _, name := range append(names, "") {
			if err := os.Chtimes(filepath.Join(rj.Dir, name), now, now.Add(-old.age)); err != nil {
				t.Fatal(err)
			}
		}
	}
	foreign := filepath.Join(j.Dir(), "somebody's notes")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	j.Close() // whatever rotation the writing started
	j.rotate(now)
	for name, want := range map[string]bool{"too old": false, "beyond the total": false, "live": true, "kept": true, "newest": true} {
		if _, err := os.Stat(dirs[name]); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	j.maxRuns = 2
	j.rotate(now)
	for name, want := range map[string]bool{"live": true, "kept": false, "newest": true} {
		if _, err := os.Stat(dirs[name]); (err == nil) != want {
			t.Errorf("of two runs, %s: %v", name, err)
		}
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}

// A run that goes on for long is kept though it prints nothing: its server may be killed.
func TestJournalKeepsLongRuns(t *testing.T) {
	j := open(t, Options{})
	j.keeping = time.AfterFunc(time.Hour, func() {}) // the test is the clock
	begin := func(id string, started time.Time) *Recorder {
		rj, err := j.Begin(Record{Run: id, Started: started}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		rj.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, id, nil, 3), State: event.StateBusy})
		return rj
	}
	long, ended := begin("long", time.Now().Add(-time.Hour)), begin("ended", time.Now().Add(-time.Hour))
	short := begin("short", time.Now().Add(time.Hour))
	ended.Finish(event.Report{Status: event.StatusOK}, time.Now())
	j.keepLong()
	for rj, want := range map[*Recorder]bool{long: true, ended: false, short: false} {
		if _, err := os.Stat(rj.Dir); (err == nil) != want {
			t.Errorf("%s: %v", rj.record.Run, err)
		}
	}
	record, events := readRun(t, long.Dir)
	if !record.Finished.IsZero() || len(events) != 1 {
		t.Errorf("record %+v, events %s", record, eventtest.Describe(events))
	}
	short.Finish(event.Report{Status: event.StatusOK}, time.Now())
	for _, rj := range []*Recorder{long, ended, short} {
		rj.Release()
	}
	if len(j.unkept) > 0 {
		t.Errorf("%d runs are thought to go on", len(j.unkept))
	}
}

// A rotation measures a run that is over once, unless something is added to it, and one that goes on each time.
func TestJournalMeasuresOnce(t *testing.T) {
	j := open(t, Options{})
	j.work.Wait() // the rotation at the start
	j.rotateAfter = time.Hour
	begin := func(id string) (*Recorder, *Output) {
		rj, err := j.Begin(Record{Run: id, Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		f := &Output{Rj: rj}
		rj.Output(f, "stdout", []byte("some output\n"))
		return rj, f
	}
	over, f := begin("over")
	f.Close()
	over.Release()
	live, f := begin("live")
	defer live.Release()
	defer f.Close()
	j.rotate(time.Now())
	if _, known := j.measured[live.Dir]; known || len(j.measured) != 1 {
		t.Fatalf("measured %v", j.measured)
	}

	size := j.measured[over.Dir].size
	if err := os.Truncate(filepath.Join(over.Dir, "rank-0.out"), 1000); err != nil { // which nobody does
		t.Fatal(err)
	}
	j.rotate(time.Now())
	if got := j.measured[over.Dir].size; got != size {
		t.Errorf("measured again: %d bytes, %d before", got, size)
	}
	if err := os.WriteFile(filepath.Join(over.Dir, "output.txt"), make([]byte, 500), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := time.Now().Add(time.Second) // the clock of the file system may be a coarse one
	if err := os.Chtimes(over.Dir, changed, changed); err != nil {
		t.Fatal(err)
	}
	j.rotate(time.Now())
	if got := j.measured[over.Dir].size; got != size-int64(len("some output\n"))+1500 {
		t.Errorf("%d bytes, %d before", got, size)
	}
	if err := os.RemoveAll(over.Dir); err != nil {
		t.Fatal(err)
	}
	j.rotate(time.Now())
	if len(j.measured) > 0 {
		t.Errorf("measured %v", j.measured)
	}
}

// A run whose record cannot be written leaves no directory.
func TestJournalKeepFails(t *testing.T) {
	j := open(t, Options{})
	unwritable := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // JSON has no such year: run.json fails, as on a full disk
	told := 0
	rj, err := j.Begin(Record{Run: "r1", Started: unwritable}, 0, Hooks{Failed: func(error) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	f := &Output{Rj: rj}
	rj.Output(f, "stdout", []byte("lost\n"))
	rj.Output(f, "stdout", []byte("lost\n"))
	if rj.Finish(event.Report{Status: event.StatusError}, time.Now()) || told != 1 {
		t.Errorf("told %d times", told)
	}
	rj.Release()
	if entries, err := os.ReadDir(j.Dir()); len(entries) > 0 || err != nil {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestJournalRotatesWhileItGrows(t *testing.T) {
	j := open(t, Options{MaxBytes: 16_000})
	j.work.Wait() // the one at the start
	j.rotateAfter = time.Hour
	old := filepath.Join(j.Dir(), "2020-01-02T03-04-05-old-1")
	if err := os.MkdirAll(old, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(old, recordName)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-100 * 24 * time.Hour)
	for _, p := range []string{name, old} {
		if err := os.Chtimes(p, past, past); err != nil {
			t.Fatal(err)
		}
	}
	j.wrote(999)
	if j.quiet != nil {
		t.Error("a rotation is due after less than a sixteenth")
	}
	j.wrote(2)
	if j.quiet == nil {
		t.Fatal("no rotation is due")
	}
	j.wrote(2000)
	j.work.Wait()
	if _, err := os.Stat(old); err != nil {
		t.Errorf("removed while runs come fast: %v", err)
	}
	j.startRotation() // as the timer does
	j.work.Wait()
	if _, err := os.Stat(old); err == nil {
		t.Error("not removed")
	}
	if j.written != 0 || j.runs != 0 || j.quiet != nil {
		t.Errorf("%d bytes and %d runs since the last rotation", j.written, j.runs)
	}

	j.wrote(3000)
	j.wrote(1001) // more than a quarter: nothing waits for a quiet moment
	j.work.Wait()
	if j.written != 0 || j.quiet != nil {
		t.Errorf("%d bytes since the last rotation", j.written)
	}
	j.maxRuns = 4
	j.wrote(0)
	j.wrote(0) // the second run: more than a quarter
	j.work.Wait()
	if j.runs != 0 {
		t.Errorf("%d runs since the last rotation", j.runs)
	}
}

// The files of the next run are made ahead. They are no run: who reads the journal does not see them, and nothing of them stays.
func TestJournalPreparesTheNextRun(t *testing.T) {
	j := Open(Options{Dir: filepath.Join(t.TempDir(), "runs")})
	entries := func() (names []string) {
		found, err := os.ReadDir(j.Dir())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			names = append(names, e.Name())
		}
		return names
	}
	j.prepare()
	j.work.Wait()
	j.prepare() // there is one
	j.work.Wait()
	if names := entries(); len(names) != 1 || isRunDir(names[0]) {
		t.Fatalf("prepared: %q", names)
	}
	spare := j.spare

	rj, err := j.Begin(Record{Run: "r1", Code: "größe = 1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if names := entries(); len(names) != 1 || isRunDir(names[0]) {
		t.Errorf("begun: %q", names)
	}
	if err := rj.ready(rj.section.Load(), "x", true); err != nil || rj.files != spare {
		t.Fatalf("kept %+v, %v", rj, err)
	}
	j.work.Wait()
	if names := entries(); len(names) != 2 || isRunDir(names[0]) || !isRunDir(names[1]) {
		t.Errorf("kept: %q", names)
	}
	if removeRun(rj.Dir, time.Hour) {
		t.Error("it was not locked")
	}
	if rec, _ := readRun(t, rj.Dir); rec.Code != "größe = 1" || !rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}
	rj.Finish(event.Report{Status: event.StatusError, Reason: "why", Parts: []event.PartReport{{Rank: -1}, {Rank: 3}}}, time.Now())
	rj.Release()
	if rec, _ := readRun(t, rj.Dir); rec.Reason != "why" || rec.Code != "größe = 1" || len(rec.Parts) != 2 || rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}

	if err := os.RemoveAll(j.Dir()); err != nil { // the user tidies up
		t.Fatal(err)
	}
	rj, err = j.Begin(Record{Run: "r2", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := rj.ready(rj.section.Load(), "x", true); err != nil {
		t.Fatal(err)
	}
	rj.Release()
	j.Close()
	j.prepare()
	if names := entries(); len(names) != 1 || !isRunDir(names[0]) {
		t.Errorf("left: %q", names)
	}
}

// What a killed server has made ahead goes with a rotation, what a living one has stays.
func TestJournalSweepsSpares(t *testing.T) {
	j := open(t, Options{})
	j.prepare()
	j.work.Wait()
	dead, err := j.newFiles()
	if err != nil {
		t.Fatal(err)
	}
	dead.close()
	j.rotate(time.Now())
	if _, err := os.Stat(dead.dir); err != nil {
		t.Errorf("one that may just be being made: %v", err)
	}
	j.rotate(time.Now().Add(time.Hour))
	if _, err := os.Stat(dead.dir); err == nil {
		t.Error("it stays")
	}
	if _, err := os.Stat(j.spare.dir); err != nil {
		t.Error(err)
	}
}

// A disk that is full at the end of a run keeps the record of its beginning.
func TestRecordOnAFullDisk(t *testing.T) {
	j := open(t, Options{})
	var told error
	rj, err := j.Begin(Record{Run: "r1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { told = err }})
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := rj.ready(rj.section.Load(), "x", true); err != nil {
		t.Fatal(err)
	}
	info, err := rj.files.record.Stat()
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	full := limit
	full.Cur = uint64(info.Size()) + 10 // some of what is new has room
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	rj.Finish(event.Report{Status: event.StatusOK}, time.Now())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	rj.Release()
	if !errors.Is(told, syscall.EFBIG) {
		t.Errorf("told %v", told)
	}
	if rec, _ := readRun(t, rj.Dir); rec.Run != "r1" || !rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}
}

func TestDefaultJournalDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	if dir, err := DefaultDir(); dir != "/state/dipls/runs" || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/u")
	want := "/home/u/.local/state/dipls/runs"
	if runtime.GOOS == "darwin" {
		want = "/home/u/Library/Application Support/dipls/runs"
	}
	if dir, err := DefaultDir(); dir != want || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
}

func TestJournalErrorSentences(t *testing.T) {
	full := Describe(&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC})
	if !strings.Contains(full, "free some space") {
		t.Error(full)
	}
}

// 1,100 ranks print, and only so many files are open at a time.
func TestJournalBoundsOpenFiles(t *testing.T) {
	j := open(t, Options{})
	rj, err := j.Begin(Record{Run: "r1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	files := make([]Output, maxOpenFiles+100)
	for pass := range 2 {
		for i := range files {
			files[i].Rj, files[i].Rank = rj, i
			rj.Output(&files[i], "stdout", fmt.Appendf(nil, "pass %d\n", pass))
		}
	}
	if n := j.open.Load(); n != maxOpenFiles {
		t.Errorf("%d files are open", n)
	}
	for i := range files {
		files[i].Close()
	}
	if n := j.open.Load(); n != 0 {
		t.Errorf("%d files are open", n)
	}
	rj.Release()
	b, err := os.ReadFile(filepath.Join(rj.Dir, fmt.Sprintf("rank-%d.out", len(files)-1)))
	if err != nil || string(b) != "pass 0\npass 1\n" {
		t.Errorf("got %q, %v", b, err)
	}
}
