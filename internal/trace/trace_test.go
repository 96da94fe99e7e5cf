package trace

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// event is one of a file, as its format has it.
type event struct {
	Ph, Name, ID, Cat string
	PID, TID          int
	TS, Dur           float64 // µs
	Args              map[string]any
}

func create(t *testing.T) (*Tracer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tráce.json")
	tr, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return tr, path
}

// read reads a file; after is what is missing of one that was not closed.
func read(t *testing.T, path, after string) []event {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []event
	if err := json.Unmarshal(append(data, after...), &events); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return events
}

func TestFile(t *testing.T) {
	tr, path := create(t)
	track := tr.NewTrack(`a "track"` + "\n\xff ü")
	other := tr.NewTrack("another")
	at := tr.Now()
	tr.Span(track, "outer", at, at+2_500_007, Int("bytes", -3), Text("run", "\t\\"))
	tr.Moment(track, "first byte", at+1)
	tr.Begin(tr.PID(), "3f-1", "run", at)
	tr.Phase(tr.PID(), "3f-1", "queue", at+3, at)
	tr.End(tr.PID(), "3f-1", "run", at+5)
	tr.Span(Track{4711, 1}, "of a liar", -5, -9)
	if a, b := tr.NewProcess(), tr.NewProcess(); a == b || a <= 1<<22 {
		t.Errorf("processes of other machines are %d and %d", a, b)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	tr.Since(track, "too late", at)
	tr.Flush()
	if err := tr.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}

	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	names := map[Track]string{}
	var rest []event
	for _, e := range read(t, path, "") {
		if e.Name == "thread_name" {
			names[Track{e.PID, e.TID}] = e.Args["name"].(string)
		}
		if e.Ph != "M" {
			rest = append(rest, e)
		}
	}
	if names[track] != "a \"track\"\n\uFFFD ü" || names[other] != "another" || track == other {
		t.Errorf("tracks %v", names)
	}
	if len(rest) != 7 {
		t.Fatalf("%d events: %+v", len(rest), rest)
	}
	if e := rest[0]; e.Ph != "X" || e.PID != os.Getpid() || e.TID != track.TID || e.Dur != 2500.007 ||
		e.Args["bytes"] != -3.0 || e.Args["run"] != "\t\\" || e.TS != float64(at/1000)+float64(at%1000)/1000 {
		t.Errorf("%+v", e)
	}
	if b, e := rest[3], rest[4]; b.Ph != "b" || e.Ph != "e" || b.ID != "3f-1" || b.Cat != e.Cat || e.TS < b.TS {
		t.Errorf("%+v, %+v", b, e)
	}
	if e := rest[6]; e.TS != 0 || e.Dur != 0 {
		t.Errorf("%+v", e)
	}
}

// The clock is the one that other processes have, and goes on.
func TestClock(t *testing.T) {
	tr, _ := create(t)
	defer tr.Close()
	before, err := Clock()
	if err != nil {
		t.Fatal(err)
	}
	now := tr.Now()
	after, _ := Clock()
	// Create reads two clocks, one after the other.
	if slack := Time(time.Second); now < before-slack || now > after+slack || tr.Now() < now {
		t.Errorf("%d is not between %d and %d", now, before, after)
	}
}

// When the process is killed, the file can be read: it has whole events, and only the closing bracket is missing.
func TestKilled(t *testing.T) {
	tr, path := create(t)
	defer tr.Close()
	track := tr.NewTrack("busy")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				tr.Since(track, "span", tr.Now(), Text("run", "3f-1"))
			}
		})
	}
	wg.Wait()
	if events := read(t, path, "]"); len(events) < 4000 {
		t.Errorf("%d events have been written", len(events))
	}
	tr.Flush()
	if events := read(t, path, "]"); len(events) < 8000 {
		t.Errorf("%d events after a flush", len(events))
	}
}

// Close returns the error of the first write that failed.
func TestFullDisk(t *testing.T) {
	tr, _ := create(t)
	tr.f.Close()
	tr.Flush()
	tr.Since(tr.NewTrack("a"), "span", tr.Now())
	if err := tr.Close(); err == nil {
		t.Error("no error")
	}
}

func TestCreateFails(t *testing.T) {
	if _, err := Create(filepath.Join(t.TempDir(), "no", "such", "directory")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Off, nothing is allocated and nothing happens.
func TestOff(t *testing.T) {
	var tr *Tracer
	run := "3f9a2c-1"
	allocs := testing.AllocsPerRun(100, func() {
		at := tr.Now()
		track := tr.NewTrack("a")
		tr.Since(track, "span", at)
		tr.Span(track, "span", at, at, Text("run", run), Int("bytes", 5))
		tr.Moment(track, "moment", at)
		tr.Begin(tr.PID(), run, "run", at)
		tr.Phase(0, run, "queue", at, at)
		tr.End(0, run, "run", at)
		tr.NameProcess(1, "a", 0)
		tr.NameTrack(track, "a")
		tr.Flush()
		if at != 0 || tr.On() || tr.Close() != nil {
			t.Error("not off")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// On, an event costs no allocation of its own.
func TestOn(t *testing.T) {
	tr, _ := create(t)
	defer tr.Close()
	track, run := tr.NewTrack("a"), "3f9a2c-1"
	allocs := testing.AllocsPerRun(100, func() { tr.Since(track, "span", tr.Now(), Text("run", run), Int("bytes", 5)) })
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkOff(b *testing.B) {
	var tr *Tracer
	for b.Loop() {
		tr.Since(Track{}, "span", tr.Now())
	}
}
