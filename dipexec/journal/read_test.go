package journal

import (
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
)

// Each stretch of output is its own process's, whichever printed before: the lines of the index say "local" or "rank", never both.
func TestReadTellsProcessesApart(t *testing.T) {
	j := open(t, Options{})
	r, err := j.Begin(Record{Run: "a-1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	outputs := []Output{r.Output(ranklist.Local), r.Output(ranklist.Rank(0)), r.Output(ranklist.Rank(1))}
	for i, text := range []string{"local\n", "a\n", "bb\n"} {
		outputs[i].Print(event.Stdout, []byte(text))
	}
	outputs[0].Print(event.Stderr, []byte("warning\n"))
	for i := range outputs {
		outputs[i].Close()
	}
	r.Finish(event.Report{Status: event.StatusOK}, time.Now())
	_, events := readRun(t, r.Dir())
	eventtest.SameLines(t, eventtest.Describe(events),
		`stream local stdout "local\n"`, `stream rank 0 stdout "a\n"`, `stream rank 1 stdout "bb\n"`, `stream local stderr "warning\n"`)
}
