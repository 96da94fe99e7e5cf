package dipexec

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/dipexec/journal"
	"dipls/ranks"
	"dipls/ranks/wire"
)

func newJournal(t *testing.T, o journal.Options) *journal.Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "runs")
	}
	j := journal.Open(o)
	t.Cleanup(j.Close)
	return j
}

// readJournal reads a journal to its end.
func readJournal(t *testing.T, dir string) (journal.Record, []event.Event) {
	t.Helper()
	r, err := journal.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Record, eventtest.All(t, r)
}

func sameProcess(a, b event.Event) bool {
	who, known := a.Head().Who()
	other, also := b.Head().Who()
	return who == other && known == also
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
		if ok && open != nil && open.Name == s.Name && sameProcess(open, s) {
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
	j := newJournal(t, journal.Options{})
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
			x[rank].display(ranks.Display{Data: map[string]json.RawMessage{
				"image/png":  json.RawMessage(`"` + base64.StdEncoding.EncodeToString(png) + `"`),
				"text/html":  json.RawMessage(`"<b>é</b>"`),
				"text/plain": json.RawMessage(`"plain"`),
			}, Metadata: map[string]json.RawMessage{"image/png": json.RawMessage(`{"width":3}`)}, ID: "d1"})
		case 1:
			x[rank].h.Happened(ranks.Clear{Wait: true})
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

	record, events := readJournal(t, report.Journal)
	if record.Run != id || record.Code != "x = 1" || record.Status != event.StatusError || record.Finished.IsZero() ||
		len(record.Parts) != 3 || *record.Parts[1].Rank != 1 {
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

// The record of a run has the seeds with which its processes have begun.
func TestJournalHasSeeds(t *testing.T) {
	pool := newFakePool(2)
	for i, p := range pool.ranks {
		p.seed = new(7 + int64(i))
	}
	j := newJournal(t, journal.Options{})
	e, _ := start(t, Options{Pool: pool, Journal: j})
	id := mustStart(t, e, Request{Path: "/t.py", Cell: 1, Directive: cells.Directive{Target: cells.Target{Where: cells.Everywhere}}})
	x := pool.local.next()
	x.print("a")
	x.ok()
	for _, p := range pool.ranks {
		p.next().ok()
	}
	record, err := journal.Read(mustWait(t, e, id).Journal)
	if err != nil {
		t.Fatal(err)
	}
	if record.Record.Server != os.Getpid() {
		t.Errorf("the process that ran it is %d", record.Record.Server)
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
			x.result(7, "42")
			x.ok()
			return true
		},
		"plot": func(_ *fakePool, _ *Executor, _ string, x *fakeExecution) bool {
			x.display(ranks.Display{Data: map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`)}})
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
			j := newJournal(t, journal.Options{})
			e, rec := start(t, Options{Pool: pool, Journal: j})
			id := mustStart(t, e, Request{Path: "/t.py", Cell: 2, Code: "größe = 1"})
			kept := do(pool, e, id, pool.local.next())
			r := mustWait(t, e, id)
			e.Close(t.Context())
			<-rec.done
			if _, err := os.Stat(r.Journal); (err == nil) != kept {
				t.Fatalf("kept is not %v: %v", kept, err)
			}
			if !kept {
				_, err := journal.Read(r.Journal)
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("read: %v", err)
				}
				return
			}
			record, events := readJournal(t, r.Journal)
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

// A journal that cannot be written is told of once, and nothing else suffers.
func TestJournalThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{Dir: filepath.Join(file, "runs")})})
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
	e, rec := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	for range 2 {
		id := mustStart(t, e, Request{})
		x := pool.local.next()
		x.display(ranks.Display{Data: eventtest.Plain("x")}) // goes into the index
		var dir string
		rec.await(t, "run_started", func(ev event.Event) bool {
			s, ok := ev.(*event.RunStarted)
			if ok && s.Run == id {
				dir = string(s.Journal)
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

func TestLateOutputIsJournaled(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	id := mustStart(t, e, Request{})
	pool.local.next().ok()
	r := mustWait(t, e, id)
	pool.local.later("late\n")
	_, events := readJournal(t, r.Journal) // it need not be closed for that
	lines := eventtest.Describe(events)
	if !slices.Contains(lines, `stream local stdout "late\n"`) {
		t.Errorf("got %s", strings.Join(lines, "\n"))
	}
	if !isLocked(t, r.Journal) {
		t.Error("the journal was not locked")
	}
	next := mustStart(t, e, Request{})
	pool.local.next().ok()
	mustWait(t, e, next)
	if isLocked(t, r.Journal) {
		t.Error("the journal is still locked")
	}
}

// isLocked reports whether somebody writes the journal in a directory.
func isLocked(t *testing.T, dir string) bool {
	t.Helper()
	index, err := os.Open(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	return syscall.Flock(int(index.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// BenchmarkOutput is 8 ranks that print as fast as they can: journaled, decoded, delivered.
func BenchmarkOutput(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%d-bytes", size), func(b *testing.B) {
			pool := newFakePool(8)
			j := journal.Open(journal.Options{Dir: b.TempDir()})
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
			h := outputOf(event.Stdout, line)
			b.SetBytes(int64(8 * size))
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan struct{})
			for _, p := range pool.ranks {
				go func() {
					defer func() { done <- struct{}{} }()
					x := p.next()
					for range b.N {
						x.h.Happened(h)
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
