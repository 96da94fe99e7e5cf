package launch

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// group is agents that one command has started, on one host or on many.
type group struct {
	hosts []int
	tell  func(Event)
	run   *process
	// explain says why a host has not joined; "": what the command has said. May be nil.
	explain func(host int) string
	// stop ends agents of which not all have joined, or which do not end by themselves, before a signal does. May be nil.
	stop func(ctx context.Context)
	// signals end the command.
	signals []syscall.Signal

	watch  sync.WaitGroup
	mu     sync.Mutex
	joined map[int]bool
	over   map[int]bool // its end was told
	ending bool
	all    func() // called once when all have joined. May be nil
}

// newGroup makes a group before its command is started, which may tell of its hosts at once.
func newGroup(hosts []int, tell func(Event)) *group {
	return &group{hosts: hosts, tell: tell, joined: make(map[int]bool), over: make(map[int]bool)}
}

// hostEnded tells that the agent on a host has ended: how, and in which words of its own, which count if it had not joined.
func (g *group) hostEnded(host int, how, words string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ending || g.over[host] || !slices.Contains(g.hosts, host):
		return
	case g.joined[host]:
		g.tell(Event{Ended, host, how})
	default:
		g.tell(Event{Failed, host, words})
	}
	g.over[host] = true
}

// begin watches the command's end.
func (g *group) begin() {
	g.watch.Go(func() {
		<-g.run.done
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.ending {
			return
		}
		said := g.run.ended()
		for _, host := range g.hosts {
			if g.over[host] {
				continue
			}
			if g.joined[host] {
				text := ""
				if !g.run.cmd.ProcessState.Success() {
					text = oneLine(said)
				}
				g.tell(Event{Ended, host, text})
				continue
			}
			text := said
			if g.explain != nil {
				if own := g.explain(host); own != "" {
					text = own
				}
			}
			g.tell(Event{Failed, host, text})
		}
	})
}

func (g *group) Joined(host int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.joined[host] {
		return
	}
	g.joined[host] = true
	if len(g.joined) == len(g.hosts) && g.all != nil {
		g.all()
	}
}

func (g *group) End(ctx context.Context) {
	g.mu.Lock()
	g.ending = true
	complete := len(g.joined) == len(g.hosts)
	g.mu.Unlock()
	g.run.stdin.Close()
	if !complete { // nobody will tell those who have not joined to end
		now, stop := context.WithCancel(ctx)
		stop()
		ctx = now
	}
	if g.stop != nil && g.run.killed() {
		g.stop(context.WithoutCancel(ctx)) // what it has started may go on
	} else if g.stop != nil {
		select {
		case <-g.run.done:
		case <-ctx.Done():
			if g.run.running() {
				g.stop(context.WithoutCancel(ctx))
			}
			late, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*endPatience)
			defer stop()
			ctx = late
		}
	}
	g.run.end(ctx, g.signals...)
	g.watch.Wait()
}

// groups are several of them.
type groups []*group

func (gs groups) Joined(host int) {
	for _, g := range gs {
		for _, h := range g.hosts {
			if h == host {
				g.Joined(host)
			}
		}
	}
}

func (gs groups) End(ctx context.Context) {
	var ends sync.WaitGroup
	for _, g := range gs {
		ends.Go(func() { g.End(ctx) })
	}
	ends.Wait()
}

// namesOf are the names of some hosts, with commas.
func namesOf(all []Host, some []int) string {
	names := make([]string, len(some))
	for i, host := range some {
		names[i] = all[host].Name
	}
	return strings.Join(names, ",")
}
