package journal

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
)

// begin begins a run of one rank that has started.
func beginRun(t *testing.T, j *Store, run string) (*Recorder, *Output) {
	t.Helper()
	r, err := j.Begin(Record{Run: run, Target: "remote", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }, Full: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	r.Event(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: run}, Target: "remote", See: "0", Quiet: true})
	o := r.Output(ranklist.Rank(0))
	o.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, run, nil, ranklist.Rank(0)), State: event.StateBusy})
	return r, &o
}

// endRun ends it.
func endRun(r *Recorder, o *Output, run string) {
	o.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, run, nil, ranklist.Rank(0)), State: event.StateReady, Status: event.StatusOK})
	r.Event(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: run}, Status: event.StatusOK})
	r.Finish(event.Report{Status: event.StatusOK}, time.Now())
	o.Close()
}

// more are the events that a reader has now.
func more(t *testing.T, r *Reader) (list []string) {
	t.Helper()
	var events []event.Event
	for {
		ev, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return eventtest.Describe(events)
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
}

// A reader that follows gives everything once: what the index mentions, what it does not yet, and half a line only when the rest has come.
func TestFollowTellsAllOnce(t *testing.T) {
	w, o := beginRun(t, open(t, Options{}), "a-1")
	o.Print(event.Stdout, []byte("one\n"))
	w.mu.Lock()
	w.flush()
	w.mu.Unlock()
	r, err := Follow(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check := func(want ...string) {
		t.Helper()
		eventtest.SameLines(t, more(t, r), want...)
	}
	more(t, r)
	o.Print(event.Stderr, []byte("two\n"))
	check() // the index does not mention it
	r.Beyond()
	check(`stream rank 0 stdout "two\n"`)
	o.Print(event.Stderr, []byte("three\n"))
	w.mu.Lock()
	w.flush() // one stretch: two and three
	w.mu.Unlock()
	check(`stream rank 0 stderr "three\n"`)
	if _, err := w.files.index.WriteString(`{"time":0.5,"event":"log","level":"info",`); err != nil {
		t.Fatal(err)
	}
	check()
	if _, err := w.files.index.WriteString(`"text":"hello"}` + "\n"); err != nil {
		t.Fatal(err)
	}
	check("log info: hello")
	endRun(w, o, "a-1")
	r.Unfollow()
	check("rank_state rank 0 ready ok", "run_finished ok")
}

// Output of later sections of a journal that reached its limit comes as well, with a word where some was removed.
func TestFollowGoesOnInTheNextSection(t *testing.T) {
	j := open(t, Options{Limit: 4 << 10})
	w, o := beginRun(t, j, "a-1")
	o.Print(event.Stdout, []byte("one\n"))
	w.mu.Lock()
	w.flush()
	w.mu.Unlock()
	r, err := Follow(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	more(t, r)
	o.Print(event.Stdout, []byte(strings.Repeat("x", 2<<10)+"\n")) // fills the first section
	o.Print(event.Stdout, []byte("in the second\n"))
	endRun(w, o, "a-1")
	text := strings.Join(more(t, r), "\n")
	if strings.Count(text, "xx\\n") != 1 || strings.Count(text, "in the second") != 1 || !strings.Contains(text, "run_finished") {
		t.Errorf("got %s", text)
	}
}

// Print follows a run until it has ended, or until the process that ran it has gone.
func TestPrintFollows(t *testing.T) {
	for name, end := range map[string]func(w *Recorder, o *Output){
		"ended": func(w *Recorder, o *Output) { endRun(w, o, "a-1") },
		"killed": func(w *Recorder, o *Output) {
			w.off.Store(true)
			o.Close()
			w.release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, o := beginRun(t, open(t, Options{}), "a-1")
			o.Print(event.Stdout, []byte("one\n"))
			w.mu.Lock()
			w.flush()
			w.mu.Unlock()
			from, to := io.Pipe()
			done := make(chan error, 1)
			go func() {
				err := Print(t.Context(), to, w.Dir(), PrintOptions{Follow: true})
				to.Close()
				done <- err
			}()
			piece := make([]byte, 100)
			n, err := from.Read(piece)
			if err != nil || string(piece[:n]) != "one\n" {
				t.Fatalf("%q, %v", piece[:n], err)
			}
			o.Print(event.Stdout, []byte("two\n"))
			n, err = from.Read(piece) // without an end of the run
			if err != nil || string(piece[:n]) != "two\n" {
				t.Fatalf("%q, %v", piece[:n], err)
			}
			end(w, o)
			if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
