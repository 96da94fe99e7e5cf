package lsp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"

	"dipls/lsp/rpc"
	"dipls/session"
)

type sessionsArgs struct{ whereArgs }

type attachSessionArgs struct {
	Name string `json:"name,omitempty" doc:"of the session; without it that of the folder dir, and without both the user is asked"`
	Dir  string `json:"dir,omitempty" doc:"the folder of the session; without it the workspace's, whose own session is started if there is no name"`
	whereArgs
}

type renameSessionArgs struct {
	Name string `json:"name" doc:"the new name"`
	whereArgs
}

type stopSessionArgs struct {
	Name string `json:"name,omitempty" doc:"of the session; without it the workspace's"`
	Dir  string `json:"dir,omitempty" doc:"the folder of the session; without it that of the workspace"`
	whereArgs
}

// sessionsReply has the sessions that outlive their clients.
type sessionsReply struct {
	Sessions []listedSession `json:"sessions"`
	Own      string          `json:"own,omitempty" doc:"the workspace's folder, if only another's session is there: dip.attachSession with this dir starts it"`
}

type listedSession struct {
	session.Listed
	Keep    float64 `json:"keep"`    // as in dip/session, in seconds
	Text    string  `json:"text"`    // all of it in a line, for people
	Current bool    `json:"current"` // the workspace is attached to it
}

var (
	errNoAttacher = errors.New("this server has no sessions that outlive the editor")
	errOwnSession = errors.New("the session of this folder ends with the editor: the setting " + commandPrefix + "session.keep is 0")
)

// listSessions is the command dip.sessions.
func (s *server) listSessions(ctx context.Context, a *sessionsArgs) (*sessionsReply, error) {
	if s.deps.Sessions.attach == nil {
		return nil, errNoAttacher
	}
	if s.forbidden() {
		return nil, session.ErrUntrusted
	}
	dir, err := a.dir(s, ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.deps.Sessions.attach.List(ctx)
	if err != nil {
		return nil, err
	}
	current := s.joined(dir, "")
	reply := &sessionsReply{Sessions: []listedSession{}}
	if current != nil && current.attachment != nil {
		reply.Own = dir
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	for _, one := range found {
		if one.Dir == real {
			reply.Own = ""
		}
		text := describeSession(one.About)
		if one.Problem != "" {
			text = fmt.Sprintf("%s in %s: %s", one.Name, one.Dir, one.Problem)
		}
		here := current != nil && current.attachment != nil && current.attachment.About.Since.Equal(one.Since)
		reply.Sessions = append(reply.Sessions, listedSession{one, keepSeconds(one.Keep), text, here})
	}
	return reply, nil
}

// dir is the folder of the workspace that is meant, which need not have a session.
func (a whereArgs) dir(s *server, ctx context.Context) (string, error) {
	if a.URI != "" {
		d, err := snapshotOf(ctx, a.URI)
		if err != nil {
			return "", err
		}
		return s.folderOf(d.Path), nil
	}
	s.mu.Lock()
	recent := s.recent
	s.mu.Unlock()
	if recent != nil {
		return recent.dir, nil
	}
	return s.folderOf(s.anyPath()), nil
}

// attachSession is the command dip.attachSession.
func (s *server) attachSession(ctx context.Context, a *attachSessionArgs) (*textReply, error) {
	switch {
	case s.deps.Sessions.attach == nil:
		return nil, errNoAttacher
	case s.forbidden():
		return nil, session.ErrUntrusted
	}
	dir, err := a.dir(s, ctx)
	if err != nil {
		return nil, err
	}
	if a.Name == "" && a.Dir == "" {
		chosen, err := s.chooseSession(ctx, a.whereArgs)
		if err != nil || chosen == nil {
			return &textReply{}, err
		}
		a.Name, a.Dir = chosen.Name, chosen.Dir
	}
	s.config.await(ctx)
	return s.moveTo(ctx, dir, a)
}

// moveTo attaches a folder to a session that is there, or to its own, in place of the one that it has. That is remembered.
func (s *server) moveTo(ctx context.Context, dir string, a *attachSessionArgs) (*textReply, error) {
	before := s.joined(dir, "")
	if before != nil && before.attachment == nil {
		if about, err := before.About(ctx, false); err == nil && about.Used {
			return nil, errors.New("the session that this folder has now ends with the editor, and its variables would be lost; " +
				"end it first with " + commandPrefix + "stopSession")
		}
	}
	r := s.attachRequest(dir)
	r.Chosen = false
	own := a.Name == "" && a.Dir == dir
	if !own {
		r.Name, r.Dir, r.Start, r.Only = a.Name, cmp.Or(a.Dir, dir), false, a.Dir != ""
	}
	w, about := &workspace{dir: dir}, session.About{}
	if own && !s.deps.Sessions.outlive(r) {
		w.API = s.deps.Sessions.make(dir)
	} else {
		found, err := s.deps.Sessions.attach.Attach(ctx, r)
		if err != nil {
			return nil, err
		}
		w.API, w.attachment, about = found.API, found, found.About
	}
	old, err := s.deps.Sessions.put(w)
	if err != nil {
		_ = w.Detach(ctx)
		return nil, err
	}
	if err := s.deps.Sessions.attach.Choose(dir, s.program, about); err != nil {
		s.client.ShowMessage(protocol.MessageTypeWarning, "the next window of this folder has the folder's own session again: "+err.Error())
	}
	if old != nil {
		s.leave(ctx, old)
	}
	if err := s.follow(ctx, w, ""); err != nil {
		return nil, err
	}
	if w.attachment == nil {
		return &textReply{"the session of this folder ends with the editor"}, nil
	}
	return &textReply{"attached to session " + describeSession(about)}, nil
}

// leave leaves a session, and forgets what it has run.
func (s *server) leave(ctx context.Context, w *workspace) {
	w.left.Store(true)
	s.forget(w)
	s.announcer.left(w)
	s.marks.leave(s.board.leave(w))
	_ = w.Detach(ctx) // whatever goes wrong, it is not ours any more
}

// chooseSession asks the user for a session; nil: the user wants none.
func (s *server) chooseSession(ctx context.Context, where whereArgs) (*listedSession, error) {
	list, err := s.listSessions(ctx, &sessionsArgs{where})
	if err != nil {
		return nil, err
	}
	var others []listedSession
	var titles []string
	for _, one := range list.Sessions {
		if !one.Current && one.Problem == "" {
			others = append(others, one)
			titles = append(titles, fmt.Sprintf("%s (%s)", one.Name, one.Dir))
		}
	}
	if list.Own != "" {
		others = append(others, listedSession{Listed: session.Listed{About: session.About{Dir: list.Own}}})
		titles = append(titles, "the folder's own ("+list.Own+")")
	}
	if len(others) == 0 {
		return nil, errors.New("there is no other session; `dipls sessions` lists all of them")
	}
	chosen, err := s.client.TryAsk(ctx, protocol.MessageTypeInfo, "Attach to which session?", titles...)
	if errors.Is(err, rpc.ErrCannotAsk) {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "name: which session? "+commandPrefix+"sessions lists them")
	}
	for i := range others {
		if err == nil && titles[i] == chosen {
			return &others[i], nil
		}
	}
	return nil, err
}

// renameSession is the command dip.renameSession.
func (s *server) renameSession(ctx context.Context, a *renameSessionArgs) (*textReply, error) {
	if a.Name == "" {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "name: what is it to be called?")
	}
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	if w.attachment == nil {
		return nil, errOwnSession
	}
	if err := w.Rename(ctx, a.Name); err != nil {
		return nil, err
	}
	s.announcer.look(w)
	return &textReply{"the session is called " + a.Name}, nil
}

// stopSession is the command dip.stopSession.
func (s *server) stopSession(ctx context.Context, a *stopSessionArgs) (*textReply, error) {
	if s.forbidden() {
		return nil, session.ErrUntrusted
	}
	dir, err := a.dir(s, ctx)
	if err != nil {
		return nil, err
	}
	if w := s.joined(dir, ""); w != nil && a.means(w) {
		return s.stop(ctx, w)
	}
	if s.deps.Sessions.attach == nil {
		return nil, errNoAttacher
	}
	r := s.attachRequest(dir)
	r.Name, r.Dir, r.Start, r.Only, r.History, r.Looks = a.Name, cmp.Or(a.Dir, dir), false, a.Dir != "", false, true
	other, err := s.deps.Sessions.attach.Attach(ctx, r)
	if err != nil {
		return nil, err
	}
	reply, err := s.stop(ctx, &workspace{dir: r.Dir, API: other.API, attachment: other})
	if err != nil || reply.Text == "" {
		_ = other.Detach(ctx)
	}
	return reply, err
}

// means reports whether a workspace has the session that is meant.
func (a *stopSessionArgs) means(w *workspace) bool {
	if w.attachment == nil {
		return a.Name == "" && (a.Dir == "" || a.Dir == w.dir)
	}
	about := w.attachment.About
	return (a.Name == "" || a.Name == about.Name) && (a.Dir == "" || a.Dir == about.Dir || a.Dir == w.dir)
}

// stop ends a session, after the user has been asked. The text is empty if the user does not want that.
func (s *server) stop(ctx context.Context, w *workspace) (*textReply, error) {
	about, err := w.About(ctx, false)
	if err != nil {
		return nil, err
	}
	name := "the session of " + w.dir
	if w.attachment != nil {
		name = "session " + about.Name
	}
	if loss := lossOf(about); loss != "" && !s.wants.Events { // clients that take events ask in their own way
		const end = "End session"
		chosen, err := s.client.TryAsk(ctx, protocol.MessageTypeWarning, "End "+name+"? "+loss, end)
		if !errors.Is(err, rpc.ErrCannotAsk) && chosen != end {
			return &textReply{}, err
		}
	}
	w.left.Store(true)
	if err := w.Close(ctx, session.CloseRequest{TellJournal: true}); err != nil && !hasCode(err, session.CodeClosed) {
		w.left.Store(false)
		return nil, err
	}
	text := name + " has ended"
	for _, ev := range s.board.lost(w, text) {
		s.enterEvent(w, ev)
	}
	s.deps.Sessions.drop(w)
	s.forget(w) // before the client hears of it: what it wants then is for the next session
	s.announcer.gone(w, text)
	return &textReply{text}, nil
}

// lossOf says what is lost with a session; "": nothing.
func lossOf(about session.About) string {
	switch {
	case len(about.Runs) > 0:
		return fmt.Sprintf("%s is running, and all variables are lost.", nameOfRun(about.Runs[0]))
	case about.Ranks > 0:
		return fmt.Sprintf("The variables of %d ranks and of the local namespace are lost.", about.Ranks)
	case about.Used:
		return "All variables are lost."
	}
	return ""
}

// freeMemory is the command dip.freeMemory.
func (s *server) freeMemory(ctx context.Context, a *whereArgs) (*runReply, error) {
	return s.operate(ctx, *a, func(w *workspace, by session.Caller) (string, error) { return w.FreeMemory(ctx, by) })
}
