package dipexec

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/ranks/wire"
)

func openJournal(t *testing.T, o JournalOptions) *Journal {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "runs")
	}
	j := OpenJournal(o)
	t.Cleanup(j.Close)
	return j
}

// readRun reads a journal to its end.
func readRun(t *testing.T, dir string) (RunRecord, []event.Event) {
	t.Helper()
	r, err := ReadRun(dir)
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

// merged writes events as JSON, pieces of one stream that follow one another as one.
func merged(t *testing.T, events []event.Event) []string {
	t.Helper()
	var lines []string
	var open *event.Stream
	flush := func() {
		if open != nil {
			lines = append(lines, asJSON(t, open))
			open = nil
		}
	}
	for _, e := range events {
		s, ok := e.(*event.Stream)
		if ok && open != nil && open.Name == s.Name && open.Who() == s.Who() {
			open.Text += s.Text
			continue
		}
		flush()
		if ok {
			c := *s
			open = &c
			continue
		}
		lines = append(lines, asJSON(t, e))
	}
	flush()
	return lines
}

func asJSON(t *testing.T, e event.Event) string {
	t.Helper()
	var b bytes.Buffer
	if err := event.WriteJSON(&b, e); err != nil {
		t.Fatal(err)
	}
	var v any // strings may be escaped in more than one way
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestJournalGivesBackTheEvents(t *testing.T) {
	pool := newFakePool(3)
	j := openJournal(t, JournalOptions{})
	e, rec := start(t, Options{Pool: pool, Journal: j})
	id := mustStart(t, e, Request{Path: "/t.py", Cell: 2, Line: 5, Title: "<b>", Code: "x = 1", Target: cells.Target{Where: cells.Remote}})
	x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
	png := []byte("\x89PNG\x00\xff")
	raw := make([]bytes.Buffer, 3)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		rank := rng.IntN(2) // rank 2 prints nothing
		b := make([]byte, rng.IntN(100))
		for i := range b {
			b[i] = "abcdé😀\xff\n"[rng.IntN(12)]
		}
		switch rng.IntN(10) {
		case 0:
			x[rank].display(wire.Display{Data: map[string]json.RawMessage{
				"image/png":  json.RawMessage(`"` + base64.StdEncoding.EncodeToString(png) + `"`),
				"text/html":  json.RawMessage(`"<b>é</b>"`),
				"text/plain": json.RawMessage(`"plain"`),
			}, Metadata: map[string]json.RawMessage{"image/png": json.RawMessage(`{"width":3}`)}, Transient: map[string]json.RawMessage{"display_id": json.RawMessage(`"d1"`)}})
		case 1:
			x[rank].h.Message(message(wire.TypeClearOutput, wire.ClearOutput{Wait: true}))
		case 2, 3:
			x[rank].stderr(string(b))
			raw[rank].Write(b)
		default:
			x[rank].print(string(b))
			raw[rank].Write(b)
		}
	}
	x[0].print("cut \xe2\x82")
	raw[0].WriteString("cut \xe2\x82")
	x[0].result(7, "42")
	x[1].fail("NameError", "foobar", wire.Frame{File: "/t.py", Line: 6})
	x[0].ok()
	x[2].ok()
	report := mustWait(t, e, id)
	pool.ranks[1].later("late\xc3")
	raw[1].WriteString("late\xc3")
	e.Close(t.Context())
	<-rec.done

	record, events := readRun(t, report.Journal)
	if record.Run != id || record.Code != "x = 1" || record.Status != event.StatusError || record.Finished.IsZero() || len(record.Parts) != 3 || *record.Parts[1].Rank != 1 {
		t.Errorf("record %+v", record)
	}
	got, want := merged(t, events), merged(t, rec.all())
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			eventtest.SameLines(t, got[i:min(i+1, len(got))], want[i:min(i+1, len(want))]...)
			t.Fatalf("event %d of %d differs", i, len(want))
		}
	}
	for rank := range 2 {
		b, err := os.ReadFile(filepath.Join(report.Journal, fmt.Sprintf("rank-%d.out", rank)))
		if err != nil || !bytes.Equal(b, raw[rank].Bytes()) {
			t.Errorf("rank %d: %v, %d bytes of %d", rank, err, len(b), raw[rank].Len())
		}
	}
	if _, err := os.Stat(filepath.Join(report.Journal, "rank-2.out")); err == nil {
		t.Error("a file was made for a rank that printed nothing")
	}
	files := 0
	for _, ev := range events {
		if d, ok := ev.(*event.Display); ok && !d.Clear {
			b, err := os.ReadFile(d.Files["image/png"])
			if err != nil || !bytes.Equal(b, png) {
				t.Errorf("%s: %q, %v", d.Files["image/png"], b, err)
			}
			files++
		}
	}
	if files == 0 {
		t.Error("no display was journaled")
	}
	checkModes(t, j.Dir())
}

// checkModes checks that nobody else can read what the cells printed.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A server that is killed leaves raw output that no index line tells of, and perhaps half a line.
func TestJournalOfAServerThatDied(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	rj, err := j.begin(RunRecord{Run: "r1", Cell: 1, Target: "remote", Started: time.Now()}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	f := &rawFile{rj: rj, rank: 0}
	rj.output(f, "stdout", []byte("indexed\n"))
	rj.event(&event.Log{Header: event.Header{Kind: event.KindLog, Run: "r1"}, Level: event.LevelInfo, Text: "hello"})
	rj.mu.Lock()
	rj.flush()
	rj.mu.Unlock()
	rj.output(f, "stderr", []byte("not indexed\n"))
	if _, err := rj.files.index.WriteString(`{"time":0.5,"eve`); err != nil {
		t.Fatal(err)
	}
	rj.off.Store(true) // killed
	f.close()
	rj.release()

	record, events := readRun(t, rj.dir)
	if record.Status != "" || !record.Finished.IsZero() {
		t.Errorf("record %+v", record)
	}
	eventtest.SameLines(t, eventtest.Describe(events),
		`stream rank 0 stdout "indexed\n"`, "log info: hello", `stream rank 0 stdout "not indexed\n"`)
}

func TestJournalRotation(t *testing.T) {
	j := openJournal(t, JournalOptions{MaxAge: 24 * time.Hour, MaxBytes: 10_000})
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
		rj, err := j.begin(RunRecord{Run: strings.ReplaceAll(old.name, " ", "-"), Started: now.Add(-old.age - time.Hour)}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		dirs[old.name] = rj.dir
		f := &rawFile{rj: rj, rank: -1}
		rj.output(f, "stdout", make([]byte, old.size))
		f.close()
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

// The record of a run has the seeds with which its processes have begun.
func TestJournalHasSeeds(t *testing.T) {
	pool := newFakePool(2)
	for i, p := range pool.ranks {
		p.seed = new(7 + int64(i))
	}
	j := openJournal(t, JournalOptions{})
	e, _ := start(t, Options{Pool: pool, Journal: j})
	id := mustStart(t, e, Request{Path: "/t.py", Cell: 1, Directive: cells.Directive{Target: cells.Target{Where: cells.Everywhere}}})
	x := pool.local.next()
	x.print("a")
	x.ok()
	for _, p := range pool.ranks {
		p.next().ok()
	}
	record, err := ReadRun(mustWait(t, e, id).Journal)
	if err != nil {
		t.Fatal(err)
	}
	var seeds []string
	for _, part := range record.Record.Parts {
		b, _ := json.Marshal(part.Seed)
		seeds = append(seeds, string(b))
	}
	if want := []string{"null", "7", "8"}; !slices.Equal(seeds, want) {
		t.Errorf("seeds %v, want %v", seeds, want)
	}
}

// A run of which there is nothing to tell leaves nothing, and any other one all that there is.
func TestJournalKeepsWhatTellsSomething(t *testing.T) {
	for name, do := range map[string]func(pool *fakePool, e *Executor, id string, x *fakeExecution) (kept bool){
		"silent": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool { x.ok(); return false },
		"output": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool { x.print("a"); x.ok(); return true },
		"late output": func(pool *fakePool, e *Executor, id string, x *fakeExecution) bool {
			x.ok()
			_, _ = e.Wait(t.Context(), id)
			pool.local.later("late")
			return true
		},
		"value": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool {
			x.h.Message(message(wire.TypeExecuteResult, wire.Display{ExecutionCount: 7, Data: eventtest.Plain("42")}))
			x.ok()
			return true
		},
		"plot": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool {
			x.display(wire.Display{Data: map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`)}})
			x.ok()
			return true
		},
		"exception": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool {
			x.fail("KeyError", "'größe'")
			return true
		},
		"nonsense": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool {
			x.h.Done(nil, errors.New("what?"))
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool := newFakePool(1)
			j := openJournal(t, JournalOptions{})
			e, rec := start(t, Options{Pool: pool, Journal: j})
			id := mustStart(t, e, Request{Path: "/t.py", Cell: 2, Code: "größe = 1"})
			kept := do(pool, e, id, pool.local.next())
			r := mustWait(t, e, id)
			e.Close(t.Context())
			<-rec.done
			if len(j.unkept) > 0 {
				t.Errorf("%d runs are thought to go on", len(j.unkept))
			}
			if _, err := os.Stat(r.Journal); (err == nil) != kept {
				t.Fatalf("kept is not %v: %v", kept, err)
			}
			if !kept {
				_, err := ReadRun(r.Journal)
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("read: %v", err)
				}
				return
			}
			record, events := readRun(t, r.Journal)
			if record.Code != "größe = 1" || record.Status != r.Status || len(record.Parts) != 1 || record.Finished.IsZero() {
				t.Errorf("record %+v", record)
			}
			published := slices.DeleteFunc(rec.all(), func(ev event.Event) bool { return ev.Head().Run != id })
			if got, want := merged(t, events), merged(t, published); name != "plot" && !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// A run that goes on for long is kept though it prints nothing: its server may be killed.
func TestJournalKeepsLongRuns(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	j.keeping = time.AfterFunc(time.Hour, func() {}) // the test is the clock
	begin := func(id string, started time.Time) *runJournal {
		rj, err := j.begin(RunRecord{Run: id, Started: started}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		rj.event(&event.RankState{Header: event.HeaderOf(event.KindRankState, id, nil, 3), State: event.StateBusy})
		return rj
	}
	long, ended := begin("long", time.Now().Add(-time.Hour)), begin("ended", time.Now().Add(-time.Hour))
	short := begin("short", time.Now().Add(time.Hour))
	ended.finish(event.Report{Status: event.StatusOK}, time.Now())
	j.keepLong()
	for rj, want := range map[*runJournal]bool{long: true, ended: false, short: false} {
		if _, err := os.Stat(rj.dir); (err == nil) != want {
			t.Errorf("%s: %v", rj.record.Run, err)
		}
	}
	record, events := readRun(t, long.dir)
	if !record.Finished.IsZero() || len(events) != 1 {
		t.Errorf("record %+v, events %s", record, eventtest.Describe(events))
	}
	short.finish(event.Report{Status: event.StatusOK}, time.Now())
	for _, rj := range []*runJournal{long, ended, short} {
		rj.release()
	}
	if len(j.unkept) > 0 {
		t.Errorf("%d runs are thought to go on", len(j.unkept))
	}
}

// A rotation measures a run that is over once, unless something is added to it, and one that goes on each time.
func TestJournalMeasuresOnce(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	j.work.Wait() // the rotation at the start
	j.rotateAfter = time.Hour
	begin := func(id string) (*runJournal, *rawFile) {
		rj, err := j.begin(RunRecord{Run: id, Started: time.Now()}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		f := &rawFile{rj: rj}
		rj.output(f, "stdout", []byte("some output\n"))
		return rj, f
	}
	over, f := begin("over")
	f.close()
	over.release()
	live, f := begin("live")
	defer live.release()
	defer f.close()
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
	j := openJournal(t, JournalOptions{})
	unwritable := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // JSON has no such year: run.json fails, as on a full disk
	told := 0
	rj, err := j.begin(RunRecord{Run: "r1", Started: unwritable}, 0, journalHooks{failed: func(error) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	f := &rawFile{rj: rj}
	rj.output(f, "stdout", []byte("lost\n"))
	rj.output(f, "stdout", []byte("lost\n"))
	if rj.finish(event.Report{Status: event.StatusError}, time.Now()) || told != 1 {
		t.Errorf("told %d times", told)
	}
	rj.release()
	if entries, err := os.ReadDir(j.Dir()); len(entries) > 0 || err != nil {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestJournalRotatesWhileItGrows(t *testing.T) {
	j := openJournal(t, JournalOptions{MaxBytes: 16_000})
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
	j := OpenJournal(JournalOptions{Dir: filepath.Join(t.TempDir(), "runs")})
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

	rj, err := j.begin(RunRecord{Run: "r1", Code: "größe = 1", Started: time.Now()}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
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
	if removeRun(rj.dir, time.Hour) {
		t.Error("it was not locked")
	}
	if rec, _ := readRun(t, rj.dir); rec.Code != "größe = 1" || !rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}
	rj.finish(event.Report{Status: event.StatusError, Reason: "why", Parts: []event.PartReport{{Rank: -1}, {Rank: 3}}}, time.Now())
	rj.release()
	if rec, _ := readRun(t, rj.dir); rec.Reason != "why" || rec.Code != "größe = 1" || len(rec.Parts) != 2 || rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}

	if err := os.RemoveAll(j.Dir()); err != nil { // the user tidies up
		t.Fatal(err)
	}
	rj, err = j.begin(RunRecord{Run: "r2", Started: time.Now()}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := rj.ready(rj.section.Load(), "x", true); err != nil {
		t.Fatal(err)
	}
	rj.release()
	j.Close()
	j.prepare()
	if names := entries(); len(names) != 1 || !isRunDir(names[0]) {
		t.Errorf("left: %q", names)
	}
}

// What a killed server has made ahead goes with a rotation, what a living one has stays.
func TestJournalSweepsSpares(t *testing.T) {
	j := openJournal(t, JournalOptions{})
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
	j := openJournal(t, JournalOptions{})
	var told error
	rj, err := j.begin(RunRecord{Run: "r1", Started: time.Now()}, 0, journalHooks{failed: func(err error) { told = err }})
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
	rj.finish(event.Report{Status: event.StatusOK}, time.Now())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	rj.release()
	if !errors.Is(told, syscall.EFBIG) {
		t.Errorf("told %v", told)
	}
	if rec, _ := readRun(t, rj.dir); rec.Run != "r1" || !rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}
}

func TestDefaultJournalDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	if dir, err := DefaultJournalDir(); dir != "/state/dipls/runs" || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/u")
	want := "/home/u/.local/state/dipls/runs"
	if runtime.GOOS == "darwin" {
		want = "/home/u/Library/Application Support/dipls/runs"
	}
	if dir, err := DefaultJournalDir(); dir != want || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
}

// A journal that cannot be written is told of once, and nothing else suffers.
func TestJournalThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool, Journal: openJournal(t, JournalOptions{Dir: filepath.Join(file, "runs")})})
	for range 3 {
		id := mustStart(t, e, Request{})
		x := pool.local.next()
		x.print("shown\n")
		x.ok()
		if r := mustWait(t, e, id); r.Status != event.StatusOK || r.Journal != "" {
			t.Errorf("report %+v", r)
		}
	}
	e.Close(t.Context())
	<-rec.done
	checkOneComplaint(t, rec, 3)
}

// /dev/full stands for a disk that is.
func TestJournalOnAFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool, Journal: openJournal(t, JournalOptions{})})
	for range 2 {
		id := mustStart(t, e, Request{})
		x := pool.local.next()
		x.display(wire.Display{Data: eventtest.Plain("x")}) // goes into the index
		var dir string
		rec.await(t, "run_started", func(ev event.Event) bool {
			s, ok := ev.(*event.RunStarted)
			if ok && s.Run == id {
				dir = s.Journal
			}
			return dir != ""
		})
		if err := os.Symlink("/dev/full", filepath.Join(dir, "local.out")); err != nil {
			t.Fatal(err)
		}
		x.print("shown\n")
		x.ok()
		mustWait(t, e, id)
	}
	e.Close(t.Context())
	<-rec.done
	var lacks []string
	for _, ev := range rec.all() {
		if log, ok := ev.(*event.Log); ok && log.Run != "" {
			lacks = append(lacks, log.Text)
		}
	}
	const lack = "the journal of this run lacks what was printed by the local namespace from byte 0 on (no space left on device)"
	if !slices.Equal(lacks, []string{lack, lack}) {
		t.Errorf("the ends of runs say %q", lacks)
	}
	checkOneComplaint(t, rec, 2)
}

func checkOneComplaint(t *testing.T, rec *recorder, streams int) {
	t.Helper()
	var logs, shown int
	for _, ev := range rec.all() {
		switch ev := ev.(type) {
		case *event.Log:
			if ev.Run != "" {
				continue // what a run's end says
			}
			logs++
			if !strings.Contains(ev.Text, "XDG_STATE_HOME") || ev.Path == "" {
				t.Errorf("log %q, path %q", ev.Text, ev.Path)
			}
		case *event.Stream:
			shown++
		}
	}
	if logs != 1 || shown != streams {
		t.Errorf("%d logs, %d streams:\n%s", logs, shown, strings.Join(rec.lines(), "\n"))
	}
}

func TestJournalErrorSentences(t *testing.T) {
	full := describeJournalError(&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC})
	if !strings.Contains(full, "free some space") {
		t.Error(full)
	}
}

// 1,100 ranks print, and only so many files are open at a time.
func TestJournalBoundsOpenFiles(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	rj, err := j.begin(RunRecord{Run: "r1", Started: time.Now()}, 0, journalHooks{failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	files := make([]rawFile, maxOpenFiles+100)
	for pass := range 2 {
		for i := range files {
			files[i].rj, files[i].rank = rj, i
			rj.output(&files[i], "stdout", fmt.Appendf(nil, "pass %d\n", pass))
		}
	}
	if n := j.open.Load(); n != maxOpenFiles {
		t.Errorf("%d files are open", n)
	}
	for i := range files {
		files[i].close()
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

func TestLateOutputIsJournaled(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool, Journal: openJournal(t, JournalOptions{})})
	id := mustStart(t, e, Request{})
	pool.local.next().ok()
	r := mustWait(t, e, id)
	pool.local.later("late\n")
	_, events := readRun(t, r.Journal) // it need not be closed for that
	lines := eventtest.Describe(events)
	if !slices.Contains(lines, `stream local stdout "late\n"`) {
		t.Errorf("got %s", strings.Join(lines, "\n"))
	}
	if removeRun(r.Journal, time.Hour) {
		t.Error("the journal was not locked")
	}
	next := mustStart(t, e, Request{})
	pool.local.next().ok()
	mustWait(t, e, next)
	if !removeRun(r.Journal, time.Hour) {
		t.Error("the journal is still locked")
	}
}

// BenchmarkOutput is 8 ranks that print as fast as they can: journaled, decoded, delivered.
func BenchmarkOutput(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%d-bytes", size), func(b *testing.B) {
			pool := newFakePool(8)
			j := OpenJournal(JournalOptions{Dir: b.TempDir()})
			defer j.Close()
			e := New(Options{Pool: pool, Journal: j})
			sub := e.Subscribe()
			read := make(chan struct{})
			go func() {
				defer close(read)
				for {
					if _, err := sub.Next(context.Background()); err != nil {
						return
					}
				}
			}()
			if _, err := e.Start(Request{Target: cells.Target{Where: cells.Remote}}); err != nil {
				b.Fatal(err)
			}
			line := strings.Repeat("a line of the usual length, with a loss of 0.12345\n", size/50+1)[:size]
			m := streamMessage("stdout", []byte(line))
			b.SetBytes(int64(8 * size))
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan struct{})
			for _, p := range pool.ranks {
				go func() {
					defer func() { done <- struct{}{} }()
					x := p.next()
					for range b.N {
						x.h.Message(m)
					}
					x.ok()
				}()
			}
			for range pool.ranks {
				<-done
			}
			e.Close(context.Background())
			<-read
		})
	}
}
