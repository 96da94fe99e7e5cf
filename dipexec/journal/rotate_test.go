package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dipls/internal/ranklist"
)

func TestRotation(t *testing.T) {
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

// A rotation measures a run that is over once, unless something is added to it, and one that goes on each time.
func TestRotationMeasuresOnce(t *testing.T) {
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

func TestRotationWhileTheStoreGrows(t *testing.T) {
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
