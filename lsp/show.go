package lsp

import (
	"context"
	"errors"
	"fmt"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/session"
)

type showOutputArgs struct {
	Run  string `json:"run" doc:"id of the run"`
	Rank *int   `json:"rank,omitempty" doc:"only this rank; without it, all ranks and the local namespace, folded"`
}

// showReply has the file with what is shown.
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
	request := session.OutputRequest{Run: a.Run}
	if a.Rank != nil {
		request.Who = ptr(ranklist.Rank(*a.Rank))
	}
	path, err := s.output(ctx, request)
	if err != nil {
		return nil, err
	}
	return s.showFile(ctx, "the output is in", path)
}

// output returns the file with what a run has printed, also of a run that has been forgotten.
func (s *server) output(ctx context.Context, r session.OutputRequest) (path string, err error) {
	run, known := s.board.run(r.Run)
	switch {
	case known && run.State == view.Queued:
		return "", fmt.Errorf("run %s has not begun", r.Run)
	case known && run.Journal == "":
		return "", fmt.Errorf("nothing of run %s was kept: there is no journal", r.Run)
	case known:
		path, err = run.workspace.Output(ctx, r)
		switch {
		case hasCode(err, session.CodeNoRun):
			return "", fmt.Errorf("run %s has put out nothing so far", r.Run)
		case !hasCode(err, session.CodeClosed): // else its session is gone; others look in the same place
			return path, err
		}
	}
	all := s.workspaces()
	if len(all) == 0 { // their sessions look in the same place
		w, err := s.anyWorkspace(ctx)
		if err != nil {
			return "", err
		}
		all = append(all, w)
	}
	for _, w := range all {
		if path, err = w.Output(ctx, r); !hasCode(err, session.CodeNoRun) {
			return path, err
		}
	}
	return "", fmt.Errorf("there is no run %s", r.Run)
}

// hasCode reports whether an error of a session is of a kind.
func hasCode(err error, code session.Code) bool {
	known, ok := errors.AsType[*session.Error](err)
	return ok && known.Code == code
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
