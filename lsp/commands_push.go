package lsp

import (
	"context"
	"fmt"

	"dipls/session"
)

type pushAndRunArgs struct {
	Names []string `json:"names" doc:"names of the variables"`
	cellArgs
}

// pushAndRun pushes variables, and then runs a cell as its text is now, if the push went well. The reply's run is the push.
func (s *server) pushAndRun(ctx context.Context, a *pushAndRunArgs) (*runReply, error) {
	if err := checkNames(a.Names); err != nil {
		return nil, err
	}
	d, c, err := a.cell(ctx)
	if err != nil {
		return nil, err
	}
	h, err := a.parse()
	if err != nil {
		return nil, err
	}
	request, ok := session.CellOf(d.Name(), c)
	if !ok {
		return nil, fmt.Errorf("cell %d has no code to run", c.Index())
	}
	if err := runnable(d, c); err != nil {
		return nil, err
	}
	w, err := s.workspaceOf(ctx, d)
	if err != nil {
		return nil, err
	}
	push := planned{Cell: session.CellOfTransfer(session.Transfer{Names: a.Names})}
	runs, err := s.start(ctx, w, h, []planned{push, {Cell: request, doc: d, of: c}})
	if err != nil {
		return nil, err
	}
	return &runReply{Run: runs[0], Cells: 1}, nil
}
