package ranks

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// PoolSpec says what pool to start. For a pool over several nodes, its shares say how many ranks and which GPUs.
type PoolSpec struct {
	Ranks   int        // how many
	GPUs    []host.GPU // in rank order; if there are fewer than ranks, ranks share them in turn; empty: CPU ranks
	App     string     // "torch", "none", … or a module of the user's (docs/apps.md); "" lets the agent choose
	Verbose bool       // the app says what it does

	Surroundings *wire.Surroundings // what ranks inherit of the local namespace; nil: it has changed nothing

	Timeout time.Duration // for the whole start; 0 is [DefaultStartTimeout]

	// KeepGPUMemory leaves torch's cache of GPU memory alone. Otherwise ranks free it after each cell that has changed how much is allocated.
	KeepGPUMemory bool

	Seed Seed // of the ranks

	Address string // of rank 0's host, where the ranks meet; "": as that host says

	GroupTimeout time.Duration // how long a collective waits for other ranks before torch gives up; 0: 24 h
	Check        bool          // torch checks that ranks call the same collectives alike, which takes time
}

// DefaultStartTimeout is how long a pool may take to start.
const DefaultStartTimeout = 120 * time.Second

// Share is the part of a pool that one node runs: consecutive ranks.
type Share struct {
	Node  *Node
	Ranks int        // how many
	GPUs  []host.GPU // of the node's host, as in [PoolSpec]

	Interface string // the network interface that leads to the other hosts, for gloo and NCCL; "": they choose one
}

// Pool is ranks that live and die together. A pool that is made anew has other processes and other sockets.
type Pool struct {
	nodes   []*Node   // in the order of their ranks
	many    bool      // its nodes are on several hosts
	address string    // as in [PoolSpec]
	events  *notifier // of the first node, so that all changes of a pool come in order
	ranks   []*Process
	notices []string
	app     string // that was asked for
	method  StartMethod
	done    chan struct{} // every rank has ended and its handlers have been told

	mu     sync.Mutex
	state  State
	counts [len(stateNames)]int // ranks by state
	left   int                  // ranks whose handlers have not all been told of their end
	err    error                // why the pool is dead: the first death of a rank
}

// StartTimeoutError says that a start took longer than it was allowed to.
type StartTimeoutError struct{ After time.Duration }

func (e *StartTimeoutError) Error() string { return fmt.Sprintf("it took longer than %v", e.After) }

// StartPool starts a pool on this node alone: see [StartPool].
func (n *Node) StartPool(ctx context.Context, spec PoolSpec) (*Pool, error) {
	return StartPool(ctx, spec, Share{Node: n, Ranks: spec.Ranks, GPUs: spec.GPUs})
}

// StartPool starts a pool over nodes. Its ranks are in the order of the shares. When it returns, either all ranks are ready, and OnState has been
// told so, or nothing is left of them. The nodes must have been started with the same options; those of the first node say who is told of the pool.
func StartPool(ctx context.Context, spec PoolSpec, shares ...Share) (*Pool, error) {
	spec.Ranks, spec.GPUs = 0, nil
	var nodes []*Node
	for _, s := range shares {
		if s.Ranks < 1 {
			return nil, fmt.Errorf("start a pool of %d ranks: at least one is needed", s.Ranks)
		}
		if len(s.GPUs) > s.Ranks {
			return nil, fmt.Errorf("start a pool of %d ranks on %d GPUs: there must be a rank for each", s.Ranks, len(s.GPUs))
		}
		spec.Ranks += s.Ranks
		spec.GPUs = append(spec.GPUs, s.GPUs...)
		nodes = append(nodes, s.Node)
	}
	timeout := spec.Timeout
	if timeout == 0 {
		timeout = DefaultStartTimeout
	}
	ctx, cancel := startContext(ctx, timeout, nodes...)
	defer cancel()
	pool, err := bringUp(ctx, spec, shares)
	if err != nil {
		what := fmt.Sprintf("%d ranks", spec.Ranks)
		if spec.Ranks == 1 {
			what = "a rank"
		}
		return nil, fmt.Errorf("start %s: %w", what, err)
	}
	return pool, nil
}

// bringUp starts a pool within ctx.
func bringUp(ctx context.Context, spec PoolSpec, shares []Share) (*Pool, error) {
	p, parts := newPool(spec, shares)
	p.events.post(StateChange{Pool: p, From: Starting, To: Starting})
	preload := func(ctx context.Context, part *poolPart) error { return p.ofHost(part, part.preload(ctx, spec.App)) }
	if err := onAll(ctx, parts, preload); err != nil {
		forgo(p.ranks)
		return nil, err
	}
	if err := p.spawn(ctx, parts); err != nil {
		return nil, err
	}
	// All at once, for apps wait for each other: no rank joins before all others do.
	if err := onAll(ctx, p.ranks, func(ctx context.Context, proc *Process) error { return proc.connect(ctx) }); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w%s", p.starting(), context.Cause(ctx), p.forkHint(ctx, parts))
		}
		discard(p.ranks)
		return nil, err
	}
	p.events.flush() // so that the pool is told of before anything that runs on it
	p.method = StartFork
	if parts[0].spawned.Method == StartSpawn.String() {
		p.method = StartSpawn
	}
	p.notices, p.app = p.describe(spec, parts), spec.App
	return p, nil
}

// poolPart is a share of a pool while that is started.
type poolPart struct {
	node      *Node
	ranks     []*Process
	specs     []wire.SpawnProcess
	preloaded *wire.PreloadReply // nil: nothing had to be
	spawned   *wire.SpawnReply
}

// newPool makes a pool; nothing of it is started yet.
func newPool(spec PoolSpec, shares []Share) (*Pool, []*poolPart) {
	p := &Pool{events: shares[0].Node.events, address: spec.Address, done: make(chan struct{}), left: spec.Ranks}
	p.counts[Starting] = spec.Ranks
	p.many = slices.ContainsFunc(shares, func(s Share) bool { return s.Node.host != shares[0].Node.host })
	var parts []*poolPart
	var run string // names the pool among all of the user's
	for group, share := range shares {
		n := share.Node
		generation := n.nextGeneration()
		if group == 0 {
			run = fmt.Sprintf("%s-%d", n.proc.Session(), generation)
		}
		part := &poolPart{node: n}
		for local := range share.Ranks {
			rank := len(p.ranks)
			proc := newProcess(n, p, ranklist.Rank(rank), fmt.Sprintf("r%d-%d", rank, generation))
			proc.seed, proc.groupTimeout = spec.Seed.Of(proc.who), spec.GroupTimeout
			if len(share.GPUs) > 0 {
				proc.gpu = &share.GPUs[local%len(share.GPUs)]
			}
			p.ranks = append(p.ranks, proc)
			part.ranks = append(part.ranks, proc)
			part.specs = append(part.specs, wire.SpawnProcess{
				Name: proc.sock,
				Rank: proc.rankPtr(),
				Key:  proc.keyHex(),
				Env:  rankEnv(spec, share, place{rank: rank, local: local, group: group, groups: len(shares)}, run),
				App:  spec.App,

				Surroundings: inheritable(spec.Surroundings),

				Verbose: spec.Verbose,
				FreeGPU: !spec.KeepGPUMemory,
				Seed:    proc.seed,
			})
		}
		p.nodes = append(p.nodes, n)
		parts = append(parts, part)
	}
	return p, parts
}

// nextGeneration is the number of a new pool among those with ranks on the node.
func (n *Node) nextGeneration() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.generation++
	return n.generation
}

// preload makes the nursery import what the ranks will need, if they are forked from it.
func (part *poolPart) preload(ctx context.Context, app string) (err error) {
	part.node.rouse()
	if part.node.opts.Start != StartSpawn {
		part.preloaded, err = part.node.preloadOnce(ctx, app)
	}
	return err
}

// spawn has the nodes start the ranks, all or none. The node of rank 0 comes first, for it chooses the ports at which the ranks meet.
func (p *Pool) spawn(ctx context.Context, parts []*poolPart) error {
	first, others := parts[0], parts[1:]
	meet := wire.Rendezvous{Address: cmp.Or(p.address, first.node.host.Address()), Ranks: len(p.ranks)}
	spawn := func(ctx context.Context, part *poolPart) (err error) {
		part.spawned, err = part.node.spawn(ctx, part.ranks, part.specs, &meet)
		return p.ofHost(part, err)
	}
	if err := spawn(ctx, first); err != nil {
		for _, part := range others {
			forgo(part.ranks)
		}
		return err
	}
	meet.MasterPort, meet.JAXPort = first.spawned.MasterPort, first.spawned.JAXPort
	err := onAll(ctx, others, spawn)
	if err != nil {
		discard(p.ranks)
	}
	return err
}

// ofHost says which host an error comes from, if the pool is on many.
func (p *Pool) ofHost(part *poolPart, err error) error {
	name := part.node.host.Name()
	if err == nil || !p.many || strings.Contains(err.Error(), name) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// onAll calls do for all elements at once. The first error ends the context of the others.
func onAll[T any](ctx context.Context, all []T, do func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range all {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			return do(ctx, one)
		})
	}
	return g.Wait()
}

// Preload has the nursery import what ranks will need, if they are going to be forked from it. The notices of the pool tell what could not be
// imported.
func (n *Node) Preload(ctx context.Context, app string) error {
	if n.opts.Start == StartSpawn {
		return nil
	}
	_, err := n.preloadOnce(ctx, app)
	return err
}

// preloadOnce makes the nursery import what ranks with an app will need.
func (n *Node) preloadOnce(ctx context.Context, app string) (*wire.PreloadReply, error) {
	if err := n.preload.acquire(ctx); err != nil {
		return nil, err
	}
	defer n.preload.release()
	if n.loaded != nil && slices.Contains(n.apps, app) {
		return n.loaded, nil
	}
	reply := new(wire.PreloadReply)
	var modules []string
	if n.loaded == nil {
		modules = append([]string{"torch"}, n.opts.Preload...)
		if n.info.Packages["torch"] == "" {
			modules = modules[1:]
		}
	}
	request := wire.PreloadRequest{Modules: append([]string{}, modules...), App: app} // [] rather than null
	err := n.link.Call(ctx, wire.TypePreloadRequest, request, reply)
	if refusal := new(wire.ReplyError); errors.As(err, &refusal) {
		// Preloading only saves time. If the ranks need a module that is missing, they will fail and tell.
		reply.Failed = []wire.PreloadFailed{{Module: strings.Join(modules, ", "), Error: refusal.EName + ": " + refusal.EValue}}
	} else if err != nil {
		return nil, n.explain(err)
	}
	n.apps = append(n.apps, app)
	if n.loaded == nil {
		n.loaded = reply
	}
	return n.loaded, nil
}

// starting tells which ranks are not ready yet.
func (p *Pool) starting() string {
	var late []ranklist.Who
	for _, proc := range p.ranks {
		if proc.State() == Starting {
			late = append(late, proc.who)
		}
	}
	switch len(late) {
	case len(p.ranks):
		return "no rank is ready"
	case 1:
		return p.nameOn(late) + " is not ready"
	default:
		return p.nameOn(late) + " are not ready"
	}
}

// nameOn names ranks of the pool for people, with their host where it is on several.
func (p *Pool) nameOn(who []ranklist.Who) string {
	return ranklist.NameOn(who, func(rank int) string { return p.ranks[rank].HostIfMany() })
}

// forkHint is a hint for a pool of which no rank gets ready: a library that was imported before the fork may hang after it. "" if it does not look
// like that.
func (p *Pool) forkHint(ctx context.Context, parts []*poolPart) string {
	waited := new(StartTimeoutError)
	forked := func(part *poolPart) bool { return part.spawned.Method == StartFork.String() }
	if !slices.ContainsFunc(parts, forked) || !errors.As(context.Cause(ctx), &waited) {
		return ""
	}
	for _, proc := range p.ranks {
		if proc.State() != Starting {
			return ""
		}
	}
	modules := slices.Clone(p.nodes[0].opts.Preload)
	if p.nodes[0].info.Packages["torch"] != "" {
		modules = append(modules, "torch")
	}
	if len(modules) == 0 {
		return ""
	}
	return fmt.Sprintf("; they were forked from a process that had imported %s, and a library that does not expect that may hang: "+
		"--start spawn (setting dip.start) starts each rank afresh", strings.Join(modules, ", "))
}

// describe says what the pool's user should know about it.
func (p *Pool) describe(spec PoolSpec, parts []*poolPart) []string {
	var notices []string
	backend := p.Backend()
	if len(spec.GPUs) == 0 {
		text := fmt.Sprintf("no GPU: %d CPU ranks", spec.Ranks)
		if spec.Ranks == 1 {
			text = "no GPU: 1 CPU rank"
		}
		if backend != "" {
			text += " over " + backend
		}
		notices = append(notices, text)
	} else if len(spec.GPUs) < spec.Ranks {
		text := fmt.Sprintf("%d ranks share %d GPUs", spec.Ranks, len(spec.GPUs))
		if len(spec.GPUs) == 1 {
			text = fmt.Sprintf("%d ranks share one GPU", spec.Ranks)
		}
		if backend != "" {
			text += ", over " + backend
		}
		notices = append(notices, text)
	}
	note := func(text string) {
		if !slices.Contains(notices, text) { // several nodes may say the same
			notices = append(notices, text)
		}
	}
	for _, part := range parts {
		if part.preloaded != nil {
			for _, f := range part.preloaded.Failed {
				note(preloadFailed(f.Module) + f.Error)
			}
		}
		if part.node.opts.Start == StartAuto && part.spawned.Method == StartSpawn.String() {
			note("spawned, not forked: " + part.spawned.Reason)
		}
	}
	said := make([][]string, len(p.ranks))
	for rank, proc := range p.ranks {
		said[rank] = proc.said().Notices
	}
	return append(notices, mergeNotices(said)...)
}

// Unmet says which modules that were to be preloaded could not be, and why the app that was asked for does not run: sentences, of those of Notices.
func (p *Pool) Unmet() []string {
	wanted := p.nodes[0].opts.Preload
	return slices.DeleteFunc(slices.Clone(p.notices), func(text string) bool {
		ofModule := slices.ContainsFunc(wanted, func(m string) bool { return strings.HasPrefix(text, preloadFailed(m)) })
		simpler := p.App() == "torch" || p.App() == "none"
		ofApp := p.app != "" && p.app != p.App() && simpler && strings.Contains(text, "app "+p.app+": ")
		return !ofModule && !ofApp
	})
}

// preloadFailed begins the notice about a module that could not be preloaded.
func preloadFailed(module string) string { return "could not preload " + module + ": " }

// mergeNotices merges the notices of the ranks. What all ranks say is there once. Anything else names the ranks that say it.
func mergeNotices(byRank [][]string) []string {
	var texts []string
	saidBy := make(map[string][]int)
	for rank, notices := range byRank {
		for _, text := range notices {
			switch by := saidBy[text]; {
			case by == nil:
				texts = append(texts, text)
				fallthrough
			case by[len(by)-1] != rank:
				saidBy[text] = append(by, rank)
			}
		}
	}
	for i, text := range texts {
		if by := saidBy[text]; len(by) < len(byRank) {
			texts[i] = ranklist.Name(by) + ": " + text
		}
	}
	return texts
}

// SetApp gives all ranks another app at once, or changes the one that they have. Notices are sentences for the user. The error is of the first rank
// that failed; others may have changed.
func (p *Pool) SetApp(ctx context.Context, req wire.AppRequest) (notices []string, err error) {
	said := make([][]string, len(p.ranks))
	g, ctx := errgroup.WithContext(ctx)
	for rank, proc := range p.ranks {
		g.Go(func() (err error) {
			defer contain.AsError(&err)
			reply, err := proc.SetApp(ctx, req)
			if err == nil {
				said[rank] = reply.Notices
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return mergeNotices(said), nil
}

// Ranks returns the ranks in order.
func (p *Pool) Ranks() []*Process { return slices.Clone(p.ranks) }

// Size is the world size.
func (p *Pool) Size() int { return len(p.ranks) }

// State follows from the states of the ranks. The pool is ready when all of them are, busy or interrupting when any of them is, dead as soon as one
// has died, and stopped when all have stopped. The ranks of a dead pool may live on until Shutdown. They can still be interrupted and asked for their
// stacks.
func (p *Pool) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Backend is torch's backend, "gloo" or "nccl"; "" if no process group was joined.
func (p *Pool) Backend() string { return p.ranks[0].said().Backend }

// Method is how the ranks were started: StartFork or StartSpawn.
func (p *Pool) Method() StartMethod { return p.method }

// App is the app of its ranks: "torch", "none", … or a module of the user's.
func (p *Pool) App() string { return p.ranks[0].App() }

// Notices are sentences about the pool that its user should see.
func (p *Pool) Notices() []string { return slices.Clone(p.notices) }

// Done is closed when every rank has ended.
func (p *Pool) Done() <-chan struct{} { return p.done }

// Err tells why the pool is dead: the first death of a rank. nil if it is not dead.
func (p *Pool) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// rankChanged updates the pool's state after a rank's transition. The rank's lock is held.
func (p *Pool) rankChanged(proc *Process, from, to State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[from]--
	p.counts[to]++
	if to == Dead && p.err == nil {
		p.err = proc.err
	}
	next := p.derive()
	if next == p.state {
		return
	}
	if !legal(p.state, next) {
		p.nodes[0].log.Error("illegal transition of the pool", zap.Stringer("from", p.state), zap.Stringer("to", next))
		return
	}
	change := StateChange{Pool: p, From: p.state, To: next}
	if next == Dead {
		change.Err = p.err
	}
	p.state = next
	p.events.post(change)
}

// derive computes the state from those of the ranks. p.mu is held.
func (p *Pool) derive() State {
	switch c := &p.counts; {
	case p.state.Final():
		return p.state
	case c[Dead] > 0:
		return Dead
	case c[Stopped] == len(p.ranks):
		return Stopped
	case c[Stopped] > 0:
		return p.state // it is being stopped
	case c[Starting] > 0:
		return Starting
	case c[Interrupting] > 0:
		return Interrupting
	case c[Busy] > 0:
		return Busy
	default:
		return Ready
	}
}

// rankDone notes that all handlers of a rank have been told of its end.
func (p *Pool) rankDone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left == 0 {
		close(p.done)
	}
}

// launcherEnv are the variables that a launcher such as torchrun sets for a rank. They are never inherited.
var launcherEnv = []string{
	"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK",
	"ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT",
	"TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS",
	"TORCHELASTIC_ERROR_FILE", "TORCHELASTIC_SIGNALS_TO_HANDLE",
	"JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES",
}

// SetsItself reports whether a variable is one that each rank has for itself.
func SetsItself(name string) bool { return slices.Contains(launcherEnv, name) }

// place is a rank's place in its pool.
type place struct {
	rank          int
	local         int // among the ranks of its node
	group, groups int // its node among the pool's
}

// rankEnv is torchrun's environment for a rank (https://docs.pytorch.org/docs/stable/elastic/run.html), except for what the node adds, and for
// TORCHELASTIC_USE_AGENT_STORE: a rank sets that when it joins, for before there is no store. run is a name that no other pool of the user has.
func rankEnv(spec PoolSpec, share Share, at place, run string) map[string]string {
	size := strconv.Itoa(spec.Ranks)
	env := map[string]string{
		"RANK":             strconv.Itoa(at.rank),
		"LOCAL_RANK":       strconv.Itoa(at.local),
		"WORLD_SIZE":       size,
		"LOCAL_WORLD_SIZE": strconv.Itoa(share.Ranks),
		"GROUP_RANK":       strconv.Itoa(at.group),
		"GROUP_WORLD_SIZE": strconv.Itoa(at.groups),
		"NODE_RANK":        strconv.Itoa(at.group), // torchrun has it as an option, and Lightning reads it
		"ROLE_RANK":        strconv.Itoa(at.rank),
		"ROLE_WORLD_SIZE":  size,
		"ROLE_NAME":        "default",

		"TORCHELASTIC_RUN_ID":        run,
		"TORCHELASTIC_RESTART_COUNT": "0", // each pool is a run of its own
		"TORCHELASTIC_MAX_RESTARTS":  "0",
	}
	set := func(name string) bool {
		return slices.ContainsFunc(share.Node.opts.Env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	}
	unset := func(name string) bool { return !set(name) && !spec.Surroundings.Sets(name) }
	if unset("OMP_NUM_THREADS") {
		env["OMP_NUM_THREADS"] = "1" // as torchrun: N ranks with a thread per core each would fight for the cores
	}
	if unset("TORCH_FR_BUFFER_SIZE") && unset("TORCH_NCCL_TRACE_BUFFER_SIZE") {
		// How many collectives torch's flight recorder remembers. It must be more than code starts at a time, such as one for each parameter of a
		// model; else the first one, for which all others wait, is forgotten. 2000 take 2 MB, and 16 ms to read (a tenth with 200). Newer torch warns
		// of the second name; the rank sets that where it is needed.
		env["TORCH_FR_BUFFER_SIZE"] = "2000"
	}
	for _, name := range []string{"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"} {
		if share.Interface != "" && unset(name) {
			env[name] = share.Interface
		}
	}
	if spec.GroupTimeout > 0 {
		env["DIPLS_GROUP_TIMEOUT"] = strconv.FormatFloat(spec.GroupTimeout.Seconds(), 'f', -1, 64)
	}
	if spec.Check {
		env["TORCH_DISTRIBUTED_DEBUG"] = "DETAIL"
	}
	// Every rank sees the pool's GPUs on its node, in rank order, so cuda:LOCAL_RANK is its own. CPU ranks see none.
	ids := make([]string, len(share.GPUs))
	for i, g := range share.GPUs {
		ids[i] = g.ID
	}
	env["CUDA_VISIBLE_DEVICES"] = strings.Join(ids, ",")
	return env
}

// keyHex is the process's signing key in hexadecimal form.
func (p *Process) keyHex() string { return hex.EncodeToString(p.key) }
