package lsp

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"dipls/lsp/rpc"
	"dipls/session"
)

// caller returns who makes a call that may have to start something: this connection, with the settings of the folder. If the client has not told them yet,
// it waits for them. Later messages are handled meanwhile; [turns] keeps the commands among them in order. It fails only when ctx ends.
func (s *server) caller(ctx context.Context, w *workspace) (session.Caller, error) {
	if !s.config.known() {
		rpc.Release(ctx)
		s.config.await(ctx)
	}
	return s.callerNow(w), ctx.Err()
}

// callerNow returns who makes a call for a workspace, as far as the settings are known now.
func (s *server) callerNow(w *workspace) session.Caller {
	set := s.config.of(w.dir)
	return session.Caller{
		Front: s.front, Settings: s.settingsOf(w), Args: set.Args, Autoreload: set.Autoreload == "on", Columns: int(s.columns.Load()),
	}
}

// settingsOf returns the settings of a workspace, as far as they are known now, in the form that its session takes.
func (s *server) settingsOf(w *workspace) session.Settings {
	settings := s.config.of(w.dir).ofSession(w.dir)
	settings.Trust = s.trust()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.opened[w]; f != nil {
		settings.Script = f.script
	}
	return settings
}

// ofSession returns the settings of a folder in the form that its session takes.
func (s Settings) ofSession(dir string) session.Settings {
	return session.Settings{
		Python: pathIn(s.Python, dir), Preload: s.Preload, Start: s.Start, Pool: s.pool(),
		Env: s.Env, EnvFile: pathIn(s.EnvFile, dir), Cwd: pathIn(s.Cwd, dir),
	}
}

// pool returns the pool that the settings ask for.
func (s Settings) pool() session.Choice {
	if s.Hosts == "" {
		s.RanksPerHost, s.HostsSync = 0, false // these are for hosts that other folders may have
	}
	return session.Choice{
		GPUs: s.GPUs, Ranks: s.Ranks, App: s.App, Timeout: s.StartTimeout, KeepGPUMemory: s.KeepGPUMemory, Seed: s.Seed, GroupTimeout: s.GroupTimeout,
		Hosts: s.Hosts, RanksPerHost: s.RanksPerHost, HostTerms: s.HostTerms, Sync: s.HostsSync,
	}
}

// pathIn returns the path that a setting names in a folder.
func pathIn(value, dir string) string {
	value = strings.ReplaceAll(value, "${workspaceFolder}", dir)
	if rest, ok := strings.CutPrefix(value, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			value = filepath.Join(home, rest)
		}
	}
	return value
}

// trustIn decodes initializationOptions.trusted. Anything that it does not understand is a no.
func trustIn(raw json.RawMessage) session.Trust {
	switch {
	case isNothing(raw):
		return session.TrustUnsaid
	case bytes.Equal(bytes.TrimSpace(raw), []byte("true")):
		return session.TrustYes
	}
	return session.TrustNo
}

// trust is what the client has said of whether the code of its folders may run.
func (s *server) trust() session.Trust {
	said, _ := s.trusted.Load().(session.Trust)
	return said
}

// forbidden reports whether the client has said that nothing may run.
func (s *server) forbidden() bool { return s.trust() == session.TrustNo }
