package dipexec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// importer is a process that says only which machine it runs on.
type importer struct {
	Process
	who ranklist.Who
}

func (p importer) Who() ranklist.Who { return p.who }
func (importer) Host() host.Host     { return host.Local{} }

// importing are processes that have imported the files of a folder.
func importing(t testing.TB, ranks int, files []string) (r *run, procs []Process) {
	e := &Executor{procs: map[ranklist.Who]*process{}}
	r = &run{e: e, req: Request{Autoreload: true}}
	var imported []wire.Imported
	for _, file := range files {
		now, ok := sourceNow(file)
		if !ok {
			t.Fatalf("%s is not there", file)
		}
		imported = append(imported, wire.Imported{Path: wire.Path(file), MTime: now.mtime, Size: now.size})
	}
	for rank := range ranks {
		p := importer{who: ranklist.Rank(rank)}
		procs = append(procs, p)
		known := &process{p: p, who: p.who}
		known.hasImported(imported)
		e.procs[p.who] = known
	}
	return r, procs
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
		for _, path := range r.edited(of) {
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
	r.req.Autoreload = false
	edit(files[0], 1_000_000_001)
	told(procs)
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
