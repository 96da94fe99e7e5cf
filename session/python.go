package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"

	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// python is the processes of one start of Python, and the settings of the call that needed it.
type python struct {
	*processes
	settings Settings
	asks     bool // the user was asked where needed; otherwise it was started ahead, and whatever needed a question was refused
}

// ErrUntrusted is why nothing runs where the user has said so.
var ErrUntrusted = &Error{Code: CodeConsent, Text: "nothing runs in a folder that is not trusted", Hint: "trust it in the editor first"}

// admit hears what a caller's settings say, and tells why it may start nothing; nil if it may.
func (s *Session) admit(by Caller, ahead bool) error {
	s.hear(by, ahead)
	if by.Settings.Trust == TrustNo {
		return ErrUntrusted
	}
	return nil
}

// present is what was started; nil if nothing was.
func (s *Session) present() *python {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.python
}

// open is what was started. It starts Python if nothing was started yet, or if that failed. An error is for the user, who can correct the cause; the
// next call tries again. ask allows questions.
func (s *Session) open(ctx context.Context, by Caller, ask bool) (*python, error) {
	s.mu.Lock()
	closed, p := s.closed, s.python
	s.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case p != nil && p.Unusable() == nil:
		return p, nil
	}
	fresh, err := s.prepare(by, ask)
	if err != nil {
		return nil, err
	}
	p, old, err := s.renew(fresh)
	if old != nil {
		err = errors.Join(err, old.Close(ctx)) // nothing to end; this only waits for calls that wait for the start
	}
	return p, err
}

// renew sets fresh, if there is nothing yet or only a failed start.
func (s *Session) renew(fresh *python) (current, old *python, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, nil, errClosed
	case s.python != nil && s.python.Unusable() == nil:
		return s.python, nil, nil
	}
	old, s.python = s.python, fresh
	return fresh, old, nil
}

// prepare turns a caller's settings into something that can be started, and starts nothing.
func (s *Session) prepare(by Caller, ask bool) (*python, error) {
	settings := by.Settings
	start := ranks.StartMethod(0)
	if settings.Start != "" {
		var err error
		if start, err = ranks.ParseStartMethod(settings.Start); err != nil {
			return nil, errorf(CodeInvalid, "%s: %v", by.setting("start"), err)
		}
	}
	interpreter, err := s.interpreter(by)
	if err != nil {
		return nil, err
	}
	if err := CheckEnv(settings.Env); err != nil {
		return nil, errorf(CodeInvalid, "%s: %v", by.setting("env"), err)
	}
	dir := cmp.Or(s.within(settings.Cwd), s.o.WorkDir)
	if info, err := os.Stat(dir); settings.Cwd != "" && (err != nil || !info.IsDir()) {
		return nil, errorf(CodeInvalid, "%s: there is no folder %s", by.setting(by.name("cwd", "chdir")), dir)
	}
	s.log.Info("interpreter", zap.String("path", interpreter.Path), zap.String("from", interpreter.Why), zap.String("folder", s.o.Dir))
	node := ranks.Options{
		Python: interpreter.Path, Dir: dir, Script: settings.Script, Preload: settings.Preload, Start: start, Plain: s.o.Plain,
		Log: s.log, OnState: s.executor.StateChanged, Trace: s.o.Trace, Host: s.o.Host, Ladder: s.o.Ladder,
		ExtraPath: ownPackages(interpreter.Path),
	}
	return &python{
		settings: settings, asks: ask,
		processes: newProcesses(processOptions{
			Node: node, Strict: settings.Strict, Pool: settings.Pool, Size: s.takeSize(settings.Pool),
			Notice:  func(text string) { s.say(event.LevelInfo, text, "") },
			Warn:    s.warn,
			Fleet:   s.o.Fleet,
			Waits:   s.executor.PoolWaits,
			GivenUp: s.executor.PoolGivenUp,
			Consent: func(ctx context.Context) error { return s.obtainConsent(ctx, by, interpreter, ask) },
			Env:     settings.Env, Variables: s.laterVariables(by),
			Install: func(ctx context.Context, missing *host.MissingPackagesError) error {
				return s.offerInstall(ctx, by, missing, ask)
			},
		}),
	}, nil
}

// takeSize is what a choice means on this machine, if PoolSize has just found that out: to look for GPUs may take seconds.
func (s *Session) takeSize(c Choice) *size {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.size
	s.size = nil
	if known == nil || known.choice != c {
		return nil
	}
	return known
}

// interpreter is the one that a caller's settings choose.
func (s *Session) interpreter(by Caller) (host.Interpreter, error) {
	found, err := ChosenPython(by.setting("python"), by.Settings.Python, s.o.Dir)
	if err != nil {
		return found, &Error{Code: CodePython, Text: err.Error()}
	}
	return found, nil
}

// with does something that needs Python. If a start ahead of time failed for lack of a question, Python is started once more, with the question. So it
// is if the start was given up because this call chooses another interpreter.
// ask allows questions.
func with[T any](ctx context.Context, s *Session, by Caller, ask bool, do func(*python) (T, error)) (value T, err error) {
	for {
		p, err := s.open(ctx, by, ask)
		if err != nil {
			return value, err
		}
		value, err = do(p)
		again := !p.asks || errors.Is(err, errWithdrawn) && by.Settings.Python != p.settings.Python
		if err == nil || ctx.Err() != nil || !ask || !again || p.Unusable() == nil {
			return value, err
		}
	}
}

// supply gives the executor the processes that its runs need. It starts them with the settings of the call that wanted the run.
type supply struct{ s *Session }

var (
	_ dipexec.Pool    = supply{}
	_ dipexec.Manager = supply{}
)

// callerOf is the caller of the run that the executor works for.
func callerOf(ctx context.Context) Caller {
	by, _ := dipexec.CallerOf(ctx).(Caller)
	return by
}

// Local implements [dipexec.Pool].
func (u supply) Local(ctx context.Context) (dipexec.Process, error) {
	return with(ctx, u.s, callerOf(ctx), true, func(p *python) (dipexec.Process, error) { return p.UseLocal(ctx) })
}

// Ranks implements [dipexec.Pool].
func (u supply) Ranks(ctx context.Context) ([]dipexec.Process, error) {
	by := callerOf(ctx)
	return with(ctx, u.s, by, true, func(p *python) ([]dipexec.Process, error) {
		p.ChooseFirst(by.Settings.Pool)
		return p.Ranks(ctx)
	})
}

// Make implements [dipexec.Manager].
func (u supply) Make(ctx context.Context, cmd wire.MakeCommand) (string, error) {
	return u.s.remake(ctx, callerOf(ctx), cmd)
}

// Info implements [dipexec.Manager].
func (u supply) Info(ctx context.Context) wire.PoolInfo {
	if p := u.s.present(); p != nil {
		return p.Info(ctx)
	}
	return noPool()
}

// noPool describes the state without a pool.
func noPool() wire.PoolInfo { return wire.PoolInfo{State: stateNone, Ranks: []wire.RankInfo{}} }

// remake makes a pool, or ends one.
func (s *Session) remake(ctx context.Context, by Caller, cmd wire.MakeCommand) (string, error) {
	return with(ctx, s, by, true, func(p *python) (string, error) { return p.MakeFor(ctx, by.Settings.Pool, cmd) })
}

// RestartPool implements [API].
func (s *Session) RestartPool(ctx context.Context, by Caller) (string, error) {
	if err := s.admit(by, false); err != nil {
		return "", err
	}
	s.executor.CancelWhere(onRanks)
	text, err := s.remake(ctx, by, wire.MakeCommand{Restart: true})
	if err != nil {
		return "", waited(ctx, err, CodePool)
	}
	s.say(event.LevelInfo, text, "")
	return text, nil
}

// KillPool implements [API].
func (s *Session) KillPool(ctx context.Context) (string, error) {
	s.executor.CancelWhere(onRanks)
	text := textNoPool
	if p := s.present(); p != nil {
		var err error
		if text, err = p.Make(ctx, wire.MakeCommand{Kill: true}); err != nil {
			return "", waited(ctx, err, CodePool)
		}
	}
	s.say(event.LevelInfo, text, "")
	return text, nil
}

// CancelStart implements [API].
func (s *Session) CancelStart(context.Context) error {
	if p := s.present(); p != nil {
		p.CancelStart()
	}
	return nil
}

// RestartLocal implements [API].
func (s *Session) RestartLocal(ctx context.Context, by Caller) error {
	if err := s.admit(by, false); err != nil {
		return err
	}
	s.executor.CancelWhere(inLocal)
	_, err := with(ctx, s, by, true, func(p *python) (struct{}, error) { return struct{}{}, p.RestartLocal(ctx) })
	return waited(ctx, err, CodePython)
}

// EndPython implements [API].
func (s *Session) EndPython(ctx context.Context) error {
	s.executor.CancelAll()
	s.mu.Lock()
	old := s.python
	if old != nil && !s.closed { // otherwise Close ends it
		s.python = nil
		s.ending = append(s.ending, old)
	}
	s.mu.Unlock()
	if old != nil {
		err := old.Close(ctx)
		s.mu.Lock()
		s.ending = slices.DeleteFunc(s.ending, func(p *python) bool { return p == old })
		s.mu.Unlock()
		if err != nil {
			return coded(err, CodePython)
		}
	}
	s.say(event.LevelInfo, "Python has ended; the next cell starts it anew", "")
	return nil
}

// Prepare implements [API].
func (s *Session) Prepare(ctx context.Context, by Caller, r Preparation) error {
	if err := s.admit(by, !r.Ask); err != nil {
		return err
	}
	interpreter, err := s.interpreter(by)
	if err != nil {
		return err
	}
	if !r.Ask && !s.mayRun(by, interpreter) {
		return errorf(CodeConsent, "Python waits for a command of the user's, which is the consent for the folder %s", s.o.Dir)
	}
	_, err = with(ctx, s, by, r.Ask, func(p *python) (struct{}, error) {
		if r.Pool {
			p.ChooseFirst(by.Settings.Pool)
		}
		if r.Pool || r.Local {
			err := p.Begin(ctx, r.Pool, r.Local)
			if err == nil && r.Pool && r.Wait {
				err = p.AwaitPool(ctx)
			}
			return struct{}{}, err
		}
		return struct{}{}, p.Prepare(ctx)
	})
	return waited(ctx, err, CodePython)
}

// Info implements [API].
func (s *Session) Info(ctx context.Context, memory bool) (PoolInfo, error) {
	info := noPool()
	if p := s.present(); p != nil && memory {
		info = p.Info(ctx)
	} else if p != nil {
		info = p.Glance()
	}
	info.Autodip = s.executor.Autodip()
	return info, nil
}

// Used implements [API].
func (s *Session) Used(context.Context) (Used, error) {
	p := s.present()
	if p == nil {
		return Used{}, nil
	}
	used := Used{Python: &p.settings}
	used.FreshLocal, used.FreshPool = p.Fresh()
	if choice, ok := p.PoolChoice(); ok {
		used.Pool = &choice
	}
	return used, nil
}

// PoolSize implements [API].
func (s *Session) PoolSize(ctx context.Context, by Caller) (int, error) {
	if choice := by.Settings.Pool; choice.Hosts != "" {
		size, err := choice.sizeOnHosts()
		return size, waited(ctx, err, CodePool)
	}
	here := s.o.Host
	mask := host.GPUMask(withVariables(here.Environ(), by.Settings.Env))
	if p := s.present(); p != nil {
		mask = p.gpuMask()
	}
	spec, err := by.Settings.Pool.spec(ctx, here, defaultCPURanks, mask)
	if err != nil {
		return 0, waited(ctx, err, CodePool)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = &size{by.Settings.Pool, mask, spec}
	return spec.Ranks, nil
}

// GPUs implements [API].
func (s *Session) GPUs(ctx context.Context) ([]GPU, error) {
	if p := s.present(); p != nil {
		found, err := p.GPUs(ctx)
		return found, waited(ctx, err, CodePool)
	}
	found, err := host.ListGPUs(ctx, s.o.Host)
	return found, waited(ctx, err, CodePool)
}

// Stacks implements [API].
func (s *Session) Stacks(ctx context.Context, r StacksRequest) (found Stacks, err error) {
	if p := s.present(); p != nil {
		found = p.Stacks(ctx, r.wants, r.Native)
	}
	if err := ctx.Err(); err != nil {
		return Stacks{}, err
	}
	if len(found.Of) == 0 && len(r.Of) > 0 {
		info, _ := s.Info(ctx, false)
		return Stacks{}, nobodyThere(r.Of, info)
	}
	return found, nil
}

// wants reports whether a process's stack is wanted.
func (r StacksRequest) wants(who ranklist.Who) bool {
	return len(r.Of) == 0 || slices.Contains(r.Of, who)
}

// nobodyThere says why none of the wanted processes could be asked.
func nobodyThere(of []ranklist.Who, pool PoolInfo) error {
	e := &Error{Code: CodeInvalid, Rank: &of[0]}
	switch {
	case of[0].IsLocal():
		e.Text, e.Hint = "the local namespace does not live", "a cell that runs in it starts it"
	case pool.State == event.StateStarting:
		e.Text = "the ranks are being started"
	case len(pool.Ranks) == 0 && pool.Reason != "":
		e.Text = "there are no ranks: " + pool.Reason
	case len(pool.Ranks) == 0:
		e.Text = "there are no ranks"
	default:
		e.Text = fmt.Sprintf("there is no %v: the pool has %d", of[0], len(pool.Ranks))
	}
	return e
}
