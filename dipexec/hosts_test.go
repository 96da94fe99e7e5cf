package dipexec

import (
	"slices"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// Only the pool tells whose output is shown where --see goes by its hosts or its size.
func TestSeeOnHosts(t *testing.T) {
	for _, c := range []struct {
		see, target string
		seen        []int
		reason      string
	}{
		{"host:gpu2", "remote", []int{1, 2}, ""},
		{"each:0", "ranks:host:gpu2", []int{1}, ""},
		{"-1 0", "remote", []int{0, 2}, ""},
		{"host:gpu9", "remote", nil, "--see: no host gpu9; hosts: gpu1, gpu2"},
		{"all", "ranks:host:gpu9", nil, "no host gpu9; hosts: gpu1, gpu2"},
	} {
		t.Run(c.see+" of "+c.target, func(t *testing.T) {
			pool := newFakePoolOn("gpu1", "gpu2", "gpu2")
			e, rec := start(t, Options{Pool: pool})
			req := Request{Code: "f()", Target: target(t, c.target)}
			req.See, _ = ranklist.ParseRanks(c.see)
			id, err := e.Start(req)
			if err != nil {
				t.Fatal(err)
			}
			on, _ := pick(req.Target, pool.processes())
			for _, p := range on {
				if c.reason == "" {
					p.(*fakeProcess).next().ok()
				}
			}
			if report := mustWait(t, e, id); report.Reason != c.reason {
				t.Errorf("it ended with %q, want %q", report.Reason, c.reason)
			}
			rec.await(t, "the end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished })
			var seen []int
			var told ranklist.List // by the run's start
			for _, ev := range rec.all() {
				switch ev := ev.(type) {
				case *event.RunStarted:
					told, _ = ranklist.ParseRanks(ev.See)
				case *event.RankState:
					if ev.State == event.StateBusy && (ev.Seen || told.Contains(*ev.Rank)) {
						seen = append(seen, *ev.Rank)
					}
				}
			}
			if !slices.Equal(seen, c.seen) {
				t.Errorf("seen are %v, want %v", seen, c.seen)
			}
		})
	}
}

// Variables of several ranks that are on their way at the same time are counted together.
func TestMovingParts(t *testing.T) {
	m := &moving{next: time.Now().Add(time.Hour)}
	first, second := m.part(), m.part()
	first(10, 100)
	second(5, 50)
	first(20, 100)
	if m.moved != 25 || m.total != 150 {
		t.Errorf("%d of %d have moved, want 25 of 150", m.moved, m.total)
	}
}
