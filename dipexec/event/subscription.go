package event

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"dipls/internal/bytesize"
	"dipls/internal/ranklist"
	"dipls/internal/trace"
)

// batchBytes bounds what one Next returns, so that a reader who is merely slow shows progress often enough.
const batchBytes = 32 << 10

// Subscription is one reader's view of the events. The events of one process come in order, and those of a run between
// its RunStarted and its RunFinished; the order between different processes may differ from subscriber to subscriber.
//
// The queue is bounded. While it is full, processes whose output has no room wait: their output is not acknowledged, so
// write blocks in the end. A reader that takes nothing for a while, and reports no progress with what it has taken, is not
// waited for any more: output is left out of its queue, and a Log event says how much and where to find it. Events
// that are not output are never left out.
type Subscription struct {
	bus   *Bus
	kinds []Kind // of the events that come; none: all
	track trace.Track

	ready chan struct{} // capacity 1: there may be something to read

	mu      sync.Mutex
	queue   []queued
	queued  uint64              // events so far
	read    uint64              // events that Next has returned so far
	bytes   int                 // the sum of the queue's sizes; below the bus's QueueBytes + one event
	taken   time.Time           // when the reader last took something or made progress, or the queue began to fill
	told    trace.Time          // up to when the trace knows what was taken
	stalled bool                // output is left out until the queue is half empty
	room    chan struct{}       // closed when the queue gets half empty; nil while nobody waits
	elided  map[string]*elision // by run: what was left out after the last event of the queue
	ended   bool                // nothing comes any more
}

// queued is an event in a queue. Size is 0 for an event that is not output.
type queued struct {
	ev   Event
	size int
	at   trace.Time // 0 without a trace
}

// elision is what was left out of one run's output.
type elision struct {
	head    Header
	journal string
	bytes   int64
	who     map[ranklist.Who]bool
}

func newSubscription(b *Bus, kinds []Kind) *Subscription {
	return &Subscription{bus: b, kinds: kinds, track: b.o.Trace.NewTrack("subscriber"), ready: make(chan struct{}, 1)}
}

// gets reports whether events of a kind come.
func (s *Subscription) gets(k Kind) bool { return len(s.kinds) == 0 || slices.Contains(s.kinds, k) }

// traceTaken tells the trace that events are taken now; the oldest of them came at a moment. The caller holds mu.
func (s *Subscription) traceTaken(oldest trace.Time, evs []Event) {
	if !s.bus.o.Trace.On() {
		return
	}
	// The trace already has the beginning of a wait that is longer than the last batch.
	from, now := max(oldest, s.told), s.bus.o.Trace.Now()
	s.bus.o.Trace.Span(s.track, "deliver", from, now, trace.Int("events", int64(len(evs))), trace.Text("first", string(evs[0].Head().Kind)))
	s.told = now
}

// Next waits for events and returns some of them, at least one, in order. It returns [io.EOF] when the bus or the
// subscription was closed and everything has been read, and ctx's error when that ends. Only one goroutine may call it.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		if evs := s.take(); len(evs) > 0 {
			return evs, nil
		}
		select {
		case _, open := <-s.ready:
			if !open {
				if evs := s.take(); len(evs) > 0 {
					return evs, nil
				}
				return nil, io.EOF
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Queued is how many events the subscription has been given so far, read or not. Older subscriptions get an event first: if a later
// subscription has given an event to its reader, Queued counts it here, too.
func (s *Subscription) Queued() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// Taken is how many events Next has returned so far.
func (s *Subscription) Taken() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

func (s *Subscription) take() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.tellElided()
	}
	if len(s.queue) == 0 {
		return nil
	}
	oldest := s.queue[0].at
	n, size := 0, 0
	for n < len(s.queue) && (n == 0 || size+s.queue[n].size <= batchBytes) {
		size += s.queue[n].size
		n++
	}
	evs := make([]Event, n)
	for i := range evs {
		evs[i] = s.queue[i].ev
	}
	clear(s.queue[:n])
	s.traceTaken(oldest, evs)
	s.queue = s.queue[n:]
	s.read += uint64(n)
	s.bytes -= size
	s.taken = time.Now()
	if s.bytes <= s.bus.o.QueueBytes/2 {
		s.stalled = false
		if s.room != nil {
			close(s.room)
			s.room = nil
		}
	}
	return evs
}

// Tell gives the subscription an event that no other one gets. It never waits.
func (s *Subscription) Tell(ev Event) { s.offer(ev, 0, "") }

// Progress says that the reader is still busy with what it has taken, which may be a lot to show, and so is waited for.
func (s *Subscription) Progress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = time.Now()
}

// Close ends the subscription. Whoever waits for room in it waits no longer.
func (s *Subscription) Close() {
	s.bus.unsubscribe(s)
	s.mu.Lock()
	s.queue, s.bytes, s.elided = nil, 0, nil
	s.mu.Unlock()
	s.end()
}

// end says that no more events come; those in the queue can still be read.
func (s *Subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	close(s.ready)
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// offer queues an event. Output (size > 0) waits for room; journal is where it can be found otherwise.
func (s *Subscription) offer(ev Event, size int, journal string) {
	for {
		wait, room := s.tryOffer(ev, size, journal)
		if wait == 0 {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-room:
		case <-t.C:
		}
		t.Stop()
	}
}

// tryOffer queues an event or leaves it out. If it can do neither yet, the caller tries again after the duration, or once room is closed.
func (s *Subscription) tryOffer(ev Event, size int, journal string) (wait time.Duration, room <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, nil
	}
	if size > 0 && s.bytes >= s.bus.o.QueueBytes && !s.stalled {
		if wait = time.Until(s.taken.Add(s.bus.o.StallAfter)); wait > 0 {
			if s.room == nil {
				s.room = make(chan struct{})
			}
			return wait, s.room
		}
		s.stalled = true
	}
	if size > 0 && s.stalled {
		s.elide(ev, size, journal)
		return 0, nil
	}
	s.tellElided()
	s.push(queued{ev, size, s.bus.o.Trace.Now()})
	select {
	case s.ready <- struct{}{}:
	default:
	}
	return 0, nil
}

// push appends to the queue. The caller holds mu.
func (s *Subscription) push(q queued) {
	if len(s.queue) == 0 {
		s.taken = time.Now()
	}
	s.queue = append(s.queue, q)
	s.queued++
	s.bytes += q.size
}

// elide leaves an event out. The caller holds mu.
func (s *Subscription) elide(ev Event, size int, journal string) {
	h := ev.Head()
	el := s.elided[h.Run]
	if el == nil {
		el = &elision{head: Header{Kind: KindLog, Run: h.Run, Cell: h.Cell}, journal: journal, who: map[ranklist.Who]bool{}}
		if s.elided == nil {
			s.elided = map[string]*elision{}
		}
		s.elided[h.Run] = el
	}
	el.bytes += int64(size)
	who, _ := h.Who()
	el.who[who] = true
}

// tellElided queues the Log events about what was left out. The caller holds mu.
func (s *Subscription) tellElided() {
	if len(s.elided) == 0 {
		return
	}
	for _, run := range slices.SortedFunc(maps.Keys(s.elided), cmp.Compare[string]) {
		s.push(queued{s.elided[run].log(), 0, s.bus.o.Trace.Now()})
	}
	clear(s.elided)
}

func (el *elision) log() *Log {
	who := ranklist.InSentence(slices.Collect(maps.Keys(el.who)))
	text := fmt.Sprintf("%s of output of %s left out here: it came faster than it was read", bytesize.Format(el.bytes), who)
	if el.journal != "" {
		text += "; all of it is in " + el.journal
	}
	return &Log{Header: el.head, Level: LevelWarning, Text: text, Path: el.journal, Missing: true}
}
