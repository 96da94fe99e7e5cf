package lsp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/journal"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
)

type showOutputArgs struct {
	Run  string `json:"run" doc:"id of the run"`
	Rank *int   `json:"rank,omitempty" doc:"only this rank; without it, all ranks and the local namespace, folded"`
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
	var who *ranklist.Who
	if a.Rank != nil {
		who = ptr(ranklist.Rank(*a.Rank))
	}
	path, err := journal.Render(ctx, dir, who)
	if err != nil {
		return nil, err
	}
	return s.showFile(ctx, "the output is in", path)
}

// journalOf is the directory of a run's journal, also of a run that has been forgotten.
func (s *server) journalOf(id string) (string, error) {
	r, known := s.board.run(id)
	switch {
	case r.Journal != "":
		return r.Journal, nil
	case known && r.State == view.Queued:
		return "", fmt.Errorf("run %s has not begun", id)
	case known:
		return "", fmt.Errorf("nothing of run %s was kept: there is no journal", id)
	}
	if store := s.deps.Workspaces.o.Journal; store != nil {
		if dir := store.Find(id); dir != "" {
			return dir, nil
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
