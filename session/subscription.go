package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"dipls/dipexec"
	"dipls/dipexec/event"
)

// How many earlier events one Next returns.
const (
	earlierEvents = 100
	earlierBytes  = 32 << 10
)

// subscription is a front's view of the events.
type subscription struct {
	*event.Subscription // what happens since
	s                   *Session
	front               string // "": it gets no questions
	types               bool   // its user can be asked for what code wants to be typed
	kinds               []event.Kind
	past                uint64
	columns             dipexec.Columns // of what the front's user reads

	mu      sync.Mutex      // guards what follows
	earlier *dipexec.Replay // earlier events; nil: all of them have been read
}

// Subscribe implements [API].
func (s *Session) Subscribe(_ context.Context, r SubscribeRequest) (Subscription, error) {
	sub := &subscription{s: s, kinds: r.Kinds}
	if r.From == "" {
		sub.Subscription = s.executor.Subscribe(r.Kinds...)
	} else {
		var err error
		if sub.earlier, sub.Subscription, err = s.executor.SubscribeFrom(r.From, r.Kinds...); err != nil {
			return nil, noRun(r.From)
		}
	}
	sub.past = sub.Subscription.Taken() + 1
	if r.Types {
		sub.types = true
		s.typists.Add(1)
	}
	if r.Front == "" || !sub.wants(event.KindQuestion) {
		return sub, nil
	}
	s.mu.Lock()
	taken := s.fronts[r.Front] != nil
	if !taken {
		sub.front = r.Front
		s.fronts[r.Front] = sub
	}
	s.mu.Unlock()
	if taken {
		sub.Close()
		return nil, errorf(CodeInvalid, "a front %q has subscribed already", r.Front)
	}
	return sub, nil
}

// Replayer is a [Subscription] that can tell once more what was told before. A session's own subscriptions are.
type Replayer interface {
	// Replay returns the events of a run and of those after it, as far as journals have them. Each event of theirs is in the replay or comes by the
	// subscription after a position, and none is both. The error's code is CodeNoRun.
	Replay(run string) (r Replay, position uint64, err error)
}

// Replay is what was told before.
type Replay interface {
	// Next returns the next event, and [io.EOF] at the end.
	Next() (event.Event, error)
	// Close gives up what has not been read.
	Close()
}

// Replay implements [Replayer].
func (u *subscription) Replay(run string) (Replay, uint64, error) {
	replay, given, err := u.s.executor.ReplayFor(u.Subscription, run)
	if err != nil {
		return nil, 0, noRun(run)
	}
	return replay, given + 1, nil // as Position counts
}

// wants reports whether events of a kind come.
func (u *subscription) wants(k event.Kind) bool {
	return len(u.kinds) == 0 || slices.Contains(u.kinds, k)
}

// Next implements [Subscription].
func (u *subscription) Next(ctx context.Context) ([]event.Event, error) {
	if evs := u.nextEarlier(); len(evs) > 0 {
		u.Progress() // meanwhile new events wait for the reader
		return evs, nil
	}
	return u.Subscription.Next(ctx)
}

// nextEarlier returns some of the events from before the subscription began; none at the end. A log event replaces what cannot be read.
func (u *subscription) nextEarlier() (evs []event.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for size := 0; u.earlier != nil && len(evs) < earlierEvents && size < earlierBytes; {
		ev, err := u.earlier.Next()
		if err != nil {
			u.endEarlier()
			if errors.Is(err, io.EOF) {
				break
			}
			ev = event.NewLog(event.LevelWarning, fmt.Sprintf("not all of what was told before can be read: %v", err))
		}
		if text, ok := ev.(*event.Stream); ok {
			size += len(text.Text)
		}
		if u.wants(ev.Head().Kind) {
			evs = append(evs, ev)
		}
	}
	return evs
}

// endEarlier goes on with the events since. The caller holds mu.
func (u *subscription) endEarlier() {
	if u.earlier != nil {
		u.earlier.Close()
		u.earlier = nil
	}
}

// Position implements [Subscription]. All earlier events together count as one step, which comes first.
func (u *subscription) Position() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.earlier != nil {
		return 0
	}
	return u.Subscription.Taken() + 1
}

// Past implements [Subscription].
func (u *subscription) Past() uint64 { return u.past }

// End implements [Subscription].
func (u *subscription) End() uint64 { return u.Subscription.Queued() + 1 }

// Close implements [Subscription].
func (u *subscription) Close() {
	u.mu.Lock()
	if u.types {
		u.types = false
		u.s.typists.Add(-1)
	}
	u.mu.Unlock()
	if u.front != "" {
		u.s.leave(u)
	}
	u.mu.Lock()
	u.endEarlier()
	u.mu.Unlock()
	u.Subscription.Close()
}
