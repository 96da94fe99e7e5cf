package lsp

import (
	"context"
	"reflect"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/dipexec/event"
	"dipls/session"
)

// restart tells the user of changed settings that take effect only at the next start of Python or of the pool, and offers to restart it.
type restart struct {
	s    *server
	seen map[*workspace]session.Settings // when they were last looked at; of the feed's goroutine
}

func newRestart(s *server) feature {
	r := &restart{s, map[*workspace]session.Settings{}}
	return feature{changed: r.changed}
}

func (r *restart) changed(c change) {
	if !c.settings {
		return
	}
	for _, w := range r.s.workspaces() {
		used, err := w.Used(r.s.ctx)
		if err != nil || used.Python == nil {
			delete(r.seen, w)
			continue // nothing was started with any settings
		}
		before, looked := r.seen[w]
		if !looked {
			before = *used.Python
		}
		now := r.s.settingsOf(w)
		r.seen[w] = now
		r.tell(w, used, before, now)
	}
}

// tell tells of settings that have changed, if what they concern is running.
func (r *restart) tell(w *workspace, used session.Used, before, now session.Settings) {
	python := both(differences(before, now, pythonSettings), differences(*used.Python, now, pythonSettings))
	pool := differences(before, now, poolSettings)
	state := r.s.board.pool(w).State
	switch {
	case len(python) > 0:
		r.offer(counts(append(python, pool...))+" when Python is started anew. All variables are lost then.", "Restart Python", w.EndPython)
	case len(pool) > 0 && (state == event.StateReady || state == event.StateStarting) && used.Pool != nil && *used.Pool != now.Pool:
		r.offer(counts(pool)+" for the next pool. The ranks' variables are lost then.", "Restart the pool", func(ctx context.Context) error {
			_, err := r.s.restartPoolIn(ctx, w)
			return err
		})
	}
}

// counts returns the start of a sentence about settings.
func counts(keys []string) string {
	if len(keys) == 1 {
		return settingsSection + "." + keys[0] + " has changed: it counts"
	}
	return settingsSection + "." + strings.Join(keys, ", "+settingsSection+".") + " have changed: they count"
}

// offer tells the user something, with a button, and calls act when the user presses it.
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
	of  func(session.Settings) any
}

// What is fixed when Python starts, and when a pool starts.
var (
	pythonSettings = []aspect{
		{"python", func(s session.Settings) any { return s.Python }},
		{"preload", func(s session.Settings) any { return append([]string{}, s.Preload...) }},
		{"start", func(s session.Settings) any { return s.Start }},
	}
	poolSettings = []aspect{
		{"ranks", func(s session.Settings) any { return s.Pool.Ranks }},
		{"gpus", func(s session.Settings) any { return s.Pool.GPUs }},
		{"app", func(s session.Settings) any { return s.Pool.App }},
		{"seed", func(s session.Settings) any { return s.Pool.Seed }},
		{"keepGpuMemory", func(s session.Settings) any { return s.Pool.KeepGPUMemory }},
		{"groupTimeout", func(s session.Settings) any { return s.Pool.GroupTimeout }},
	}
)

// differences returns the keys of settings that differ.
func differences(a, b session.Settings, aspects []aspect) (keys []string) {
	for _, x := range aspects {
		if !reflect.DeepEqual(x.of(a), x.of(b)) {
			keys = append(keys, x.key)
		}
	}
	return keys
}

// both returns what is in both lists.
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
