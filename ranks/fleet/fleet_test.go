package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dipls/internal/leaktest"
	"dipls/internal/testpython"
	"dipls/ranks/host"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/join"
	"dipls/ranks/host/mux"
)

func TestMain(m *testing.M) { leaktest.Begin().Main(m) }

const patience = 2 * time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// told collects what a fleet tells of its members.
type told struct {
	mu      sync.Mutex
	members []Member
	news    chan struct{}
}

func (l *told) changed(m Member) {
	l.mu.Lock()
	l.members = append(l.members, m)
	l.mu.Unlock()
	l.news <- struct{}{}
}

func (l *told) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members = nil
}

// await waits until a member was told to be in a state.
func (l *told) await(t *testing.T, name string, s State) Member {
	t.Helper()
	for {
		l.mu.Lock()
		i := slices.IndexFunc(l.members, func(m Member) bool { return m.Name() == name && m.State == s })
		if i >= 0 {
			m := l.members[i]
			l.mu.Unlock()
			return m
		}
		l.mu.Unlock()
		select {
		case <-l.news:
		case <-time.After(patience):
			t.Fatalf("nothing was told of %s being %v", name, s)
		}
	}
}

// here are options for two "hosts" that are this machine: the command runs there what would run on another.
func here(t *testing.T, l *told) Options {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	return Options{Hosts: "exec[a,b:3] env NAME={host} {join}", Python: testpython.Need(t), Changed: l.changed}
}

// A fleet has its hosts in order, brings back one that is lost, goes on without it if asked, and leaves nothing.
func TestFleet(t *testing.T) {
	l := &told{news: make(chan struct{}, 100)}
	t.Setenv("TMPDIR", "/tmp")
	dead, err := os.MkdirTemp("", "dipls-join-") // as a killed session leaves it
	if err != nil {
		t.Fatal(err)
	}
	f, err := Start(testContext(t), here(t, l))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(testContext(t))
	if _, err := os.Lstat(dead); err == nil {
		t.Error("the folder of a killed session stays")
	}
	names := func() (all []string) {
		for _, m := range f.Members() {
			all = append(all, m.Name()+" "+m.State.String())
		}
		return all
	}
	if got := names(); !slices.Equal(got, []string{"a reachable", "b reachable"}) || f.Members()[1].Ranks != 3 {
		t.Fatalf("members %q", got)
	}
	alone, err := f.Meet(testContext(t), []host.Host{f.Members()[0].Host})
	if err != nil || alone.Address != (host.Local{}).Address() {
		t.Errorf("one host meets at %+v, %v", alone, err)
	}

	// What is sent to all passes from host to host, unless no port may be opened.
	for ports, want := range map[string]int{"": 1, "none": 2} {
		f.(*cluster).o.Ports = ports
		all := []host.Host{f.Members()[0].Host, f.Members()[1].Host}
		if _, err := f.Meet(testContext(t), all); err != nil {
			t.Fatal(err)
		}
		var sent atomic.Int64
		kept, err := all[0].(host.Chained).KeepAlong(testContext(t), all[1:], []int64{8 << 20}, func(_ context.Context, w io.Writer, _ int64) error {
			sent.Add(1)
			_, err := w.Write(make([]byte, 8<<20))
			return err
		}, nil)
		if err != nil || sent.Load() != int64(want) {
			t.Errorf("with ports %q it was sent %d times, want %d; %v", ports, sent.Load(), want, err)
		}
		for _, one := range kept {
			one.Free()
		}
	}

	before := f.Members()[1].Host
	lose := func() {
		t.Helper()
		l.forget()
		far := f.Members()[1].Host.(*afar.Host)
		if err := syscall.Kill(far.Facts().PID, syscall.SIGKILL); err != nil { // the machine's helper is asked for its facts
			t.Fatal(err)
		}
		if m := l.await(t, "b", Lost); m.Reason == nil || m.Reason.Error() != "host b lost: its agent has ended: env: signal: killed" {
			t.Errorf("b is lost: %v", m.Reason)
		}
	}
	lose()
	if got := names(); !slices.Equal(got, []string{"a reachable", "b lost"}) {
		t.Errorf("members %q", got)
	}
	if err := f.Restore(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, []string{"a reachable", "b reachable"}) || f.Members()[1].Host == before {
		t.Errorf("members %q", got)
	}
	lose()
	if lost := f.Shrink(); !slices.Equal(lost, []string{"b"}) || !slices.Equal(names(), []string{"a reachable"}) {
		t.Errorf("without %q, members are %q", lost, names())
	}
	if err := f.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}

// A start that fails, or is given up, says which host it was, and leaves nothing.
func TestFleetFails(t *testing.T) {
	newsEvery = 20 * time.Millisecond
	defer func() { newsEvery = 5 * time.Second }()
	l := &told{news: make(chan struct{}, 100)}
	for _, c := range []struct {
		hosts, want string
		timeout     time.Duration
	}{
		{"exec[a,b] sh -c 'test {host} = a && exec {command}; echo no such place >&2; exit 1'", "b: no such place", 0},
		{"exec[a,b] sh -c 'test {host} = a && exec {command}; exec sleep 600'", "b: no agent has joined: it took longer than 3s", 3 * time.Second},
		{"exec[a,b] sh -c 'echo it says why >&2; exit 1' {join}", "a, b: it says why", 0},
		{"exec[x[1-12]] sh -c 'echo {host} is away >&2; exit 1' {join}", "not joined either: ", 0},
		{"a,,b", "a host is missing here", 0},
		{"slurm", "those of slurm must dial the session", 0},
	} {
		o := here(t, l)
		o.Hosts, o.Timeout = c.hosts, c.timeout
		var said []string
		o.Waits = func(text string) { said = append(said, text) }
		if c.hosts == "slurm" {
			o.Ports = "none"
		}
		f, err := Start(testContext(t), o)
		if err == nil {
			f.Close(testContext(t))
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.hosts, err, c.want)
		}
		once := slices.DeleteFunc(slices.Clone(said), func(text string) bool { return text != "1 of 2 hosts joined; not yet: b" })
		if c.timeout > 0 && len(once) != 1 {
			t.Errorf("%s: while it waits it says %q", c.hosts, said)
		}
	}
}

// A host that comes in while the fleet is being closed is sent away: nobody else will end its agent.
func TestEnterLate(t *testing.T) {
	ours, theirs := net.Pipe()
	conn, agent := mux.New(mux.Options{}), mux.New(mux.Options{Host: true})
	defer agent.Close()
	if err := errors.Join(conn.Attach(ours, 0), agent.Attach(theirs, 0)); err != nil {
		t.Fatal(err)
	}
	late := &member{name: "late", state: Lost}
	f := &cluster{o: Options{}.withDefaults(), members: []*member{late}}
	go func() { // it answers what it is after the fleet has begun to close
		channel, err := agent.Accept(testContext(t))
		if err != nil {
			return
		}
		var request struct{ ID json.RawMessage }
		if json.NewDecoder(channel).Decode(&request) != nil {
			return
		}
		f.mu.Lock()
		f.closing = true
		f.mu.Unlock()
		fmt.Fprintf(channel, `{"jsonrpc":"2.0","id":%s,"result":{"system":"Linux"}}`+"\n", request.ID)
	}()
	if err := f.enter(testContext(t), late, join.Arrival{Conn: conn}); err == nil || conn.Err() == nil || late.Host != nil {
		t.Errorf("it is in: %v; its connection: %v", err, conn.Err())
	}
}

func TestTerms(t *testing.T) {
	for text, want := range map[string]join.Ports{"": {}, "7000": {First: 7000, Last: 7000}, "7000-7010": {First: 7000, Last: 7010}, "none": {}} {
		if listen, got, err := parsePorts(text); got != want || (len(listen) == 0) != (text == "none") || err != nil {
			t.Errorf("%q: %q, %+v, %v", text, listen, got, err)
		}
	}
	for _, text := range []string{"x", "7010-7000", "0-5", "1-70000", "1-2-3", "-"} {
		if _, _, err := parsePorts(text); err == nil {
			t.Errorf("%q is taken for ports", text)
		}
		if err := (Terms{Ports: text}).Check(); err == nil {
			t.Errorf("%q is taken for terms", text)
		}
	}
	for lease, want := range map[time.Duration]bool{0: true, time.Second: true, time.Millisecond: false, -time.Minute: false} {
		if err := (Terms{Lease: lease}).Check(); (err == nil) != want {
			t.Errorf("a lease of %v: %v", lease, err)
		}
	}
}
