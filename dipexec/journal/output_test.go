package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// 1,100 ranks print, and only so many files are open at a time.
func TestOpenFiles(t *testing.T) {
	j := open(t, Options{})
	rj, err := j.Begin(Record{Run: "r1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	files := make([]Output, maxOpenFiles+100)
	for i := range files {
		files[i] = rj.Output(ranklist.Rank(i))
	}
	for pass := range 2 {
		for i := range files {
			files[i].Print("stdout", fmt.Appendf(nil, "pass %d\n", pass))
		}
	}
	if n := j.open.Load(); n != maxOpenFiles {
		t.Errorf("%d files are open", n)
	}
	for i := range files {
		files[i].Close()
	}
	if n := j.open.Load(); n != 0 {
		t.Errorf("%d files are open", n)
	}
	rj.release()
	b, err := os.ReadFile(filepath.Join(rj.dir, fmt.Sprintf("rank-%d.out", len(files)-1)))
	if err != nil || string(b) != "pass 0\npass 1\n" {
		t.Errorf("got %q, %v", b, err)
	}
}

// Rich output is in files; the event names them whole, and the index by what they are called.
func TestRichOutput(t *testing.T) {
	j := open(t, Options{})
	r, err := j.Begin(Record{Run: "a-1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	o := r.Output(ranklist.Rank(3))
	data := map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`), "text/plain": json.RawMessage(`"plain"`)}
	ev := &event.Display{Header: event.HeaderOf(event.KindDisplay, "a-1", nil, ranklist.Rank(3)), Data: data}
	o.Event(ev)
	o.Close()
	r.Finish(event.Report{Status: event.StatusOK}, time.Now())
	path := filepath.Join(r.Dir(), "rank-3-1.png")
	if b, err := os.ReadFile(path); len(b) != 3 || err != nil || ev.Files["image/png"] != path || len(ev.Data) != 2 {
		t.Errorf("%d bytes, %v, %+v", len(b), err, ev)
	}
	index, err := os.ReadFile(filepath.Join(r.Dir(), indexName))
	if err != nil || strings.Contains(string(index), "AAAA") || strings.Contains(string(index), j.Dir()) {
		t.Errorf("%s, %v", index, err)
	}
	_, events := readRun(t, r.Dir())
	if len(events) != 1 || !reflect.DeepEqual(events[0], ev) {
		t.Errorf("read: %+v", events)
	}
}
