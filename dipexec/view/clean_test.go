package view

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
)

// Names and texts of programs cannot control a terminal; colours of tracebacks and displays stay.
func TestFoldedTextSteersNothing(t *testing.T) {
	const evil = "a\x1b]52;c;ZXZpbA==\x07\x1b[2J\u202eb\x1b[31mc\rd"
	plain := func(text string) json.RawMessage {
		data, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := map[string]json.RawMessage{"text/plain": plain(evil)}
	rank := 0
	head := func(k event.Kind) event.Header { return event.Header{Kind: k, Run: "1", Rank: &rank} }
	f := NewFolder(FoldOptions{})
	now := time.Now()
	var items []Item
	for _, ev := range []event.Event{
		&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted, Run: "1"}, See: "all"},
		&event.Result{Header: head(event.KindResult), ExecutionCount: 1, Data: data},
		&event.Display{Header: head(event.KindDisplay), Data: data},
		&event.Failure{Header: head(event.KindError), EName: "E\x1b]0;x\x07", EValue: evil},
		&event.Failure{Header: head(event.KindError), EName: "F", EValue: "v", Traceback: []string{"\x1b[31mFile\x1b[0m " + evil}},
		&event.RankState{Header: head(event.KindRankState), State: event.StateDead, Reason: "rank 0 " + evil},
		event.NewLog(event.LevelInfo, evil),
	} {
		items = append(items, f.Add(ev, now)...)
	}
	items = append(items, f.Flush(now.Add(time.Hour))...)
	if len(items) != 6 {
		t.Fatalf("%d items: %+v", len(items), items)
	}
	for _, it := range items {
		text := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "", "\x1b[m", "").Replace(it.String())
		if strings.ContainsAny(text, "\x1b\x07\r\u202e") || !strings.Contains(text, "abcd") && it.Kind != ItemFailure {
			t.Errorf("%q", it.String())
		}
	}
}
