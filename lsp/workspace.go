package lsp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.uber.org/zap"

	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
	"dipls/internal/trace"
	"dipls/internal/trust"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
	"dipls/session"
)

// WorkspaceOptions say how the workspaces of [NewWorkspaces] do their work.
type WorkspaceOptions struct {
	Log     *zap.Logger    // nil: none
	Journal *journal.Store // nil: none
	Trace   *trace.Tracer  // nil: none
	Trust   *trust.Store   // remembers the folders whose code may run; nil: nothing does
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

// asks are the questions that the processes of a workspace have to whoever opened it, once they are needed.
type asks struct {
	settings func(context.Context) Settings
	install  func(context.Context, *host.MissingPackagesError) error // gets what the interpreter lacks, or says why not
	consent  func(context.Context, host.Interpreter, Settings) error // has the user let Python run what is in the folder, or says why not
}

// open gives the workspace of a directory. What its processes need to know is settled by whoever opens it first: modules are looked for
// next to script, which may be "", and in dir, where the processes work.
func (ws *Workspaces) open(dir, script string, a asks) (*workspace, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return nil, errors.New("the server is ending")
	}
	if w := ws.byDir[dir]; w != nil {
		return w, nil
	}
	p := &processes{dir: dir, script: script, asks: a, log: ws.o.Log, trace: ws.o.Trace}
	w := &workspace{dir: dir, processes: p}
	w.executor = dipexec.New(dipexec.Options{Pool: p, Manager: p, Journal: ws.o.Journal, Trace: ws.o.Trace})
	p.executor = w.executor
	ws.byDir[dir] = w
	return w, nil
}

// has reports whether the workspace of a directory has been opened.
func (ws *Workspaces) has(dir string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.byDir[dir] != nil
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

// close ends a workspace: first its processes, for a run on one that hangs ends with that only.
func (w *workspace) close(ctx context.Context) error {
	w.processes.giveUp()
	w.executor.Stop()
	err := w.processes.end(ctx)
	w.executor.Close(ctx)
	return err
}

// processes is the session of a workspace, made when it is first needed: only then are the settings known that say how.
type processes struct {
	dir      string
	script   string
	asks     asks
	log      *zap.Logger
	trace    *trace.Tracer
	executor *dipexec.Executor

	mu       sync.Mutex // guards what follows
	session  *session.Processes
	settings Settings       // that the session was made with
	choice   session.Choice // of its next pool
	closed   bool
}

var (
	_ dipexec.Pool    = (*processes)(nil)
	_ dipexec.Manager = (*processes)(nil)
)

// open gives the session, another one in the place of one that could not start. An error is for the user: what there is to set right can
// be, and the next run tries again.
func (p *processes) open(ctx context.Context) (*session.Processes, error) {
	if s := p.opened(); s != nil && s.Unusable() == nil {
		return s, nil
	}
	settings := p.asks.settings(ctx)
	options, err := p.options(settings)
	if err != nil {
		return nil, err
	}
	s, old, err := p.renew(options, settings)
	if old != nil {
		err = errors.Join(err, old.Close(ctx)) // there is nothing to end, only to wait for those that want to hear of that
	}
	return s, err
}

// renew gives the session, a new one if there is none or the old one could not start.
func (p *processes) renew(options session.ProcessOptions, settings Settings) (current, old *session.Processes, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, nil, session.ErrClosed
	case p.session != nil && p.session.Unusable() == nil:
		return p.session, nil, nil
	}
	old = p.session
	p.session, p.settings, p.choice = session.NewProcesses(options), settings, options.Pool
	return p.session, old, nil
}

// opened is the session if there is one.
func (p *processes) opened() *session.Processes {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// options are what the settings mean for a session.
func (p *processes) options(s Settings) (session.ProcessOptions, error) {
	start, err := ranks.ParseStartMethod(s.Start)
	if err != nil {
		return session.ProcessOptions{}, fmt.Errorf("%s.start: %w", settingsSection, err)
	}
	python, err := interpreter(s, p.dir)
	if err != nil {
		return session.ProcessOptions{}, err
	}
	p.log.Info("interpreter", zap.String("path", python.Path), zap.String("from", python.Why), zap.String("folder", p.dir))
	options := ranks.Options{
		Python: python.Path, Dir: p.dir, Script: p.script, Preload: s.Preload, Start: start, Log: p.log, OnState: p.executor.StateChanged,
		Trace: p.trace,
	}
	if private, err := host.PrivatePackages(python.Path); err == nil { // without a home directory there are none
		options.ExtraPath = []string{private}
	}
	return session.ProcessOptions{
		Node: options,
		Pool: s.pool(),
		Notice: func(text string) {
			p.executor.Publish(event.NewLog(event.LevelInfo, text))
		},
		Warn: func(text string) {
			p.log.Warn(text, zap.String("folder", p.dir)) // at the end nobody reads events any more
			p.executor.Publish(event.NewLog(event.LevelWarning, text))
		},
		Install: p.asks.install,
		Consent: func(ctx context.Context) error { return p.asks.consent(ctx, python, s) },
	}, nil
}

// interpreter is the one that settings mean in a folder.
func interpreter(s Settings, dir string) (host.Interpreter, error) {
	return host.FindPython(settingsSection+".python", pythonIn(s.Python, dir), dir)
}

// pythonIn is what the setting dip.python names in a folder: a path is seen from there, and a name without a slash is looked up on PATH.
func pythonIn(value, dir string) string {
	value = strings.ReplaceAll(value, "${workspaceFolder}", dir)
	if rest, ok := strings.CutPrefix(value, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			value = filepath.Join(home, rest)
		}
	}
	if strings.Contains(value, "/") && !filepath.IsAbs(value) {
		value = filepath.Join(dir, value)
	}
	return value
}

// pool is what the settings say of a pool.
func (s Settings) pool() session.Choice {
	return session.Choice{
		GPUs: s.GPUs, Ranks: s.Ranks, App: s.App, Timeout: s.StartTimeout, KeepGPUMemory: s.KeepGPUMemory, Seed: s.Seed, GroupTimeout: s.GroupTimeout,
	}
}

// used are the settings that Python was started with; ok is false if it was not.
func (p *processes) used() (s Settings, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings, p.session != nil
}

// outdated reports whether there is a pool that was begun when the settings were others.
func (p *processes) outdated(now Settings) bool {
	s := p.opened()
	if s == nil {
		return false
	}
	choice, ok := s.PoolChoice()
	return ok && choice != now.pool()
}

// choose gives the session, whose next pool will be as the settings say now.
func (p *processes) choose(ctx context.Context) (*session.Processes, error) {
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	choice := p.asks.settings(ctx).pool()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.session && choice != p.choice {
		p.choice = choice
		s.Choose(choice)
	}
	return s, nil
}

// end ends all processes. What needs one next starts new ones, with the settings of then.
func (p *processes) end(ctx context.Context) error {
	p.mu.Lock()
	old := p.session
	p.session = nil
	p.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close(ctx)
}

// giveUp lets no session begin any more.
func (p *processes) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
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
	s, err := p.choose(ctx)
	if err != nil {
		return nil, err
	}
	return s.Ranks(ctx)
}

// Make implements [dipexec.Manager].
func (p *processes) Make(ctx context.Context, cmd wire.MakeCommand) (string, error) {
	s, err := p.choose(ctx)
	if err != nil {
		return "", err
	}
	return s.Make(ctx, cmd)
}

// glance is Info without memory.
func (p *processes) glance() wire.PoolInfo {
	if s := p.opened(); s != nil {
		return s.Glance()
	}
	return noPool()
}

// stacks asks the processes that are wanted where they are; native: in native code, too, where that can be told.
func (p *processes) stacks(ctx context.Context, native bool, wanted func(ranklist.Who) bool) []session.Stack {
	s := p.opened()
	if s == nil {
		return nil
	}
	found := s.Stacks(ctx, wanted, native)
	if found.Problem != "" {
		p.log.Info(found.Problem)
	}
	return found.Of
}

// noPool describes what is not there.
func noPool() wire.PoolInfo { return wire.PoolInfo{State: "none", Ranks: []wire.RankInfo{}} }

// Info implements [dipexec.Manager].
func (p *processes) Info(ctx context.Context) wire.PoolInfo {
	if s := p.opened(); s != nil {
		return s.Info(ctx)
	}
	return noPool()
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
