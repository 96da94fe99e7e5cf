package lsp

import (
	"context"

	"dipls/session"
)

// interpretersReply answers which interpreters there are to choose from.
type interpretersReply struct {
	Interpreters []interpreterInfo `json:"interpreters"` // those that are nearest to the folder first
}

// interpreterInfo is an interpreter as its files describe it.
type interpreterInfo struct {
	Path    string `json:"path"`
	Version string `json:"version"`          // of Python; "" if it is not known
	Torch   string `json:"torch"`            // its version; "" if it is not installed
	Kind    string `json:"kind"`             // venv, conda, pyenv, uv or system
	Current bool   `json:"current,omitzero"` // it is the one that the settings mean now
}

// interpreters lists the interpreters that a user may mean. It looks at files only, so it answers in folders that are not trusted, too.
func (s *server) interpreters(ctx context.Context, a *whereArgs) (*interpretersReply, error) {
	s.config.await(ctx)
	dir, err := a.dir(s, ctx)
	if err != nil {
		return nil, err
	}
	current, _ := session.ChosenPython(settingsSection+".python", s.config.of(dir).ofSession(dir).Python, dir) // none is an answer, too
	found := session.Environments(dir, current.Path)
	reply := &interpretersReply{Interpreters: make([]interpreterInfo, len(found))}
	for i, e := range found {
		reply.Interpreters[i] = interpreterInfo{e.Python, e.Version, e.Torch, e.Kind, e.Python == current.Path}
	}
	return reply, nil
}
