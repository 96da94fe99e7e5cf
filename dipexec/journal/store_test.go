package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
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
	f := rj.Output(ranklist.Rank(0))
	f.Print("stdout", []byte("indexed\n"))
	rj.Event(&event.Log{Header: event.Header{Kind: event.KindLog, Run: "r1"}, Level: event.LevelInfo, Text: "hello"})
	rj.mu.Lock()
	rj.flush()
	rj.mu.Unlock()
	f.Print("stderr", []byte("not indexed\n"))
	if _, err := rj.files.index.WriteString(`{"time":0.5,"eve`); err != nil {
		t.Fatal(err)
	}
	rj.off.Store(true) // killed
	f.Close()
	rj.release()

	record, events := readRun(t, rj.dir)
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
		record := Record{Run: strings.ReplaceAll(old.name, " ", "-"), Started: now.Add(-old.age - time.Hour)}
		rj, err := j.Begin(record, 0, Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		dirs[old.name] = rj.dir
		f := rj.Output(ranklist.Local)
		f.Print("stdout", make([]byte, old.size))
		f.Close()
		if old.name == "live" {
			defer rj.release()
		} else {
			rj.release()
		}
		files, err := os.ReadDir(rj.dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name())
		}
		// The directory itself comes last: a rotation that the writing has started may be measuring it.
		for _, name := range append(names, "") {
			if err := os.Chtimes(filepath.Join(rj.dir, name), now, now.Add(-old.age)); err != nil {
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
	j.ageing = time.AfterFunc(time.Hour, func() {}) // the test is the clock
	begin := func(id string, started time.Time) *Recorder {
		rj, err := j.Begin(Record{Run: id, Started: started}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		rj.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, id, nil, ranklist.Rank(3)), State: event.StateBusy})
		return rj
	}
	long, ended := begin("long", time.Now().Add(-time.Hour)), begin("ended", time.Now().Add(-time.Hour))
	short := begin("short", time.Now().Add(time.Hour))
	ended.Finish(event.Report{Status: event.StatusOK}, time.Now())
	j.createLong()
	for rj, want := range map[*Recorder]bool{long: true, ended: false, short: false} {
		if _, err := os.Stat(rj.dir); (err == nil) != want {
			t.Errorf("%s: %v", rj.record.Run, err)
		}
	}
	record, events := readRun(t, long.dir)
	if !record.Finished.IsZero() || len(events) != 1 {
		t.Errorf("record %+v, events %s", record, eventtest.Describe(events))
	}
	short.Finish(event.Report{Status: event.StatusOK}, time.Now())
	long.release()
	if len(j.silent) > 0 {
		t.Errorf("%d runs are thought to go on", len(j.silent))
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
		f := rj.Output(ranklist.Rank(0))
		f.Print("stdout", []byte("some output\n"))
		return rj, &f
	}
	over, f := begin("over")
	f.Close()
	over.release()
	live, f := begin("live")
	defer live.release()
	defer f.Close()
	j.rotate(time.Now())
	if _, known := j.measured[live.dir]; known || len(j.measured) != 1 {
		t.Fatalf("measured %v", j.measured)
	}

	size := j.measured[over.dir].size
	if err := os.Truncate(filepath.Join(over.dir, "rank-0.out"), 1000); err != nil { // which nobody does
		t.Fatal(err)
	}
	j.rotate(time.Now())
	if got := j.measured[over.dir].size; got != size {
		t.Errorf("measured again: %d bytes, %d before", got, size)
	}
	if err := os.WriteFile(filepath.Join(over.dir, "output.txt"), make([]byte, 500), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := time.Now().Add(time.Second) // the clock of the file system may be a coarse one
	if err := os.Chtimes(over.dir, changed, changed); err != nil {
		t.Fatal(err)
	}
	j.rotate(time.Now())
	if got := j.measured[over.dir].size; got != size-int64(len("some output\n"))+1500 {
		t.Errorf("%d bytes, %d before", got, size)
	}
	if err := os.RemoveAll(over.dir); err != nil {
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
	f := rj.Output(ranklist.Rank(0))
	f.Print("stdout", []byte("lost\n"))
	f.Print("stdout", []byte("lost\n"))
	if rj.Finish(event.Report{Status: event.StatusError}, time.Now()) || told != 1 {
		t.Errorf("told %d times", told)
	}
	f.Close()
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

// The files of the next run are made ahead. They are no run: readers of the journal do not see them, and nothing of them stays.
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
	if _, err := rj.file(rj.section.Load(), "x", true); err != nil || rj.files != spare {
		t.Fatalf("kept %+v, %v", rj, err)
	}
	j.work.Wait()
	if names := entries(); len(names) != 2 || isRunDir(names[0]) || !isRunDir(names[1]) {
		t.Errorf("kept: %q", names)
	}
	if removeRun(rj.dir, time.Hour) {
		t.Error("it was not locked")
	}
	if rec, _ := readRun(t, rj.dir); rec.Code != "größe = 1" || !rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}
	rj.Finish(event.Report{Status: event.StatusError, Reason: "why", Parts: []event.PartReport{{Who: ranklist.Local}, {Who: ranklist.Rank(3)}}}, time.Now())
	if rec, _ := readRun(t, rj.dir); rec.Reason != "why" || rec.Code != "größe = 1" || len(rec.Parts) != 2 || rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}

	if err := os.RemoveAll(j.Dir()); err != nil { // the user tidies up
		t.Fatal(err)
	}
	rj, err = j.Begin(Record{Run: "r2", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rj.file(rj.section.Load(), "x", true); err != nil {
		t.Fatal(err)
	}
	rj.release()
	j.Close()
	j.prepare()
	if names := entries(); len(names) != 1 || !isRunDir(names[0]) {
		t.Errorf("left: %q", names)
	}
}

// A rotation removes what a killed server has made ahead, but not what a living one has.
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
	if _, err := rj.file(rj.section.Load(), "x", true); err != nil {
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
	if !errors.Is(told, syscall.EFBIG) {
		t.Errorf("told %v", told)
	}
	if rec, _ := readRun(t, rj.dir); rec.Run != "r1" || !rec.Finished.IsZero() {
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
	full := Problem(&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC})
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
	for i := range files {
		files[i] = rj.Output(ranklist.Rank(i))
	}
	for pass := range 2 {
		for i := range files {
			files[i].Print("stdout", fmt.Appendf(nil, "pass %d\n", pass))
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
	rj.release()
	b, err := os.ReadFile(filepath.Join(rj.dir, fmt.Sprintf("rank-%d.out", len(files)-1)))
	if err != nil || string(b) != "pass 0\npass 1\n" {
		t.Errorf("got %q, %v", b, err)
	}
}

// A silent run leaves nothing, whatever it goes through.
func TestSilence(t *testing.T) {
	data := eventtest.Plain("42")
	for name, test := range map[string]struct {
		do     func(r *Recorder, o *Output)
		status event.Status
		kept   bool
	}{
		"routine": {do: func(r *Recorder, o *Output) {
			r.Event(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted}})
			o.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, "a-1", nil, ranklist.Rank(0)), State: event.StateReady})
		}},
		"a bad end":   {do: func(*Recorder, *Output) {}, status: event.StatusError, kept: true},
		"output":      {do: func(_ *Recorder, o *Output) { o.Print(event.Stdout, []byte("a")) }, kept: true},
		"a value":     {do: func(_ *Recorder, o *Output) { o.Event(&event.Result{Data: data}) }, kept: true},
		"an update":   {do: func(_ *Recorder, o *Output) { o.Event(&event.Display{Clear: true}) }, kept: true},
		"an event":    {do: func(r *Recorder, _ *Output) { r.Event(event.NewLog(event.LevelInfo, "hello")) }, kept: true},
		"late output": {do: func(r *Recorder, _ *Output) { r.ended = true; r.Event(&event.RankState{}) }, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, Options{})
			r, err := j.Begin(Record{Run: "a-1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			o := r.Output(ranklist.Rank(0))
			test.do(r, &o)
			o.Close()
			if kept := r.Finish(event.Report{Status: cmp.Or(test.status, event.StatusOK)}, time.Now()); kept != test.kept {
				t.Errorf("kept is %v", kept)
			}
			if _, err := os.Stat(r.Dir()); (err == nil) != test.kept {
				t.Errorf("kept is not %v: %v", test.kept, err)
			}
			if len(j.silent) > 0 {
				t.Errorf("%d runs are thought to go on", len(j.silent))
			}
		})
	}
}

// Without a journal, everything that writes to it does nothing.
func TestNoRecorder(t *testing.T) {
	var r *Recorder
	o := r.Output(ranklist.Rank(0))
	ev := &event.Result{Data: map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`)}}
	r.Event(ev)
	o.Event(ev)
	o.Print(event.Stdout, []byte("a"))
	if o.Keeps() || o.Dir() != "" || ev.Files != nil {
		t.Errorf("%+v, %+v", o, ev)
	}
	o.Close()
}

// A run that cannot begin is told of at the end.
func TestRefusedRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, Options{Dir: filepath.Join(file, "runs")})
	if _, err := j.Begin(Record{Run: "a-1", Cell: 5}, 0, Hooks{}); err == nil {
		t.Error("it began")
	}
	if got := j.Lacking(); len(got) != 1 || !strings.HasPrefix(got[0], "of cell 5, all of it (") {
		t.Errorf("lacking are %q", got)
	}
}

// Rich output is in files; the event names them whole, and the index by what they are called.
func TestRichOutput(t *testing.T) {
	j := open(t, Options{})
	r, err := j.Begin(Record{Run: "a-1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	o := r.Output(ranklist.Rank(3))
	data := map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`), "text/plain": json.RawMessage(`"plain"`)}
	ev := &event.Display{Header: event.HeaderOf(event.KindDisplay, "a-1", nil, ranklist.Rank(3)), Data: data}
	o.Event(ev)
	o.Close()
	r.Finish(event.Report{Status: event.StatusOK}, time.Now())
	path := filepath.Join(r.Dir(), "rank-3-1.png")
	if b, err := os.ReadFile(path); len(b) != 3 || err != nil || ev.Files["image/png"] != path || len(ev.Data) != 2 {
		t.Errorf("%d bytes, %v, %+v", len(b), err, ev)
	}
	index, err := os.ReadFile(filepath.Join(r.Dir(), indexName))
	if err != nil || strings.Contains(string(index), "AAAA") || strings.Contains(string(index), j.Dir()) {
		t.Errorf("%s, %v", index, err)
	}
	_, events := readRun(t, r.Dir())
	if len(events) != 1 || !reflect.DeepEqual(events[0], ev) {
		t.Errorf("read: %+v", events)
	}
}

// Runs are found by their ids, and by age. A directory that a running dipls has made ahead is none.
func TestRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[runs]")
	for _, name := range []string{".next-17", "2026-01-02T03-04-05-a-1", "2026-01-02T03-04-06-a-2"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "run.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "2026-01-02T03-04-05-a-1"), filepath.Join(dir, "2026-01-02T03-04-06-a-2")}
	if got := Runs(dir); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	j := open(t, Options{Dir: dir})
	for run, want := range map[string]string{"a-1": want[0], "a-2": want[1], "a-3": "", "-1": "", "*": "", "next-17": ""} {
		if got := j.Find(run); got != want {
			t.Errorf("%q is in %q, want %q", run, got, want)
		}
	}
}

// What a person reads of a run says once what several ranks have said, or only what one has.
func TestRender(t *testing.T) {
	j := open(t, Options{})
	r, err := j.Begin(Record{Run: "a-1", Cell: 1, Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	head := func(k event.Kind, rank int) event.Header {
		return event.HeaderOf(k, "a-1", new(1), ranklist.Rank(rank))
	}
	r.Event(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "a-1"}, Target: "remote", See: "0", Quiet: true})
	outputs := []Output{r.Output(ranklist.Rank(0)), r.Output(ranklist.Rank(1))}
	for rank := range outputs {
		outputs[rank].Event(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateBusy})
	}
	for rank := range outputs {
		o := &outputs[rank]
		o.Print(event.Stdout, []byte("\x1b[31mhällo\x1b[0m\n"))
		o.Print(event.Stdout, fmt.Appendf(nil, "rank %d\n", rank))
	}
	for rank := range outputs {
		outputs[rank].Event(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateReady, Status: event.StatusOK})
		outputs[rank].Close()
	}
	r.Event(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "a-1"}, Status: event.StatusOK})
	r.Finish(event.Report{Status: event.StatusOK}, time.Now())
	for _, test := range []struct {
		who  *ranklist.Who
		want string
	}{
		{nil, "[0-1] hällo\n[0] rank 0\n[1] rank 1\n"},
		{new(ranklist.Rank(1)), "hällo\nrank 1\n"},
	} {
		path, err := Render(t.Context(), r.Dir(), test.who)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != test.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", path, got, err, test.want)
		}
	}
	if _, err := Render(t.Context(), r.Dir(), new(ranklist.Rank(2))); err == nil {
		t.Error("rank 2 has a part in it")
	}
}
