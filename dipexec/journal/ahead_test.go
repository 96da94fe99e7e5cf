package journal

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// The files of the next run are made ahead. They are no run: readers of the journal do not see them, and nothing of them stays.
func TestPrepare(t *testing.T) {
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
func TestSpares(t *testing.T) {
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
