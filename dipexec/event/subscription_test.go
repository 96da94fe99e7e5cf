package event_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
)

// newBus returns a bus whose queues hold so many bytes, and its one subscription.
func newBus(limit int) (*event.Bus, *event.Subscription) {
	b := event.NewBus(event.BusOptions{QueueBytes: limit, StallAfter: time.Second})
	return b, b.Subscribe()
}

func text(rank int, s string) *event.Stream {
	return &event.Stream{Header: event.HeaderOf(event.KindStream, "r1", new(1), ranklist.Rank(rank)), Name: "stdout", Text: s}
}

func offer(b *event.Bus, rank int, piece string) {
	b.PublishOutput(text(rank, piece), len(piece), "/journal/r1")
}

func TestSubscriptionWaitsForAReaderWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBus(10)
		go func() {
			for range 100 {
				offer(b, 0, "12345")
			}
			b.Close()
		}()
		n := 0
		for {
			time.Sleep(900 * time.Millisecond) // slow, but not asleep
			evs, err := s.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			for _, e := range evs {
				if e.Head().Kind != event.KindStream {
					t.Fatalf("got %v", eventtest.Describe([]event.Event{e}))
				}
				n++
			}
		}
		if n != 100 {
			t.Errorf("got %d of 100 events", n)
		}
	})
}

func TestSubscriptionLeavesOutputOutForAReaderWhoSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBus(10)
		start := time.Now()
		for i := range 1000 {
			offer(b, i%3, "12345")
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("the ranks waited %v", waited)
		}
		b.Publish(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "r1"}, Status: event.StatusOK})
		offer(b, 0, "still full")
		if n := s.Queued(); n > 5 {
			t.Errorf("%d events are queued", n)
		}
		b.Close()
		eventtest.SameLines(t, eventtest.Describe(eventtest.Drain(t, s)),
			`stream rank 0 stdout "12345"`,
			`stream rank 1 stdout "12345"`,
			`log warning: 5.0 kB of output of ranks 0-2 left out here: it came faster than it was read; all of it is in /journal/r1`,
			`run_finished ok`,
			`log warning: 10 bytes of output of rank 0 left out here: it came faster than it was read; all of it is in /journal/r1`)
	})
}

// A reader may have taken a lot to show: as long as it makes progress with that, it is waited for.
func TestSubscriptionWaitsForAReaderWhoGetsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBus(10)
		start := time.Now()
		go func() {
			for range 9 {
				time.Sleep(900 * time.Millisecond)
				s.Progress()
			}
		}()
		for i := range 1000 {
			offer(b, i%3, "12345")
		}
		// And for a second after it has stopped.
		if waited, want := time.Since(start), 9*900*time.Millisecond+time.Second; waited != want {
			t.Errorf("the ranks waited %v, want %v", waited, want)
		}
		b.Close()
		eventtest.SameLines(t, eventtest.Describe(eventtest.Drain(t, s)),
			`stream rank 0 stdout "12345"`,
			`stream rank 1 stdout "12345"`,
			`log warning: 5.0 kB of output of ranks 0-2 left out here: it came faster than it was read; all of it is in /journal/r1`)
	})
}

func TestSubscriptionRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBus(10)
		for range 10 {
			offer(b, 0, "12345")
		}
		first, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		offer(b, 0, "fresh")
		b.Close()
		eventtest.SameLines(t, eventtest.Describe(append(first, eventtest.Drain(t, s)...)),
			`stream rank 0 stdout "12345"`,
			`stream rank 0 stdout "12345"`,
			`log warning: 40 bytes of output of rank 0 left out here: it came faster than it was read; all of it is in /journal/r1`,
			`stream rank 0 stdout "fresh"`)
	})
}

func TestSubscriptionKeepsEventsThatAreNotOutput(t *testing.T) {
	b, s := newBus(1)
	for range 1000 {
		b.Publish(event.NewLog(event.LevelInfo, "x"))
	}
	b.Close()
	if n := len(eventtest.Drain(t, s)); n != 1000 {
		t.Errorf("got %d of 1000 events", n)
	}
}

func TestSubscriptionCloseFreesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBus(1)
		offer(b, 0, "full")
		done := make(chan struct{})
		go func() {
			offer(b, 0, "waits")
			close(done)
		}()
		synctest.Wait()
		s.Close()
		<-done
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSubscriptionNextEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, s := newBus(1)
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkSubscription(b *testing.B) {
	bus, s := newBus(4 << 20)
	piece := strings.Repeat("x", 1<<10)
	b.SetBytes(int64(len(piece)))
	go func() {
		ev := text(0, piece)
		for range b.N {
			bus.PublishOutput(ev, len(piece), "")
		}
		bus.Close()
	}()
	for {
		if _, err := s.Next(context.Background()); err != nil {
			return
		}
	}
}
