package journal

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
)

// maxRendered is how much output is rendered as text. For more, the journal's own file is shown.
const maxRendered = 64 << 20

// renderWindow is how far apart ranks may print the same line for it to be folded: further than in a live view, since nobody waits.
const renderWindow = 10 * time.Second

// Render writes a run's output as text beside its journal, and returns the file. who nil means all of its processes. If
// there is too much output for that, it returns the file with the bytes that a process printed.
func Render(ctx context.Context, dir string, who *ranklist.Who) (path string, err error) {
	name := "output"
	if who != nil {
		name = baseOf(*who)
	}
	if raw, tooLong := rawOutput(dir, who); tooLong {
		return raw, nil
	}
	return WriteText(dir, name, 0o600, func(w io.Writer) error { return Print(ctx, w, dir, PrintOptions{Who: who}) })
}

// rawOutput is the file with the bytes that a process printed, by default the process that printed most, and whether all output together is too
// much to render. If a process has several files, because the journal came near its limit, it is the newest.
func rawOutput(dir string, who *ranklist.Who) (path string, tooLong bool) {
	files, _ := OutputFiles(dir)
	var total, most int64
	sizes, newest := map[ranklist.Who]int64{}, map[ranklist.Who]string{}
	for _, f := range files {
		if who != nil && f.Who != *who {
			continue
		}
		total += f.Size
		sizes[f.Who] += f.Size
		newest[f.Who] = f.Path // they come by section
	}
	for _, w := range slices.SortedFunc(maps.Keys(sizes), ranklist.Who.Compare) {
		if sizes[w] > most {
			path, most = newest[w], sizes[w]
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
