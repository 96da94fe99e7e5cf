package lsp

import "context"

// restartAll is the command dip.restart.
func (s *server) restartAll(ctx context.Context, a *whereArgs) (*noReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return &noReply{}, w.EndPython(ctx)
}
