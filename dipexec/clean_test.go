package dipexec

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// What programs name and say of themselves steers no terminal; colours of tracebacks and displays stay.
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
	head := func(k Kind) Header { return Header{Kind: k, Run: "1", Rank: &rank} }
	f := NewFolder(FoldOptions{})
	now := time.Now()
	var items []Item
	for _, ev := range []Event{
		&RunStarted{Header: Header{Kind: KindRunStarted, Run: "1"}, See: "all"},
		&Result{Header: head(KindResult), ExecutionCount: 1, Data: data},
		&Display{Header: head(KindDisplay), Data: data},
		&Failure{Header: head(KindError), EName: "E\x1b]0;x\x07", EValue: evil},
		&Failure{Header: head(KindError), EName: "F", EValue: "v", Traceback: []string{"\x1b[31mFile\x1b[0m " + evil}},
		&RankState{Header: head(KindRankState), State: stateDead, Reason: "rank 0 " + evil},
		NewLog(LevelInfo, evil),
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
