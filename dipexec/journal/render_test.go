package journal

import (
	"fmt"
	"os"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// What a person reads of a run says once what several ranks have said, or only what one has.
func TestRender(t *testing.T) {
	j := open(t, Options{})
	r, err := j.Begin(Record{Run: "a-1", Cell: 1, Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	head := func(k event.Kind, rank int) event.Header {
		return event.HeaderOf(k, "a-1", new(1), ranklist.Rank(rank))
	}
	r.Event(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "a-1"}, Target: "remote", See: "0", Quiet: true})
	outputs := []Output{r.Output(ranklist.Rank(0)), r.Output(ranklist.Rank(1))}
	for rank := range outputs {
		outputs[rank].Event(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateBusy})
	}
	for rank := range outputs {
		o := &outputs[rank]
		o.Print(event.Stdout, []byte("\x1b[31mhällo\x1b[0m\n"))
		o.Print(event.Stdout, fmt.Appendf(nil, "rank %d\n", rank))
	}
	for rank := range outputs {
		outputs[rank].Event(&event.RankState{Header: head(event.KindRankState, rank), State: event.StateReady, Status: event.StatusOK})
		outputs[rank].Close()
	}
	r.Event(&event.RunFinished{Header: event.Header{Kind: event.KindRunFinished, Run: "a-1"}, Status: event.StatusOK})
	r.Finish(event.Report{Status: event.StatusOK}, time.Now())
	for _, test := range []struct {
		who  *ranklist.Who
		want string
	}{
		{nil, "[0-1] hällo\n[0] rank 0\n[1] rank 1\n"},
		{new(ranklist.Rank(1)), "hällo\nrank 1\n"},
	} {
		path, err := Render(t.Context(), r.Dir(), test.who)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != test.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", path, got, err, test.want)
		}
	}
	if _, err := Render(t.Context(), r.Dir(), new(ranklist.Rank(2))); err == nil {
		t.Error("rank 2 has a part in it")
	}
}
