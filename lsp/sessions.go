package lsp

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"dipls/session"
)

// Sessions are the sessions of folders, one for each. They outlive a connection: several editors may share them.
type Sessions struct {
	make   func(dir string) session.API
	attach Attacher // nil: there are only sessions of our own

	mu     sync.Mutex // guards what follows
	byDir  map[string]*workspace
	closed bool
}

// workspace is a folder and its session.
type workspace struct {
	dir string
	session.API
}

// Attacher finds and starts sessions that outlive the editor.
type Attacher interface {
	// Attach finds the session that is wanted, or starts it, and gives the way to it.
	Attach(ctx context.Context, r session.AttachRequest) (*session.Attachment, error)
	// List lists the user's sessions on this host.
	List(ctx context.Context) ([]session.Listed, error)
}

// NewSessions returns an empty set of sessions. Those that outlive the editor come from attach; nil: there are none. Where they are not wanted, make makes
// the session of a folder when it is first needed. Close leaves those that outlive the editor, and ends the others.
func NewSessions(make func(dir string) session.API, attach Attacher) *Sessions {
	return &Sessions{make: make, attach: attach, byDir: map[string]*workspace{}}
}

// of returns the workspace of a folder.
func (ss *Sessions) of(dir string) (*workspace, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, errors.New("the server is ending")
	}
	w := ss.byDir[dir]
	if w == nil {
		w = &workspace{dir, ss.make(dir)}
		ss.byDir[dir] = w
	}
	return w, nil
}

// has reports whether a folder has a session yet.
func (ss *Sessions) has(dir string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byDir[dir] != nil
}

// Close ends all sessions, in order; when ctx ends, at once. Nothing is left when it returns.
func (ss *Sessions) Close(ctx context.Context) error {
	ss.mu.Lock()
	ss.closed = true
	all := ss.byDir
	ss.mu.Unlock()
	var (
		work   sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	for _, w := range all {
		work.Go(func() {
			if err := w.Close(ctx, session.CloseRequest{}); err != nil {
				mu.Lock()
				failed = errors.Join(failed, fmt.Errorf("%s: %w", w.dir, err))
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return failed
}

// contains reports whether a path lies in a directory.
func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
