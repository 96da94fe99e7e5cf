package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// maxTimeout is the longest time for a start that -t may set, in seconds: thirty years.
const maxTimeout = 1e9

var (
	errEnded     = errors.New("the pool has ended; make one with %makedip")
	errKilled    = errors.New("the pool was ended by %makedip -k; make one with %makedip")
	errCancelled = errors.New("the start of the pool was cancelled; make one with %makedip")
	errReplaced  = errors.New("%makedip has put another pool in its place")
)

// textNoPool says that nothing was ended.
const textNoPool = "there is no pool to end"

// noPoolError says why there are no ranks.
type noPoolError struct{ err error }

func (e *noPoolError) Error() string {
	return fmt.Sprintf("there is no pool, for the last one could not be started (%v); make one with %%makedip", e.err)
}

func (e *noPoolError) Unwrap() error { return e.err }

// Make does what %makedip asks for; docs/wire.md describes the command. text says what was done. An impossible choice is a
// *[ChoiceError]. When ctx ends, a start is given up and leaves nothing running, and a shutdown becomes a short one.
//
// If Make has to end ranks, it ends what runs on them, so an executor calls it in its turn.
func (s *processes) Make(ctx context.Context, cmd wire.MakeCommand) (text string, err error) {
	return s.MakeFor(ctx, s.chose(), cmd)
}

// MakeFor is Make for somebody who has chosen a pool: what the command does not say is as that, unless the last pool was chosen so, too.
func (s *processes) MakeFor(ctx context.Context, c Choice, cmd wire.MakeCommand) (text string, err error) {
	if err := checkMake(cmd); err != nil {
		return "", err
	}
	if err := s.beginMaking(ctx); err != nil {
		return "", err
	}
	defer s.endMaking()
	if cmd.Kill {
		return s.kill(ctx)
	}
	for {
		text, err := s.makeUnless(ctx, c, cmd)
		if !errors.Is(err, errOvertaken) {
			return text, err
		}
	}
}

// errOvertaken says that a pool has been begun, or claimed, while another one was thought about: a call of another front needs ranks.
var errOvertaken = errors.New("somebody else needs ranks")

// makeUnless is MakeFor, unless it is overtaken.
func (s *processes) makeUnless(ctx context.Context, c Choice, cmd wire.MakeCommand) (text string, err error) {
	s.mu.Lock()
	s.choosePool(c)
	old := s.current
	s.mu.Unlock()
	living := false
	if old != nil && !cmd.Restart {
		if living, err = s.alive(ctx, old); err != nil {
			return "", err
		}
	}
	choose := s.chooser(cmd)
	on, err := s.wantedOn(cmd)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	// Other hosts come only after the old pool has ended: its own may be among them. Then nobody knows yet which ranks they have room for.
	elsewhere := !on.here() && !s.holds(on)
	s.mu.Unlock()
	next := prospect{choose: choose, want: func(ctx context.Context) (poolSpec, error) { return s.wanted(ctx, cmd) }}
	if !elsewhere {
		spec, err := s.wanted(ctx, cmd)
		if err != nil {
			return "", err
		}
		next = settled(spec, choose)
	}
	if !living {
		return s.replace(ctx, old, false, false, next)
	}
	now := s.surroundings()
	late := s.late(ctx, old, now)
	s.mu.Lock()
	claimed, used, same := old.claimed, old.used, !elsewhere && sameKind(old.spec, next.spec)
	s.mu.Unlock()
	switch {
	case same && !used && len(late) > 0:
		return s.replace(ctx, old, true, claimed, next)
	case same:
		if len(late) > 0 {
			s.tellLate(old, late)
		}
		if !used {
			s.bringUpToDate(old, now)
		}
		return s.adjust(ctx, old, cmd)
	case claimed:
		return "", choiceErrorf("there is a pool of %s; its variables would be lost: add -r to replace it", count(old.value.Size(), "rank"))
	default:
		return s.replace(ctx, old, true, false, next)
	}
}

// prospect is a pool to come.
type prospect struct {
	want   chooser  // gives the pool's spec
	spec   poolSpec // the same; zero: that is known only when the pool before it has ended
	choose chooser  // how its ranks are chosen
}

// settled is a pool to come whose spec is known.
func settled(spec poolSpec, choose chooser) prospect {
	return prospect{spec: spec, choose: choose, want: func(context.Context) (poolSpec, error) { return spec, nil }}
}

// chooses reports whether a command says which ranks it wants.
func chooses(cmd wire.MakeCommand) bool {
	return cmd.GPUs != nil || cmd.Ranks > 0 || cmd.Hosts != nil || cmd.RanksPerHost > 0
}

// wantedOn is where a command wants a pool. What it does not say is as for the last pool, or as the session's choice.
func (s *processes) wantedOn(cmd wire.MakeCommand) (allocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.o.Pool.allocation()
	if s.last != nil {
		on = s.last.on
	}
	if cmd.Hosts != nil {
		on = Choice{Hosts: *cmd.Hosts, HostTerms: s.o.Pool.HostTerms}.allocation()
	}
	if !on.here() {
		if _, err := fleet.Check(on.hosts); err != nil {
			return on, choiceErrorf("%v", err)
		}
	}
	if cmd.Shrink && (s.last == nil || !s.holds(on)) {
		return on, choiceErrorf("--shrink: there are no hosts that could be left out")
	}
	return on, nil
}

// chooser is how a command chooses the ranks: by itself, or as the pool before it.
func (s *processes) chooser(cmd wire.MakeCommand) chooser {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case chooses(cmd):
		return func(ctx context.Context) (poolSpec, error) { return s.chosen(ctx, cmd) }
	case s.choose != nil:
		return s.choose
	default:
		return s.PoolSpec
	}
}

// checkMake refuses a command that contradicts itself.
func checkMake(cmd wire.MakeCommand) error {
	switch {
	case cmd.Kill && (cmd.Restart || cmd.GPUs != nil || cmd.Ranks != 0 || cmd.App != "" || cmd.Verbose != nil || cmd.Seed != nil ||
		cmd.Check || cmd.GroupTimeout != 0 || cmd.Hosts != nil || cmd.RanksPerHost != 0 || cmd.Shrink || cmd.Sync):
		return choiceErrorf("-k ends the pool and goes with no other flag; -r ends it and makes a new one")
	case cmd.Ranks < 0:
		return choiceErrorf("-n %d: a pool has at least one rank", cmd.Ranks)
	case cmd.RanksPerHost < 0:
		return choiceErrorf("--ranks-per-host %d: a host has at least one rank", cmd.RanksPerHost)
	case cmd.Shrink && (chooses(cmd) || !cmd.Restart):
		return choiceErrorf("--shrink goes with -r alone: it makes the pool anew, on the hosts that are left")
	case cmd.GPUs != nil && strings.TrimSpace(*cmd.GPUs) == "":
		return choiceErrorf("-g: say all, or the GPUs' numbers, such as 0 1")
	case !(cmd.Timeout >= 0 && cmd.Timeout <= maxTimeout): // NaN is neither
		return choiceErrorf("-t %g: want seconds, more than 0", cmd.Timeout)
	case !(cmd.GroupTimeout >= 0 && cmd.GroupTimeout <= maxTimeout):
		return choiceErrorf("--group-timeout %g: want seconds, more than 0", cmd.GroupTimeout)
	}
	return nil
}

// alive waits until a pool has started, and reports whether it lives.
func (s *processes) alive(ctx context.Context, p *pool) (bool, error) {
	started, err := p.wait(ctx)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil && !started.State().Final(), nil
}

// wanted is the pool that a command asks for. What it does not say is as for the last pool, or as the session's choice.
func (s *processes) wanted(ctx context.Context, cmd wire.MakeCommand) (spec poolSpec, err error) {
	s.mu.Lock()
	last, choose := s.last, s.choose
	kept := last != nil && last.seats != nil && s.holds(last.on)
	s.mu.Unlock()
	switch {
	case chooses(cmd):
		spec, err = s.chosen(ctx, cmd)
	case kept && cmd.Shrink:
		spec, err = s.shrunk(ctx, *last)
	case kept:
		spec = *last
	case last != nil && last.seats != nil:
		spec, err = choose(ctx)
	case last != nil && !slices.Contains(changedNames(last.Surroundings, s.surroundings()), host.GPUMaskName):
		spec = *last
	case last != nil:
		spec, err = choose(ctx)
	default:
		spec, err = s.PoolSpec(ctx)
	}
	if err != nil {
		return spec, err
	}
	if last != nil {
		spec.App, spec.Verbose, spec.Seed, spec.GroupTimeout = last.App, last.Verbose, last.Seed, last.GroupTimeout
		spec.Check = last.Check && !cmd.Restart
	}
	spec.Check = spec.Check || cmd.Check
	spec.sync = spec.sync || last != nil && last.sync || cmd.Sync
	if spec.sync && spec.on.here() {
		spec.sync = false
		if cmd.Sync {
			return spec, choiceErrorf("--sync: the ranks run on this machine, where the files are; -H names hosts")
		}
	}
	if cmd.App != "" {
		spec.App = cmd.App
	}
	if cmd.Verbose != nil {
		spec.Verbose = *cmd.Verbose
	}
	if cmd.Seed != nil {
		if spec.Seed, err = ranks.NewSeed(*cmd.Seed); err != nil {
			return spec, choiceErrorf("%v", err)
		}
	}
	if cmd.GroupTimeout > 0 {
		spec.GroupTimeout = time.Duration(cmd.GroupTimeout * float64(time.Second))
	}
	spec.Timeout = s.chose().Timeout
	if cmd.Timeout > 0 {
		spec.Timeout = time.Duration(cmd.Timeout * float64(time.Second))
	}
	return spec, nil
}

// chosen is the session's choice with the ranks and GPUs of a command.
func (s *processes) chosen(ctx context.Context, cmd wire.MakeCommand) (poolSpec, error) {
	choice := s.chose()
	on, err := s.wantedOn(cmd)
	if err != nil {
		return poolSpec{}, err
	}
	choice.Hosts, choice.HostTerms = on.hosts, on.terms
	if choice.RanksPerHost = cmd.RanksPerHost; choice.RanksPerHost == 0 && cmd.Ranks == 0 && cmd.Hosts == nil {
		choice.RanksPerHost = s.chose().RanksPerHost
	}
	cpuRanks := choice.Ranks
	if cpuRanks == 0 {
		cpuRanks = defaultCPURanks
	}
	choice.GPUs, choice.Ranks = "", cmd.Ranks
	if cmd.GPUs != nil {
		choice.GPUs = *cmd.GPUs
	}
	if choice.Hosts != "" {
		return s.spread(ctx, choice, defaultCPURanks)
	}
	spec, err := choice.spec(ctx, s.o.Node.Host, cpuRanks, s.gpuMask())
	return poolSpec{PoolSpec: spec}, err
}

// shrunk is a pool without the hosts that are lost.
func (s *processes) shrunk(ctx context.Context, spec poolSpec) (poolSpec, error) {
	_, of, err := s.hostsOf(ctx, spec.on)
	if err != nil {
		return spec, err
	}
	left := spec.without(of.Shrink())
	if left.Ranks == 0 {
		return spec, choiceErrorf("--shrink: no host is left; %%makedip -r starts them all anew")
	}
	return left, nil
}

// replace ends a pool, if there is one, and starts another. Calls that need ranks meanwhile wait for the new ones. The error is errOvertaken if the pool is not
// the present one any more, or, if it is to be unused, somebody has used it or asked for it since.
func (s *processes) replace(ctx context.Context, old *pool, unused, claimed bool, next prospect) (text string, err error) {
	begun := time.Now()
	s.mu.Lock()
	if s.current != old || unused && (old.used || old.claimed != claimed) {
		s.mu.Unlock()
		return "", errOvertaken
	}
	p := s.succeed(old, next)
	p.waiting++
	s.mu.Unlock()

	started, err := awaitOrCancel(ctx, p.future)
	s.mu.Lock()
	p.waiting--
	s.mu.Unlock()
	if err != nil {
		return "", explainStart(err, p.ended)
	}
	s.mu.Lock()
	spec := p.spec
	s.mu.Unlock()
	return fmt.Sprintf("%s, ready in %.1f s", describe(started, spec), time.Since(begun).Seconds()), nil
}

// succeed begins a pool that replaces another one, if there is one, and ends that. s.mu is held.
func (s *processes) succeed(old *pool, next prospect) *pool {
	p := &pool{began: time.Now(), spec: next.spec, choose: next.choose, claimed: true, choice: s.o.Pool}
	s.forgetDeadNode()
	p.future = begin(s, func(ctx context.Context) (*ranks.Pool, error) {
		var err error
		if p.ended, err = s.end(ctx, old, errReplaced); err != nil {
			return nil, &noPoolError{err}
		}
		started, err := onLivingNode(ctx, s, func(ctx context.Context) (*ranks.Pool, error) {
			spec, err := next.want(ctx)
			if err != nil {
				return nil, err
			}
			return s.startPool(ctx, p, spec)
		})
		if err != nil {
			return nil, &noPoolError{err}
		}
		return started, nil
	})
	s.current = p
	return p
}

// explainStart turns the error of a start into what the user needs to know; ended: a living pool was ended for it.
func explainStart(err error, ended bool) error {
	var none *noPoolError
	if errors.As(err, &none) {
		err = none.err
	}
	var late *ranks.StartTimeoutError
	switch {
	case errors.As(err, &late):
		err = fmt.Errorf("%w; -t SECONDS allows more", err)
	case errors.Is(err, context.Canceled):
		err = errors.New("the start was interrupted")
	}
	if ended {
		err = fmt.Errorf("the old pool has ended, and the new one could not be started: %w", err)
	}
	return err
}

// end ends a pool, or its start, whatever its ranks do. ended is true if it lived; calls that wait for the start get why as their error. p may be
// nil.
func (s *processes) end(ctx context.Context, p *pool, why error) (ended bool, err error) {
	if p == nil {
		return false, nil
	}
	p.cancel(why)
	<-p.done
	if p.value == nil {
		return false, nil
	}
	ended = !p.value.State().Final()
	if err := p.value.Shutdown(ctx, s.o.Node.Ladder); err != nil {
		return ended, fmt.Errorf("end the old pool: %w", err)
	}
	return ended, nil
}

// kill ends the pool: no other one is started until somebody asks for one.
func (s *processes) kill(ctx context.Context) (text string, err error) {
	s.mu.Lock()
	old := s.current
	starting := old != nil && !old.known()
	held := s.away != nil && !s.away.gone()
	s.current = &pool{future: failed[*ranks.Pool](errKilled)}
	s.mu.Unlock()
	ended, err := s.end(ctx, old, errKilled)
	err = errors.Join(err, s.leaveHosts(ctx))
	switch {
	case err != nil:
		return "", err
	case ended:
		return fmt.Sprintf("the pool of %s has ended", count(old.value.Size(), "rank")), nil
	case old != nil && old.value != nil:
		return "the pool had ended already", nil
	case starting:
		return "the start of the pool was given up", nil
	case held:
		return "there was no pool; the hosts were given back", nil
	default:
		return textNoPool, nil
	}
}

// adjust changes what can be changed in a living pool: its app, and whether that is verbose.
func (s *processes) adjust(ctx context.Context, p *pool, cmd wire.MakeCommand) (text string, err error) {
	s.mu.Lock()
	spec, claimed := p.spec, p.claimed
	p.claimed = true
	s.mu.Unlock()
	var req wire.AppRequest
	if cmd.App != "" && cmd.App != p.value.App() && cmd.App != spec.App {
		req.App, spec.App = &cmd.App, cmd.App
	}
	if cmd.Verbose != nil && *cmd.Verbose != spec.Verbose {
		req.Verbose, spec.Verbose = cmd.Verbose, *cmd.Verbose
	}
	size := count(p.value.Size(), "rank")
	begins := cmd.Sync && !spec.sync
	if begins {
		spec.sync = true
		s.mu.Lock()
		p.spec, s.last = spec, &spec
		s.mu.Unlock()
	}
	if req != (wire.AppRequest{}) {
		notices, err := p.value.SetApp(ctx, req)
		if err != nil {
			return "", fmt.Errorf("the ranks may not agree on the app now; %%makedip -r restarts the pool of %s (%w)", size, err)
		}
		s.tell(notices)
		s.mu.Lock()
		p.spec, s.last = spec, &spec
		s.mu.Unlock()
	}
	switch {
	case !claimed:
		return describe(p.value, spec), nil
	case begins && req == (wire.AppRequest{}):
		return fmt.Sprintf("the hosts of the pool of %s get the project's Python files before each run that changed them", size), nil
	case req == (wire.AppRequest{}):
		return fmt.Sprintf("there is a pool of %s already; -r restarts it", size), nil
	default:
		return fmt.Sprintf("pool of %s: app %s, %s", size, p.value.App(), verbosity(spec)), nil
	}
}

func verbosity(spec poolSpec) string {
	if spec.Verbose {
		return "verbose"
	}
	return "not verbose"
}

// describe is "pool of 3 ranks on the CPU over gloo, app torch".
func describe(p *ranks.Pool, spec poolSpec) string {
	where := "the CPU"
	if len(spec.GPUs) > 0 {
		where = count(len(spec.GPUs), "GPU")
	}
	if spec.seats != nil {
		where += " of " + count(len(spec.seats), "host")
	}
	text := fmt.Sprintf("pool of %s on %s", count(p.Size(), "rank"), where)
	if backend := p.Backend(); backend != "" {
		text += " over " + backend
	}
	if app := p.App(); app != "" {
		text += ", app " + app
	}
	if seed := spec.Seed.Of(ranklist.Rank(0)); seed != nil {
		text += fmt.Sprintf(", seed %d", *seed)
	}
	if spec.Check {
		text += ", collectives are compared"
	}
	return text
}
