package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dipls/internal/contain"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
)

// hosts are the machines of pools that do not run on this one: a fleet, and a node on each of its hosts. They outlive pools: a pool that is made anew
// gets the same.
type hosts struct {
	on    allocation
	fleet *future[fleet.Fleet]

	// Under the mu of the processes:
	nodes    map[host.Host]*future[*ranks.Node]
	waits    string              // what the start of the fleet waits for
	allotted time.Time           // when the hosts were allotted; zero: they are not yet
	astray   map[detour][]string // hosts on which processes run elsewhere, as far as the user was not told
	stray    map[string]bool     // all of these; false: their nodes were started again, to no avail
}

// detour is a working directory that hosts do not have, and where processes run there instead.
type detour struct{ wanted, instead string }

// gone reports whether they could not be started, or were given up.
func (h *hosts) gone() bool { return h.fleet.known() && h.fleet.err != nil }

// holds reports whether the hosts of an allocation are there, or are being started. s.mu is held.
func (s *processes) holds(on allocation) bool {
	return s.away != nil && s.away.on == on && !s.away.gone()
}

// hostsOf are the hosts of an allocation; the first call starts them, after those of another allocation were given back. If ctx ends, the start is given
// up.
func (s *processes) hostsOf(ctx context.Context, on allocation) (*hosts, fleet.Fleet, error) {
	s.mu.Lock()
	if !s.holds(on) {
		old := s.away
		h := &hosts{on: on, nodes: map[host.Host]*future[*ranks.Node]{}, astray: map[detour][]string{}, stray: map[string]bool{}}
		h.fleet = begin(s, func(ctx context.Context) (fleet.Fleet, error) {
			if err := s.giveBack(ctx, old); err != nil {
				return nil, err
			}
			return s.startFleet(ctx, h)
		})
		s.away = h
	}
	h := s.away
	s.mu.Unlock()
	started, err := awaitOrCancel(ctx, h.fleet)
	return h, started, err
}

// startFleet starts hosts. The node of this machine comes first: it asks for the user's consent.
func (s *processes) startFleet(ctx context.Context, h *hosts) (fleet.Fleet, error) {
	if s.o.Fleet == nil {
		return nil, errors.New("this session has no means to start hosts")
	}
	if _, err := s.startedNode(ctx); err != nil {
		return nil, err
	}
	s.hostsWait(h, "")
	started, err := s.o.Fleet(ctx, fleet.Options{
		Hosts: h.on.hosts, Python: s.o.Node.Python, Dir: s.o.Node.Dir, Project: s.projectFolder(), Terms: h.on.terms,
		Timeout: s.chose().Timeout, Log: s.o.Node.Log,
		Waits: func(text string) { s.hostsWait(h, text) },
		Allotted: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			h.allotted = time.Now()
		},
		Notice:  s.o.Notice,
		Astray:  func(host, wanted, instead string) { s.wentAstray(h, host, detour{wanted, instead}) },
		Changed: s.memberChanged,
	})
	if err != nil && s.o.GivenUp != nil {
		s.o.GivenUp(err.Error())
	}
	return started, err
}

// hostsWait notes and tells what a start waits for.
func (s *processes) hostsWait(h *hosts, text string) {
	s.mu.Lock()
	news := h.waits != text || text == ""
	h.waits = text
	s.mu.Unlock()
	if news && s.o.Waits != nil {
		s.o.Waits(text)
	}
}

// projectFolder is a folder of the project: the script's, if there is one.
func (s *processes) projectFolder() string {
	if s.o.Node.Script != "" {
		return filepath.Dir(s.o.Node.Script)
	}
	return s.o.Node.Dir
}

func (s *processes) wentAstray(h *hosts, name string, d detour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.astray[d] = append(h.astray[d], name)
	if _, before := h.stray[name]; !before {
		h.stray[name] = true
	}
}

// endStray ends the nodes that run elsewhere: now their hosts may have the working directory. No pool is on them.
func (s *processes) endStray(ctx context.Context, h *hosts, members []fleet.Member) error {
	var ended []*ranks.Node
	s.mu.Lock()
	for _, m := range members {
		f := h.nodes[m.Host]
		if !h.stray[m.Name()] || f == nil || !f.known() || f.value == nil {
			continue
		}
		h.stray[m.Name()] = false
		delete(h.nodes, m.Host)
		ended = append(ended, f.value)
	}
	s.mu.Unlock()
	var g errgroup.Group
	for _, node := range ended {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			return node.Close(ctx)
		})
	}
	return g.Wait()
}

// tellAstray tells the user on which hosts processes run elsewhere, once.
func (s *processes) tellAstray(h *hosts, synced bool) {
	s.mu.Lock()
	astray := h.astray
	h.astray = map[detour][]string{}
	s.mu.Unlock()
	for d, names := range astray {
		slices.Sort(names)
		text := fmt.Sprintf("%s: there is no folder %s; processes run in %s there", strings.Join(names, ", "), d.wanted, d.instead)
		if !synced {
			text += ". --sync brings the project's Python files"
		}
		s.o.Notice(text)
	}
}

// syncHosts brings the project's files to the hosts of a pool, if it is to have them.
func (s *processes) syncHosts(ctx context.Context, p *pool) error {
	s.mu.Lock()
	wanted, h := p.spec.sync, s.away
	s.mu.Unlock()
	if !wanted || h == nil || !h.fleet.known() || h.fleet.value == nil {
		return nil
	}
	seen := map[host.Host]bool{}
	for _, process := range p.value.Ranks() {
		seen[process.Host()] = true
	}
	return h.fleet.value.Sync(ctx, slices.Collect(maps.Keys(seen)))
}

// memberChanged tells the user what has become of a host.
func (s *processes) memberChanged(m fleet.Member) {
	switch m.State {
	case fleet.Unreachable:
		s.o.Warn(fmt.Sprintf("%s does not answer; its cells go on, and what they print comes when it is back", m.Name()))
	case fleet.Reachable:
		s.o.Notice(m.Name() + " answers again")
	case fleet.Lost:
		s.o.Warn(fmt.Sprintf("%v; the ranks of other hosts keep their variables. %%makedip -r starts the pool anew, "+
			"%%makedip -r --shrink without %s", m.Reason, m.Name()))
	}
}

// giveBack ends what runs on hosts, and gives them back. h may be nil.
func (s *processes) giveBack(ctx context.Context, h *hosts) error {
	if h == nil {
		return nil
	}
	h.fleet.cancel(errGivenBack)
	<-h.fleet.done
	s.mu.Lock()
	nodes := make([]*future[*ranks.Node], 0, len(h.nodes))
	for _, f := range h.nodes {
		nodes = append(nodes, f)
	}
	s.mu.Unlock()
	errs := make([]error, len(nodes))
	var work sync.WaitGroup
	for i, f := range nodes {
		f.cancel(errGivenBack)
		work.Go(func() {
			defer contain.AsError(&errs[i])
			if <-f.done; f.value != nil {
				errs[i] = f.value.Close(ctx)
			}
		})
	}
	work.Wait()
	if h.fleet.value != nil {
		errs = append(errs, h.fleet.value.Close(ctx))
	}
	return errors.Join(errs...)
}

var (
	errGivenBack   = errors.New("the hosts were given back")
	errInterrupted = errors.New("nobody waits for its hosts any more")
)

// leaveQueue gives up hosts that are waited for in a queue, such as a job, once no call waits for the pool any more. The next call begins anew.
func (s *processes) leaveQueue(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.away
	if s.closed || s.current != p || p.waiting > 0 || p.known() || h == nil || h.fleet.known() || !h.allotted.IsZero() {
		return
	}
	s.current, s.away = nil, nil
	h.fleet.cancel(errInterrupted)
	p.cancel(errInterrupted)
	s.starts.Go(func() { contain.Do(func() { _ = s.giveBack(s.ctx, h) }) }) // they may have come at this moment
}

// leaveHosts gives back all hosts: the next pool is not on them.
func (s *processes) leaveHosts(ctx context.Context) error {
	s.mu.Lock()
	h := s.away
	s.away = nil
	s.mu.Unlock()
	return s.giveBack(ctx, h)
}

// withHostsKept says in the error of a pool that could not be started that its hosts are there nevertheless, for another try: they may cost something. ctx
// is that of the start.
func (s *processes) withHostsKept(ctx context.Context, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.away; s.closed || errors.Is(context.Cause(ctx), errKilled) || h == nil || !h.fleet.known() || h.fleet.value == nil {
		return err
	}
	return fmt.Errorf("%w; the hosts are kept until the session ends: %%makedip tries again on them, %%makedip -k gives them back", err)
}

// nodeOn is the node on a host; the first call starts it, and so does one after it has ended.
func (s *processes) nodeOn(ctx context.Context, h *hosts, on host.Host) (*ranks.Node, error) {
	s.mu.Lock()
	f := h.nodes[on]
	if f == nil || f.known() && f.value == nil || hasEnded(f) {
		old := f
		f = begin(s, func(ctx context.Context) (*ranks.Node, error) {
			if old != nil && old.value != nil {
				<-old.value.Done() // whatever is left of it goes first
			}
			options := s.o.Node
			options.Host, options.Env = on, s.environ(on)
			options.Python = "" // the one that runs the host's agent
			options.Seed = s.chose().Seed
			return ranks.StartNode(ctx, options)
		})
		h.nodes[on] = f
	}
	s.mu.Unlock()
	node, err := awaitOrCancel(ctx, f)
	return node, ofHost(on.Name(), err)
}

// ofHost says which host an error comes from.
func ofHost(name string, err error) error {
	if err == nil || strings.Contains(err.Error(), name) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// sharesOn makes nodes on the hosts of a pool, and finds out where its ranks meet.
func (s *processes) sharesOn(ctx context.Context, spec *poolSpec) ([]ranks.Share, error) {
	h, of, err := s.hostsOf(ctx, spec.on)
	if err != nil {
		return nil, err
	}
	members, err := seated(ctx, of, spec.seats)
	if err != nil {
		return nil, err
	}
	shares := make([]ranks.Share, len(spec.seats))
	machines := make([]host.Host, len(spec.seats))
	for i, m := range members {
		machines[i] = m.Host
	}
	if spec.sync { // before anything needs the working directory
		if err := errors.Join(of.Sync(ctx, machines), s.endStray(ctx, h, members)); err != nil {
			return nil, err
		}
	}
	var meeting fleet.Meeting
	g, within := errgroup.WithContext(ctx)
	for i, m := range members {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			node, err := s.nodeOn(within, h, m.Host)
			shares[i] = ranks.Share{Node: node, Ranks: spec.seats[i].ranks, GPUs: spec.seats[i].gpus}
			return err
		})
	}
	g.Go(func() (err error) {
		defer contain.AsError(&err)
		meeting, err = of.Meet(within, machines)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	s.tellAstray(h, spec.sync)
	if err := s.compare(shares); err != nil {
		return nil, err
	}
	spec.Address = meeting.Address
	for i, name := range meeting.Interfaces {
		shares[i].Interface = name
	}
	return shares, nil
}

// withStartTimeout is ctx until a pool on hosts must have started. The time counts from when the hosts were allotted, if the pool has waited for them.
func (s *processes) withStartTimeout(ctx context.Context, p *pool, spec poolSpec) (context.Context, context.CancelFunc) {
	from := time.Now()
	s.mu.Lock()
	if s.away != nil && s.away.allotted.After(p.began) {
		from = s.away.allotted
	}
	s.mu.Unlock()
	timeout := cmp.Or(spec.Timeout, ranks.DefaultStartTimeout)
	return context.WithDeadlineCause(ctx, from.Add(timeout), &ranks.StartTimeoutError{After: timeout})
}

// seated are the members that seats are on. Those that are lost are started again.
func seated(ctx context.Context, of fleet.Fleet, seats []seat) ([]fleet.Member, error) {
	find := func() (found []fleet.Member, lost bool, err error) {
		members := of.Members()
		for _, st := range seats {
			i := slices.IndexFunc(members, func(m fleet.Member) bool { return m.Name() == st.host })
			if i < 0 {
				return nil, false, fmt.Errorf("host %s is no more among those of the pool", st.host)
			}
			found = append(found, members[i])
			lost = lost || members[i].State == fleet.Lost
		}
		return found, lost, nil
	}
	found, lost, err := find()
	if err != nil || !lost {
		return found, err
	}
	if err := of.Restore(ctx); err != nil {
		return nil, fmt.Errorf("%w; %%makedip -r --shrink goes on without it", err)
	}
	found, lost, err = find()
	if err == nil && lost {
		err = errors.New("a host was lost again as it came back")
	}
	return found, err
}
