// Package fanout measures what the server itself costs per rank. The ranks are fakes that cost next to nothing: hundreds of them speak the
// wire protocol from a process of their own. Run it with `make bench-fanout`.
package fanout

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/ranks"
	"dipls/ranks/fakerank"
)

var sizes = []int{8, 64, 256, 1024}

func TestMain(m *testing.M) {
	fakerank.Main()
	if len(os.Args) == 2 && os.Args[1] == clusterArg {
		runCluster()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkDispatch runs a silent cell on every rank: two messages per rank. It reports this process's CPU time, which grows in proportion to
// the number of ranks, and its memory after the first dispatch.
func BenchmarkDispatch(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			before := heap()
			s := start(b, size)
			s.run(b, "# nothing")
			memory := heap() - before
			took := make([]time.Duration, 0, 1024)
			cpu := cpuTime(b)
			for b.Loop() {
				begin := time.Now()
				s.run(b, "# nothing")
				took = append(took, time.Since(begin))
			}
			b.ReportMetric(perRank(cpuTime(b)-cpu, b.N*size), "µs-cpu/rank")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(memory)/float64(size)/1000, "kB/rank")
		})
	}
}

// BenchmarkLine has every rank print a line: three messages per rank and an acknowledgement, a line in the journal, and an event.
func BenchmarkLine(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := start(b, size)
			s.run(b, "print x")
			cpu := cpuTime(b)
			for b.Loop() {
				s.run(b, "print x")
			}
			b.ReportMetric(perRank(cpuTime(b)-cpu, b.N*size), "µs-cpu/rank")
		})
	}
}

// BenchmarkFanIn has the ranks print 64 MiB together, all of which goes into the journal and to a reader.
func BenchmarkFanIn(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			const total = 64 << 20
			s := start(b, size)
			s.run(b, "print x")
			s.seen = 0
			cpu := cpuTime(b)
			b.SetBytes(total)
			for b.Loop() {
				s.run(b, fmt.Sprint("flood ", total/size))
			}
			b.ReportMetric(perRank(cpuTime(b)-cpu, b.N*total>>20), "µs-cpu/MiB")
			if want := b.N * total; s.seen != want {
				b.Errorf("%d of %d bytes delivered", s.seen, want)
			}
		})
	}
}

// server is an executor over fake ranks, and the one client that reads its events.
type server struct {
	pool     *ranks.Pool
	executor *dipexec.Executor
	sub      *event.Subscription
	seen     int // bytes of output that were delivered
}

func (s *server) Local(context.Context) (dipexec.Process, error) { panic("no cell is local") }

func (s *server) Ranks(context.Context) ([]dipexec.Process, error) {
	return dipexec.ProcessesOf(s.pool), nil
}

// start starts a node of fake ranks, which is gone when the benchmark ends.
func start(b *testing.B, size int) *server {
	ctx := context.Background()
	node, err := ranks.StartNode(ctx, ranks.Options{Command: fakerank.Command(fakerank.Config{})})
	if err != nil {
		b.Fatal(err)
	}
	s := &server{}
	store := journal.Open(journal.Options{Dir: b.TempDir()})
	b.Cleanup(func() {
		if s.executor != nil {
			s.executor.Close(ctx)
		}
		if err := node.Close(ctx); err != nil {
			b.Error(err)
		}
		store.Close()
	})
	if s.pool, err = node.StartPool(ctx, ranks.PoolSpec{Ranks: size}); err != nil {
		b.Fatal(err)
	}
	s.executor = dipexec.New(dipexec.Options{Pool: s, Journal: store})
	s.sub = s.executor.Subscribe()
	return s
}

// run runs code on all ranks and reads its events to the last.
func (s *server) run(b *testing.B, code string) {
	id, err := s.executor.Start(dipexec.Request{Code: code, Target: cells.Target{Where: cells.Remote}})
	if err != nil {
		b.Fatal(err)
	}
	for {
		events, err := s.sub.Next(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		for _, ev := range events {
			switch ev := ev.(type) {
			case *event.Stream:
				s.seen += len(ev.Text)
			case *event.RunFinished:
				if ev.Status != event.StatusOK {
					b.Fatalf("%s: %s %s", code, ev.Status, ev.Reason)
				}
				if ev.Run == id {
					return
				}
			}
		}
	}
}

// cpuTime is the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perRank is a time in microseconds divided by the number of ranks, or of ranks times runs.
func perRank(d time.Duration, count int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(count)
}

// heap is the memory in use, stacks included, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
