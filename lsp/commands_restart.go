package lsp

import (
	"context"
	"errors"
	"slices"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/lsp/docs"
)

// restartAll is the command dip.restart.
func (s *server) restartAll(ctx context.Context, a *whereArgs) (*noReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return &noReply{}, w.EndPython(ctx)
}

// restartAndRunAll is the command dip.restartAndRunAll.
func (s *server) restartAndRunAll(ctx context.Context, a *documentArgs) (*runReply, error) {
	d, err := snapshotOf(ctx, a.URI)
	if err != nil {
		return nil, err
	}
	return s.restartAndRun(ctx, d, a.howArgs, func(cells.Cell) bool { return true })
}

// restartAndRunTo is the command dip.restartAndRunTo.
func (s *server) restartAndRunTo(ctx context.Context, a *cellArgs) (*runReply, error) {
	d, c, err := a.cell(ctx)
	if err != nil {
		return nil, err
	}
	return s.restartAndRun(ctx, d, a.howArgs, func(other cells.Cell) bool { return other.Index() <= c.Index() })
}

// errNotBegun is why cells do not run after a restart that the user has interrupted.
var errNotBegun = errors.New("interrupted: the namespaces are new, and nothing was run")

// restartAndRun gives a document's workspace fresh namespaces and then runs the chosen cells as they were when that was asked for. What keeps them from
// running is found out before anything is lost.
func (s *server) restartAndRun(ctx context.Context, d *docs.Snapshot, a howArgs, chosen func(cells.Cell) bool) (*runReply, error) {
	if err := refuseNotebookCell(d); err != nil {
		return nil, err
	}
	h, err := a.parse()
	if err != nil {
		return nil, err
	}
	plan, err := planOf(d, chosen)
	if err != nil {
		return nil, err
	}
	if len(plan) == 0 {
		return nil, errNoCode
	}
	w, err := s.workspaceOf(ctx, d)
	if err != nil {
		return nil, err
	}
	interrupts := w.interrupts.Load()
	if err := s.renew(ctx, w); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(plan, switchesAutodip) { // it begins as in a new session; what the user has switched otherwise stays
		if err := w.SetAutodip(ctx, false, ""); err != nil {
			return nil, err
		}
	}
	if err := s.catchUp(ctx, w); err != nil {
		return nil, err
	}
	if w.interrupts.Load() != interrupts {
		return nil, errNotBegun
	}
	return s.carryOut(ctx, d, h, plan)
}

// renew gives a workspace fresh namespaces. What is not theirs stays, and need not be had again: imported modules, an allocation of hosts.
func (s *server) renew(ctx context.Context, w *workspace) error {
	by, err := s.caller(ctx, w)
	if err != nil {
		return err
	}
	used, err := w.Used(ctx)
	if err != nil || used.Python == nil {
		return err // nothing lives
	}
	pool := s.board.pool(w).State
	if pool == event.StateStopped || wantsPython(used, by.Settings) { // the user has ended the pool, and a new session would make one
		return w.EndPython(ctx)
	}
	if _, err := w.Cancel(ctx, ""); err != nil {
		return err
	}
	info, err := w.Info(ctx, false)
	if err != nil {
		return w.explain(err)
	}
	if info.Local != nil {
		if err := w.RestartLocal(ctx, by); err != nil {
			return err
		}
	}
	if pool != event.StateNone {
		_, err = w.RestartPool(ctx, by)
	}
	return err
}

// switchesAutodip reports whether a cell has a magic that switches autodip.
func switchesAutodip(p planned) bool {
	return slices.ContainsFunc(p.of.Magics(), func(m cells.Magic) bool { return m.Name == "autodip" || m.Name == "autopx" })
}
