package view

import (
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// Where ranks are on several hosts, lines and sentences say on which, as far as it is one.
func TestHostsAreNamed(t *testing.T) {
	f := NewFolder(FoldOptions{})
	run := &Run{ID: "a-1"}
	var got []string
	now := time.Now()
	add := func(ev event.Event) {
		run.Apply(ev, now)
		for _, item := range f.Add(ev, now) {
			got = append(got, item.String())
		}
	}
	head := func(k event.Kind, rank int) event.Header { return event.HeaderOf(k, "a-1", nil, ranklist.Rank(rank)) }
	hosts := []string{"gpu1", "gpu1", "gpu2", "gpu2"}
	add(&event.RunStarted{Header: event.HeaderOf(event.KindRunStarted, "a-1", nil, ranklist.Local), Target: "remote", See: "all"})
	for rank, host := range hosts {
		add(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateBusy, Host: host})
	}
	for rank, text := range []string{"all\none\n", "all\none\n", "all\ntwo\n", "all\ntwo\nthree\n"} {
		add(&event.Stream{Header: head(event.KindStream, rank), Name: "stdout", Text: text})
	}
	for rank := range hosts {
		add(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateReady, Status: event.StatusOK})
	}
	for _, item := range f.Flush(now.Add(time.Minute)) {
		got = append(got, item.String())
	}
	want := []string{"[0-3] all", "[gpu1: 0-1] one", "[gpu2: 2-3] two", "[gpu2: 3] three"}
	if len(got) != len(want) {
		t.Fatalf("shown: %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("shown: %q, want %q", got[i], want[i])
		}
	}
	for name, who := range map[string][]ranklist.Who{
		"rank 3 (gpu2)": {ranklist.Rank(3)}, "ranks 0-1 (gpu1)": {ranklist.Rank(0), ranklist.Rank(1)}, "ranks 1-2": {ranklist.Rank(1), ranklist.Rank(2)},
		"local and rank 1": {ranklist.Local, ranklist.Rank(1)},
	} {
		if got := run.Name(who); got != name {
			t.Errorf("%v is named %q, want %q", who, got, name)
		}
	}
}
