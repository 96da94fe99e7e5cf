package dipexec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// importer is a process that says only which machine it runs on.
type importer struct {
	Process
	who ranklist.Who
	on  host.Host
}

func (p importer) Who() ranklist.Who   { return p.who }
func (importer) Done() <-chan struct{} { return nil }
func (p importer) Host() host.Host     { return p.on }

// importing are processes that have imported the files of a folder.
func importing(t testing.TB, ranks int, files []string) (r *run, procs []Process) {
	e := &Executor{procs: map[ranklist.Who]*process{}}
	r = &run{e: e, req: Request{Autoreload: true}}
	imported := importedNow(t, files)
	for rank := range ranks {
		p := importer{who: ranklist.Rank(rank), on: host.Local{}}
		procs = append(procs, p)
		known := &process{p: p, who: p.who}
		known.hasImported(&wire.ExecuteReply{Imported: imported}, nil)
		e.procs[p.who] = known
	}
	return r, procs
}

// importedNow is what a reply says of files.
func importedNow(t testing.TB, files []string) (imported []wire.Imported) {
	for _, file := range files {
		now, ok := sourceNow(file)
		if !ok {
			t.Fatalf("%s is not there", file)
		}
		imported = append(imported, wire.Imported{Path: wire.Path(file), MTime: now.mtime, Size: now.size})
	}
	return imported
}

func sources(t testing.TB, n int) (files []string) {
	dir := filepath.Join(t.TempDir(), "pröj ekt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("m%d.py", i))
		if err := os.WriteFile(file, []byte("x = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// All ranks are told of the same files: those that any of them lacks. A file is told of once for each edit, and not while it is away.
func TestEdited(t *testing.T) {
	files := sources(t, 3)
	r, procs := importing(t, 3, files)
	told := func(of []Process, want ...string) {
		t.Helper()
		var got []string
		for _, path := range (&run{e: r.e, req: r.req}).reloads(of) {
			got = append(got, string(path))
		}
		if !slices.Equal(got, want) {
			t.Errorf("told of %q, want %q", got, want)
		}
	}
	edit := func(file string, seconds int64) {
		t.Helper()
		if err := os.Chtimes(file, time.Time{}, time.Unix(seconds, 123_456_789)); err != nil {
			t.Fatal(err)
		}
	}
	told(procs)
	edit(files[1], 1_000_000_000)
	told(procs[:1], files[1]) // a run on some of the ranks
	told(procs[:1])
	edit(files[0], 1_000_000_000)
	told(procs, files[0], files[1]) // the others lack both, and the first one goes along
	told(procs)
	if err := os.Remove(files[2]); err != nil {
		t.Fatal(err)
	}
	told(procs)
	edit(files[0], 1_000_000_001)
	told(procs, files[0])
	known := r.e.known(procs)
	known[1].hasImported(&wire.ExecuteReply{Imported: importedNow(t, files[:1])}, []wire.Path{wire.Path(files[0])}) // an interrupt came meanwhile
	known[0].hasImported(&wire.ExecuteReply{Imported: importedNow(t, files[:1]), Reloaded: true}, []wire.Path{wire.Path(files[0])})
	told(procs[:1])
	told(procs, files[0])
	told(procs)
}

// A file that a process on another host has imported counts as it is here. The process's reader does not look at it.
func TestEditedElsewhere(t *testing.T) {
	files := sources(t, 1)
	r, _ := importing(t, 0, nil)
	p := importer{who: ranklist.Rank(0), on: &fakeHost{name: "b"}}
	known := &process{p: p, who: p.who}
	r.e.procs[p.who] = known
	known.hasImported(&wire.ExecuteReply{Imported: []wire.Imported{{Path: wire.Path(files[0]), MTime: 1, Size: 1}}}, nil)
	if len(known.sources) > 0 {
		t.Errorf("the reader has looked: %v", known.sources)
	}
	if got := r.edited([]Process{p}); len(got) > 0 {
		t.Errorf("told of %v", got)
	}
	if err := os.Chtimes(files[0], time.Time{}, time.Unix(1_000_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	if got := r.edited([]Process{p}); len(got) != 1 {
		t.Errorf("told of %v", got)
	}
}

// What is reloaded is decided once for a run that goes everywhere, when its first process is known; and only for code.
func TestReloads(t *testing.T) {
	files := sources(t, 1)
	r, procs := importing(t, 2, files)
	r.e.given[poolNamespace] = procs
	edit := func(seconds int64) {
		if err := os.Chtimes(files[0], time.Time{}, time.Unix(seconds, 0)); err != nil {
			t.Fatal(err)
		}
	}
	again := func(req Request) *run {
		req.Autoreload = true
		return &run{e: r.e, req: req, target: cells.Target{Where: cells.Everywhere}}
	}
	edit(1_000_000_000)
	if got := again(Request{FreeMemory: true}).reloads(procs); got != nil {
		t.Errorf("told of %q without code", got)
	}
	if got := again(Request{}).reloads(nil); len(got) != 1 {
		t.Errorf("locally: %q", got)
	}
	r = again(Request{}) // the one before has not come to the ranks
	for on, of := range [][]Process{nil, procs} {
		if got := r.reloads(of); len(got) != 1 {
			t.Errorf("phase %d: %q", on, got)
		}
	}
	r = again(Request{})
	if got := r.reloads(nil); got != nil {
		t.Errorf("reloaded again: %q", got)
	}
	edit(1_000_000_001)
	if got := r.reloads(procs); got != nil {
		t.Errorf("edited meanwhile: %q on the ranks, and nothing locally", got)
	}
}

// What 2,000 files cost a cell that finds none of them edited.
func BenchmarkEdited(b *testing.B) {
	for _, ranks := range []int{1, 8} {
		r, procs := importing(b, ranks, sources(b, 2000))
		b.Run(fmt.Sprint(ranks), func(b *testing.B) {
			for b.Loop() {
				r.edited(procs)
			}
		})
	}
}
