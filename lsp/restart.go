package lsp

import (
	"context"
	"slices"
	"strings"
	"sync"

	"go.lsp.dev/protocol"

	"dipls/dipexec/event"
	"dipls/session"
)

// restart tells the user of changed settings that take effect only at the next start of Python or of the pool, and offers to restart it.
type restart struct {
	s *server

	mu   sync.Mutex                      // guards what follows
	seen map[*workspace]session.Settings // when they were last looked at
	open map[*restartOffer]struct{}
}

// restartOffer is a question whether to restart something, until it is answered.
type restartOffer struct {
	w        *workspace
	settings session.Settings // as they are when it is made
	about    []string         // their keys
	action   string
	act      func(context.Context) error
	wanted   func(used session.Used, now session.Settings) bool // a restart would still change something
	withdraw context.CancelFunc
}

func newRestart(s *server) feature {
	r := &restart{s: s, seen: map[*workspace]session.Settings{}, open: map[*restartOffer]struct{}{}}
	return feature{changed: r.changed, follow: r.follow}
}

// follow notes the settings with which a session is attached to. What others have started with theirs is their choice.
func (r *restart) follow(w *workspace) {
	if w.attachment == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[w] = r.s.settingsOf(w)
}

func (r *restart) changed(c change) {
	if !c.settings && !c.trusted {
		return
	}
	for _, w := range r.s.workspaces() {
		_ = w.Heed(r.s.ctx, r.s.callerNow(w)) // an error means that the session ends
		if !c.settings {
			continue
		}
		used, err := w.Used(r.s.ctx)
		if err != nil {
			continue // the connection ends
		}
		now := r.s.settingsOf(w)
		r.withdraw(w, now)
		if before, ok := r.before(w, used, now); ok {
			r.tell(w, used, before, now)
		}
	}
}

// before are the settings as they were when they were last looked at; ok is false if nothing was started with any.
func (r *restart) before(w *workspace, used session.Used, now session.Settings) (before session.Settings, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, looked := r.seen[w]
	switch {
	case used.Python == nil && w.attachment == nil:
		delete(r.seen, w)
		return before, false
	case !looked && used.Python != nil:
		before = *used.Python
	}
	r.seen[w] = now
	return before, used.Python != nil
}

// tell tells of settings that have changed, if what they concern is running. Of variables only if there may be some.
func (r *restart) tell(w *workspace, used session.Used, before, now session.Settings) {
	python := both(differences(before, now, pythonSettings), differences(*used.Python, now, pythonSettings))
	pool := differences(before, now, poolSettings)
	state := r.s.board.pool(w).State
	o := &restartOffer{w: w, settings: now, about: append(python, pool...)}
	text := counts(o.about)
	switch {
	case len(python) > 0:
		text += " when Python is started anew."
		if !used.FreshLocal || !used.FreshPool {
			text += " All variables are lost then."
		}
		o.action, o.act, o.wanted = "Restart Python", w.EndPython, wantsPython
	case len(pool) > 0 && (state == event.StateReady || state == event.StateStarting) && wantsPool(used, now):
		text += " for the next pool."
		if !used.FreshPool {
			text += " The ranks' variables are lost then."
		}
		o.action, o.wanted = "Restart pool", wantsPool
		o.act = func(ctx context.Context) error {
			_, err := r.s.restartPoolIn(ctx, w)
			return err
		}
	default:
		return
	}
	r.offer(text, o)
}

// counts returns the start of a sentence about settings.
func counts(keys []string) string {
	if len(keys) == 1 {
		return settingsSection + "." + keys[0] + " has changed: it counts"
	}
	return settingsSection + "." + strings.Join(keys, ", "+settingsSection+".") + " have changed: they count"
}

// withdraw takes back the offers of restarts that are about settings as they are no more. If a restart still makes sense, it is offered anew.
func (r *restart) withdraw(w *workspace, now session.Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for o := range r.open {
		if o.w == w && slices.ContainsFunc(differences(o.settings, now, allSettings), func(key string) bool { return slices.Contains(o.about, key) }) {
			o.withdraw()
		}
	}
}

// offer tells the user something, with a button, and restarts when the user presses it.
func (r *restart) offer(text string, o *restartOffer) {
	ctx, withdraw := context.WithCancel(r.s.ctx)
	o.withdraw = withdraw
	r.mu.Lock()
	r.open[o] = struct{}{}
	r.mu.Unlock()
	r.s.goOn("a question", func() {
		defer withdraw()
		chosen, err := r.s.posed.ask(ctx, o.w, false, protocol.MessageTypeInfo, text, o.action)
		if err != nil && ctx.Err() == nil {
			r.s.client.ShowMessage(protocol.MessageTypeInfo, text)
		}
		r.mu.Lock()
		delete(r.open, o)
		r.mu.Unlock()
		if chosen != o.action || ctx.Err() != nil {
			return
		}
		used, err := o.w.Used(ctx)
		if err == nil && !o.wanted(used, r.s.settingsOf(o.w)) {
			r.s.client.ShowMessage(protocol.MessageTypeInfo, "the settings count already: nothing was restarted")
			return
		}
		if err := o.act(r.s.ctx); err != nil && r.s.ctx.Err() == nil {
			r.s.client.ShowMessage(protocol.MessageTypeError, err.Error())
		}
	})
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
