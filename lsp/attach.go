package lsp

import (
	"sync"

	"go.lsp.dev/protocol"

	"dipls/lsp/docs"
	"dipls/session"
)

// attach finds or starts the session of a folder as soon as a file with cells is opened there, so that what has happened is shown at once. Sessions in this
// process are made when they are needed.
type attach struct {
	s *server

	mu     sync.Mutex
	failed map[string]bool // folders that have no session, which the user has been told
}

func newAttach(s *server) feature {
	a := &attach{s: s, failed: map[string]bool{}}
	return feature{changed: a.changed}
}

func (a *attach) changed(c change) {
	if a.s.deps.Sessions.attach == nil || a.s.forbidden() {
		return
	}
	if c.settings {
		for _, w := range a.s.workspaces() {
			a.s.announcer.keep(w)
		}
	}
	dirs := map[string]*docs.Snapshot{}
	for u, d := range a.s.docs.View() {
		if doc := c.docs[u]; (c.trusted || doc != nil && doc.opened) && d.Path != "" && !d.IsModule() {
			dirs[a.s.folderOf(d.Path)] = d
		}
	}
	for dir, d := range dirs {
		a.s.goOn("attaching", func() { a.attach(dir, d) })
	}
}

// attach attaches to the session of a folder. Where sessions belong to this process, there is nothing to do yet.
func (a *attach) attach(dir string, d *docs.Snapshot) {
	a.s.config.await(a.s.ctx)
	if !a.s.deps.Sessions.outlive(a.s.attachRequest(dir)) {
		return
	}
	_, err := a.s.join(a.s.ctx, dir, d.Path)
	a.mu.Lock()
	told := a.failed[dir]
	a.failed[dir] = err != nil
	a.mu.Unlock()
	if err != nil && !told && a.s.ctx.Err() == nil {
		next := ". Commands that need one try again; with the setting " + commandPrefix + "session.keep 0 it ends with the editor, and needs no process of its own"
		if hasCode(err, session.CodeAmbiguous) {
			next = "\nThe command " + commandPrefix + "attachSession attaches to one of them"
		}
		a.s.client.ShowMessage(protocol.MessageTypeError, "there is no session for "+dir+": "+err.Error()+next)
	}
}
