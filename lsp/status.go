package lsp

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.lsp.dev/uri"
	"go.uber.org/zap"

	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/session"
)

type statusArgs struct {
	Memory bool `json:"memory,omitempty" doc:"also the memory of the processes; takes a moment"`
}

// statusReply has the state of every workspace whose session answers.
type statusReply struct {
	Workspaces []workspaceStatus `json:"workspaces"`
}

type workspaceStatus struct {
	Folder  string         `json:"folder"`
	Session *sessionStatus `json:"session"` // null: it belongs to the editor, and ends with it
	Pool    poolStatus     `json:"pool"`
	Runs    []runStatus    `json:"runs"` // the runs that have not ended
}

// sessionStatus is a session that outlives the editor.
type sessionStatus struct {
	Name    string    `json:"name"`
	Keep    float64   `json:"keep"`    // as in dip/session
	Since   time.Time `json:"since"`   // when it was started
	Clients []string  `json:"clients"` // the programs that are attached
}

// poolStatus is the pool, with what each process runs.
type poolStatus struct {
	session.PoolInfo
	Ranks []rankStatus `json:"ranks"`
	Local *localStatus `json:"local"`
}

type rankStatus struct {
	session.RankInfo
	processStatus
}

type localStatus struct {
	session.LocalInfo
	processStatus
}

type processStatus struct {
	Run *currentRun `json:"run"` // the run whose part it has begun
}

// currentRun is a run that goes on.
type currentRun struct {
	Run     string  `json:"run"`
	URI     uri.URI `json:"uri,omitempty"`
	Cell    int     `json:"cell,omitzero"` // number of the cell as the document is now
	Title   string  `json:"title"`         // of the cell, or the line that runs
	Seconds float64 `json:"seconds"`       // since its start
}

type runStatus struct {
	Run    string  `json:"run"`
	State  string  `json:"state"` // queued or running
	URI    uri.URI `json:"uri,omitempty"`
	Cell   int     `json:"cell,omitzero"` // number of the cell as the document is now
	Target string  `json:"target,omitempty"`
	Done   int     `json:"done"`             // processes that have ended their part
	Parts  int     `json:"parts"`            // processes that have begun
	Failed string  `json:"failed,omitempty"` // which processes have failed already, though others go on, and how: "rank 1: ValueError"
	Hang   string  `json:"hang,omitempty"`   // who waits for whom, as sentences
}

// statusPatience is how long to wait for the memory on GPUs.
const statusPatience = 3 * time.Second

func (s *server) status(ctx context.Context, a *statusArgs) (*statusReply, error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	all := s.workspaces()
	found, errs := make([]workspaceStatus, len(all)), make([]error, len(all))
	var work sync.WaitGroup
	for i, w := range all {
		work.Go(func() {
			errs[i] = errors.New("a fault of ours; the log tells it")
			s.contained("status", func() { found[i], errs[i] = s.statusOf(ctx, w, a.Memory) })
		})
	}
	work.Wait()
	reply := &statusReply{Workspaces: []workspaceStatus{}}
	var failed error
	for i, err := range errs {
		switch {
		case err == nil:
			reply.Workspaces = append(reply.Workspaces, found[i])
		case !hasCode(err, session.CodeClosed): // else it is just being lost, which is told
			s.log.Warn("a folder is left out of the status", zap.String("folder", all[i].dir), zap.Error(err))
			failed = cmp.Or(failed, err)
		}
	}
	if len(reply.Workspaces) == 0 && failed != nil {
		return nil, failed
	}
	return reply, nil
}

// statusOf returns the state of one workspace.
func (s *server) statusOf(ctx context.Context, w *workspace, memory bool) (workspaceStatus, error) {
	info, err := w.Info(ctx, memory)
	if err != nil {
		return workspaceStatus{}, w.explain(err)
	}
	status := workspaceStatus{Folder: w.dir, Runs: []runStatus{}, Pool: poolStatus{PoolInfo: info, Ranks: []rankStatus{}}}
	if w.attachment != nil {
		about, err := w.About(ctx, false)
		if err != nil {
			return workspaceStatus{}, w.explain(err)
		}
		p := &sessionParams{}
		p.describe(about)
		status.Session = &sessionStatus{p.Name, p.Keep, p.Since, p.Clients}
	}
	current := map[ranklist.Who]*currentRun{}
	for _, r := range s.board.active(w) {
		cell := s.numberNow(&r)
		status.Runs = append(status.Runs, runStatus{
			Run: r.ID, State: r.State.String(), URI: r.Doc, Cell: cell, Target: r.Target, Done: view.Done(r.Parts), Parts: len(r.Parts),
			Failed: r.Failed(), Hang: r.HangSentences(),
		})
		for _, part := range r.Parts {
			if part.Status == "" {
				current[part.Who] = &currentRun{r.ID, r.Doc, cell, r.Title, time.Since(r.Started).Seconds()}
			}
		}
	}
	for _, rank := range info.Ranks {
		status.Pool.Ranks = append(status.Pool.Ranks, rankStatus{rank, processStatus{current[ranklist.Rank(rank.Rank)]}})
	}
	if info.Local != nil {
		status.Pool.Local = &localStatus{*info.Local, processStatus{current[ranklist.Local]}}
	}
	return status, nil
}

// numberNow returns the number of a run's cell in the document as it is now; 0 if there is none.
func (s *server) numberNow(r *Run) int {
	if d := s.docs.LastKnown(r.Doc); d != nil {
		if c, ok := d.Find(r.Cell); ok {
			return c.Index()
		}
	}
	return 0
}
