package lsp

import (
	"context"

	"dipls/dipexec/event"
)

// restartAll is the command dip.restart.
func (s *server) restartAll(ctx context.Context, a *whereArgs) (*noReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return &noReply{}, s.restartPython(ctx, w)
}

// restartPython ends all processes of a workspace, and what runs in them. What needs some next starts them with the settings of then.
func (s *server) restartPython(ctx context.Context, w *workspace) error {
	s.cancelWhere(w, func(Run) bool { return true })
	if err := w.processes.end(ctx); err != nil {
		return err
	}
	w.executor.Publish(event.NewLog(event.LevelInfo, "Python has ended; the next cell starts it anew"))
	return nil
}
