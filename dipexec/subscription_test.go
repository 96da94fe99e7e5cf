package dipexec

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testSubscription(limit int) *Subscription {
	return newSubscription(limit, time.Second, func(*Subscription) {})
}

func text(rank int, s string) *Stream {
	return &Stream{Header: headerOf(KindStream, "r1", new(1), rank), Name: "stdout", Text: s}
}

func offer(s *Subscription, rank int, piece string) {
	s.offer(text(rank, piece), len(piece), "/journal/r1")
}

func TestSubscriptionWaitsForAReaderWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSubscription(10)
		go func() {
			for range 100 {
				offer(s, 0, "12345")
			}
			s.end()
		}()
		n := 0
		for {
			time.Sleep(900 * time.Millisecond) // slow, but not asleep
			evs, err := s.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			for _, e := range evs {
				if e.Head().Kind != KindStream {
					t.Fatalf("got %v", describe([]Event{e}))
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
		s := testSubscription(10)
		start := time.Now()
		for i := range 1000 {
			offer(s, i%3, "12345")
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("the ranks waited %v", waited)
		}
		s.offer(&RunFinished{Header: Header{Kind: KindRunFinished, Run: "r1"}, Status: StatusOK}, 0, "")
		offer(s, 0, "still full")
		if len(s.queue) > 5 {
			t.Errorf("%d events are queued", len(s.queue))
		}
		s.end()
		sameLines(t, describe(drain(t, s)),
			`stream rank 0 stdout "12345"`,
			`stream rank 1 stdout "12345"`,
			`log warning: 5.0 kB of output of ranks 0-2 left out here: it came faster than it was read; all of it is in /journal/r1`,
			`run_finished ok`,
			`log warning: 10 bytes of output of rank 0 left out here: it came faster than it was read; all of it is in /journal/r1`)
	})
}

// What a reader has taken may be much to show: as long as it gets on with that, it is waited for.
func TestSubscriptionWaitsForAReaderWhoGetsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSubscription(10)
		start := time.Now()
		go func() {
			for range 9 {
				time.Sleep(900 * time.Millisecond)
				s.Progress()
			}
		}()
		for i := range 1000 {
			offer(s, i%3, "12345")
		}
		// And for a second after it has stopped.
		if waited, want := time.Since(start), 9*900*time.Millisecond+time.Second; waited != want {
			t.Errorf("the ranks waited %v, want %v", waited, want)
		}
		s.end()
		sameLines(t, describe(drain(t, s)),
			`stream rank 0 stdout "12345"`,
			`stream rank 1 stdout "12345"`,
			`log warning: 5.0 kB of output of ranks 0-2 left out here: it came faster than it was read; all of it is in /journal/r1`)
	})
}

func TestSubscriptionRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSubscription(10)
		for range 10 {
			offer(s, 0, "12345")
		}
		first, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		offer(s, 0, "fresh")
		s.end()
		sameLines(t, describe(append(first, drain(t, s)...)),
			`stream rank 0 stdout "12345"`,
			`stream rank 0 stdout "12345"`,
			`log warning: 40 bytes of output of rank 0 left out here: it came faster than it was read; all of it is in /journal/r1`,
			`stream rank 0 stdout "fresh"`)
	})
}

func TestSubscriptionKeepsEventsThatAreNotOutput(t *testing.T) {
	s := testSubscription(1)
	for range 1000 {
		s.offer(NewLog(LevelInfo, "x"), 0, "")
	}
	s.end()
	if n := len(drain(t, s)); n != 1000 {
		t.Errorf("got %d of 1000 events", n)
	}
}

func TestSubscriptionCloseFreesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSubscription(1)
		offer(s, 0, "full")
		done := make(chan struct{})
		go func() {
			offer(s, 0, "waits")
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
	if _, err := testSubscription(1).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkSubscription(b *testing.B) {
	s := testSubscription(4 << 20)
	piece := strings.Repeat("x", 1<<10)
	b.SetBytes(int64(len(piece)))
	go func() {
		ev := text(0, piece)
		for range b.N {
			s.offer(ev, len(piece), "")
		}
		s.end()
	}()
	for {
		if _, err := s.Next(context.Background()); err != nil {
			return
		}
	}
}

// Who subscribes to some kinds of events has no others, however many there are.
func TestSubscriptionOfKinds(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool})
	some := e.Subscribe(KindHang, KindRunFinished)
	id := mustStart(t, e, Request{})
	x := pool.local.next()
	x.print("output\n")
	e.Publish(&Hang{Header: Header{Kind: KindHang, Run: id}, Hang: 1})
	x.ok()
	mustWait(t, e, id)
	e.Close(t.Context())
	var kinds []Kind
	for _, ev := range drain(t, some) {
		kinds = append(kinds, ev.Head().Kind)
	}
	if len(kinds) != 2 || kinds[0] != KindHang || kinds[1] != KindRunFinished {
		t.Errorf("got %v", kinds)
	}
}

// What is told of a run belongs to it while it goes on.
func TestNote(t *testing.T) {
	pool := newFakePool(1)
	e, rec := start(t, Options{Pool: pool})
	id := mustStart(t, e, Request{})
	x := pool.local.next()
	e.Note(t.Context(), id, LevelWarning, "while it runs")
	x.ok()
	mustWait(t, e, id)
	e.Note(t.Context(), id, LevelInfo, "after its end")
	e.Close(t.Context())
	<-rec.done
	told := map[string]string{}
	for _, ev := range rec.all() {
		if log, ok := ev.(*Log); ok {
			told[log.Text] = log.Run
		}
	}
	if run, ok := told["while it runs"]; !ok || run != id {
		t.Errorf("told %v", told)
	}
	if run, ok := told["after its end"]; !ok || run != "" {
		t.Errorf("told %v", told)
	}
}
