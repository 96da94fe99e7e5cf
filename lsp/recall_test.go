package lsp

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/session"
)

// A run that was killed has told of no end. Clients would show for ever that it runs.
func TestKilledRunEnds(t *testing.T) {
	state := func(rank int, state string, status event.Status, seconds float64) *event.RankState {
		return &event.RankState{
			Header: event.HeaderOf(event.KindRankState, "a-1", event.CellOf(2), ranklist.Rank(rank)), State: state, Status: status, Seconds: seconds,
		}
	}
	told := event.List{
		state(0, event.StateBusy, "", 0), state(1, event.StateBusy, "", 0), state(0, event.StateReady, event.StatusOK, 1),
	}
	got := missingEnd(session.PastRun{Run: "a-1", Cell: 2}, told, 2500*time.Millisecond)
	want := event.List{
		state(1, event.StateDead, event.StatusDied, 2.5),
		&event.RunFinished{
			Header: event.Header{Kind: event.KindRunFinished, Run: "a-1", Cell: event.CellOf(2)}, Status: event.StatusDied, Seconds: 2.5,
			Reason: "the process that ran it was killed",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
