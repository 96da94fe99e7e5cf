package lsp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	"go.lsp.dev/protocol"

	"dipls/dipexec/event"
	"dipls/session"
)

// follower enters a workspace's events on the board and hands them to the features. It waits for nobody, so the board is always up to date. Features that
// wait for the client have subscriptions of their own, which must not be ahead of the board: see catchUp.
type follower struct {
	ready chan struct{} // closed when sub or err is set
	sub   session.Subscription
	err   error

	script string // of the document for which something was done in the workspace last; under the server's lock

	mu      sync.Mutex // guards what follows
	entered uint64     // up to which position of sub
	moved   chan struct{}
}

// follow makes the events of a workspace come here from now on. When it returns, the board has what happened before, so that what is started then comes
// after that. If something starts, modules are looked for beside the file script; "" means the file of the last time.
func (s *server) follow(ctx context.Context, w *workspace, script string) error {
	s.mu.Lock()
	f := s.opened[w]
	first := f == nil
	if first {
		f = &follower{ready: make(chan struct{})}
		s.opened[w] = f
	}
	f.script = cmp.Or(script, f.script)
	s.mu.Unlock()
	if first {
		if f.err = s.beginToFollow(w, f); f.err != nil {
			if w.attachment != nil { // it is gone already, and nobody hears of it
				s.deps.Sessions.drop(w)
				_ = w.Detach(s.ctx)
			}
			s.forget(w)
		}
		close(f.ready)
	}
	select {
	case <-f.ready:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginToFollow subscribes, and waits until the board has what happened before.
func (s *server) beginToFollow(w *workspace, f *follower) (err error) {
	// Before the features do, so that it hears of all before them.
	f.sub, err = w.Subscribe(s.ctx, session.SubscribeRequest{Front: s.front, History: true, Types: s.wants.Input})
	if err != nil {
		return err
	}
	f.entered = f.sub.Position()
	s.announcer.attached(w, f.entered < f.sub.Past())
	for _, feature := range s.features {
		if feature.follow != nil {
			feature.follow(w)
		}
	}
	s.tasks.Go(func() { s.enterAll(w, f) })
	if err := f.await(s.ctx, f.sub.Past()); err != nil {
		return err
	}
	if autodip, err := w.Autodip(s.ctx); err == nil {
		s.board.meet(w, autodip)
	}
	return nil
}

// enterAll enters the events of a workspace until its session or the connection ends.
func (s *server) enterAll(w *workspace, f *follower) {
	defer f.sub.Close()
	for {
		events, err := f.sub.Next(s.ctx)
		if err != nil {
			f.end()
			if errors.Is(err, io.EOF) && s.ctx.Err() == nil {
				s.contained("the loss of a session", func() { s.lose(w) })
			}
			return
		}
		for _, ev := range events {
			s.enterEvent(w, ev)
		}
		f.advance()
	}
}

// enterEvent enters an event of a workspace.
func (s *server) enterEvent(w *workspace, ev event.Event) {
	s.contained("board", func() { s.board.event(w, ev) })
	s.contained("bars", func() { s.bars.event(ev) })
	s.contained("marks", func() { s.marks.event(w, ev) })
	s.contained("announcer", func() { s.announcer.event(w, ev) })
	s.contained("inputs", func() { s.inputs.event(w, ev) })
	for _, feature := range s.features {
		if feature.event != nil {
			s.contained("event", func() { feature.event(w, ev) })
		}
	}
}

// lose notes that the session of a workspace is gone, and tells the user why. The next command that needs one attaches anew.
func (s *server) lose(w *workspace) {
	s.deps.Sessions.drop(w)
	s.forget(w)
	if w.left.Load() || w.attachment == nil {
		return
	}
	why := "its session is gone"
	if _, err := w.About(s.ctx, false); err != nil {
		why = err.Error()
	}
	for _, ev := range s.board.lost(w, why) {
		s.enterEvent(w, ev)
	}
	s.board.over(w)
	s.announcer.gone(w, why)
	if s.wants.Events { // the others are told by the session's last event
		s.client.ShowMessage(protocol.MessageTypeError, why)
	}
}

// forget forgets that the events of a workspace come here.
func (s *server) forget(w *workspace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.opened, w)
	if s.recent == w {
		s.recent = nil
	}
}

// workspaces returns the workspaces whose events come here, by folder.
func (s *server) workspaces() []*workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*workspace
	for _, w := range slices.SortedFunc(maps.Keys(s.opened), func(v, w *workspace) int { return cmp.Compare(v.dir, w.dir) }) {
		if s.opened[w].follows() {
			all = append(all, w)
		}
	}
	return all
}

// follows reports whether events come.
func (f *follower) follows() bool {
	select {
	case <-f.ready:
		return f.err == nil
	default:
		return false
	}
}

// advance notes that what the subscription has given has been entered.
func (f *follower) advance() { f.moveTo(f.sub.Position()) }

// end notes that nothing else will come.
func (f *follower) end() { f.moveTo(^uint64(0)) }

func (f *follower) moveTo(position uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entered = position
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// await waits until everything up to a position has been entered.
func (f *follower) await(ctx context.Context, position uint64) error {
	for {
		f.mu.Lock()
		if f.entered >= position {
			f.mu.Unlock()
			return nil
		}
		if f.moved == nil {
			f.moved = make(chan struct{})
		}
		moved := f.moved
		f.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// catchUp waits until the board has every event that any subscription has given by now. A client that is sent an event, and then asks, must not get an
// answer from before that event.
func (s *server) catchUp(ctx context.Context, w *workspace) error {
	s.mu.Lock()
	f := s.opened[w]
	s.mu.Unlock()
	if f == nil || f.sub == nil {
		return nil // it is gone
	}
	return f.await(ctx, f.sub.End())
}
