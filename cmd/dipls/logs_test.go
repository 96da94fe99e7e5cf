package main

import (
	"path/filepath"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
)

// The latest run is the one that began last, also among several of one second.
func TestLatestRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	store := journal.Open(journal.Options{Dir: dir})
	defer store.Close()
	second := time.Date(2026, 1, 2, 15, 4, 5, 0, time.Local)
	want := []string{"ab-9", "ab-10", "ab-11"}
	for i, run := range want {
		started := second.Add(time.Duration(i) * time.Millisecond)
		r, err := store.Begin(journal.Record{Run: run, Started: started}, 0, journal.Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		out := r.Output(ranklist.Local)
		out.Print(event.Stdout, []byte("x\n"))
		out.Close()
		r.Finish(event.Report{Status: event.StatusOK}, started)
	}
	latest := latestRuns(dir, nil)
	if len(latest) != len(want) {
		t.Fatalf("%d runs", len(latest))
	}
	for i, r := range latest {
		if r.Run != want[i] {
			t.Errorf("%d: %s, want %s", i, r.Run, want[i])
		}
	}
}
