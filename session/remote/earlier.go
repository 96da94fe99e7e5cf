package remote

import (
	"context"

	"dipls/session"
)

// earlier are events from before a subscription began, of which the client asks for one batch after the other.
type earlier struct{}

func (e *earlier) close() {}

// subscribe begins a subscription of the client's.
func (p *peer) subscribe(ctx context.Context, m subscribeParams) (subscribed, error) {
	if m.Front != "" {
		if err := p.newFront(ctx, m.Front); err != nil {
			return subscribed{}, err
		}
	}
	p.s.filler.await(ctx)
	return subscribed{At: p.s.events.End()}, nil
}

// unsubscribe ends a subscription whose user could be asked.
func (p *peer) unsubscribe(front string) {
	p.s.mu.Lock()
	f := p.fronts[front]
	p.s.mu.Unlock()
	if f != nil {
		f.leave()
	}
}

// readEarlier returns the next of the earlier events.
func (p *peer) readEarlier(earlierParams) (earlierEvents, error) {
	return earlierEvents{}, &session.Error{Code: session.CodeInvalid, Text: "there are no earlier events"}
}
