package lsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/dipexec/event"
	"dipls/lsp/rpc"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

var errInstallCancelled = errors.New("the installation was cancelled")

// restart tells the user of settings that have changed and count only once something is started anew, and does that for whoever wants it.
type restart struct {
	s    *server
	seen map[*workspace]Settings // when they were last looked at; of the feed's goroutine
}

func newRestart(s *server) feature {
	r := &restart{s, map[*workspace]Settings{}}
	return feature{changed: r.changed}
}

func (r *restart) changed(c change) {
	if !c.settings {
		return
	}
	for _, w := range r.s.workspaces() {
		now := r.s.config.of(w.dir)
		before, ok := r.seen[w]
		if !ok {
			before, ok = w.processes.used()
		}
		if !ok {
			continue // nothing has been started with any settings
		}
		r.seen[w] = now
		r.tell(w, before, now)
	}
}

// tell tells of settings that have changed, if what they are about lives.
func (r *restart) tell(w *workspace, before, now Settings) {
	used, _ := w.processes.used()
	python := both(differences(before, now, pythonSettings), differences(used, now, pythonSettings))
	pool := differences(before, now, poolSettings)
	state := r.s.board.pool(w).State
	switch {
	case len(python) > 0:
		r.offer(counts(append(python, pool...))+" when Python is started anew. All variables are lost then.", "Restart Python", func(ctx context.Context) error {
			return r.s.restartPython(ctx, w)
		})
	case len(pool) > 0 && (state == "ready" || state == "starting") && w.processes.outdated(now):
		r.offer(counts(pool)+" for the next pool. The ranks' variables are lost then.", "Restart the pool", func(ctx context.Context) error {
			_, err := r.s.remakeIn(ctx, w, wire.MakeCommand{Restart: true})
			return err
		})
	}
}

// counts begins a sentence about settings.
func counts(keys []string) string {
	if len(keys) == 1 {
		return settingsSection + "." + keys[0] + " has changed: it counts"
	}
	return settingsSection + "." + strings.Join(keys, ", "+settingsSection+".") + " have changed: they count"
}

// offer tells the user something and does it if they choose to.
func (r *restart) offer(text, action string, act func(context.Context) error) {
	r.s.goOn("a question", func() {
		if r.s.client.Ask(r.s.ctx, protocol.MessageTypeInfo, text, action) != action {
			return
		}
		if err := act(r.s.ctx); err != nil && r.s.ctx.Err() == nil {
			r.s.client.ShowMessage(protocol.MessageTypeError, err.Error())
		}
	})
}

// aspect is a setting that counts when something starts.
type aspect struct {
	key string
	of  func(Settings) any
}

// What is fixed with the start of Python, and of a pool.
var (
	pythonSettings = []aspect{
		{"python", func(s Settings) any { return s.Python }},
		{"preload", func(s Settings) any { return append([]string{}, s.Preload...) }},
		{"start", func(s Settings) any { return s.Start }},
	}
	poolSettings = []aspect{
		{"ranks", func(s Settings) any { return s.Ranks }},
		{"gpus", func(s Settings) any { return s.GPUs }},
		{"app", func(s Settings) any { return s.App }},
		{"seed", func(s Settings) any { return s.Seed }},
		{"keepGpuMemory", func(s Settings) any { return s.KeepGPUMemory }},
		{"groupTimeout", func(s Settings) any { return s.GroupTimeout }},
	}
)

// differences are the keys of settings that are not the same.
func differences(a, b Settings, aspects []aspect) (keys []string) {
	for _, x := range aspects {
		if !reflect.DeepEqual(x.of(a), x.of(b)) {
			keys = append(keys, x.key)
		}
	}
	return keys
}

// both is what is in both lists.
func both(a, b []string) (keys []string) {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				keys = append(keys, x)
			}
		}
	}
	return keys
}

// restartAll is the command dip.restart.
func (s *server) restartAll(ctx context.Context, a *whereArgs) (*noReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	return &noReply{}, s.restartPython(ctx, w)
}

// restartPython ends all processes of a workspace, and what runs in them. What needs some next starts them with the settings of then.
func (s *server) restartPython(ctx context.Context, w *workspace) error {
	s.cancelWhere(w, func(Run) bool { return true })
	if err := w.processes.end(ctx); err != nil {
		return err
	}
	w.executor.Publish(event.NewLog(event.LevelInfo, "Python has ended; the next cell starts it anew"))
	return nil
}

// offerInstall asks the user whether what the interpreter lacks may be installed, in a directory of our own, and does so. While nothing runs in the
// folder it asks nothing, for then Python was only to be started ahead: what runs first asks.
func (s *server) offerInstall(ctx context.Context, dir string, missing *host.MissingPackagesError) error {
	if !slices.ContainsFunc(s.board.active(nil), func(r Run) bool { return r.workspace.dir == dir }) {
		return missing
	}
	const install = "Install"
	names := strings.Join(missing.Missing, ", ")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	private, err := host.PrivatePackages(missing.Python)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s lacks %s. Install into %s, leaving your environment as it is?", missing.Python, names, private)
	if s.client.Ask(ctx, protocol.MessageTypeWarning, text, install) != install {
		return fmt.Errorf("%s lacks %s: install with '%s -m pip install %s', or choose another interpreter by the setting dip.python; then run the cell again",
			missing.Python, names, missing.Python, strings.Join(missing.Missing, " "))
	}
	w := s.client.BeginWork(ctx, "Installing "+names, "", func() { cancel(errInstallCancelled) })
	err = host.InstallMissing(ctx, missing.Python, missing.Missing, reporter{w})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		w.End(err.Error())
		return err
	}
	w.End("installed")
	return nil
}

// reporter shows lines of output as how far work is.
type reporter struct{ work *rpc.Work }

var _ io.Writer = reporter{}

// Write implements [io.Writer].
func (r reporter) Write(b []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		r.work.Report(last)
	}
	return len(b), nil
}
