package dipexec

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"dipls/cells"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/wire"
)

// quickProcess answers at once, and keeps what it was sent.
type quickProcess struct {
	*fakeProcess
	reply *wire.ExecuteReply
	sent  []*ranks.PreparedRequest
}

func (p *quickProcess) Standstill(context.Context) string { return "" }

func (p *quickProcess) ExecutePrepared(req *ranks.PreparedRequest, h ranks.Handler) string {
	p.sent = append(p.sent, req)
	h.Done(p.reply, nil)
	return "x_1"
}

// quickPool is a pool of quick processes.
type quickPool []*quickProcess

func newQuickPool(size int) quickPool {
	p := make(quickPool, size)
	for rank := range p {
		reply := &wire.ExecuteReply{Status: wire.Status{Status: "ok"}, ExecutionCount: 1}
		p[rank] = &quickProcess{fakeProcess: newFakeProcess(ranklist.Rank(rank)), reply: reply}
	}
	return p
}

func (p quickPool) Local(context.Context) (Process, error) { return nil, errors.New("none") }

func (p quickPool) Ranks(context.Context) ([]Process, error) {
	all := make([]Process, len(p))
	for rank, one := range p {
		all[rank] = one
	}
	return all, nil
}

// dispatchAllocs is how many allocations a silent run on all ranks of a pool takes, with a journal.
func dispatchAllocs(t *testing.T, size int) float64 {
	t.Helper()
	pool := newQuickPool(size)
	for _, p := range pool {
		p.sent = make([]*ranks.PreparedRequest, 0, 1000)
	}
	e := New(Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	defer e.Close(t.Context())
	return testing.AllocsPerRun(100, func() {
		mustWait(t, e, mustStart(t, e, Request{Code: "pass", Target: cells.Target{Where: cells.Remote}}))
	})
}

// Each further rank costs a dispatch few allocations, and always the same number.
func TestAllocationsOfADispatch(t *testing.T) {
	few, more, many := dispatchAllocs(t, 8), dispatchAllocs(t, 72), dispatchAllocs(t, 136)
	perRank := (many - more) / 64
	t.Logf("8 ranks: %v, 72: %v, 136: %v; %.1f for each", few, more, many, perRank)
	if perRank > 5 {
		t.Errorf("%.1f allocations for each rank", perRank)
	}
	if first := (more - few) / 64; perRank > first+1 {
		t.Errorf("each of the first ranks costs %.1f allocations, each of the last %.1f", first, perRank)
	}
}

// A request is encoded once, however many ranks it goes to.
func TestOneEncoding(t *testing.T) {
	pool := newQuickPool(16)
	e, _ := start(t, Options{Pool: pool})
	mustWait(t, e, mustStart(t, e, Request{Code: "pass", Target: target(t, "remote")}))
	for _, p := range pool {
		if len(p.sent) != 1 || p.sent[0] != pool[0].sent[0] {
			t.Errorf("%d requests", len(p.sent))
		}
	}
}

// written is how often this process has asked the system to write; ok is false if that is not counted.
func written(t *testing.T) (calls int, ok bool) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(data), "syscw: ")
	count, _, _ := strings.Cut(rest, "\n")
	calls, err = strconv.Atoi(count)
	return calls, found && err == nil
}

// A run's journal takes one write for each piece of output, and three for everything else: its record, how it ended, and the index. A silent run
// takes none.
func TestWritesOfAJournal(t *testing.T) {
	if _, ok := written(t); !ok {
		t.Skip("nobody counts writes here")
	}
	const rounds, pieces = 20, 5
	pool := newFakePool(2)
	e, _ := start(t, Options{Pool: pool, Journal: newJournal(t, journal.Options{})})
	runs := func(pieces int) int {
		before, _ := written(t)
		for range rounds {
			id := mustStart(t, e, Request{Target: target(t, "remote")})
			for _, p := range pool.ranks {
				x := p.next()
				for range pieces {
					x.print(strings.Repeat("a line\n", 1000))
				}
				x.ok()
			}
			mustWait(t, e, id)
		}
		after, _ := written(t)
		return after - before
	}
	runs(pieces) // whatever is done once
	// The runtime writes, too, now and then, to wake itself.
	silent, loud := float64(runs(0))/rounds, float64(runs(pieces))/rounds
	if silent > 1 {
		t.Errorf("%v writes for a silent run", silent)
	}
	if extra := loud - silent; extra < 2*pieces+2.5 || extra > 2*pieces+4.5 {
		t.Errorf("%v writes for %d pieces of output", extra, 2*pieces)
	}
}
