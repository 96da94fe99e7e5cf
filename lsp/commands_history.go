package lsp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/export"
	"dipls/export/job"
	"dipls/lsp/docs"
	"dipls/session"
)

type runsArgs struct {
	Path   string               `json:"path,omitzero" doc:"only runs of this file, or of files below this folder: an absolute path, or a name without a folder"`
	Cell   string               `json:"cell,omitzero" doc:"only of this cell: its number, or a part of its title"`
	Status []session.PastStatus `json:"status,omitzero" doc:"only those that ended so, or are running, or killed"`
	Since  string               `json:"since,omitzero" doc:"only those that began then or later, as in 2026-01-31T12:00:00Z"`
	Limit  int                  `json:"limit,omitzero" doc:"so many of the latest; without it, all"`
	Code   bool                 `json:"code,omitzero" doc:"with the code that ran"`
}

// runsReply has runs of the past.
type runsReply struct {
	Runs []session.PastRun `json:"runs"` // the latest first
}

type recallArgs struct {
	Run string `json:"run" doc:"id of the run"`
}

// recallReply has what a run of the past has told.
type recallReply struct {
	Run    session.PastRun `json:"run"`
	Events event.List      `json:"events"`
	More   bool            `json:"more"`          // output was left out: there was too much
	Gone   string          `json:"gone,omitzero"` // what has become of what it has left, as in a cell of dip/cells; absent if that is there
}

type exportArgs struct {
	URI    uri.URI `json:"uri" doc:"the document"`
	Format string  `json:"format" doc:"ipynb, html or torchrun"`
	Path   string  `json:"path,omitzero" doc:"the file to write, an absolute path; without it, one beside the document"`
	Force  bool    `json:"force,omitzero" doc:"replace a file that is there"`
}

// exportReply names the file.
type exportReply struct {
	Path string `json:"path"`
}

// maxRecalled is how much output of a run a client is told again, in bytes.
const maxRecalled = 4 << 20

// listRuns is the command dip.runs.
func (s *server) listRuns(_ context.Context, a *runsArgs) (*runsReply, error) {
	var since time.Time
	if a.Since != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, a.Since); err != nil {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "since: %q is no time, as in 2026-01-31T12:00:00Z", a.Since)
		}
	}
	runs, err := session.PastRuns(s.journal(), session.PastRequest{Path: a.Path, Cell: a.Cell, Status: a.Status, Since: since, Limit: a.Limit})
	if err != nil {
		return nil, err
	}
	for i := range runs {
		if !a.Code {
			runs[i].Code = ""
		}
	}
	return &runsReply{runs}, nil
}

// journal is the directory with the runs; "": the usual one.
func (s *server) journal() string {
	for _, w := range s.workspaces() {
		if w.attachment != nil && w.attachment.About.Journal != "" {
			return w.attachment.About.Journal
		}
	}
	return ""
}

// recall is the command dip.recall.
func (s *server) recall(_ context.Context, a *recallArgs) (*recallReply, error) {
	runs, err := session.PastRuns(s.journal(), session.PastRequest{Run: a.Run})
	switch {
	case err != nil:
		return nil, err
	case len(runs) == 0:
		return nil, fmt.Errorf("there is no run %s", a.Run)
	}
	reply := &recallReply{Run: runs[0], Events: event.List{}, Gone: mayBeGone}
	if r, known := s.board.kept(a.Run); known {
		reply.Gone = r.Gone()
	}
	size, last := 0, time.Duration(0)
	err = session.PastEvents(runs[0], func(ev event.Event, at time.Duration) error {
		last = at
		switch e := ev.(type) {
		case *event.RunStarted:
			began := *e
			began.Began = runs[0].Started
			ev = &began
		case *event.Stream, *event.Display, *event.Result:
			var b bytes.Buffer
			if err := event.WriteJSON(&b, ev); err != nil {
				return err
			}
			if size += b.Len(); size > maxRecalled {
				if !reply.More {
					reply.Events = append(reply.Events, missingFrom(ev))
				}
				reply.More = true
				return nil
			}
		}
		reply.Events = append(reply.Events, ev)
		return nil
	})
	if runs[0].Status == session.PastKilled && len(reply.Events) > 0 {
		reply.Events = append(reply.Events, missingEnd(runs[0], reply.Events, last)...)
	}
	return reply, err
}

// mayBeGone is said of runs that no session here knows any more.
const mayBeGone = "what it has left may be gone"

// missingFrom says, in place of the first output that is not told again, that there was more.
func missingFrom(ev event.Event) *event.Log {
	return &event.Log{
		Header: event.Header{Kind: event.KindLog, Run: ev.Head().Run, Cell: ev.Head().Cell}, Level: event.LevelWarning, Missing: true,
		Text: "output was left out from here on: the run's output as text has all of it",
	}
}

// missingEnd ends a run whose process was killed before it could tell: first the parts that have not ended, then the run. It is known to have gone on up
// to its last event.
func missingEnd(run session.PastRun, told event.List, last time.Duration) event.List {
	var busy []event.Header
	for _, ev := range told {
		e, ok := ev.(*event.RankState)
		if !ok {
			continue
		}
		who, _ := e.Who()
		busy = slices.DeleteFunc(busy, func(h event.Header) bool { other, _ := h.Who(); return other == who })
		if e.Status == "" && e.State == event.StateBusy {
			busy = append(busy, e.Header)
		}
	}
	var end event.List
	seconds := event.Seconds(last)
	for _, h := range busy {
		end = append(end, &event.RankState{Header: h, State: event.StateDead, Status: event.StatusDied, Seconds: seconds})
	}
	return append(end, &event.RunFinished{
		Header: event.Header{Kind: event.KindRunFinished, Run: run.Run, Cell: event.CellOf(run.Cell)}, Parent: run.Parent,
		Status: event.StatusDied, Seconds: seconds, Reason: "the process that ran it was killed",
	})
}

// export is the command dip.export.
func (s *server) export(ctx context.Context, a *exportArgs) (*exportReply, error) {
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, err
	}
	if err := refuseNotebookCell(d); err != nil {
		return nil, err
	}
	extensions := map[string]string{"ipynb": ".ipynb", "html": ".html", "torchrun": "_job.py"}
	extension, ok := extensions[a.Format]
	path := a.Path
	switch {
	case !ok:
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "format: %q is none; write ipynb, html or torchrun", a.Format)
	case path == "" && d.Path == "":
		return nil, errors.New("the document has no file yet: save it, or say where to write")
	case path == "":
		path = strings.TrimSuffix(d.Path, ".py") + extension
	case !filepath.IsAbs(path):
		return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "path: %q is not absolute", path)
	}
	write, err := s.exporter(d, a.Format, path)
	if err != nil {
		return nil, err
	}
	err = export.WriteFile(path, a.Force, write)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s is there already: give force to replace it", path)
	}
	if err != nil {
		return nil, err
	}
	return &exportReply{path}, nil
}

// exporter writes a document in a format.
func (s *server) exporter(d *docs.Snapshot, format, path string) (func(io.Writer) error, error) {
	if format == "torchrun" {
		script, faults := job.Script(d.File, d.Name(), path)
		if len(faults) > 0 {
			var lines []string
			for _, f := range faults {
				lines = append(lines, f.String())
			}
			return nil, errors.New(strings.Join(lines, "\n"))
		}
		return func(w io.Writer) error { _, err := io.WriteString(w, script); return err }, nil
	}
	document, err := export.Gather(s.journal(), d.Name(), d.File)
	if format == "html" {
		return func(w io.Writer) error { return export.WritePage(w, document, time.Now()) }, err
	}
	return func(w io.Writer) error { return export.WriteNotebook(w, document) }, err
}
