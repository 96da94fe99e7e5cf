package lsp

import (
	"context"
	"reflect"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/ranks/wire"
)

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
