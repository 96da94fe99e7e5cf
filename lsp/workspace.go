package lsp

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"dipls/dipexec"
	"dipls/ranks"
	"dipls/ranks/wire"
	"dipls/session"
)

// WorkspaceOptions say how the workspaces of [NewWorkspaces] do their work.
type WorkspaceOptions struct {
	Log     *zap.Logger      // nil: none
	Journal *dipexec.Journal // nil: none
}

// Workspaces are the local namespaces and pools of folders, one of each for a folder. They outlive a connection: several editors may
// share them.
type Workspaces struct {
	o WorkspaceOptions

	mu     sync.Mutex // guards what follows
	byDir  map[string]*workspace
	closed bool
}

// NewWorkspaces returns no workspaces yet: each begins when it is first needed, and its processes when they are. Close ends them.
func NewWorkspaces(o WorkspaceOptions) *Workspaces {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Workspaces{o: o, byDir: map[string]*workspace{}}
}

// workspace is one folder's executor and, once they are needed, processes.
type workspace struct {
	dir       string
	executor  *dipexec.Executor
	processes *processes
}

// open gives the workspace of a directory. What its processes need to know is settled by whoever opens it first: modules are looked for
// next to script, which may be "", and in dir, where the processes work; settings are asked for when a process is first needed.
func (ws *Workspaces) open(dir, script string, settings func(context.Context) Settings) (*workspace, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return nil, errors.New("the server is ending")
	}
	if w := ws.byDir[dir]; w != nil {
		return w, nil
	}
	p := &processes{dir: dir, script: script, settings: settings, log: ws.o.Log}
	w := &workspace{dir: dir, processes: p}
	w.executor = dipexec.New(dipexec.Options{Pool: p, Manager: p, Journal: ws.o.Journal})
	p.executor = w.executor
	ws.byDir[dir] = w
	return w, nil
}

// Close ends everything that runs in all workspaces, in order; when ctx ends, at once. Nothing is left when it returns.
func (ws *Workspaces) Close(ctx context.Context) error {
	ws.mu.Lock()
	ws.closed = true
	all := ws.byDir
	ws.mu.Unlock()
	var (
		work   sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	for _, w := range all {
		work.Go(func() {
			if err := w.close(ctx); err != nil {
				mu.Lock()
				failed = errors.Join(failed, fmt.Errorf("%s: %w", w.dir, err))
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return failed
}

// close ends a workspace.
func (w *workspace) close(ctx context.Context) error {
	w.processes.giveUp()
	w.executor.Close(ctx)
	return w.processes.close(ctx)
}

// processes is the session of a workspace, made when it is first needed: only then are the settings known that say how.
type processes struct {
	dir      string
	script   string
	settings func(context.Context) Settings
	log      *zap.Logger
	executor *dipexec.Executor

	mu      sync.Mutex // guards what follows
	session *session.Session
	closed  bool
}

var (
	_ dipexec.Pool    = (*processes)(nil)
	_ dipexec.Manager = (*processes)(nil)
)

// open gives the session. An error is for the user: what there is to set right can be, and the next run tries again.
func (p *processes) open(ctx context.Context) (*session.Session, error) {
	if s := p.opened(); s != nil {
		return s, nil
	}
	options, err := p.options(p.settings(ctx))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, session.ErrClosed
	}
	if p.session == nil {
		p.session = session.New(options)
	}
	return p.session, nil
}

// opened is the session if there is one.
func (p *processes) opened() *session.Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// options are what the settings mean for a session.
func (p *processes) options(s Settings) (session.Options, error) {
	start, err := ranks.ParseStartMethod(s.Start)
	if err != nil {
		return session.Options{}, fmt.Errorf("%s.start: %w", settingsSection, err)
	}
	python, err := ranks.FindPython(s.Python, p.dir)
	if err != nil {
		return session.Options{}, err
	}
	p.log.Info("interpreter", zap.String("path", python.Path), zap.String("from", python.Why), zap.String("folder", p.dir))
	options := ranks.Options{
		Python: python.Path, Dir: p.dir, Script: p.script, Preload: s.Preload, Start: start, Log: p.log, OnState: p.executor.StateChanged,
	}
	if private, err := ranks.PrivatePackages(python.Path); err == nil { // without a home directory there are none
		options.ExtraPath = []string{private}
	}
	return session.Options{
		Node: options,
		Pool: session.Choice{GPUs: s.GPUs, Ranks: s.Ranks, App: s.App, Timeout: s.StartTimeout, KeepGPUMemory: s.KeepGPUMemory},
		Notice: func(text string) {
			p.executor.Publish(dipexec.NewLog(dipexec.LevelInfo, text))
		},
	}, nil
}

// giveUp lets no session begin any more.
func (p *processes) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

func (p *processes) close(ctx context.Context) error {
	if s := p.opened(); s != nil {
		return s.Close(ctx)
	}
	return nil
}

// Local implements [dipexec.Pool].
func (p *processes) Local(ctx context.Context) (dipexec.Process, error) {
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	return s.Local(ctx)
}

// Ranks implements [dipexec.Pool].
func (p *processes) Ranks(ctx context.Context) ([]dipexec.Process, error) {
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	return s.Ranks(ctx)
}

// Make implements [dipexec.Manager].
func (p *processes) Make(ctx context.Context, cmd wire.MakeCommand) (string, error) {
	s, err := p.open(ctx)
	if err != nil {
		return "", err
	}
	return s.Make(ctx, cmd)
}

// Info implements [dipexec.Manager].
func (p *processes) Info(ctx context.Context) wire.PoolInfo {
	if s := p.opened(); s != nil {
		return s.Info(ctx)
	}
	return wire.PoolInfo{State: "none", Ranks: []wire.RankInfo{}}
}

// cancelStart gives up the start of the ranks.
func (p *processes) cancelStart() {
	if s := p.opened(); s != nil {
		s.CancelStart()
	}
}

// contains reports whether a path lies in a directory.
func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
