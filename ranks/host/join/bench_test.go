package join

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"dipls/ranks/host/mux"
)

// What a conversation with a real Python costs, over TLS: bytes to the host and from it, and a round trip of a hundred bytes.
func BenchmarkPython(b *testing.B) {
	g := newGate(b, Options{})
	s := g.expect(b, Expected{Hosts: []int{0}})
	startPython(b, g.startup(s.Tokens()[0]))
	a := arrival(b, s)
	const piece = 1 << 20
	b.Run("down", func(b *testing.B) {
		b.SetBytes(piece)
		ch, data := open(b, a.Conn, line{"drain": 1}), make([]byte, piece)
		for b.Loop() {
			if _, err := ch.Write(data); err != nil {
				b.Fatal(err)
			}
		}
		ch.CloseWrite()
		wantEOF(b, ch)
	})
	b.Run("up", func(b *testing.B) {
		b.SetBytes(piece)
		ch, data := open(b, a.Conn, line{"source": 1 << 50}), make([]byte, piece)
		for b.Loop() {
			if _, err := io.ReadFull(ch, data); err != nil {
				b.Fatal(err)
			}
		}
		ch.Close()
	})
	b.Run("round trip", func(b *testing.B) {
		ch, data := open(b, a.Conn, line{"echo": 1}), make([]byte, 104)
		for b.Loop() {
			if _, err := ch.Write(data); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(ch, data); err != nil {
				b.Fatal(err)
			}
		}
		ch.Close()
	})
	a.Conn.Close()
}

func wantEOF(t testing.TB, r io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
}

// What a thousand hosts cost: processor time of both ends for a join and for a cell that goes to 8 ranks of each and comes back, and memory of both ends.
func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkHosts(b, n) })
	}
}

func benchmarkHosts(b *testing.B, n int) {
	const ranks = 8
	g := newGate(b, Options{})
	hosts := make([]int, n)
	for i := range hosts {
		hosts[i] = i
	}
	before, cpu := heap(), processorTime()
	s := g.expect(b, Expected{Hosts: hosts, Place: func(facts json.RawMessage, _ func(int) bool) (host int, err error) {
		return host, json.Unmarshal(facts, &host)
	}})
	all := make([]*mux.Conn, n)
	ends := make([]*host, n)
	var channels []net.Conn
	for i := range n {
		h := g.join(b, s.Tokens()[0], i)
		ends[i] = h
		go func() {
			for {
				ch, err := h.Accept(context.Background())
				if err != nil {
					return
				}
				go func() { io.CopyBuffer(struct{ io.Writer }{ch}, ch, make([]byte, 1024)); ch.Close() }()
			}
		}()
		a := arrival(b, s)
		all[a.Host] = a.Conn
		for range ranks {
			channels = append(channels, open(b, a.Conn, line{}))
		}
	}
	s.Close()
	joined := processorTime() - cpu
	request := make([]byte, 900)
	var used time.Duration
	for b.Loop() {
		begin := processorTime()
		for _, ch := range channels {
			if _, err := ch.Write(request); err != nil {
				b.Fatal(err)
			}
		}
		for _, ch := range channels {
			if _, err := io.ReadFull(ch, request); err != nil {
				b.Fatal(err)
			}
		}
		used += processorTime() - begin
	}
	b.ReportMetric(float64(joined.Microseconds())/float64(n), "join-µs/host")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N)/float64(n), "cpu-µs/host")
	b.ReportMetric(float64(heap()-before)/float64(n)/1024, "KiB/host")
	for i, c := range all {
		c.Fail(net.ErrClosed)
		ends[i].Fail(net.ErrClosed)
	}
}

// heap is the memory in use, stacks included.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
