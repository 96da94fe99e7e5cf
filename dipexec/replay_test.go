package dipexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/stress"
)

// replayed is everything from a subscription that begins at a run, until the executor is closed.
func replayed(replay *Replay, sub *event.Subscription) (events []event.Event, err error) {
	defer replay.Close()
	for {
		ev, err := replay.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	for {
		evs, err := sub.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		events = append(events, evs...)
	}
}

// told is what events say about each process of each wanted run, with pieces of text put together.
func told(events []event.Event, meant ...string) map[string]string {
	said := map[string]string{}
	for _, ev := range events {
		h := ev.Head()
		if !slices.Contains(meant, h.Run) {
			continue
		}
		key := h.Run + " "
		if who, ok := h.Who(); ok {
			key += who.String()
		}
		switch ev := ev.(type) {
		case *event.Stream:
			said[key] += ev.Text
		default:
			said[key] += "<" + string(h.Kind) + ">"
		}
	}
	return said
}

// A subscription from a run on gets each event of it and of later ones once, whatever is printed at that moment.
func TestStressSubscribeFrom(t *testing.T) {
	rng := stress.Rand(t)
	for range stress.Rounds(3, 200) {
		pool := newFakePool(3)
		o := Options{Pool: pool, Journal: newJournal(t, journal.Options{}), QueueBytes: 1 << 30}
		if rng.IntN(2) == 0 {
			o.Journal = newJournal(t, journal.Options{Limit: 1 << 40})
		}
		e := New(o)
		whole := record(e.Subscribe())
		first := mustStart(t, e, Request{Target: target(t, "remote")})
		for _, p := range pool.ranks {
			x := p.next()
			x.print("before\n")
			x.ok()
		}
		mustWait(t, e, first)
		runs := []string{first, mustStart(t, e, Request{Target: target(t, "remote")}), mustStart(t, e, Request{})}
		silent := pool.local.next() // as yet
		var executions []*fakeExecution
		for _, p := range pool.ranks {
			executions = append(executions, p.next())
		}
		const lines = 200
		var printing, subscribing, reading sync.WaitGroup
		var printed atomic.Int64
		for rank, x := range executions {
			printing.Go(func() {
				for n := range lines {
					printed.Add(1)
					x.print(fmt.Sprintf("%d:%d \xc3", rank, n))
					x.print("\xa9\n")
					if n%20 == 0 {
						x.stderr("")
						x.result(n, "a value")
					}
				}
				x.ok()
			})
		}
		for range 4 {
			from := runs[rng.IntN(len(runs))]
			at := rng.Int64N(3 * lines)
			subscribing.Add(1)
			reading.Go(func() {
				for printed.Load() < at {
					runtime.Gosched()
				}
				replay, sub, err := e.SubscribeFrom(from)
				subscribing.Done()
				if err != nil {
					t.Error(err)
					return
				}
				got, err := replayed(replay, sub)
				if err != nil {
					t.Error(err)
				}
				<-whole.done
				meant := runs[slices.Index(runs, from):]
				want, have := told(whole.all(), meant...), told(got, meant...)
				for key, text := range want {
					if have[key] != text {
						t.Errorf("%s: got %q, want %q", key, have[key], text)
					}
				}
			})
		}
		printing.Wait()
		subscribing.Wait() // of a silent run nothing is left once it has ended
		silent.ok()
		for _, run := range runs {
			mustWait(t, e, run)
		}
		e.Close(context.Background())
		reading.Wait()
	}
}

// The events of a silent run in progress are replayed from memory, and late output comes once.
func TestSubscribeFrom(t *testing.T) {
	pool := newFakePool(1)
	e, _ := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	for _, run := range []string{"", "other-1", e.runID(0), e.runID(1), e.runID(-1) + "x"} {
		if _, _, err := e.SubscribeFrom(run); !errors.Is(err, ErrNoRun) {
			t.Errorf("from %q: %v", run, err)
		}
	}
	printed := mustStart(t, e, Request{Target: target(t, "remote")})
	x := pool.ranks[0].next()
	x.print("one\n")
	x.ok()
	mustWait(t, e, printed)
	pool.ranks[0].later("two\n")
	silent := mustStart(t, e, Request{})
	y := pool.local.next()
	replay, sub, err := e.SubscribeFrom(printed)
	if err != nil {
		t.Fatal(err)
	}
	pool.ranks[0].later("three\n")
	y.ok()
	mustWait(t, e, silent)
	go e.Close(context.Background())
	got, err := replayed(replay, sub)
	if err != nil {
		t.Fatal(err)
	}
	have := told(got, printed, silent)
	want := map[string]string{
		printed + " ":       "<run_started><run_finished>",
		printed + " rank 0": "<rank_state>one\n<rank_state>two\nthree\n",
		silent + " ":        "<run_started><run_finished>",
		silent + " local":   "<rank_state><rank_state>",
	}
	for key, text := range want {
		if have[key] != text {
			t.Errorf("%s: got %q, want %q", key, have[key], text)
		}
	}
	if len(have) != len(want) {
		t.Errorf("told of %q", have)
	}
}
