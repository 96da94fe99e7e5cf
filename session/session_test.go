package session

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
)

// newSession makes a session on a fake machine that is gone when the test ends.
func newSession(t testing.TB, c fakerank.Config, change ...func(*Options)) *Session {
	t.Helper()
	o := Options{Dir: t.TempDir(), Host: fakerank.NewHost(c)}
	for _, apply := range change {
		apply(&o)
	}
	s := New(o)
	t.Cleanup(func() {
		if err := s.Close(testContext(t), CloseRequest{}); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// wants is a caller who wants a pool.
func wants(c Choice) Caller { return Caller{Settings: Settings{Trust: TrustYes, Pool: c}} }

// on is a cell that runs on a target.
func on(target cells.Where, code string) Cell {
	return Cell{Code: code, Line: 1, Target: cells.Target{Where: target}}
}

// ran waits for the ends of runs, and gives how they ended.
func ran(t testing.TB, s *Session, ids ...string) (statuses []event.Status) {
	t.Helper()
	for _, id := range ids {
		report, err := s.Wait(testContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, report.Status)
	}
	return statuses
}

// began starts a sequence.
func began(t testing.TB, s *Session, by Caller, list ...Cell) []string {
	t.Helper()
	runs, err := s.Start(testContext(t), by, Sequence{Cells: list})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// wantCode fails a test whose error has another code.
func wantCode(t testing.TB, err error, want Code) {
	t.Helper()
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != want {
		t.Errorf("error %v, want code %q", err, want)
	}
}

// Processes that runs need are started with the settings of the call that started the runs.
func TestSettingsComeWithTheCall(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	ctx := testContext(t)
	if used, _ := s.Used(ctx); used != (Used{}) {
		t.Errorf("used before anything was: %+v", used)
	}
	runs := began(t, s, wants(Choice{Ranks: 3}), on(cells.Local, ""), on(cells.Remote, ""))
	if got := ran(t, s, runs...); got[0] != event.StatusOK || got[1] != event.StatusOK {
		t.Fatalf("ended %v", got)
	}
	info, err := s.Info(ctx, false)
	if err != nil || info.Size != 3 || info.Local == nil {
		t.Errorf("%+v, %v", info, err)
	}
	began(t, s, wants(Choice{Ranks: 2}), on(cells.Remote, "")) // whose pool lives
	if _, err := s.RestartPool(ctx, wants(Choice{Ranks: 1})); err != nil {
		t.Error(err)
	}
	info, _ = s.Info(ctx, false)
	used, _ := s.Used(ctx)
	if info.Size != 1 || *used.Pool != (Choice{Ranks: 1}) || used.Python.Pool != (Choice{Ranks: 3}) {
		t.Errorf("%+v, %+v", info, used)
	}
}

// To start Python ahead of time is no choice of a pool: what another front's user made comes again.
func TestPrepareChoosesNoPool(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	ctx := testContext(t)
	by := wants(Choice{Ranks: 1})
	made, err := s.MakePool(ctx, by, PoolRequest{Ranks: 3})
	if err != nil {
		t.Fatal(err)
	}
	ran(t, s, made)
	if err := s.Prepare(ctx, wants(Choice{Ranks: 2}), Preparation{}); err != nil {
		t.Error(err)
	}
	if _, err := s.RestartPool(ctx, by); err != nil {
		t.Error(err)
	}
	if info, _ := s.Info(ctx, false); info.Size != 3 {
		t.Errorf("%d ranks", info.Size)
	}
}

// Close also ends, and waits for, what EndPython is just ending.
func TestCloseWhilePythonEnds(t *testing.T) {
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Ladder = ranks.Ladder{Ask: time.Hour} })
	began(t, s, wants(Choice{}), on(cells.Local, "stubborn\nstuck"))
	await(t, "the local namespace", func() bool {
		info, _ := s.Info(testContext(t), false)
		return info.Local != nil && info.Local.State == event.StateBusy
	})
	old := s.present()
	ended := make(chan error, 1)
	go func() { ended <- s.EndPython(context.Background()) }()
	await(t, "the end of Python", func() bool { return s.present() == nil })
	now, end := context.WithCancel(testContext(t))
	end()
	if err := s.Close(now, CloseRequest{}); err != nil {
		t.Error(err)
	}
	select {
	case <-old.node.value.Done():
	default:
		t.Error("a node is left")
		_ = old.Close(now)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What a cell asks for by a magic, and a run that this starts, uses the settings of the cell's call.
func TestMagicsHaveTheCellsSettings(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	run := began(t, s, wants(Choice{Ranks: 3}), on(cells.Local, `ask {"id": 1, "command": "make"}`))
	began(t, s, wants(Choice{Ranks: 1}), on(cells.Local, ""))
	ran(t, s, run...)
	if info, _ := s.Info(testContext(t), false); info.Size != 3 {
		t.Errorf("%d ranks", info.Size)
	}
	if _, err := s.KillPool(testContext(t)); err != nil {
		t.Error(err)
	}
	if info, _ := s.Info(testContext(t), false); info.Size != 0 || info.Reason == "" {
		t.Errorf("%+v", info)
	}
}

// A transfer or the making of a pool takes its turn, and has a run, like a cell.
func TestTransferAndMakePool(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	ctx := testContext(t)
	by := wants(Choice{Ranks: 1})
	made, err := s.MakePool(ctx, by, PoolRequest{Ranks: 3})
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := s.Transfer(ctx, by, Transfer{Names: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := s.Transfer(ctx, by, Transfer{Pull: true, Names: []string{"missing"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := ran(t, s, made, pushed, pulled); !slices.Equal(got, []event.Status{event.StatusOK, event.StatusOK, event.StatusError}) {
		t.Errorf("ended %v", got)
	}
	runs := began(t, s, by, CellOfTransfer(Transfer{Pull: true, Names: []string{"missing"}}), on(cells.Local, ""))
	if report, err := s.Wait(ctx, runs[1]); err != nil || report.Reason != "%dipull missing failed" || report.Status != event.StatusSkipped {
		t.Errorf("%+v, %v", report, err)
	}
	if info, err := s.Info(ctx, false); err != nil || info.Size != 3 {
		t.Errorf("%+v, %v", info, err)
	}
	no := Caller{Settings: Settings{Trust: TrustNo}}
	_, err = s.Transfer(ctx, no, Transfer{Names: []string{"x"}})
	wantCode(t, err, CodeConsent)
	_, err = s.MakePool(ctx, no, PoolRequest{})
	wantCode(t, err, CodeConsent)
}

// Errors have codes.
func TestCodes(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	ctx := testContext(t)
	_, err := s.Wait(ctx, "none")
	wantCode(t, err, CodeNoRun)
	_, err = s.Cancel(ctx, "none")
	wantCode(t, err, CodeNoRun)
	wantCode(t, s.Free(ctx, "none"), CodeNoRun)
	wantCode(t, s.SetAutodip(ctx, true, "--moon"), CodeInvalid)
	_, err = s.Complete(ctx, Lookup{Target: cells.Target{Where: cells.Local}})
	wantCode(t, err, CodeBusy)
	_, err = s.Start(ctx, Caller{Settings: Settings{Trust: TrustNo}}, Sequence{Cells: []Cell{on(cells.Local, "")}})
	wantCode(t, err, CodeConsent)
	_, err = s.PoolSize(ctx, wants(Choice{Ranks: -1}))
	wantCode(t, err, CodeInvalid)
	if err := s.Close(ctx, CloseRequest{}); err != nil {
		t.Error(err)
	}
	_, err = s.Start(ctx, wants(Choice{}), Sequence{Cells: []Cell{on(cells.Local, "")}})
	wantCode(t, err, CodeClosed)
	wantCode(t, s.Prepare(context.Background(), wants(Choice{}), Preparation{}), CodeClosed)
}

// countingHost counts how often it is asked for its GPUs.
type countingHost struct {
	host.Host
	asked atomic.Int32
}

func (h *countingHost) GPUs(ctx context.Context, mask *string) ([]host.GPU, error) {
	h.asked.Add(1)
	return h.Host.GPUs(ctx, mask)
}

// A front that asks how big the pool will be, and then makes it, lets the machine look for GPUs once.
func TestPoolSize(t *testing.T) {
	h := &countingHost{Host: fakerank.NewHost(fakerank.Config{})}
	s := newSession(t, fakerank.Config{}, func(o *Options) { o.Host = h })
	n, err := s.PoolSize(testContext(t), wants(Choice{Ranks: 3}))
	if err != nil || n != 3 {
		t.Errorf("%d ranks, %v", n, err)
	}
	ran(t, s, began(t, s, wants(Choice{Ranks: 3}), on(cells.Remote, ""))...)
	if n := h.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if info, err := s.Info(testContext(t), false); err != nil || info.Size != 3 {
		t.Errorf("%+v, %v", info, err)
	}
}

// A size that another choice had does not count.
func TestPoolSizeOfAnother(t *testing.T) {
	s := newSession(t, fakerank.Config{})
	if n, err := s.PoolSize(testContext(t), wants(Choice{Ranks: 3})); err != nil || n != 3 {
		t.Errorf("%d ranks, %v", n, err)
	}
	ran(t, s, began(t, s, wants(Choice{Ranks: 2}), on(cells.Remote, ""))...)
	if info, err := s.Info(testContext(t), false); err != nil || info.Size != 2 {
		t.Errorf("%+v, %v", info, err)
	}
}

// A call that waits ends with its context; a start that others need goes on.
func TestContexts(t *testing.T) {
	s := newSession(t, fakerank.Config{JoinHang: []int{0}}, func(o *Options) { o.Ladder = quick })
	by := wants(Choice{Ranks: 1})
	run := began(t, s, by, on(cells.Remote, ""))
	ended, end := context.WithCancel(testContext(t))
	end()
	if _, err := s.Wait(ended, run[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	runs, err := s.Start(ended, by, Sequence{Cells: []Cell{on(cells.Local, "")}})
	if err != nil || ran(t, s, runs...)[0] != event.StatusOK {
		t.Errorf("Start: %v", err)
	}
	for what, call := range map[string]func() error{
		"RestartPool": func() error { _, err := s.RestartPool(ended, by); return err },
		"Inspect": func() error {
			_, err := s.Inspect(ended, Lookup{Target: cells.Target{Where: cells.Local}, Code: "x"})
			return err
		},
		"Variables": func() error { _, err := s.Variables(ended, cells.Target{Where: cells.Local}); return err },
		"Complete": func() error {
			_, err := s.Complete(ended, Lookup{Target: cells.Target{Where: cells.Local}, Code: "x"})
			return err
		},
		"Stacks": func() error { _, err := s.Stacks(ended, StacksRequest{}); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Info(ended, true); err != nil {
		t.Errorf("Info: %v", err)
	}
}

// An error says which process it is about, where it is about one.
func TestErrorsNameRanks(t *testing.T) {
	s := newSession(t, fakerank.Config{JoinExit: map[int]int{1: 7}})
	_, err := s.Stacks(testContext(t), StacksRequest{Of: []ranklist.Who{ranklist.Rank(3)}})
	wantCode(t, err, CodeInvalid)
	if e, ok := errors.AsType[*Error](err); !ok || e.Rank == nil || *e.Rank != ranklist.Rank(3) {
		t.Errorf("%+v", err)
	}
	_, err = s.RestartPool(testContext(t), wants(Choice{Ranks: 2}))
	wantCode(t, err, CodePool)
	if e, ok := errors.AsType[*Error](err); !ok || e.Rank == nil || *e.Rank != ranklist.Rank(1) {
		t.Errorf("%+v", err)
	}
}

// Memory is freed on what lives, and nothing is started for it.
func TestFreeMemory(t *testing.T) {
	t.Parallel()
	s, by, ctx := newSession(t, fakerank.Config{}), wants(Choice{Ranks: 2}), testContext(t)
	if e, ok := errors.AsType[*Error](second(s.FreeMemory(ctx, by))); !ok || e.Code != CodeInvalid {
		t.Errorf("nothing lives: %v", e)
	}
	for _, test := range []struct {
		first cells.Where
		want  string
	}{{cells.Remote, "remote"}, {cells.Local, "everywhere"}} {
		runs, err := s.Start(ctx, by, Sequence{Cells: []Cell{on(test.first, "print on")}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(ctx, runs[0]); err != nil {
			t.Fatal(err)
		}
		sub, err := s.Subscribe(ctx, SubscribeRequest{Kinds: []event.Kind{event.KindRunStarted}})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		run, err := s.FreeMemory(ctx, by)
		if err != nil {
			t.Fatal(err)
		}
		if report, err := s.Wait(ctx, run); err != nil || report.Status != event.StatusOK {
			t.Errorf("%+v, %v", report, err)
		}
		events, err := sub.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e := events[0].(*event.RunStarted); e.Target != test.want || e.See != "all" {
			t.Errorf("on %s, shown of %s", e.Target, e.See)
		}
	}
}

func second[T any](_ T, err error) error { return err }
