package lsp

import (
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/session"
)

func failureOf(who ranklist.Who, name string) *event.Failure {
	return &event.Failure{Header: event.HeaderOf(event.KindError, "", nil, who), EName: name, EValue: "why"}
}

// A hint tells of every run that began how long it took, and whether the cell is still what ran.
func TestHintAt(t *testing.T) {
	c, _ := cells.Parse("# %%\nx\n").Cell(1)
	other, _ := cells.Parse("# %%\ny\n").Cell(1)
	text := docs.TextOf(c)
	for want, known := range map[string]view.Run{
		"… queued": {},
		"✓ 1.2 s":  {State: view.Ended, Status: event.StatusOK, Seconds: 1.23, Target: "local"},
		"✗ rank 2: NameError · 1.2 s": {
			State: view.Ended, Status: event.StatusError, Seconds: 1.23, Target: "remote", Failures: []*event.Failure{failureOf(ranklist.Rank(2), "NameError")},
		},
		"✗ interrupted":       {State: view.Ended, Status: event.StatusInterrupted},
		"✗ there is no GPU 7": {State: view.Ended, Status: event.StatusDied, Reason: "there is no GPU 7"},
	} {
		r := Run{Run: known, text: text}
		if got := r.hintAt(c, ""); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := r.hintAt(other, ""); got != want+" · stale" {
			t.Errorf("%q, want %q", got, want+" · stale")
		}
	}
}

func TestExplained(t *testing.T) {
	r := Run{Run: view.Run{Reason: "it ended", Failures: []*event.Failure{
		failureOf(ranklist.Rank(2), "A"), failureOf(ranklist.Rank(1), "B"), failureOf(ranklist.Rank(0), "A"),
	}}}
	if got, want := r.explained(), "it ended\nranks 0,2: A: why\nrank 1: B: why"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Where ranks are on several hosts, hints and marks name theirs.
func TestNamesOnHosts(t *testing.T) {
	hosts := []string{"gpu1", "gpu1", "gpu2"}
	r := Run{Run: view.Run{State: view.Ended, Status: event.StatusError, Target: "remote", Failures: []*event.Failure{
		failureOf(ranklist.Rank(0), "A"), failureOf(ranklist.Rank(1), "A"), failureOf(ranklist.Rank(2), "B"),
	}}}
	for rank, host := range hosts {
		r.Parts = append(r.Parts, view.Part{Who: ranklist.Rank(rank), Host: host})
	}
	if got, want := r.explained(), "ranks 0-1 (gpu1): A: why\nrank 2 (gpu2): B: why"; got != want {
		t.Errorf("the hint says %q, want %q", got, want)
	}
	missing := []event.Place{{Ranks: []int{2}}}
	k := hangMark{run: r, ev: &event.Hang{Operation: "all_reduce", Missing: missing}, place: event.Place{Ranks: []int{0, 1}, Why: "in all_reduce"}}
	if got, want := k.message(), "ranks 0-1 (gpu1) wait here in all_reduce for rank 2 (gpu2)"; got != want {
		t.Errorf("the mark says %q, want %q", got, want)
	}
	pool := event.PoolState{Hosts: event.HostsOf(hosts)}
	answers := []session.Inspection{
		{Who: ranklist.Rank(0), Found: true, Object: &session.Object{Name: "x", Type: "int", Text: "1"}}, {Who: ranklist.Rank(2)},
	}
	if got := describeName(answers, pool.HostOf, false); !strings.Contains(got, "— rank 0 (gpu1)") || !strings.Contains(got, "not defined: rank 2 (gpu2)") {
		t.Errorf("the hover says %q", got)
	}
}
