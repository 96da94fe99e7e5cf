package event

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dipls/internal/trace"
)

// BusOptions configure a Bus.
type BusOptions struct {
	QueueBytes int           // how much output waits for a subscriber; 0 is 4 MiB
	StallAfter time.Duration // how long a subscriber that takes nothing is waited for; 0 is 1 s
	Trace      *trace.Tracer // is told how long events wait in the queues; nil: none
}

// Bus hands every event that is published to all subscriptions, in the order in which these began.
type Bus struct {
	o    BusOptions
	subs atomic.Pointer[[]*Subscription] // replaced under mu, never changed

	mu     sync.Mutex // guards closed and the replacing of subs
	closed bool
}

// NewBus returns a bus without subscriptions.
func NewBus(o BusOptions) *Bus {
	o.QueueBytes = cmp.Or(o.QueueBytes, 4<<20)
	o.StallAfter = cmp.Or(o.StallAfter, time.Second)
	b := &Bus{o: o}
	b.subs.Store(new([]*Subscription))
	return b
}

// Subscribe returns a subscription to all events from now on, or to those of some kinds. On a closed bus it has no events.
func (b *Bus) Subscribe(kinds ...Kind) *Subscription {
	s := newSubscription(b, kinds)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		s.end()
		return s
	}
	subs := append(slices.Clone(*b.subs.Load()), s)
	b.subs.Store(&subs)
	return s
}

// Reaches reports whether events of a kind come to anybody now.
func (b *Bus) Reaches(k Kind) bool {
	return slices.ContainsFunc(*b.subs.Load(), func(s *Subscription) bool { return s.gets(k) })
}

func (b *Bus) unsubscribe(s *Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	subs := slices.DeleteFunc(slices.Clone(*b.subs.Load()), func(t *Subscription) bool { return t == s })
	b.subs.Store(&subs)
}

// Publish hands on an event that no subscriber may lose. It never waits.
func (b *Bus) Publish(ev Event) { b.PublishOutput(ev, 0, "") }

// PublishOutput hands on an event with so many bytes of output. It waits for subscribers that read but whose queues are full. Subscribers that
// do not read lose the event; they are told of the journal directory that has it ("": there is none).
func (b *Bus) PublishOutput(ev Event, size int, journal string) {
	for _, s := range *b.subs.Load() {
		if s.gets(ev.Head().Kind) {
			s.offer(ev, size, journal)
		}
	}
}

// Close ends every subscription once it has been read.
func (b *Bus) Close() {
	b.mu.Lock()
	b.closed = true
	subs := *b.subs.Swap(new([]*Subscription))
	b.mu.Unlock()
	for _, s := range subs {
		s.end()
	}
}
