package lsp

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
	"regexp"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/private"
)

// maxRendered is how much output is made into text to be read; of more, the journal's own file is shown.
const maxRendered = 64 << 20

// renderWindow is how far apart ranks may print the same line for it to be shown once: more than on a live view, since nobody waits.
const renderWindow = 10 * time.Second

type showOutputArgs struct {
	Run  string `json:"run" doc:"id of the run"`
	Rank *int   `json:"rank,omitempty" doc:"the rank; without it all of them, and the local namespace, folded"`
}

// showReply answers which file holds what is shown.
type showReply struct {
	Path  string `json:"path"`
	Shown bool   `json:"shown"` // the client has opened it
}

// showOutput opens what a run has printed, as text, in the editor.
func (s *server) showOutput(ctx context.Context, a *showOutputArgs) (*showReply, error) {
	if a.Run == "" {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "which run? Give run")
	}
	if a.Rank != nil && *a.Rank < 0 {
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "rank: there is no rank %d", *a.Rank)
	}
	dir, err := s.journalOf(a.Run)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run %s has put out nothing so far", a.Run)
	}
	path, err := renderOutput(ctx, dir, a.Rank)
	if err != nil {
		return nil, err
	}
	return s.showFile(ctx, "the output is in", path)
}

// runID is what ids of runs look like; one that a client names becomes part of a pattern of file names.
var runID = regexp.MustCompile(`^[0-9a-f]+-[0-9]+$`)

// journalOf is the directory of a run's journal, also of a run that has been forgotten.
func (s *server) journalOf(id string) (string, error) {
	r, known := s.board.run(id)
	switch {
	case r.Journal != "":
		return r.Journal, nil
	case known && r.State == Queued:
		return "", fmt.Errorf("run %s has not begun", id)
	case known:
		return "", fmt.Errorf("nothing of run %s was kept: there is no journal", id)
	}
	if journal := s.deps.Workspaces.o.Journal; journal != nil && runID.MatchString(id) && private.Check(journal.Dir()) == nil {
		if found, _ := filepath.Glob(filepath.Join(escapeGlob(journal.Dir()), "*-"+id)); len(found) == 1 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("there is no run %s", id)
}

// showFile opens a file in the editor. A client that cannot do that says where it is: "the output is in …".
func (s *server) showFile(ctx context.Context, isIn, path string) (*showReply, error) {
	w := s.client.Can.Window
	if w == nil || w.ShowDocument == nil || !w.ShowDocument.Support {
		s.client.ShowMessage(protocol.MessageTypeInfo, isIn+" "+path)
		return &showReply{Path: path}, nil
	}
	var result protocol.ShowDocumentResult
	params := &protocol.ShowDocumentParams{URI: uri.File(path), TakeFocus: ptr(true)}
	if err := s.client.Call(ctx, protocol.MethodWindowShowDocument, params, &result); err != nil {
		return nil, fmt.Errorf("the editor did not open %s: %w", path, err)
	}
	if !result.Success {
		return nil, fmt.Errorf("the editor did not open %s", path)
	}
	return &showReply{path, true}, nil
}

// renderOutput writes what a run has printed as text, beside its journal, and returns the file. Rank nil is all of its processes. If
// it is too much for that, the file is what a process printed, byte by byte.
func renderOutput(ctx context.Context, dir string, rank *int) (path string, err error) {
	name := "output"
	if rank != nil {
		name = fmt.Sprintf("rank-%d", *rank)
	}
	if raw, tooLong := rawOutput(dir, rank); tooLong {
		return raw, nil
	}
	return writeShown(dir, name, 0o600, func(w io.Writer) error { return writeOutput(ctx, w, dir, rank) })
}

// writeShown writes a file to be shown into a run's journal, in the place of the one of that name before, and returns its path.
func writeShown(dir, name string, mode fs.FileMode, write func(io.Writer) error) (path string, err error) {
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

// rawOutput is the file with what a process printed, that of the one that printed most if no rank is named, and whether all together it is too
// much to be made into text. Of a process that has several, because the journal came near its limit, it is the newest.
func rawOutput(dir string, rank *int) (path string, tooLong bool) {
	files, _ := journal.OutputFiles(dir)
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

// escapeGlob is a path as a pattern that only it fits.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
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

// writeOutput writes a run's folded output, without colours.
func writeOutput(ctx context.Context, w io.Writer, dir string, rank *int) error {
	r, err := journal.Read(dir)
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
