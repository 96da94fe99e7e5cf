package lsp

import (
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
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
		if got := r.hintAt(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := r.hintAt(other); got != want+" · stale" {
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
