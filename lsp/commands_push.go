package lsp

import (
	"context"
	"fmt"

	"dipls/dipexec"
)

type pushAndRunArgs struct {
	Names []string `json:"names" doc:"names of the variables"`
	cellArgs
}

// pushAndRun runs a cell, as it is now, when a push has ended well. The reply's run is the push.
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
	request, ok := dipexec.RequestFor(d.Name(), c)
	if !ok {
		return nil, fmt.Errorf("cell %d has no code to run", c.Index())
	}
	if err := runnable(d, c); err != nil {
		return nil, err
	}
	w, err := s.workspaceOf(d)
	if err != nil {
		return nil, err
	}
	cell := planned{request, c, false}
	s.aim(d, h, &cell)
	push, err := s.operate(ctx, whereArgs{URI: d.URI}, dipexec.RequestForTransfer(dipexec.Transfer{Names: a.Names}))
	if err != nil {
		return nil, err
	}
	s.goOn("a plan", s.newPlan(w, d, push.Run, []planned{{}, cell}).carryOut)
	return &runReply{Run: push.Run, Cells: 1}, nil
}
