package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
)

// maxRendered is how much output is rendered as text. For more, the journal's own file is shown.
const maxRendered = 64 << 20

// renderWindow is how far apart ranks may print the same line for it to be folded: further than in a live view, since nobody waits.
const renderWindow = 10 * time.Second

// Render writes a run's output as text beside its journal, and returns the file. Rank nil means all of its processes. If
// there is too much output for that, it returns the file with the bytes that a process printed.
func Render(ctx context.Context, dir string, rank *int) (path string, err error) {
	name := "output"
	if rank != nil {
		name = fmt.Sprintf("rank-%d", *rank)
	}
	if raw, tooLong := rawOutput(dir, rank); tooLong {
		return raw, nil
	}
	return WriteText(dir, name, 0o600, func(w io.Writer) error { return render(ctx, w, dir, rank) })
}

// rawOutput is the file with the bytes that a process printed, by default the process that printed most, and whether all output together is too
// much to render. If a process has several files, because the journal came near its limit, it is the newest.
func rawOutput(dir string, rank *int) (path string, tooLong bool) {
	files, _ := OutputFiles(dir)
	var total, most int64
	sizes, newest := map[int]int64{}, map[int]string{}
	for _, f := range files {
		if rank != nil && f.Rank != *rank {
			continue
		}
		total += f.Size
		sizes[f.Rank] += f.Size
		newest[f.Rank] = f.Path // they come by section
	}
	for _, r := range slices.Sorted(maps.Keys(sizes)) {
		if sizes[r] > most {
			path, most = newest[r], sizes[r]
		}
	}
	return path, total > maxRendered
}

// writeLive writes the lines that are not finished.
func writeLive(w io.Writer, lines []view.LiveLine) error {
	for _, line := range lines {
		if _, err := io.WriteString(w, clean.Text(line.Prefix+line.Text)+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// render writes a run's folded output, without colours.
func render(ctx context.Context, w io.Writer, dir string, rank *int) error {
	r, err := Read(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	folder := view.NewFolder(view.FoldOptions{Window: renderWindow})
	write := func(items []view.Item) (err error) {
		for _, item := range items {
			if _, err = io.WriteString(w, clean.Text(item.String())+"\n"); err != nil {
				return err
			}
		}
		return nil
	}
	var last time.Time
	known := rank == nil
	for ctx.Err() == nil {
		ev, at, err := r.Next()
		if errors.Is(err, io.EOF) && !known {
			return fmt.Errorf("rank %d has no part in the run", *rank)
		}
		if errors.Is(err, io.EOF) {
			if err := write(folder.Flush(last.Add(time.Hour))); err != nil {
				return err
			}
			return writeLive(w, folder.Live()) // of a run that goes on
		}
		if err != nil {
			return err
		}
		last = r.Record.Started.Add(at)
		if h := ev.Head(); rank != nil && (h.Local || h.Rank != nil) {
			if h.Local || *h.Rank != *rank {
				continue
			}
			known = true
		}
		if started, ok := ev.(*event.RunStarted); ok {
			all := *started
			all.See, all.Quiet = "all", false
			ev = &all
		}
		if err := write(folder.Add(ev, last)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// WriteText writes NAME.txt into the directory of a run, replacing an earlier one, and returns its path.
func WriteText(dir, name string, mode fs.FileMode, write func(io.Writer) error) (path string, err error) {
	f, err := os.CreateTemp(dir, name+"-*.new")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // gone if all goes well
	b := bufio.NewWriter(f)
	err = write(b)
	if err = errors.Join(err, b.Flush(), f.Chmod(mode), f.Close()); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name+".txt")
	return path, os.Rename(f.Name(), path)
}
