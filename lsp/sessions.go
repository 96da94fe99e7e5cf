package lsp

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"dipls/session"
)

// Sessions are the sessions of folders, one for each. They outlive a connection: several editors may share them.
type Sessions struct {
	make   func(dir string) session.API
	attach Attacher // nil: there are only sessions of our own

	ctx    context.Context // ends with Close: nobody is attached to after that
	cancel context.CancelFunc
	tasks  sync.WaitGroup // attempts to attach

	mu     sync.Mutex // guards what follows
	byDir  map[string]*workspace
	coming map[string]*coming
	closed bool
}

// Attacher finds and starts sessions that outlive the editor.
type Attacher interface {
	// Attach finds the session that is wanted, or starts it, and gives the way to it.
	Attach(ctx context.Context, r session.AttachRequest) (*session.Attachment, error)
	// List lists the user's sessions on this host.
	List(ctx context.Context) ([]session.Listed, error)
	// Choose notes that the user of a program has chosen a session for a folder, for requests that ask for the chosen one. The folder's own session, or none,
	// ends an earlier choice.
	Choose(dir, program string, of session.About) error
}

// workspace is a folder and its session. When the folder gets another session, that is another workspace.
type workspace struct {
	dir string
	session.API
	attachment *session.Attachment // nil: the session is in this process, and ends with it
	left       atomic.Bool         // we have left the session, or ended it
	interrupts atomic.Int64        // how often the user has asked for the end of all runs
}

// explain is the error of a call whose time has run out: the session does not answer.
func (w *workspace) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && w.attachment != nil {
		return session.NoAnswer(w.attachment.About.Name)
	}
	return err
}

// coming is an attempt to attach to the session of a folder.
type coming struct {
	done chan struct{} // closed when one of the others is set
	w    *workspace
	err  error
}

// NewSessions returns an empty set of sessions. Those that outlive the editor come from attach; nil: there are none. Where they are not wanted, make makes
// the session of a folder when it is first needed. Close leaves those that outlive the editor, and ends the others.
func NewSessions(make func(dir string) session.API, attach Attacher) *Sessions {
	ss := &Sessions{make: make, attach: attach, byDir: map[string]*workspace{}, coming: map[string]*coming{}}
	ss.ctx, ss.cancel = context.WithCancel(context.Background())
	return ss
}

// outlive reports whether a session that is to be kept so long outlives the editor.
func (ss *Sessions) outlive(r session.AttachRequest) bool {
	return ss.attach != nil && r.Keep != session.KeepNever
}

// errEnding is for those who come too late.
var errEnding = errors.New("the server is ending")

// of returns the workspace of a folder. If there is none, it attaches to the session that is wanted, which may take a while; when ctx ends, that goes on for
// others.
func (ss *Sessions) of(ctx context.Context, r session.AttachRequest) (*workspace, error) {
	c, err := ss.ask(r)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return c.w, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask is of without the waiting.
func (ss *Sessions) ask(r session.AttachRequest) (*coming, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	c := ss.coming[r.Dir]
	switch w := ss.byDir[r.Dir]; {
	case ss.closed:
		return nil, errEnding
	case w == nil && c != nil:
		return c, nil
	case w == nil && ss.outlive(r):
		c = &coming{done: make(chan struct{})}
		ss.coming[r.Dir] = c
		ss.tasks.Go(func() { ss.find(c, r) })
		return c, nil
	case w == nil:
		w = &workspace{dir: r.Dir, API: ss.make(r.Dir)}
		ss.byDir[r.Dir] = w
		fallthrough
	default:
		c = &coming{done: make(chan struct{}), w: w}
		close(c.done)
		return c, nil
	}
}

// find attaches to the session that is wanted.
func (ss *Sessions) find(c *coming, r session.AttachRequest) {
	a, err := ss.attach.Attach(ss.ctx, r)
	ss.mu.Lock()
	delete(ss.coming, r.Dir)
	switch {
	case err != nil:
		c.err = err
	case ss.closed:
		c.err = errEnding
	case ss.byDir[r.Dir] != nil: // the user has chosen another one meanwhile
		c.w = ss.byDir[r.Dir]
	default:
		c.w = &workspace{dir: r.Dir, API: a.API, attachment: a}
		ss.byDir[r.Dir] = c.w
	}
	ss.mu.Unlock()
	if err == nil && (c.w == nil || c.w.attachment != a) {
		_ = a.Detach(context.Background()) // it says goodbye only
	}
	close(c.done)
}

// put makes a session that of a folder, and returns the workspace that had it; nil: there was none.
func (ss *Sessions) put(w *workspace) (before *workspace, err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, errEnding
	}
	before = ss.byDir[w.dir]
	ss.byDir[w.dir] = w
	return before, nil
}

// drop forgets a workspace whose session is gone.
func (ss *Sessions) drop(w *workspace) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byDir[w.dir] == w {
		delete(ss.byDir, w.dir)
	}
}

// has reports whether a folder has a session yet.
func (ss *Sessions) has(dir string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byDir[dir] != nil
}

// Close leaves the sessions that outlive the editor, and ends the others, in order; when ctx ends, at once. Nothing is left of these when it returns.
func (ss *Sessions) Close(ctx context.Context) error {
	ss.mu.Lock()
	ss.closed = true
	all := ss.byDir
	ss.mu.Unlock()
	ss.cancel()
	ss.tasks.Wait()
	var (
		work   sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	for _, w := range all {
		work.Go(func() {
			w.left.Store(true)
			if err := w.Detach(ctx); err != nil && !hasCode(err, session.CodeClosed) {
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
