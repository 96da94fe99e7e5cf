package dipexec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/dipexec/journal"
	"dipls/internal/bytesize"
	"dipls/internal/ranklist"
	"dipls/internal/testdisk"
	"dipls/ranks"
)

// A disk that gets full costs the views nothing, and the end says from which byte on nothing was kept.
func TestJournalOnADiskThatGetsFull(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	unmount, err := testdisk.Mount(disk, 1<<20)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err) // another test does it with /dev/full
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	pool := newFakePool(3)
	j := newJournal(t, journal.Options{Dir: filepath.Join(disk, "runs")})
	e, rec := start(t, Options{Pool: pool, Journal: j})
	id := mustStart(t, e, Request{Cell: 4, Target: cells.Target{Where: cells.Remote}})
	x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next(), pool.ranks[2].next()}
	x[2].print("early\n")
	piece := strings.Repeat("0123456789abcde\n", 64<<10/16)
	const pieces = 20
	for range pieces {
		x[0].print(piece)
		x[1].print(piece)
	}
	x[1].display(ranks.Display{Data: eventtest.Plain("rich")})
	for _, x := range x {
		x.ok()
	}
	report := mustWait(t, e, id)
	if report.Status != event.StatusOK {
		t.Errorf("report %+v", report)
	}

	// Rank 2 has lost nothing, rank 0 and 1 what came after what their files have.
	size := func(rank int) int64 {
		info, err := os.Stat(filepath.Join(report.Journal, fmt.Sprintf("rank-%d.out", rank)))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if size(2) != 6 || size(0) == 0 || size(1) == 0 || size(0)+size(1) > 1<<20 {
		t.Errorf("kept are %d, %d and %d bytes", size(0), size(1), size(2))
	}
	lack := fmt.Sprintf("what was printed by rank 0 from byte %d on, rank 1 from byte %d on, "+
		"and 1 pieces of rich output (no space left on device)", size(0), size(1))
	if got, want := j.Lacking(), []string{"of cell 4, " + lack}; !slices.Equal(got, want) {
		t.Errorf("lacking are %q, want %q", got, want)
	}

	// A run that nothing can be kept of is reported, too.
	made, err := filepath.Glob(filepath.Join(j.Dir(), ".*")) // ahead, for the next run
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range made {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(disk, "the rest"), make([]byte, 1<<20), 0o600); err == nil {
		t.Error("the disk is not full")
	}
	next := mustStart(t, e, Request{Cell: 5})
	local := pool.local.next()
	local.print("shown\n")
	local.ok()
	mustWait(t, e, next)
	if got := j.Lacking(); len(got) != 2 || !strings.HasPrefix(got[1], "of cell 5, ") || !strings.Contains(got[1], "no space left on device") {
		t.Errorf("lacking are %q", got)
	}

	e.Close(t.Context())
	<-rec.done
	shown := map[ranklist.Who]int{}
	var logs []string
	for _, ev := range rec.all() {
		switch ev := ev.(type) {
		case *event.Stream:
			who, _ := ev.Who()
			shown[who] += len(ev.Text)
		case *event.Log:
			logs = append(logs, ev.Text)
		}
	}
	if all := pieces * len(piece); shown[ranklist.Rank(0)] != all || shown[ranklist.Rank(1)] != all || shown[ranklist.Rank(2)] != 6 || shown[ranklist.Local] != 6 {
		t.Errorf("shown are %v", shown)
	}
	if len(logs) != 2 || !strings.HasPrefix(logs[0], "what the cells print is shown but not kept") || logs[1] != "the journal of this run lacks "+lack {
		t.Errorf("told is %q", logs)
	}
}

// usage is what the files of a directory take.
func usage(t *testing.T, dir string) (total int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// If a run prints more than its journal may take, the oldest and the newest output is kept, and read back with a log event in between.
func TestJournalLimit(t *testing.T) {
	const limit = 256 << 10
	pool := newFakePool(2)
	j := newJournal(t, journal.Options{Limit: limit})
	e, rec := start(t, Options{Pool: pool, Journal: j})
	id := mustStart(t, e, Request{Cell: 1, Target: cells.Target{Where: cells.Remote}})
	x := []*fakeExecution{pool.ranks[0].next(), pool.ranks[1].next()}
	printed := make([]bytes.Buffer, 2)
	var most int64
	dir := ""
	rec.await(t, "run_started", func(ev event.Event) bool {
		started, ok := ev.(*event.RunStarted)
		if ok {
			dir = string(started.Journal)
		}
		return ok
	})
	for i := range 20_000 {
		line := fmt.Sprintf("line %d\n", i)
		printed[i%2].WriteString(line)
		x[i%2].print(line)
		if i%4000 == 0 {
			x[0].display(ranks.Display{Data: map[string]json.RawMessage{"text/html": json.RawMessage(fmt.Sprintf(`"<b>%d</b>"`, i))}})
		}
		if i%100 == 0 {
			most = max(most, usage(t, dir))
		}
	}
	x[0].ok()
	x[1].ok()
	report := mustWait(t, e, id)
	if most > limit {
		t.Errorf("the journal took %d bytes, and may take %d", most, limit)
	}

	r, events := readJournal(t, report.Journal)
	if r.Status != event.StatusOK {
		t.Errorf("record %+v", r)
	}
	var kept [2][2]strings.Builder // by rank: before and after the gap
	var gaps, pages int
	for _, ev := range events {
		switch ev := ev.(type) {
		case *event.Stream:
			kept[*ev.Rank][min(gaps, 1)].WriteString(ev.Text)
		case *event.Display:
			pages++
		case *event.Log:
			if strings.HasPrefix(ev.Text, "what was put out here is not kept") {
				gaps++
			}
		}
	}
	if gaps != 1 || pages == 0 || pages == 5 {
		t.Errorf("%d gaps, %d pages", gaps, pages)
	}
	var left int
	for rank := range printed {
		all, head, tail := printed[rank].String(), kept[rank][0].String(), kept[rank][1].String()
		if !strings.HasPrefix(all, head) || !strings.HasSuffix(all, tail) || head == "" || tail == "" {
			t.Errorf("rank %d: the %d oldest and the %d newest bytes are not what was printed", rank, len(head), len(tail))
		}
		left += len(all) - len(head) - len(tail)
	}
	if last, ok := events[len(events)-1].(*event.RunFinished); !ok {
		t.Errorf("the last event is %v", last)
	}

	// It is told when it happens, and at the end.
	e.Close(t.Context())
	<-rec.done
	var logs []string
	for _, ev := range rec.all() {
		if log, ok := ev.(*event.Log); ok {
			logs = append(logs, log.Text)
		}
	}
	want := []string{
		"the journal of this run has reached its limit, 256 KiB: the oldest and the newest output are kept, what is between goes (--journal-limit, dip.journalLimit)",
		fmt.Sprintf("the journal of this run lacks %s in the middle (the limit of one run is 256 KiB)", bytesize.Format(int64(left))),
	}
	if !slices.Equal(logs, want) {
		t.Errorf("told is %q, want %q", logs, want)
	}
	if got := j.Lacking(); len(got) != 1 || !strings.HasSuffix(got[0], " in the middle (the limit of one run is 256 KiB)") {
		t.Errorf("lacking are %q", got)
	}
}

// Nested runs have the limit of the cell that asks for them.
func TestJournalLimitOfNestedRuns(t *testing.T) {
	e := New(Options{Pool: newFakePool(1)})
	defer e.Close(t.Context())
	giver := newRun(e, "r1", Request{JournalLimit: 1 << 20}, place{}, nil)
	if nested := newRun(e, "r2", Request{}, place{}, &origin{run: giver}); nested.req.JournalLimit != 1<<20 {
		t.Errorf("its limit is %d", nested.req.JournalLimit)
	}
}
