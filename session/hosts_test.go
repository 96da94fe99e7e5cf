package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/dipexec"
	"dipls/ranks/fakerank"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// fakeFleets starts fleets whose hosts are goroutines. What names them is a list such as "h1,h2:3".
type fakeFleets struct {
	configs map[string]fakerank.Config // of hosts that are no usual ones
	astray  string                     // a folder that they do not have
	queue   func(ctx context.Context, o fleet.Options) error

	mu      sync.Mutex
	started []*fakeFleet
}

func (f *fakeFleets) start(ctx context.Context, o fleet.Options) (fleet.Fleet, error) {
	if f.queue != nil {
		if err := f.queue(ctx, o); err != nil {
			return nil, err
		}
	}
	made := &fakeFleet{fleets: f, options: o}
	for text := range strings.SplitSeq(o.Hosts, ",") {
		var m fleet.Member
		name, own, _ := strings.Cut(text, ":")
		fmt.Sscan(own, &m.Ranks)
		m.Host = made.newHost(name)
		made.members = append(made.members, m)
	}
	if f.astray != "" {
		for _, m := range made.members {
			o.Astray(m.Name(), f.astray, "/home/me")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = append(f.started, made)
	return made, nil
}

// living are the fleets that were not closed.
func (f *fakeFleets) living() (texts []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.started {
		if one.mu.Lock(); !one.closed {
			texts = append(texts, one.options.Hosts)
		}
		one.mu.Unlock()
	}
	return texts
}

type fakeFleet struct {
	fleets  *fakeFleets
	options fleet.Options

	mu      sync.Mutex
	members []fleet.Member
	gone    []string // that do not come back
	synced  []string // the hosts of each Sync
	closed  bool
}

func (f *fakeFleet) newHost(name string) host.Host {
	c := f.fleets.configs[name]
	c.Name = name
	return fakerank.NewHost(c)
}

func (f *fakeFleet) Members() []fleet.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.members)
}

func (f *fakeFleet) Meet(_ context.Context, among []host.Host) (fleet.Meeting, error) {
	meeting := fleet.Meeting{Address: "127.0.0.1"}
	for _, h := range among {
		meeting.Interfaces = append(meeting.Interfaces, "to-"+h.Name())
	}
	return meeting, nil
}

func (f *fakeFleet) Sync(_ context.Context, among []host.Host) error {
	var names []string
	for _, h := range among {
		names = append(names, h.Name())
	}
	slices.Sort(names)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = append(f.synced, strings.Join(names, ","))
	return nil
}

// lose has a host be lost. It comes back if it is asked to.
func (f *fakeFleet) lose(name string, comesBack bool) {
	f.mu.Lock()
	i := slices.IndexFunc(f.members, func(m fleet.Member) bool { return m.Name() == name })
	m := &f.members[i]
	m.State, m.Reason = fleet.Lost, fmt.Errorf("host %s lost: no answer for 60 s", name)
	if !comesBack {
		f.gone = append(f.gone, name)
	}
	changed := *m
	f.mu.Unlock()
	changed.Host.(*fakerank.Host).Lose(changed.Reason)
	f.options.Changed(changed)
}

func (f *fakeFleet) Restore(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, m := range f.members {
		switch {
		case m.State != fleet.Lost:
		case slices.Contains(f.gone, m.Name()):
			return fmt.Errorf("host %s does not come back", m.Name())
		default:
			f.members[i] = fleet.Member{Host: f.newHost(m.Name()), Ranks: m.Ranks}
		}
	}
	return nil
}

func (f *fakeFleet) Shrink() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = slices.DeleteFunc(f.members, func(m fleet.Member) bool {
		if m.State == fleet.Lost {
			names = append(names, m.Name())
		}
		return m.State == fleet.Lost
	})
	return names
}

func (f *fakeFleet) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// onHosts makes a session's pools run on hosts.
func onHosts(f *fakeFleets, c Choice) func(*processOptions) {
	return func(o *processOptions) { o.Pool, o.Fleet = c, f.start }
}

// where is "h1 h1 h2": the host of each rank.
func (f *fixture) where() string {
	f.t.Helper()
	var names []string
	for _, r := range f.ranks() {
		names = append(names, r.Host().Name())
	}
	return strings.Join(names, " ")
}

func TestPoolOnHosts(t *testing.T) {
	fleets := &fakeFleets{}
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1,h2:3"}))
	if got, want := f.where(), "h1 h1 h2 h2 h2"; got != want {
		t.Errorf("ranks are on %s, want %s", got, want)
	}
	for rank, want := range []string{"0 0 2 0 to-h1", "1 1 2 0 to-h1", "2 0 3 1 to-h2", "3 1 3 1 to-h2", "4 2 3 1 to-h2"} {
		var got []string
		for _, name := range []string{"RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GLOO_SOCKET_IFNAME"} {
			got = append(got, strings.TrimSpace(printed(t, f.ranks()[rank], "env "+name)))
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("rank %d: %q, want %s", rank, got, want)
		}
	}
	local, err := f.Local(testContext(t))
	if err != nil || local.(interface{ Host() host.Host }).Host().Name() != "fake" {
		t.Errorf("the local namespace is on %v, %v", local, err)
	}
	if got := f.making(wire.MakeCommand{Restart: true}); !strings.HasPrefix(got, "pool of 5 ranks on the CPU of 2 hosts over gloo") {
		t.Error(got)
	}
	if got := f.making(wire.MakeCommand{Ranks: 3, Restart: true}); !strings.HasPrefix(got, "pool of 3 ranks on the CPU of 1 host") || f.where() != "h2 h2 h2" {
		t.Error(got, f.where())
	}
	if got := f.told(); strings.Count(got, "h1: no rank is left for this host") != 1 {
		t.Errorf("told: %s", got)
	}
	if len(fleets.started) != 1 {
		t.Errorf("%d fleets were started", len(fleets.started))
	}
	other := "h3,h4"
	if _, err := f.Make(testContext(t), wire.MakeCommand{Hosts: &other}); err == nil {
		t.Error("a pool on other hosts took the place of a living one")
	}
	f.making(wire.MakeCommand{Hosts: &other, RanksPerHost: 1, Restart: true})
	if got := f.where(); got != "h3 h4" || !slices.Equal(fleets.living(), []string{"h3,h4"}) {
		t.Errorf("ranks are on %s, fleets that live: %v", got, fleets.living())
	}
	f.making(wire.MakeCommand{Hosts: new(string), Restart: true})
	if got := f.where(); got != "fake fake" || len(fleets.living()) != 0 {
		t.Errorf("ranks are on %s, fleets that live: %v", got, fleets.living())
	}
	f.making(wire.MakeCommand{Hosts: &other, Restart: true})
	f.making(wire.MakeCommand{Kill: true})
	if len(fleets.living()) != 0 {
		t.Errorf("after the pool was ended, fleets live: %v", fleets.living())
	}
}

// Hosts get the project's files before they need the folder, and before each call that needs ranks; which of them lack the folder is told once.
func TestSync(t *testing.T) {
	fleets := &fakeFleets{astray: "/data/project"}
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1,h2", RanksPerHost: 1}))
	f.ranks()
	synced := func(want ...string) {
		t.Helper()
		of := fleets.started[0]
		of.mu.Lock()
		defer of.mu.Unlock()
		if !slices.Equal(of.synced, want) {
			t.Errorf("brought to %q, want %q", of.synced, want)
		}
		of.synced = nil
	}
	synced()
	told := "h1, h2: there is no folder /data/project; processes run in /home/me there. --sync brings the project's Python files"
	if got := f.told(); strings.Count(got, "/data/project") != 1 || !strings.Contains(got, told) {
		t.Errorf("told: %s", got)
	}
	if got, want := f.making(wire.MakeCommand{Sync: true}), "the hosts of the pool of 2 ranks get the project's Python files"; !strings.HasPrefix(got, want) {
		t.Error(got)
	}
	f.ranks()
	f.ranks()
	synced("h1,h2", "h1,h2")
	f.making(wire.MakeCommand{Restart: true})
	synced("h1,h2")
	f.making(wire.MakeCommand{Restart: true, Ranks: 1})
	f.ranks()
	synced("h1", "h1")
	here := ""
	_, err := f.Make(testContext(t), wire.MakeCommand{Hosts: &here, Restart: true, Sync: true})
	wantError(t, err, "--sync: the ranks run on this machine")
	f.making(wire.MakeCommand{Hosts: &here, Restart: true})
	f.ranks()
}

// With a host its ranks are lost. The others can be read, no cell runs, and a restart gets the host back, or goes on without it.
func TestLostHost(t *testing.T) {
	fleets := &fakeFleets{}
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1,h2,h3", RanksPerHost: 1}))
	first := f.ranks()
	lose := func(name string, comesBack bool) {
		t.Helper()
		living := f.ranks()
		fleets.started[0].lose(name, comesBack)
		for _, r := range living {
			if r.Host().Name() == name {
				waitFor(t, "the end of a rank", r.Done())
			}
		}
		_, err := f.Ranks(testContext(t))
		var broken *dipexec.BrokenPoolError
		if !errors.As(err, &broken) {
			t.Fatalf("with %s lost, ranks are given: %v", name, err)
		}
		wantError(t, err, "died: host "+name+" lost: no answer for 60 s")
		wantError(t, err, "%makedip -r")
	}
	lose("h2", true)
	var hosts []string
	for _, h := range f.Glance().Hosts {
		hosts = append(hosts, strings.TrimSpace(h.Host+" "+h.State+" "+h.Reason))
	}
	if got, want := strings.Join(hosts, ", "), "h1 reachable, h2 lost host h2 lost: no answer for 60 s, h3 reachable"; got != want {
		t.Errorf("hosts are %s, want %s", got, want)
	}
	if got := printed(t, first[2], "print on"); got != "on\n" {
		t.Errorf("a rank of another host printed %q", got)
	}
	if got := f.told(); !strings.Contains(got, "host h2 lost: no answer for 60 s; the ranks of other hosts keep their variables") {
		t.Errorf("told: %s", got)
	}
	f.making(wire.MakeCommand{Restart: true})
	if got := f.where(); got != "h1 h2 h3" {
		t.Errorf("after a restart, ranks are on %s", got)
	}

	lose("h1", false)
	_, err := f.Make(testContext(t), wire.MakeCommand{Restart: true})
	wantError(t, err, "host h1 does not come back; %makedip -r --shrink goes on without it")
	f.making(wire.MakeCommand{Restart: true, Shrink: true})
	if got := f.where(); got != "h2 h3" {
		t.Errorf("without the lost host, ranks are on %s", got)
	}
	if got := strings.TrimSpace(printed(t, f.ranks()[1], "env WORLD_SIZE")); got != "2" {
		t.Errorf("WORLD_SIZE is %s", got)
	}
	f.making(wire.MakeCommand{Restart: true})
	if got := f.where(); got != "h2 h3" {
		t.Errorf("after another restart, ranks are on %s", got)
	}
}

// A job that waits in a queue is told of, and cancelled with the start of the pool.
func TestHostsInAQueue(t *testing.T) {
	queued, cancelled := make(chan struct{}), make(chan struct{})
	fleets := &fakeFleets{queue: func(ctx context.Context, o fleet.Options) error {
		for range 3 {
			o.Waits("job 4711 waits: Resources")
		}
		close(queued)
		<-ctx.Done()
		close(cancelled)
		return context.Cause(ctx)
	}}
	told := make(chan string, 10)
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "slurm"}), func(o *processOptions) {
		o.Waits = func(text string) { told <- text }
		o.GivenUp = func(string) { close(told) }
	})
	failed := make(chan error, 1)
	go func() {
		_, err := f.Ranks(testContext(t))
		failed <- err
	}()
	waitFor(t, "a job in a queue", queued)
	if info := f.Glance(); info.State != "starting" || info.Text != "job 4711 waits: Resources" {
		t.Errorf("the pool is %+v", info)
	}
	f.CancelStart()
	waitFor(t, "the end of the job", cancelled)
	if err := <-failed; !errors.Is(err, errCancelled) {
		t.Errorf("error %v", err)
	}
	var texts []string
	for text := range told {
		texts = append(texts, text)
	}
	if !slices.Equal(texts, []string{"", "job 4711 waits: Resources"}) {
		t.Errorf("told %q", texts)
	}
}

// Hosts in a queue are given up when the last call that waits for them is interrupted; the next call waits for others.
func TestInterruptInAQueue(t *testing.T) {
	queued, cancelled := make(chan struct{}), make(chan struct{})
	first := true
	fleets := &fakeFleets{queue: func(ctx context.Context, o fleet.Options) error {
		if !first {
			o.Allotted()
			return nil
		}
		first = false
		close(queued)
		<-ctx.Done()
		close(cancelled)
		return context.Cause(ctx)
	}}
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1,h2"}))
	interrupted := make(chan error)
	var interrupts []context.CancelFunc
	for range 2 {
		ctx, interrupt := context.WithCancel(testContext(t))
		interrupts = append(interrupts, interrupt)
		go func() {
			_, err := f.Ranks(ctx)
			interrupted <- err
		}()
	}
	waitFor(t, "a job in a queue", queued)
	for i, interrupt := range interrupts {
		select {
		case <-cancelled:
			t.Fatalf("the job is gone, and %d calls wait for it", 2-i)
		default:
		}
		interrupt()
		if err := <-interrupted; !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	}
	waitFor(t, "the end of the job", cancelled)
	f.ranks()
	if living := fleets.living(); len(living) != 1 {
		t.Errorf("hosts %q are there", living)
	}
}

// What a pool may take counts from when its hosts were allotted, however long they were waited for.
func TestStartTimeoutOnHosts(t *testing.T) {
	fleets := &fakeFleets{configs: map[string]fakerank.Config{"h2": {StartHang: true}}, queue: func(_ context.Context, o fleet.Options) error {
		time.Sleep(300 * time.Millisecond) // longer than the start may take
		o.Allotted()
		return nil
	}}
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1,h2", Timeout: 200 * time.Millisecond}))
	_, err := f.Ranks(testContext(t))
	wantError(t, err, "h2: node is not ready: it took longer than 200ms")
	f = newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1", Timeout: time.Minute}))
	f.ranks()
}

// Hosts that do not fit together are told, and kept for another try.
func TestHostsDiffer(t *testing.T) {
	fleets := &fakeFleets{configs: map[string]fakerank.Config{
		"old": {Packages: map[string]string{"torch": "98.0"}}, "bare": {Packages: map[string]string{"torch": ""}},
		"pickle": {Packages: map[string]string{"cloudpickle": "98.0"}},
	}}
	for hosts, want := range map[string]string{
		"h1,old,h2": "ranks of one pool need the same versions: torch 99.0 on h1, h2, 98.0 on old",
		"h1,bare":   "ranks of one pool need the same versions: torch 99.0 on h1, none on bare",
	} {
		f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: hosts}))
		_, err := f.Ranks(testContext(t))
		wantError(t, err, want+"; the hosts are kept until the session ends: %makedip tries again on them, %makedip -k gives them back")
		if living := fleets.living(); !slices.Equal(living, []string{hosts}) {
			t.Errorf("hosts of the failed start: %q", living)
		}
		if _, err := f.Make(testContext(t), wire.MakeCommand{}); err == nil || len(fleets.living()) != 1 {
			t.Errorf("another try: %v, on hosts %q", err, fleets.living())
		}
		text, err := f.Make(testContext(t), wire.MakeCommand{Kill: true})
		if text != "there was no pool; the hosts were given back" || err != nil || len(fleets.living()) != 0 {
			t.Errorf("%q, %v, and hosts %q are kept", text, err, fleets.living())
		}
	}
	f := newFixture(t, fakerank.Config{}, onHosts(fleets, Choice{Hosts: "h1,pickle"}))
	f.ranks()
	if got := f.told(); !strings.Contains(got, "versions differ: cloudpickle 99.0 on h1, 98.0 on pickle") {
		t.Errorf("told: %s", got)
	}
}

func TestPlace(t *testing.T) {
	for _, test := range []struct {
		name  string
		gpus  []int // of each host
		wants []int // ranks that each host says; 0: open
		total int   // -n
		want  []int
		err   string
	}{
		{"all GPUs", []int{8, 4}, []int{0, 0}, 0, []int{8, 4}, ""},
		{"no GPUs", []int{0, 0}, []int{0, 0}, 0, []int{2, 2}, ""},
		{"said by the host", []int{8, 4}, []int{0, 2}, 0, []int{8, 2}, ""},
		{"in turns", []int{0, 0, 0}, []int{0, 0, 0}, 8, []int{3, 3, 2}, ""},
		{"as far as there are GPUs", []int{8, 4}, []int{0, 0}, 12, []int{8, 4}, ""},
		{"half of them", []int{8, 8}, []int{0, 0}, 8, []int{4, 4}, ""},
		{"more than GPUs", []int{2, 2}, []int{0, 0}, 6, []int{3, 3}, ""},
		{"fewer than hosts", []int{0, 0, 0}, []int{0, 0, 0}, 2, []int{1, 1, 0}, ""},
		{"filled in order", []int{8, 8, 8}, []int{4, 4, 4}, 8, []int{4, 4, 0}, ""},
		{"the rest", []int{0, 0}, []int{3, 0}, 8, []int{3, 5}, ""},
		{"too many", []int{0, 0}, []int{3, 3}, 8, nil, "-n 8: the hosts have room for 6 ranks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			seats := make([]seat, len(test.gpus))
			for i, n := range test.gpus {
				seats[i].gpus = make([]host.GPU, n)
			}
			if err := place(seats, test.wants, test.total, 2); err != nil || test.err != "" {
				wantError(t, err, test.err)
				return
			}
			var got []int
			for _, s := range seats {
				got = append(got, s.ranks)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestBackendsAgree(t *testing.T) {
	gpu := make([]host.GPU, 8)
	for want, seats := range map[string][]seat{
		"": {{"h1", 8, gpu}, {"h2", 4, gpu[:4]}, {"h3", 0, nil}},
		"there are enough on h1, and too few on h2, h3. Say how many ranks each host is to have (h2:N)": {{"h1", 8, gpu}, {"h2", 8, gpu[:4]}, {"h3", 2, nil}},
	} {
		if err := agree(seats); err != nil || want != "" {
			wantError(t, err, want)
		}
	}
	if err := agree([]seat{{"h1", 2, nil}, {"h2", 8, gpu[:1]}}); err != nil {
		t.Error(err)
	}
}
