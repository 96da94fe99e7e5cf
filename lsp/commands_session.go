package lsp

import (
	"context"
	"errors"

	"go.lsp.dev/jsonrpc2"

	"dipls/session"
)

type attachSessionArgs struct {
	Name string `json:"name" doc:"of the session"`
	Dir  string `json:"dir,omitempty" doc:"the folder of the session; without it that of the workspace"`
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

type sessionsArgs struct{}

// sessionsReply has the sessions that outlive their clients.
type sessionsReply struct {
	Sessions []listedSession `json:"sessions"`
}

type listedSession struct {
	session.Listed
	Text string `json:"text"` // all of it in a line, for people
}

// errNoAttacher is for a server that has no sessions that outlive it.
var errNoAttacher = errors.New("this server has no sessions that outlive the editor")

func (s *server) listSessions(ctx context.Context, _ *sessionsArgs) (*sessionsReply, error) {
	if s.deps.Sessions.attach == nil {
		return nil, errNoAttacher
	}
	found, err := s.deps.Sessions.attach.List(ctx)
	if err != nil {
		return nil, err
	}
	reply := &sessionsReply{Sessions: []listedSession{}}
	for _, one := range found {
		reply.Sessions = append(reply.Sessions, listedSession{one, one.Name + " in " + one.Dir})
	}
	return reply, nil
}

func (s *server) attachSession(_ context.Context, a *attachSessionArgs) (*textReply, error) {
	if a.Name == "" {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidParams, "name: which session? dip.sessions lists them")
	}
	return nil, errNoAttacher
}

func (s *server) renameSession(ctx context.Context, a *renameSessionArgs) (*textReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	if err := w.Rename(ctx, a.Name); err != nil {
		return nil, err
	}
	return &textReply{"the session is called " + a.Name}, nil
}

func (s *server) stopSession(context.Context, *stopSessionArgs) (*textReply, error) {
	return nil, errNoAttacher
}

func (s *server) freeMemory(ctx context.Context, a *whereArgs) (*runReply, error) {
	return s.operate(ctx, *a, func(w *workspace, by session.Caller) (string, error) { return w.FreeMemory(ctx, by) })
}
