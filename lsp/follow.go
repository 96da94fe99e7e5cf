package lsp

import (
	"context"
	"sync"

	"dipls/session"
)

// follower enters a workspace's events on the board and hands them to the features. It waits for nobody, so the board is always up to date. Features that
// wait for the client have subscriptions of their own, which must not be ahead of the board: see catchUp.
type follower struct {
	sub    session.Subscription
	script string // of the document for which something was done in the workspace last; under the server's lock

	mu      sync.Mutex // guards what follows
	entered uint64     // up to which position of sub
	moved   chan struct{}
}

// follow makes a follower of a workspace. mu is held.
func (s *server) follow(w *workspace) (*follower, error) {
	sub, err := w.Subscribe(s.ctx, session.SubscribeRequest{Front: s.front}) // before the features do, so that it hears of everything before them
	if err != nil {
		return nil, err
	}
	f := &follower{sub: sub, entered: sub.Position()}
	for _, feature := range s.features {
		if feature.follow != nil {
			feature.follow(w)
		}
	}
	s.tasks.Go(func() {
		defer f.sub.Close()
		for {
			events, err := f.sub.Next(s.ctx)
			if err != nil {
				return
			}
			for _, ev := range events {
				s.contained("board", func() { s.board.event(w, ev) })
				s.contained("marks", func() { s.marks.event(w, ev) })
				for _, feature := range s.features {
					if feature.event != nil {
						s.contained("event", func() { feature.event(w, ev) })
					}
				}
			}
			f.advance()
		}
	})
	return f, nil
}

// advance notes that what the subscription has given has been entered.
func (f *follower) advance() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entered = f.sub.Position()
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// catchUp waits until the board has every event that any subscription has given by now. A client that is sent an event, and then asks, must not get an
// answer from before that event.
func (s *server) catchUp(ctx context.Context, w *workspace) error {
	s.mu.Lock()
	f := s.opened[w]
	s.mu.Unlock()
	told := f.sub.End()
	for {
		f.mu.Lock()
		if f.entered >= told {
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
