package dipexec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/ranks"
	"dipls/ranks/fakerank"
)

// nodePool is a Pool of real processes: those of a node.
type nodePool struct {
	node *ranks.Node
	pool *ranks.Pool
}

func (p *nodePool) Local(ctx context.Context) (Process, error) { return p.node.Local(ctx) }

func (p *nodePool) Ranks(context.Context) ([]Process, error) {
	return ProcessesOf(p.pool), nil
}

// startNode starts a node without Python, with a pool, and an executor on them.
func startNode(t *testing.T, size int, o Options) (*Executor, *recorder) {
	t.Helper()
	return startNodeOf(t, ranks.PoolSpec{Ranks: size, App: "none"}, o, ranks.Options{Command: fakerank.Command(fakerank.Config{JoinPrint: "joining"})})
}

// startNodeOf starts a node, with a pool, and an executor on them.
func startNodeOf(t *testing.T, spec ranks.PoolSpec, o Options, node ranks.Options) (*Executor, *recorder) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(stop)
	var e *Executor
	ready := make(chan struct{})
	node.OnState = func(c ranks.StateChange) {
		<-ready
		e.StateChanged(c)
	}
	n, err := ranks.StartNode(ctx, node)
	if err != nil {
		t.Fatal(err)
	}
	pool := &nodePool{node: n}
	o.Pool = pool
	e = New(o)
	rec := record(e.Subscribe())
	close(ready)
	t.Cleanup(func() {
		e.Close(ctx)
		<-rec.done
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if pool.pool, err = n.StartPool(ctx, spec); err != nil {
		t.Fatal(err)
	}
	return e, rec
}

func TestRealRanks(t *testing.T) {
	j := newJournal(t, journal.Options{})
	e, rec := startNode(t, 3, Options{Journal: j})
	r := mustWait(t, e, mustStart(t, e, Request{
		Path: "/t.py", Line: 3, Code: "rank\nresult 42\nlater bye", Target: target(t, "everywhere"),
	}))
	if r.Status != event.StatusOK || len(r.Parts) != 4 {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "late output", func(ev event.Event) bool {
		s, ok := ev.(*event.Stream)
		return ok && s.Rank != nil && *s.Rank == 2 && s.Text == "bye\n" && s.Run == r.Run
	})
	for rank, name := range []string{"rank-0.out", "rank-1.out", "rank-2.out"} {
		b, err := os.ReadFile(filepath.Join(r.Journal, name))
		if want := fmt.Sprintf("joining\n%d\n", rank); err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	lines := rec.lines()
	for _, want := range []string{"pool_state ready", "result local 1 42", "result rank 2 1 42"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %q among\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

func TestRealInterrupt(t *testing.T) {
	e, rec := startNode(t, 2, Options{})
	id := mustStart(t, e, Request{Code: "print here\nwait", Target: target(t, "remote")})
	for rank := range 2 {
		rec.await(t, "output", func(ev event.Event) bool {
			s, ok := ev.(*event.Stream)
			return ok && *s.Rank == rank && strings.HasSuffix(s.Text, "here\n")
		})
	}
	if err := e.Cancel(id); err != nil {
		t.Fatal(err)
	}
	if r := mustWait(t, e, id); r.Status != event.StatusInterrupted || r.Parts[1].Failure.EName != "KeyboardInterrupt" {
		t.Errorf("report %+v", r)
	}
	if r := mustWait(t, e, mustStart(t, e, Request{Code: "pid", Target: target(t, "remote")})); r.Status != event.StatusOK {
		t.Errorf("report %+v", r)
	}
}

// A rank dies with output that nobody has read: it is shown, the death is told, and the others are interrupted.
func TestRealDeath(t *testing.T) {
	e, rec := startNode(t, 3, Options{DeathGrace: time.Millisecond})
	id := mustStart(t, e, Request{Code: "wait", Target: target(t, "ranks:0,2")})
	rec.await(t, "busy", func(ev event.Event) bool {
		rs, ok := ev.(*event.RankState)
		return ok && rs.State == "busy" && *rs.Rank == 2
	})
	if err := e.Cancel(id); err != nil {
		t.Fatal(err)
	}
	mustWait(t, e, id)
	r := mustWait(t, e, mustStart(t, e, Request{Code: "tail last words\nsignal SIGKILL", Target: target(t, "ranks:1")}))
	if r.Status != event.StatusDied || r.Reason != "rank 1 was killed by SIGKILL" {
		t.Errorf("report %+v", r)
	}
	rec.await(t, "the last words", func(ev event.Event) bool {
		s, ok := ev.(*event.Stream)
		return ok && *s.Rank == 1 && strings.HasSuffix(s.Text, "last words\n")
	})
	isDeath := func(ev event.Event) bool {
		rs, ok := ev.(*event.RankState)
		return ok && rs.State == "dead" && *rs.Rank == 1
	}
	rec.await(t, "the death", isDeath)
	rec.await(t, "the end", func(ev event.Event) bool { return ev.Head().Kind == event.KindRunFinished && ev.Head().Run == r.Run })
	deaths := 0
	for _, ev := range rec.all() {
		if isDeath(ev) {
			deaths++
		}
	}
	if deaths != 1 {
		t.Errorf("the death was told %d times:\n%s", deaths, strings.Join(rec.lines(), "\n"))
	}
}

// A rank that floods fills the journal, not the memory, and does not hold up the others.
func TestRealFlood(t *testing.T) {
	e, rec := startNode(t, 2, Options{Journal: newJournal(t, journal.Options{})})
	r := mustWait(t, e, mustStart(t, e, Request{Code: "flood 30000000\nprint end", Target: target(t, "remote")}))
	if r.Status != event.StatusOK {
		t.Errorf("report %+v", r)
	}
	info, err := os.Stat(filepath.Join(r.Journal, "rank-1.out"))
	if want := int64(len("joining\n") + 30_000_000 + len("end\n")); err != nil || info.Size() != want {
		t.Errorf("%d bytes were journaled, want %d, %v", info.Size(), want, err)
	}
	rec.await(t, "the end", isKind(event.KindRunFinished))
}
