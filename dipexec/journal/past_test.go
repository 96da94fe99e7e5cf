package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// end runs a run to its end, with what it prints.
func end(t *testing.T, j *Store, record Record, prints string, report event.Report) {
	t.Helper()
	rj, err := j.Begin(record, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if prints != "" {
		f := rj.Output(ranklist.Rank(0))
		f.Print(event.Stdout, []byte(prints))
		f.Close()
	}
	rj.Finish(report, record.Started.Add(time.Millisecond))
}

func runsOf(past []Past) (runs []string) {
	for _, p := range past {
		runs = append(runs, p.Run)
	}
	return runs
}

// The list has silent runs, too, also after the store has gone. They leave one line in a file that they share, and no directory.
func TestPast(t *testing.T) {
	j := Open(Options{Dir: filepath.Join(t.TempDir(), "größe der läufe")})
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	parts := []event.PartReport{{Who: ranklist.Rank(0), PeakMemory: 5 << 20}, {Who: ranklist.Rank(1), PeakMemory: 7 << 20}}
	ok := event.Report{Status: event.StatusOK, Parts: parts}
	end(t, j, Record{Run: "a-1", Path: "/t.py", Cell: 1, Code: "x = 1\n", Started: began}, "", ok)
	end(t, j, Record{Run: "a-2", Path: "/t.py", Cell: 2, Started: began.Add(time.Second)}, "told\n", ok)
	end(t, j, Record{Run: "a-3", Path: "/u.py", Cell: 1, Code: strings.Repeat("x", maxSilentCode+1), Started: began.Add(2 * time.Second)}, "", ok)
	end(t, j, Record{Run: "a-4", Path: "/t.py", Cell: 3, Started: began.Add(3 * time.Second)}, "", event.Report{Status: event.StatusError})
	j.Close()

	list := func(since time.Time, n int, takes func(Past) bool) []Past {
		t.Helper()
		past, err := ReadPast(j.Dir(), since, n, takes)
		if err != nil {
			t.Fatal(err)
		}
		return past
	}
	all := func(Past) bool { return true }
	past := list(time.Time{}, 0, all)
	if got, want := runsOf(past), []string{"a-4", "a-3", "a-2", "a-1"}; !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	if p := past[3]; p.Dir != "" || p.Code != "x = 1\n" || p.Status != event.StatusOK || p.PeakMemory() != 7<<20 || p.Finished.IsZero() || p.Killed() {
		t.Errorf("silent: %+v", p)
	}
	if past[1].Code != "" || past[2].Dir == "" {
		t.Errorf("%+v", past[1:3])
	}
	if got := runsOf(list(time.Time{}, 2, all)); !slices.Equal(got, []string{"a-4", "a-3"}) {
		t.Errorf("the latest two: %q", got)
	}
	if got := runsOf(list(began.Add(2*time.Second), 0, all)); !slices.Equal(got, []string{"a-4", "a-3"}) {
		t.Errorf("since: %q", got)
	}
	if got := runsOf(list(time.Time{}, 1, func(p Past) bool { return p.Path == "/t.py" && p.Status == event.StatusOK })); !slices.Equal(got, []string{"a-2"}) {
		t.Errorf("filtered: %q", got)
	}
	if dirs := Runs(j.Dir()); len(dirs) != 2 {
		t.Errorf("silent runs have directories: %q", dirs)
	}
}

// While the store lives, its own timer writes silent runs down; nobody has to close it.
func TestSilentRunsAreWrittenSoon(t *testing.T) {
	j := open(t, Options{})
	end(t, j, Record{Run: "a-1", Started: time.Now()}, "", event.Report{Status: event.StatusOK})
	if lines, err := os.ReadFile(filepath.Join(j.Dir(), silentName)); err == nil {
		t.Fatalf("the run itself has written %q", lines)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		past, err := ReadPast(j.Dir(), time.Time{}, 0, func(Past) bool { return true })
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, %v", past, err)
		}
		if len(past) == 1 {
			return
		}
	}
}

// The file of the silent runs is bounded. Half a line, as of a machine that was switched off, costs nothing else.
func TestSilentRunsAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	for i := range 10 {
		record := Record{Run: "b-" + string(rune('0'+i)), Code: strings.Repeat("x", 1<<20), Started: time.Unix(int64(i), 0)}
		if err := appendSilent(dir, []Record{record}); err != nil {
			t.Fatal(err)
		}
	}
	var size int64
	for _, name := range []string{silentName, olderSilent} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			size += info.Size()
		}
	}
	if size > 2*maxSilent+2<<20 {
		t.Errorf("%d bytes", size)
	}
	f, err := os.OpenFile(filepath.Join(dir, silentName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	half, _ := json.Marshal(Record{Run: "b-x"})
	_, _ = f.Write(append(half[:10], '\n'))
	_ = f.Close()
	past, err := ReadPast(dir, time.Time{}, 0, func(Past) bool { return true })
	if err != nil || len(past) < 4 || past[0].Run != "b-9" {
		t.Errorf("%v, %v", runsOf(past), err)
	}
	if past, err := ReadPast(filepath.Join(dir, "none"), time.Time{}, 0, nil); len(past) > 0 || err != nil {
		t.Errorf("no journal: %v, %v", past, err)
	}
}
