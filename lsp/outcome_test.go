package lsp

import (
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
)

// rankParts are parts of ranks from 0 on that have the statuses; "" has not ended.
func rankParts(statuses ...event.Status) []Part {
	var parts []Part
	for rank, status := range statuses {
		parts = append(parts, Part{Who: ranklist.Rank(rank), Status: status, State: "busy"})
	}
	return parts
}

func failureOf(who ranklist.Who, name string) *event.Failure {
	return &event.Failure{Header: event.HeaderOf(event.KindError, "r", nil, who), EName: name, EValue: "why"}
}

func TestOutcome(t *testing.T) {
	const ok, wrong, died, interrupted = event.StatusOK, event.StatusError, event.StatusDied, event.StatusInterrupted
	local := func(status event.Status, ranks ...event.Status) []Part {
		return append([]Part{{Who: ranklist.Local, Status: status}}, rankParts(ranks...)...)
	}
	state := func(parts []Part, state string, ranks ...int) []Part {
		for _, rank := range ranks {
			parts[rank].State = state
		}
		return parts
	}
	for want, r := range map[string]Run{
		"… queued":                     {},
		"… starting":                   {State: Running, Target: "remote"},
		"… running":                    {State: Running, Target: "local", Parts: local("")},
		"… running locally":            {State: Running, Target: "everywhere", Parts: local("")},
		"… 0/3 done":                   {State: Running, Target: "everywhere", Parts: local(ok, "", "", "")},
		"… 3/4 done":                   {State: Running, Target: "remote", Parts: rankParts(ok, ok, "", wrong)},
		"… interrupting":               {State: Running, Target: "remote", Parts: state(rankParts(ok, ""), "interrupting", 1)},
		"✓ 1.2 s":                      {State: Ended, Status: ok, Seconds: 1.23, Target: "local", Parts: local(ok)},
		"✓ 4/4 ranks · 30 ms":          {State: Ended, Status: ok, Seconds: 0.03, Target: "remote", Parts: rankParts(ok, ok, ok, ok)},
		"✓ rank 0 · 2 min 05 s":        {State: Ended, Status: ok, Seconds: 125, Target: "ranks:0", Parts: rankParts(ok)},
		"✓ local and 2/2 ranks · 12 s": {State: Ended, Status: ok, Seconds: 12, Target: "everywhere", Parts: local(ok, ok, ok)},
		"✗ interrupted · 3.0 s": {State: Ended, Status: interrupted, Seconds: 3, Target: "remote", Parts: rankParts(ok, interrupted),
			Failures: []*event.Failure{failureOf(ranklist.Rank(1), "KeyboardInterrupt")}},
		"✗ NameError": {State: Ended, Status: wrong, Target: "local", Parts: local(wrong), Failures: []*event.Failure{failureOf(ranklist.Local, "NameError")}},
		"✗ SystemExit: 3": {State: Ended, Status: wrong, Target: "local", Parts: local(wrong),
			Failures: []*event.Failure{{EName: "SystemExit", EValue: "3"}}},
		"✗ SystemExit": {State: Ended, Status: wrong, Target: "local", Parts: local(wrong),
			Failures: []*event.Failure{{EName: "SystemExit", EValue: "no such data set"}}},
		"✗ local: NameError": {
			State: Ended, Status: wrong, Target: "everywhere", Parts: local(wrong), Failures: []*event.Failure{failureOf(ranklist.Local, "NameError")},
		},
		"✗ rank 2: NameError": {
			State: Ended, Status: wrong, Target: "remote", Parts: rankParts(ok, ok, wrong),
			Failures: []*event.Failure{failureOf(ranklist.Rank(2), "NameError")},
		},
		"✗ ranks 0,2: KeyError, rank 1: OSError": {State: Ended, Status: wrong, Target: "remote", Parts: rankParts(wrong, wrong, wrong),
			Failures: []*event.Failure{failureOf(ranklist.Rank(2), "KeyError"), failureOf(ranklist.Rank(1), "OSError"), failureOf(ranklist.Rank(0), "KeyError")}},
		"✗ rank 0: A, rank 1: B, …": {State: Ended, Status: wrong, Target: "remote", Parts: rankParts(wrong, wrong, wrong),
			Failures: []*event.Failure{failureOf(ranklist.Rank(0), "A"), failureOf(ranklist.Rank(1), "B"), failureOf(ranklist.Rank(2), "C")}},
		"✗ local and ranks 0-1: A": {State: Ended, Status: wrong, Target: "everywhere", Parts: local(wrong, wrong, wrong),
			Failures: []*event.Failure{failureOf(ranklist.Local, "A"), failureOf(ranklist.Rank(0), "A"), failureOf(ranklist.Rank(1), "A")}},
		"✗ ranks 1-2 died":                   {State: Ended, Status: died, Target: "remote", Parts: state(rankParts(died, died, died), "dead", 1, 2)},
		"✗ local died":                       {State: Ended, Status: died, Target: "local", Parts: state(local(died), "dead", 0)},
		"✗ there is no GPU 7":                {State: Ended, Status: died, Target: "remote", Reason: "there is\nno GPU 7"},
		"✗ failed":                           {State: Ended, Status: wrong},
		"✗ " + strings.Repeat("ä", 79) + "…": {State: Ended, Status: wrong, Reason: strings.Repeat("ä", 160)},
	} {
		if got := r.outcome(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A hint tells of every run that began how long it took, and whether the cell is still what ran.
func TestHintAt(t *testing.T) {
	c, _ := cells.Parse("# %%\nx\n").Cell(1)
	other, _ := cells.Parse("# %%\ny\n").Cell(1)
	text := docs.TextOf(c)
	for want, r := range map[string]Run{
		"… queued": {},
		"✓ 1.2 s":  {State: Ended, Status: event.StatusOK, Seconds: 1.23, Target: "local"},
		"✗ rank 2: NameError · 1.2 s": {
			State: Ended, Status: event.StatusError, Seconds: 1.23, Target: "remote", Failures: []*event.Failure{failureOf(ranklist.Rank(2), "NameError")},
		},
		"✗ interrupted":       {State: Ended, Status: event.StatusInterrupted},
		"✗ there is no GPU 7": {State: Ended, Status: event.StatusDied, Reason: "there is no GPU 7"},
	} {
		r.text = text
		if got := r.hintAt(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := r.hintAt(other); got != want+" · stale" {
			t.Errorf("%q, want %q", got, want+" · stale")
		}
	}
}

func TestExplained(t *testing.T) {
	r := Run{Reason: "it ended", Failures: []*event.Failure{failureOf(ranklist.Rank(2), "A"), failureOf(ranklist.Rank(1), "B"), failureOf(ranklist.Rank(0), "A")}}
	if got, want := r.explained(), "it ended\nranks 0,2: A: why\nrank 1: B: why"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
