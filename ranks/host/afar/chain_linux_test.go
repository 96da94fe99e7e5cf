package afar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"dipls/ranks/host"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/afar/afartest"
	"dipls/ranks/host/join"
)

// row is hosts of one session, all on this machine.
type row struct {
	t      testing.TB
	agents []*afartest.Agent
	hosts  []*afar.Host
	log    *observer.ObservedLogs
	ports  join.Ports
}

func newRow(t testing.TB, n int) *row {
	t.Helper()
	core, log := observer.New(zap.InfoLevel)
	r := &row{t: t, log: log, ports: freePorts(t, n)}
	for i := range n {
		o := afartest.Options{Name: fmt.Sprintf("gpu%d", i)}
		if i > 0 {
			o.Beside = r.agents[0]
		}
		a := afartest.Start(t, o)
		r.agents = append(r.agents, a)
		r.hosts = append(r.hosts, r.host(i, afar.Options{Name: o.Name, Certificate: a.Certificate, Ports: r.ports, Log: zap.New(core)}))
	}
	return r
}

// host makes a host of an agent.
func (r *row) host(i int, o afar.Options) *afar.Host {
	r.t.Helper()
	h, err := afar.New(testContext(r.t), r.agents[i].Conn, o)
	if err != nil {
		r.t.Fatal(err)
	}
	h.MeetAt(netip.MustParseAddr("127.0.0.1"))
	return h
}

// freePorts are n ports, one after the other, that nobody uses now.
func freePorts(t testing.TB, n int) join.Ports {
	t.Helper()
	for range 100 {
		first := 20000 + rand.IntN(10000)
		if ports := (join.Ports{First: first, Last: first + n - 1}); openPort(ports) == 0 {
			return ports
		}
	}
	t.Fatal("no free ports")
	return join.Ports{}
}

// openPort is one of the ports where somebody listens; 0: nobody does.
func openPort(p join.Ports) int {
	for port := p.First; port <= p.Last; port++ {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.Close()
			return port
		}
	}
	return 0
}

// bytesOf are what is sent, and how often that was begun.
type bytesOf struct {
	data   []byte
	mu     sync.Mutex
	begun  int
	halted chan struct{} // nil, or the source waits in the middle until it is closed
}

func someBytes(n int) *bytesOf {
	b := &bytesOf{data: make([]byte, n)}
	for i := range b.data {
		b.data[i] = byte(rand.Uint32())
	}
	return b
}

func (b *bytesOf) source(ctx context.Context, w io.Writer, skip int64) error {
	b.mu.Lock()
	b.begun++
	b.mu.Unlock()
	data := b.data[skip:]
	if b.halted != nil {
		half := len(data) / 2
		if _, err := w.Write(data[:half]); err != nil {
			return err
		}
		select {
		case <-b.halted:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		data = data[half:]
	}
	_, err := w.Write(data)
	return err
}

// keep has all hosts keep bytes, and checks that they have them.
func (r *row) keep(b *bytesOf, told func(int64)) {
	r.t.Helper()
	kept, err := r.tryKeep(testContext(r.t), b, told)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, one := range kept {
		var back bytes.Buffer
		if err := r.hosts[i].Fetch(testContext(r.t), one.Files, &back); err != nil || !bytes.Equal(back.Bytes(), b.data) {
			r.t.Errorf("%s has %d bytes, %v", r.hosts[i].Name(), back.Len(), err)
		}
		one.Free()
		r.wantFreed(one.Files)
	}
}

func (r *row) tryKeep(ctx context.Context, b *bytesOf, told func(int64)) ([]host.Kept, error) {
	var others []host.Host
	for _, h := range r.hosts[1:] {
		others = append(others, h)
	}
	first := int64(len(b.data)) / 3
	return r.hosts[0].KeepAlong(ctx, others, []int64{first, 0, int64(len(b.data)) - first}, b.source, told)
}

func (r *row) wantFreed(files []host.SharedFile) {
	r.t.Helper()
	for _, f := range files {
		for gone := false; !gone; time.Sleep(time.Millisecond) {
			_, err := os.Stat(f.Path)
			gone = errors.Is(err, os.ErrNotExist)
		}
	}
}

// What is sent leaves the session once, whatever the number of hosts, and hosts listen only while it comes.
func TestChain(t *testing.T) {
	r := newRow(t, 3)
	b := someBytes(9 << 20)
	var has int64
	r.keep(b, func(now int64) { has = now })
	if b.begun != 1 {
		t.Errorf("it was sent %d times; log: %v", b.begun, r.log.All())
	}
	if has != int64(len(b.data)) {
		t.Errorf("%d of %d bytes are told", has, len(b.data))
	}
	if port := openPort(r.ports); port != 0 {
		t.Errorf("port %d is still open", port)
	}

	// No other ports are taken. Where none is free, the session sends all.
	for port := r.ports.First; port <= r.ports.Last; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	if r.keep(b, nil); b.begun != 4 {
		t.Errorf("without ports it was sent %d times, want 3", b.begun-1)
	}
}

// Nobody but the host before gets in, and hosts that do not reach each other get their bytes from the session.
func TestChainOfStrangers(t *testing.T) {
	r := newRow(t, 3)
	b := someBytes(9 << 20)
	stranger := r.agents[0].Certificate
	stranger[0]++
	r.hosts[1] = r.host(1, afar.Options{Name: "gpu1", Certificate: stranger, Ports: r.ports})
	for _, begun := range []int{3, 6} { // the second time it is known
		r.keep(b, nil)
		if b.begun != begun {
			t.Errorf("it was sent %d times, want %d", b.begun, begun)
		}
	}
	for _, text := range []string{"another host than the one that is expected", "hosts do not reach each other"} {
		if !strings.Contains(fmt.Sprint(r.log.All()), text) {
			t.Errorf("nothing is logged of %q: %v", text, r.log.All())
		}
	}
}

// Whatever goes wrong on the way, it is told where, and no host keeps anything.
func TestChainFails(t *testing.T) {
	r := newRow(t, 3)
	enough := errors.New("enough")
	for name, c := range map[string]struct {
		act  func(stop context.CancelCauseFunc)
		want string
	}{
		"a carrier is killed":   {func(context.CancelCauseFunc) { r.kill(1) }, "gpu1: signal SIGKILL"},
		"the user has enough":   {func(stop context.CancelCauseFunc) { stop(enough) }, "enough"},
		"the last one is ended": {func(context.CancelCauseFunc) { r.kill(2) }, "gpu2: signal SIGKILL"},
	} {
		ctx, stop := context.WithCancelCause(testContext(t))
		b := someBytes(9 << 20)
		b.halted = make(chan struct{})
		act := sync.OnceFunc(func() { go c.act(stop) })
		kept, err := r.tryKeep(ctx, b, func(has int64) {
			if has > 0 { // it has come to the last one
				act()
			}
		})
		if err == nil || !strings.Contains(err.Error(), c.want) || kept != nil {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		stop(nil)
		for i := range r.agents {
			for len(r.carriers(i)) > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if port := openPort(r.ports); port != 0 {
			t.Errorf("%s: port %d is still open", name, port)
		}
	}
	r.keep(someBytes(9<<20), nil)
}

// carriers are the processes of an agent that keep something.
func (r *row) carriers(i int) (pids []int) {
	relay := r.agents[i].Relay.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", relay, relay))
	for _, field := range strings.Fields(string(children)) {
		if words, _ := os.ReadFile("/proc/" + field + "/cmdline"); bytes.HasSuffix(words, []byte("\x00carrier\x00")) {
			pid, _ := strconv.Atoi(field) // it is a number
			pids = append(pids, pid)
		}
	}
	return pids
}

func (r *row) kill(i int) {
	for _, pid := range r.carriers(i) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			r.t.Error(err)
		}
	}
}

// BenchmarkChain is how fast a variable comes to all of so many hosts, and what of this machine's processor time each takes for that. All is on one machine.
func BenchmarkChain(b *testing.B) {
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRow(b, n)
			data := someBytes(256 << 20)
			b.SetBytes(int64(len(data.data)))
			before := r.processorTime()
			for b.Loop() {
				kept, err := r.tryKeep(testContext(b), data, nil)
				if err != nil {
					b.Fatal(err)
				}
				for i, one := range kept {
					before -= r.usedBy(r.carriers(i)...)
					one.Free()
				}
				for _, one := range kept {
					r.wantFreed(one.Files)
				}
			}
			used := r.processorTime() - before
			b.ReportMetric(used.Seconds()/float64(b.N*n)/float64(len(data.data))*1e9, "cpu-s/host/GB")
		})
	}
}

// processorTime is what the relays have used.
func (r *row) processorTime() (sum time.Duration) {
	for _, a := range r.agents {
		sum += r.usedBy(a.Relay.Pid)
	}
	return sum
}

// usedBy is what processes have used.
func (r *row) usedBy(pids ...int) (sum time.Duration) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			r.t.Fatal(err)
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
		for _, field := range fields[12:14] { // utime, stime
			ticks, _ := strconv.Atoi(field) // it is a number
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
