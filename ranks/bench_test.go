package ranks

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dipls/ranks/fakerank"
	"dipls/ranks/wire"
)

// cpuTime is the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type countDown struct{ *sync.WaitGroup }

func (countDown) Happened(Happening)                   {}
func (c countDown) Done(_ *wire.ExecuteReply, _ error) { c.WaitGroup.Done() }

// dispatch runs code on every rank and waits for all; server-µs/rank is this process's processor time per rank and dispatch.
func dispatch(b *testing.B, p *Pool, code string) {
	b.Helper()
	req := Prepare(wire.ExecuteRequest{Code: code, Path: "/tmp/bench.py", Line: 1})
	before := cpuTime(b)
	for b.Loop() {
		var wg sync.WaitGroup
		wg.Add(p.Size())
		for _, r := range p.ranks {
			r.ExecutePrepared(req, countDown{&wg})
		}
		wg.Wait()
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N*p.Size()), "server-µs/rank")
}

// BenchmarkDispatchFake: the fake ranks print a line and reply, two messages each.
func BenchmarkDispatchFake(b *testing.B) {
	for _, size := range []int{1, 8, 128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			n := startFake(b, fakerank.Config{})
			dispatch(b, startPool(b, n, size), "print x")
		})
	}
}

func BenchmarkDispatchPython(b *testing.B) {
	for _, size := range []int{1, 8} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dispatch(b, startPool(b, startPython(b), size), "pass")
		})
	}
}

// BenchmarkStartPool is a restart: a new pool on a node whose nursery is warm.
func BenchmarkStartPool(b *testing.B) {
	n := startPython(b)
	for b.Loop() {
		p := startPool(b, n, 8)
		if err := p.Shutdown(testContext(b), DefaultLadder); err != nil {
			b.Fatal(err)
		}
	}
}
