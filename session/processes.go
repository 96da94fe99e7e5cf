package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/dipexec"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// processOptions say how to start processes.
type processOptions struct {
	Node ranks.Options // of its node
	Pool Choice        // the pool, if nobody asks for another one
	Size *size         // what Pool means on this machine, if that is known already

	Strict bool // a pool without the app or the modules to be preloaded that were asked for is an error, and not a warning

	// Warn gets sentences about what was lost when processes were ended, or is not as it was asked for. Nil: Notice gets them.
	Warn func(text string)
	// Notice gets sentences from the pool and its ranks. May be nil.
	Notice func(text string)
	// Fleet starts the hosts of a pool that does not run on this machine. Nil: there are no such pools.
	Fleet fleet.Starter
	// Waits gets a short text of what the start of hosts waits for, and GivenUp is called if they do not come. May be nil.
	Waits   func(text string)
	GivenUp func(reason string)
	// Install installs missing packages, or says why not. Nil: missing packages are an error.
	Install func(context.Context, *host.MissingPackagesError) error
	// Consent is asked before a node starts, which runs the interpreter and what that finds. Its error says why not. Nil: it may start.
	Consent func(context.Context) error
	// Env are variables that all processes are to have, on every host. Variables gives those and further ones, once Consent was given; nil: there are none.
	Env       map[string]string
	Variables func() (map[string]string, error)
}

// size is what a choice means on this machine.
type size struct {
	choice Choice
	mask   *string // the CUDA_VISIBLE_DEVICES that it is for
	spec   ranks.PoolSpec
}

// processes are a node, its local namespace and its pool, each started when it is first needed. Its methods may be called at the
// same time.
type processes struct {
	o      processOptions  // o.Pool under mu
	ctx    context.Context // ends when Close begins: whatever is being started is given up
	cancel context.CancelCauseFunc
	starts sync.WaitGroup // futures that are not known yet
	making chan struct{}  // cap 1: held by the call that replaces processes, so that only one does at a time

	mu      sync.Mutex // guards what follows
	closed  bool
	choice  *ranks.PoolSpec   // what o.Pool means on this machine; nil until asked for
	mask    *string           // the CUDA_VISIBLE_DEVICES that choice is for
	last    *poolSpec         // of the last pool that has started, with the changes since; nil: none has
	choose  chooser           // of that pool
	given   map[string]string // variables of all processes, as far as they are known
	node    *future[*ranks.Node]
	local   *future[*ranks.Process]
	used    *future[*ranks.Process] // the local namespace that somebody has run something in; nil: none
	current *pool
	away    *hosts // the machines of pools that are not on this one; nil: there are none
}

// pool is a pool, from the decision to start it.
type pool struct {
	*future[*ranks.Pool]
	began  time.Time
	choice Choice  // the choice when this was begun
	choose chooser // how its ranks were chosen
	ended  bool    // another pool was ended for it; set with the future's outcome

	// Under the mu of the processes:
	spec    poolSpec // zero until it is known
	claimed bool     // somebody has asked for this pool, or has its ranks
	used    bool     // somebody has its ranks
	waiting int      // calls that wait for its ranks

	seen     *wire.Surroundings // the surroundings when its ranks were last asked for
	toldLate string             // what the user was last told about them
}

var (
	_ dipexec.Pool    = (*processes)(nil)
	_ dipexec.Manager = (*processes)(nil)
)

// newProcesses returns processes, none of them started yet. Close ends them.
func newProcesses(o processOptions) *processes {
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.Warn == nil {
		o.Warn = o.Notice
	}
	o.Node.OnLoss = o.Warn
	if o.Node.Ladder == (ranks.Ladder{}) {
		o.Node.Ladder = ranks.DefaultLadder
	}
	o.Node.Notice = o.Notice
	if o.Node.Host == nil {
		o.Node.Host = host.Local{}
	}
	s := &processes{o: o, given: o.Env, making: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if o.Size != nil {
		s.choice, s.mask = &o.Size.spec, o.Size.mask
	}
	return s
}

// PoolSpec is the pool that the options ask for. Where that names hosts, these are started. An error that is no *[ChoiceError] means that the GPUs
// could not be looked for.
func (s *processes) PoolSpec(ctx context.Context) (poolSpec, error) {
	mask := s.gpuMask()
	s.mu.Lock()
	choice, known, of := s.o.Pool, s.choice, s.mask
	s.mu.Unlock()
	if choice.Hosts != "" {
		return s.spread(ctx, choice, defaultCPURanks)
	}
	if s.o.Variables != nil { // they may say which GPUs there are
		if _, err := s.startedNode(ctx); err != nil {
			return poolSpec{}, err
		}
		mask = s.gpuMask()
	}
	if known != nil && equal(of, mask) {
		return poolSpec{PoolSpec: *known}, nil
	}
	spec, err := choice.spec(ctx, s.o.Node.Host, defaultCPURanks, mask)
	if err != nil {
		return poolSpec{PoolSpec: spec}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.Pool == choice {
		s.choice, s.mask = &spec, mask
	}
	return poolSpec{PoolSpec: spec}, nil
}

// spread is the pool of a choice that names hosts, which are started if there are none yet.
func (s *processes) spread(ctx context.Context, choice Choice, cpuRanks int) (poolSpec, error) {
	if err := choice.check(); err != nil {
		return poolSpec{}, err
	}
	_, of, err := s.hostsOf(ctx, choice.allocation())
	if err != nil {
		return poolSpec{}, err
	}
	return choice.spread(ctx, of.Members(), cpuRanks)
}

// equal reports whether two variables have the same value, or neither is set.
func equal(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// GPUs are the GPUs that a pool can be made of now: those that the local namespace would see.
func (s *processes) GPUs(ctx context.Context) ([]host.GPU, error) {
	return s.o.Node.Host.GPUs(ctx, s.gpuMask())
}

// gpuMask is what CUDA_VISIBLE_DEVICES is for what the local namespace starts; nil: it is not set.
func (s *processes) gpuMask() *string {
	return ranks.GPUMask(s.environ(s.o.Node.Host), s.surroundings())
}

// environ is the environment of a node on a host, in the form of [os.Environ], as far as it is known.
func (s *processes) environ(on host.Host) []string {
	environ := s.o.Node.Env
	if environ == nil || on != s.o.Node.Host {
		environ = on.Environ()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return withVariables(environ, s.given)
}

// learnVariables finds out which variables all processes are to have.
func (s *processes) learnVariables() error {
	if s.o.Variables == nil {
		return nil
	}
	given, err := s.o.Variables()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = given
	return nil
}

// Begin starts the node, and begins to start the pool and the local namespace, while the first cells may already run.
func (s *processes) Begin(ctx context.Context, withRanks, withLocal bool) error {
	if _, err := s.startedNode(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The pool first: the node then has torch when it forks the local namespace, which need not import it again.
	if withRanks {
		s.needPool()
	}
	if withLocal {
		s.needLocal()
	}
	return nil
}

// AwaitPool waits for a pool that is being started, and says why it could not be.
func (s *processes) AwaitPool(ctx context.Context) error {
	s.mu.Lock()
	p := s.needPool()
	s.mu.Unlock()
	_, err := p.wait(ctx)
	return err
}

// Prepare starts the node and makes it import what ranks need, so that a pool starts quickly later.
func (s *processes) Prepare(ctx context.Context) error {
	node, err := s.startedNode(ctx)
	if err != nil {
		return err
	}
	return node.Preload(ctx, s.chose().App)
}

// Unusable says why the node could not be started, so that nothing else can be; nil if it was started, or was not needed yet.
func (s *processes) Unusable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil || !s.node.known() {
		return nil
	}
	return s.node.err
}

// ChooseFirst is for calls that begin a pool only if there is none: then it is to be that one.
func (s *processes) ChooseFirst(c Choice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		s.choosePool(c)
	}
}

// choosePool changes the default for the next pool. One that lives, or is being started, stays as it is. s.mu is held.
func (s *processes) choosePool(c Choice) {
	if s.o.Pool != c {
		s.o.Pool, s.choice, s.last, s.choose = c, nil, nil, nil
	}
}

// PoolChoice is the choice when the pool was begun; ok is false if there is no pool.
func (s *processes) PoolChoice() (c Choice, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return Choice{}, false
	}
	return s.current.choice, true
}

// chose is the present choice.
func (s *processes) chose() Choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.o.Pool
}

// CancelStart gives up the start of a pool, if one is being started. Then there is none until somebody makes one.
func (s *processes) CancelStart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.current; p != nil && !p.known() {
		p.cancel(errCancelled)
	}
}

// Finish makes idle processes end as Python does at the end of a script: see [ranks.Finish]. The local namespace ends first, since its work in the
// background may need the ranks. The ranks of a dead pool, and everything that is still being started, are left to Close.
// waits is told what is waited for.
func (s *processes) Finish(ctx context.Context, waits func(text string)) error {
	s.mu.Lock()
	local, current := s.local, s.current
	s.mu.Unlock()
	var failed error
	if local != nil && local.known() && local.value != nil {
		failed = ranks.Finish(ctx, []*ranks.Process{local.value}, waits)
	}
	if ctx.Err() == nil && current != nil && current.known() && current.value != nil && current.value.Err() == nil {
		failed = errors.Join(failed, ranks.Finish(ctx, current.value.Ranks(), waits))
	}
	return failed
}

// Close ends everything that was started, in order, and at once when ctx ends. Every call waits until nothing is left.
func (s *processes) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	node := s.node
	s.mu.Unlock()
	s.cancel(errClosed)
	defer s.starts.Wait()
	given := make(chan error, 1)
	s.starts.Go(func() { given <- s.leaveHosts(ctx) })
	var err error
	if node != nil {
		if <-node.done; node.value != nil { // else a failed start has cleaned up after itself
			err = node.value.Close(ctx)
		}
	}
	return errors.Join(err, <-given)
}

// Local returns the local namespace. One that has died is not replaced, since its variables are lost, and the user should know: see RestartLocal.
func (s *processes) Local(ctx context.Context) (dipexec.Process, error) {
	s.mu.Lock()
	f := s.needLocal()
	s.mu.Unlock()
	local, err := f.wait(ctx)
	if err != nil {
		return nil, err // not local: a nil *Process in an interface is not nil
	}
	if err := local.Err(); err != nil {
		return nil, fmt.Errorf("the local namespace is dead and its variables are lost (%w); \"Restart the local namespace\" in an editor starts another, "+
			"and so does the next run after \"dipls stop\"", err)
	}
	return local, nil
}

// UseLocal is Local for something that may make variables there.
func (s *processes) UseLocal(ctx context.Context) (dipexec.Process, error) {
	s.mu.Lock()
	s.used = s.needLocal()
	s.mu.Unlock()
	return s.Local(ctx)
}

// Fresh reports whether nothing has run in the local namespace, and on the ranks, since they were started.
func (s *processes) Fresh() (local, pool bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used == nil || s.used != s.local, s.current == nil || !s.current.used
}

// RestartLocal replaces the local namespace by a fresh one, whatever it is doing. When ctx ends, the start is given up, and there is
// none until the next RestartLocal.
func (s *processes) RestartLocal(ctx context.Context) error {
	if err := s.beginMaking(ctx); err != nil {
		return err
	}
	defer s.endMaking()
	s.mu.Lock()
	f := begin(s, func(ctx context.Context) (*ranks.Process, error) {
		return onLivingNode(ctx, s, func(ctx context.Context) (*ranks.Process, error) {
			node, err := s.startedNode(ctx)
			if err != nil {
				return nil, err
			}
			if err := node.RestartLocal(ctx); err != nil {
				return nil, err
			}
			return node.Local(ctx)
		})
	})
	s.local = f
	s.mu.Unlock()
	_, err := awaitOrCancel(ctx, f)
	return err
}

// Ranks returns the ranks. A pool with a dead rank is not replaced, since the other ranks still have their variables: the
// error is a *[dipexec.BrokenPoolError]. A pool that was ended, or could not be made, is not replaced either.
func (s *processes) Ranks(ctx context.Context) ([]dipexec.Process, error) {
	for {
		s.mu.Lock()
		p := s.needPool()
		p.claimed = true
		p.waiting++
		s.mu.Unlock()
		living, err := p.wait(ctx)
		s.mu.Lock()
		p.waiting--
		s.mu.Unlock()
		if ctx.Err() != nil {
			s.leaveQueue(p)
		}
		if err != nil {
			return nil, err
		}
		if err := living.Err(); err != nil {
			return nil, &dipexec.BrokenPoolError{Ranks: dipexec.ProcessesOf(living), Err: err}
		}
		if living.State().Final() {
			return nil, errEnded
		}
		renewed, err := s.settle(ctx, p)
		if err != nil {
			return nil, err
		}
		if !renewed {
			if err := s.syncHosts(ctx, p); err != nil {
				return nil, err
			}
			return dipexec.ProcessesOf(living), nil
		}
	}
}

// needLocal is the local namespace; the first call begins it. s.mu is held.
func (s *processes) needLocal() *future[*ranks.Process] {
	if s.local == nil {
		s.local = begin(s, func(ctx context.Context) (*ranks.Process, error) {
			node, err := s.startedNode(ctx)
			if err != nil {
				return nil, err
			}
			return node.Local(ctx)
		})
	}
	return s.local
}

// needPool is the pool; the first call begins it. s.mu is held.
func (s *processes) needPool() *pool {
	if s.current == nil {
		p := &pool{began: time.Now(), choice: s.o.Pool, choose: s.PoolSpec}
		p.future = begin(s, func(ctx context.Context) (*ranks.Pool, error) {
			spec, err := s.PoolSpec(ctx)
			if err != nil {
				return nil, err
			}
			return s.startPool(ctx, p, spec)
		})
		s.current = p
	}
	return s.current
}

// startPool starts a pool and passes on its notices.
func (s *processes) startPool(ctx context.Context, p *pool, spec poolSpec) (*ranks.Pool, error) {
	spec.Surroundings = s.surroundings()
	s.mu.Lock()
	p.spec = spec
	s.mu.Unlock()
	if spec.seats != nil {
		var cancel context.CancelFunc
		ctx, cancel = s.withStartTimeout(ctx, p, spec)
		defer cancel()
	}
	shares, err := s.shares(ctx, &spec)
	if err != nil {
		return nil, s.withHostsKept(ctx, err)
	}
	started, err := ranks.StartPool(ctx, spec.PoolSpec, shares...)
	if err != nil {
		return nil, s.withHostsKept(ctx, err)
	}
	unmet := started.Unmet()
	if s.o.Strict && len(unmet) > 0 && (spec.App == "" || spec.App == s.o.Pool.App) {
		return nil, errors.Join(unmetError(unmet), started.Shutdown(ctx, s.o.Node.Ladder))
	}
	for _, text := range started.Notices() {
		if slices.Contains(unmet, text) {
			s.o.Warn(text)
			continue
		}
		s.o.Notice(text)
	}
	if spec.idle != nil {
		s.o.Notice(strings.Join(spec.idle, ", ") + ": no rank is left for this host; say how many each is to have (NAME:N), or leave it out")
		spec.idle = nil // once is enough
	}
	s.mu.Lock()
	s.last, s.choose = &spec, p.choose
	s.mu.Unlock()
	return started, nil
}

// unmetError is the error about what was asked for and is not there. That a pool runs without it is not so where it is an error.
func unmetError(unmet []string) error {
	for i, text := range unmet {
		unmet[i], _, _ = strings.Cut(text, "; the pool runs as ")
	}
	return errors.New("nothing was run on ranks: " + strings.Join(unmet, "; "))
}

// shares are the nodes that run a pool. Those of another pool's hosts are given back.
func (s *processes) shares(ctx context.Context, spec *poolSpec) ([]ranks.Share, error) {
	if spec.seats != nil {
		return s.sharesOn(ctx, spec)
	}
	if err := s.leaveHosts(ctx); err != nil {
		return nil, err
	}
	node, err := s.startedNode(ctx)
	if err != nil {
		return nil, err
	}
	return []ranks.Share{{Node: node, Ranks: spec.Ranks, GPUs: spec.GPUs}}, nil
}

// tell tells notices.
func (s *processes) tell(notices []string) {
	for _, text := range notices {
		s.o.Notice(text)
	}
}

// startedNode is the node; the first call starts it.
func (s *processes) startedNode(ctx context.Context) (*ranks.Node, error) {
	s.mu.Lock()
	if s.node == nil {
		s.node = begin(s, s.startNode)
	}
	f := s.node
	s.mu.Unlock()
	return f.wait(ctx)
}

// cacheTold is done once the user was told that the cache is not used.
var cacheTold sync.Once

// startNode starts a node, after installing missing packages if that is allowed.
func (s *processes) startNode(ctx context.Context) (*ranks.Node, error) {
	if s.o.Consent != nil {
		if err := s.o.Consent(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.learnVariables(); err != nil {
		return nil, err
	}
	if notice := host.CacheNotice(); notice != "" {
		cacheTold.Do(func() { s.o.Notice(notice) })
	}
	options := s.o.Node
	options.Seed, options.Env = s.chose().Seed, s.environ(options.Host)
	node, err := ranks.StartNode(ctx, options)
	var missing *host.MissingPackagesError
	if !errors.As(err, &missing) || s.o.Install == nil {
		return node, err
	}
	if err := s.o.Install(ctx, missing); err != nil {
		return nil, err
	}
	return ranks.StartNode(ctx, options)
}

// forgetDeadNode begins another node if the present one has ended, or lets the next start do so if it could not be started. s.mu is held.
func (s *processes) forgetDeadNode() {
	switch {
	case s.node == nil || !s.node.known():
	case s.node.value == nil:
		s.node = nil
	case hasEnded(s.node):
		old := s.node.value
		s.node = begin(s, func(ctx context.Context) (*ranks.Node, error) {
			<-old.Done() // whatever is left of it goes first, even if ctx ends
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return s.startNode(ctx)
		})
	}
}

// hasEnded reports whether a node has lived and has ended. What is left of it may not be gone yet.
func hasEnded(f *future[*ranks.Node]) bool {
	if f == nil || !f.known() || f.value == nil {
		return false
	}
	select {
	case <-f.value.Exited():
		return true
	default:
		return false
	}
}

// onLivingNode starts something that needs a node: on a new one if the present one has ended. It tries once more if the node turns out to have ended
// unnoticed.
func onLivingNode[T any](ctx context.Context, s *processes, start func(context.Context) (T, error)) (T, error) {
	s.mu.Lock()
	s.forgetDeadNode()
	node := s.node
	s.mu.Unlock()
	value, err := start(ctx)
	if err == nil || ctx.Err() != nil || !hasEnded(node) {
		return value, err
	}
	s.mu.Lock()
	s.forgetDeadNode()
	s.mu.Unlock()
	return start(ctx)
}

// beginMaking waits until nobody else replaces processes.
func (s *processes) beginMaking(ctx context.Context) error {
	select {
	case s.making <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *processes) endMaking() { <-s.making }

// awaitOrCancel waits for the outcome of a start that ends with ctx.
func awaitOrCancel[T any](ctx context.Context, f *future[T]) (T, error) {
	stop := context.AfterFunc(ctx, func() { f.cancel(context.Cause(ctx)) })
	defer stop()
	<-f.done
	return f.value, f.err
}
