package lsp

import (
	"context"
	"errors"
	"maps"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/uri"

	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// allMethods returns the methods of the server and of its features.
func (s *server) allMethods() map[string]rpc.Method {
	all := map[string]rpc.Method{}
	for _, some := range []map[string]rpc.Method{
		s.lifecycleMethods(), s.documentMethods(), s.config.methods(), s.commandMethods(), s.client.Methods(),
	} {
		maps.Copy(all, some)
	}
	for _, f := range s.features {
		for name, m := range f.methods {
			if _, twice := all[name]; twice {
				panic("lsp: two features handle " + name) // a mistake in the program, found by any test
			}
			all[name] = m
		}
	}
	return all
}

type viewKey struct{}

// enter puts the documents, as they are when a message comes, into the message's context.
func (s *server) enter(ctx context.Context) context.Context {
	return context.WithValue(ctx, viewKey{}, s.docs.View())
}

// viewOf returns the open documents as they were when a message came.
func viewOf(ctx context.Context) docs.View {
	v, _ := ctx.Value(viewKey{}).(docs.View)
	return v
}

// snapshotOf returns the document that a request is about, as it was when the request came. Its error is for the client.
func snapshotOf(ctx context.Context, u uri.URI) (*docs.Snapshot, error) {
	if d := viewOf(ctx)[u]; d != nil {
		return d, nil
	}
	if u == "" {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "which document? There is no uri")
	}
	return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "%s is not open: send textDocument/didOpen first", u)
}

// refuseNotebookCell says why a command that is about a whole file cannot take a document that is only one cell of a notebook; nil for any other.
func refuseNotebookCell(d *docs.Snapshot) error {
	if !docs.InNotebook(d.URI) {
		return nil
	}
	return errors.New("this is for a Python file, and a cell of a notebook is only a part of one")
}
