package dipexec

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/testpython"
	"dipls/internal/trace"
	"dipls/ranks"
)

// traced is an event of a trace.
type traced struct {
	Ph, Name, ID string
	PID, TID     int
	TS, Dur      float64
	Args         struct {
		Name, Run string
		Cell      int
	}
}

func (e traced) end() float64 { return e.TS + e.Dur }

// traceOf runs something with real ranks and gives the trace of it, in the order of time.
func traceOf(t *testing.T, size int, run func(e *Executor)) []traced {
	t.Helper()
	python := testpython.Need(t)
	path := filepath.Join(t.TempDir(), "trace.json")
	tr, err := trace.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("run", func(t *testing.T) {
		options := Options{Journal: newJournal(t, journal.Options{}), Trace: tr}
		e, _ := startNodeOf(t, ranks.PoolSpec{Ranks: size, App: "none"}, options, ranks.Options{Python: python, Dir: t.TempDir(), Trace: tr})
		run(e)
	})
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []traced
	if err := json.Unmarshal(data, &events); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(events, func(a, b traced) int { return cmp.Compare(a.TS, b.TS) })
	return events
}

// The trace of a cell has its whole life, in order, on every process; what one thread does nests.
func TestTrace(t *testing.T) {
	var id string
	events := traceOf(t, 2, func(e *Executor) {
		report := mustWait(t, e, mustStart(t, e, Request{Code: "print('x', flush=True)", Cell: 3, Title: "Ä", Target: target(t, "remote")}))
		id = report.Run
		if report.Status != event.StatusOK {
			t.Errorf("%+v", report)
		}
	})
	tracks := map[string]trace.Track{} // by the name of the process and of the track
	processes := map[int]string{}
	for _, e := range events {
		if e.Name == "process_name" {
			processes[e.PID] = e.Args.Name
		}
	}
	for _, e := range events {
		if e.Name == "thread_name" {
			tracks[processes[e.PID]+": "+e.Args.Name] = trace.Track{PID: e.PID, TID: e.TID}
		}
	}
	// span finds what is told of the run on a track, or of anything after a moment where the track does not know of runs.
	span := func(track, name string, after float64) traced {
		t.Helper()
		at, ok := tracks[track]
		if !ok {
			t.Fatalf("no track %q in %v", track, tracks)
		}
		for _, e := range events {
			if e.Name == name && (e.Ph == "X" || e.Ph == "i") && e.PID == at.PID && e.TID == at.TID && e.TS >= after && (e.Args.Run == id || e.Args.Run == "") {
				return e
			}
		}
		t.Fatalf("no %q on %q after %v", name, track, after)
		return traced{}
	}
	var phases []string
	began := map[string]float64{}
	for _, e := range events {
		if e.ID == id && e.Ph == "b" {
			phases = append(phases, e.Name)
			began[e.Name] = e.TS
		}
	}
	want := []string{"run", "queue", "journal begun", "processes", "dispatch", "processes run", "outcome", "journal complete", "finish"}
	if !slices.Equal(phases, want) {
		t.Errorf("phases %q, want %q", phases, want)
	}
	for _, rank := range []string{"rank 0", "rank 1"} {
		sent := span("dipls: to "+rank, "execute_request", began["dispatch"])
		cell := span(rank+": main thread", "cell", sent.TS)
		compiled := span(rank+": main thread", "compile", sent.TS)
		ran := span(rank+": main thread", "run", sent.TS)
		printed := span(rank+": main thread", "first byte", sent.TS)
		arrived := span("dipls: output of "+rank, "first byte", sent.TS)
		journaled := span("dipls: output of "+rank, "journal", sent.TS)
		published := span("dipls: output of "+rank, "publish", sent.TS)
		delivered := span("dipls: subscriber", "deliver", began["dispatch"])
		for delivered.end() < published.TS { // the two ranks' output may be taken together
			delivered = span("dipls: subscriber", "deliver", delivered.end())
		}
		replied := span("dipls: from "+rank, "execute_reply", sent.TS)
		moments := []float64{
			sent.TS, cell.TS, compiled.end(), printed.TS, arrived.TS, journaled.end(), published.TS, delivered.end(),
		}
		if !slices.IsSorted(moments) {
			t.Errorf("%s: sent, taken, compiled, printed, arrived, journaled, published, delivered at %v", rank, moments)
		}
		if cell.TS > compiled.TS || compiled.end() > ran.TS+0.001 || ran.end() > cell.end() || cell.end() > replied.end() {
			t.Errorf("%s: cell %v, compile %v, run %v, reply %v", rank, cell, compiled, ran, replied)
		}
	}
	for name, track := range tracks {
		nests(t, name, slices.DeleteFunc(slices.Clone(events), func(e traced) bool { return e.Ph != "X" || e.PID != track.PID || e.TID != track.TID }))
	}
}

// nests fails the test if two spans overlap and neither contains the other.
func nests(t *testing.T, track string, spans []traced) {
	t.Helper()
	const rounding = 0.002 // µs
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if b.TS < a.end()-rounding && b.end() > a.end()+rounding && b.TS > a.TS+rounding {
				t.Errorf("%s: %s [%v, %v] and %s [%v, %v] overlap", track, a.Name, a.TS, a.end(), b.Name, b.TS, b.end())
			}
		}
	}
}

// Runs that wait for their turn overlap; of each the trace has the end.
func TestTraceQueue(t *testing.T) {
	events := traceOf(t, 1, func(e *Executor) {
		var ids []string
		for range 3 {
			ids = append(ids, mustStart(t, e, Request{Code: "pass", Target: target(t, "everywhere")}))
		}
		_ = e.Cancel(ids[2])
		for _, id := range ids {
			mustWait(t, e, id)
		}
	})
	open := map[string]int{}
	for _, e := range events {
		switch e.Ph {
		case "b":
			open[e.ID+" "+e.Name]++
		case "e":
			open[e.ID+" "+e.Name]--
		}
	}
	for what, n := range open {
		if n != 0 {
			t.Errorf("%s: %d beginnings more than ends", what, n)
		}
	}
}
