package session

import (
	"fmt"
	"strings"
	"testing"

	"dipls/internal/ranklist"
	"dipls/ranks/fakerank"
)

func TestStacks(t *testing.T) {
	f := newFixture(t, fakerank.Config{}, choose(Choice{Ranks: 3}))
	told := func(wanted func(ranklist.Who) bool) string {
		var lines []string
		for _, s := range f.Stacks(testContext(t), wanted, false).Of {
			line := fmt.Sprintf("%v: %s", s.Who, s.Error)
			for _, thread := range s.Threads {
				line += " " + thread.Name
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "; ")
	}
	all := func(ranklist.Who) bool { return true }
	if got := told(all); got != "" {
		t.Errorf("before anything was started: %s", got)
	}
	running := f.ranks()
	if _, err := f.Local(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got, want := told(all), "local:  MainThread; rank 0:  MainThread; rank 1:  MainThread; rank 2:  MainThread"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := told(func(who ranklist.Who) bool { return who == ranklist.Rank(2) }), "rank 2:  MainThread"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	waitFor(t, "the end of rank 1", start(running[1], "signal SIGKILL").done)
	if got, want := told(func(who ranklist.Who) bool { return who == ranklist.Rank(1) }), "rank 1: rank 1 was killed by SIGKILL"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
