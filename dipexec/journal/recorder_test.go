package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/event/eventtest"
	"dipls/internal/ranklist"
)

// A silent run leaves nothing, whatever it goes through.
func TestSilence(t *testing.T) {
	data := eventtest.Plain("42")
	for name, test := range map[string]struct {
		do     func(r *Recorder, o *Output)
		status event.Status
		kept   bool
	}{
		"routine": {do: func(r *Recorder, o *Output) {
			r.Event(&event.RunStarted{Header: event.Header{Kind: event.KindRunStarted}})
			o.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, "a-1", nil, ranklist.Rank(0)), State: event.StateReady})
		}},
		"a bad end":   {do: func(*Recorder, *Output) {}, status: event.StatusError, kept: true},
		"output":      {do: func(_ *Recorder, o *Output) { o.Print(event.Stdout, []byte("a")) }, kept: true},
		"a value":     {do: func(_ *Recorder, o *Output) { o.Event(&event.Result{Data: data}) }, kept: true},
		"an update":   {do: func(_ *Recorder, o *Output) { o.Event(&event.Display{Clear: true}) }, kept: true},
		"an event":    {do: func(r *Recorder, _ *Output) { r.Event(event.NewLog(event.LevelInfo, "hello")) }, kept: true},
		"late output": {do: func(r *Recorder, _ *Output) { r.ended = true; r.Event(&event.RankState{}) }, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, Options{})
			r, err := j.Begin(Record{Run: "a-1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			o := r.Output(ranklist.Rank(0))
			test.do(r, &o)
			o.Close()
			if kept := r.Finish(event.Report{Status: cmp.Or(test.status, event.StatusOK)}, time.Now()); kept != test.kept {
				t.Errorf("kept is %v", kept)
			}
			if _, err := os.Stat(r.Dir()); (err == nil) != test.kept {
				t.Errorf("kept is not %v: %v", test.kept, err)
			}
			if len(j.silent) > 0 {
				t.Errorf("%d runs are thought to go on", len(j.silent))
			}
		})
	}
}

// Without a journal, everything that writes to it does nothing.
func TestNoRecorder(t *testing.T) {
	var r *Recorder
	o := r.Output(ranklist.Rank(0))
	ev := &event.Result{Data: map[string]json.RawMessage{"image/png": json.RawMessage(`"AAAA"`)}}
	r.Event(ev)
	o.Event(ev)
	o.Print(event.Stdout, []byte("a"))
	if o.Keeps() || o.Dir() != "" || ev.Files != nil {
		t.Errorf("%+v, %+v", o, ev)
	}
	o.Close()
}

// A server that is killed leaves raw output that no index line tells of, and perhaps half a line.
func TestServerThatDied(t *testing.T) {
	j := open(t, Options{})
	rj, err := j.Begin(Record{Run: "r1", Cell: 1, Target: "remote", Started: time.Now()}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	f := rj.Output(ranklist.Rank(0))
	f.Print("stdout", []byte("indexed\n"))
	rj.Event(&event.Log{Header: event.Header{Kind: event.KindLog, Run: "r1"}, Level: event.LevelInfo, Text: "hello"})
	rj.mu.Lock()
	rj.flush()
	rj.mu.Unlock()
	f.Print("stderr", []byte("not indexed\n"))
	if _, err := rj.files.index.WriteString(`{"time":0.5,"eve`); err != nil {
		t.Fatal(err)
	}
	rj.off.Store(true) // killed
	f.Close()
	rj.release()

	record, events := readRun(t, rj.dir)
	if record.Status != "" || !record.Finished.IsZero() {
		t.Errorf("record %+v", record)
	}
	eventtest.SameLines(t, eventtest.Describe(events),
		`stream rank 0 stdout "indexed\n"`, "log info: hello", `stream rank 0 stdout "not indexed\n"`)
}

// A run that goes on for long is kept though it prints nothing: its server may be killed.
func TestLongRuns(t *testing.T) {
	j := open(t, Options{})
	j.ageing = time.AfterFunc(time.Hour, func() {}) // the test is the clock
	begin := func(id string, started time.Time) *Recorder {
		rj, err := j.Begin(Record{Run: id, Started: started}, 0, Hooks{Failed: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		rj.Event(&event.RankState{Header: event.HeaderOf(event.KindRankState, id, nil, ranklist.Rank(3)), State: event.StateBusy})
		return rj
	}
	long, ended := begin("long", time.Now().Add(-time.Hour)), begin("ended", time.Now().Add(-time.Hour))
	short := begin("short", time.Now().Add(time.Hour))
	ended.Finish(event.Report{Status: event.StatusOK}, time.Now())
	j.age()
	for rj, want := range map[*Recorder]bool{long: true, ended: false, short: false} {
		if _, err := os.Stat(rj.dir); (err == nil) != want {
			t.Errorf("%s: %v", rj.record.Run, err)
		}
	}
	record, events := readRun(t, long.dir)
	if !record.Finished.IsZero() || len(events) != 1 {
		t.Errorf("record %+v, events %s", record, eventtest.Describe(events))
	}
	short.Finish(event.Report{Status: event.StatusOK}, time.Now())
	long.release()
	if len(j.silent) > 0 {
		t.Errorf("%d runs are thought to go on", len(j.silent))
	}
}

// A run whose record cannot be written leaves no directory.
func TestCreateFails(t *testing.T) {
	j := open(t, Options{})
	unwritable := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // JSON has no such year: run.json fails, as on a full disk
	told := 0
	rj, err := j.Begin(Record{Run: "r1", Started: unwritable}, 0, Hooks{Failed: func(error) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	f := rj.Output(ranklist.Rank(0))
	f.Print("stdout", []byte("lost\n"))
	f.Print("stdout", []byte("lost\n"))
	if rj.Finish(event.Report{Status: event.StatusError}, time.Now()) || told != 1 {
		t.Errorf("told %d times", told)
	}
	f.Close()
	if entries, err := os.ReadDir(j.Dir()); len(entries) > 0 || err != nil {
		t.Errorf("left %v, %v", entries, err)
	}
}

// A disk that is full at the end of a run keeps the record of its beginning.
func TestRecordOnAFullDisk(t *testing.T) {
	j := open(t, Options{})
	var told error
	rj, err := j.Begin(Record{Run: "r1", Started: time.Now()}, 0, Hooks{Failed: func(err error) { told = err }})
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if _, err := rj.file(rj.section.Load(), "x", true); err != nil {
		t.Fatal(err)
	}
	info, err := rj.files.record.Stat()
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	full := limit
	full.Cur = uint64(info.Size()) + 10 // some of what is new has room
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	rj.Finish(event.Report{Status: event.StatusOK}, time.Now())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(told, syscall.EFBIG) {
		t.Errorf("told %v", told)
	}
	if rec, _ := readRun(t, rj.dir); rec.Run != "r1" || !rec.Finished.IsZero() {
		t.Errorf("record %+v", rec)
	}
}
