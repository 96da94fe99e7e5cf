package dipexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/bytesize"
	"dipls/internal/ranklist"
	"dipls/ranks"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// push gives ranks the variables of a payload, all of them or none: the ranks unpickle them, and bind them once every rank has.
func (c *command) push(cmd wire.PushCommand) (any, error) {
	all, procs, err := c.ranks(cmd.Names, cmd.Ranks)
	if err != nil {
		return nil, err
	}
	// A rank that waits in a collective of a run that was given up would never serve it.
	if c.e.stillOn(procs) != nil && c.e.anyWaits(c.ctx, procs) {
		if err := c.e.freeBetween(c.ctx, all); err != nil {
			return nil, err
		}
	}
	req, err := ranks.PreparePush(wire.PushRequest{Names: cmd.Names, Payload: cmd.Payload})
	if err != nil {
		return nil, valueError(err)
	}
	defer req.Free()
	moving := c.moving("push")
	err = req.Spread(c.ctx, c.proc.p.Host(), hostsOf(procs), moving.part())
	moving.end(err)
	if err != nil {
		return nil, &commandError{"RuntimeError", err.Error() + "; nothing was pushed"}
	}
	errs := onAll(procs, func(_ int, p Process) error { return p.Push(c.ctx, req) })
	failed := errors.Join(errs...) != nil || c.ctx.Err() != nil
	for i, p := range procs {
		if errs[i] == nil {
			p.EndPush(!failed)
		}
	}
	if failed {
		return nil, c.e.transferError(procs, errs, "nothing was pushed")
	}
	return wire.PushCommandReply{CommandStatus: c.ok(), Ranks: rankNumbers(procs), Pool: c.e.poolNumber()}, nil
}

// pull makes ranks pickle variables, also ranks that wait in a collective of a run that hangs or was given up. The command holds the payloads.
func (c *command) pull(cmd wire.PullCommand) (any, error) {
	_, procs, err := c.ranks(cmd.Names, cmd.Ranks)
	if broken, ok := errors.AsType[*BrokenPoolError](err); ok {
		procs, err = c.survivors(broken, cmd.Ranks)
	}
	if err != nil {
		return nil, err
	}
	reply := wire.PullCommandReply{CommandStatus: c.ok(), Payloads: make([]wire.RankPayload, len(procs))}
	releases := make([]func(), len(procs))
	busy := c.e.stillOn(procs)
	moving := c.moving("pull")
	errs := onAll(procs, func(i int, p Process) (err error) {
		reply.Payloads[i].Rank = rankOf(p)
		var payload wire.Payload
		var release func()
		if slices.Contains(busy, p) {
			payload, release, err = p.PullBeside(c.ctx, cmd.Names)
		} else {
			payload, release, err = p.Pull(c.ctx, cmd.Names)
		}
		if err != nil {
			return err
		}
		here, free, err := ranks.Bring(c.ctx, payload, p.Host(), c.proc.p.Host(), moving.part())
		if err != nil {
			release()
			return err
		}
		reply.Payloads[i].Payload, releases[i] = here, func() { free(); release() }
		return nil
	})
	moving.end(errors.Join(errs...))
	release := func() {
		for i, err := range errs {
			if err == nil {
				releases[i]()
			}
		}
	}
	if errors.Join(errs...) != nil || c.ctx.Err() != nil {
		release()
		return nil, c.e.transferError(procs, errs, "nothing was pulled")
	}
	c.release = release
	return reply, nil
}

// hostsOf are the machines of processes.
func hostsOf(procs []Process) []host.Host {
	hosts := make([]host.Host, len(procs))
	for i, p := range procs {
		hosts[i] = p.Host()
	}
	return hosts
}

// slowTransfer is how long variables may be on their way between hosts before the user is told how far they are, and how often.
const slowTransfer = time.Second

// moving tells how far variables are on their way between hosts.
type moving struct {
	c     *command
	verb  string
	begun time.Time

	mu           sync.Mutex
	next         time.Time // when to tell the user again
	moved, total int64     // of all parts
}

func (c *command) moving(verb string) *moving {
	now := time.Now()
	return &moving{c: c, verb: verb, begun: now, next: now.Add(slowTransfer)}
}

// part is what hears how much of a part has moved, such as the variables of one rank.
func (m *moving) part() func(moved, total int64) {
	var before struct{ moved, total int64 } // under m.mu
	return func(moved, total int64) {
		m.mu.Lock()
		m.moved += moved - before.moved
		m.total += total - before.total
		before.moved, before.total = moved, total
		m.mu.Unlock()
		m.tell()
	}
}

// tell tells the user how much has moved, from time to time.
func (m *moving) tell() {
	m.mu.Lock()
	now, moved, total := time.Now(), m.moved, m.total
	due := !now.Before(m.next)
	if due {
		m.next = now.Add(slowTransfer)
	}
	m.mu.Unlock()
	if due {
		m.say(fmt.Sprintf("%s: %s of %s have crossed the network, %s/s", m.verb, bytesize.Format(moved), bytesize.Format(total), m.rate(now)))
	}
}

// end tells of a transfer that took long.
func (m *moving) end(err error) {
	m.mu.Lock()
	now := time.Now()
	slow := m.total > 0 && now.Sub(m.begun) > slowTransfer
	m.mu.Unlock()
	if slow && err == nil {
		m.say(fmt.Sprintf("%s: %s crossed the network in %.1f s, %s/s", m.verb, bytesize.Format(m.total), now.Sub(m.begun).Seconds(), m.rate(now)))
	}
}

func (m *moving) rate(now time.Time) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytesize.Format(int64(float64(m.moved) / max(now.Sub(m.begun).Seconds(), 1e-3)))
}

func (m *moving) say(text string) {
	if run := m.c.last; run != nil {
		m.c.e.Note(m.c.ctx, run.id, event.LevelInfo, text)
	}
}

// ranks are all ranks of the pool, and those that variables go to or come from.
func (c *command) ranks(names []string, list string) (all, procs []Process, err error) {
	if len(names) == 0 {
		return nil, nil, valueError(errors.New("no variables are named"))
	}
	target, err := ranksTarget(list)
	if err != nil {
		return nil, nil, err
	}
	all, err = c.e.ranks(c.ctx)
	if err != nil {
		return nil, nil, err
	}
	procs, err = pick(target, all)
	if err != nil {
		return nil, nil, valueError(err)
	}
	return all, procs, nil
}

// survivors are the ranks of a broken pool that variables come from. A rank that is busy is brought back first, since its main thread must serve the
// pull.
func (c *command) survivors(broken *BrokenPoolError, list string) ([]Process, error) {
	target, err := ranksTarget(list)
	if err != nil {
		return nil, err
	}
	procs, err := pick(target, broken.Ranks)
	if err != nil {
		return nil, valueError(err)
	}
	if dead := slices.DeleteFunc(slices.Clone(procs), isAlive); len(dead) > 0 {
		return nil, broken.lost(rankNumbers(dead))
	}
	deaf := c.e.bringBack(c.ctx, broken.Ranks, procs)
	if deaf == nil {
		return procs, nil
	}
	verb := "does"
	if len(deaf) > 1 {
		verb = "do"
	}
	return nil, fmt.Errorf("%s %s not come back from a cell, perhaps one that waits for what has died, and no interrupt gets through; nothing was pulled",
		broken.name(rankNumbers(deaf)), verb)
}

// ranksTarget is the target that "all", a list of ranks, or nothing at all means in a command.
func ranksTarget(list string) (cells.Target, error) {
	t := cells.Target{Where: cells.Remote}
	if list == "" {
		return t, nil
	}
	ranks, err := ranklist.ParseRanks(list)
	if err != nil {
		return t, valueError(err)
	}
	if !ranks.All() {
		t.Ranks = ranks
	}
	return t, nil
}

// transferFailure is why a push or pull failed, and the ranks where it did.
type transferFailure struct {
	ename, text string
	whole       bool // the text says which rank it is
	ranks       []int
	who         string // the ranks for people
}

// transferError makes one error of those of the ranks, and says what it means for the transfer. Ranks that failed in the same way are named
// together.
func (e *Executor) transferError(procs []Process, errs []error, outcome string) error {
	var failures []*transferFailure
	known := map[[2]string]*transferFailure{}
	for i, err := range errs {
		if err == nil {
			continue
		}
		f := failureOf(err)
		key := [2]string{f.ename, f.text}
		if known[key] == nil {
			known[key] = f
			failures = append(failures, f)
		}
		known[key].ranks = append(known[key].ranks, rankOf(procs[i]))
	}
	if len(failures) == 0 {
		return context.Canceled // the command ended before it was done
	}
	var texts []string
	for _, f := range failures {
		f.who = e.name(f.ranks)
		texts = append(texts, f.String())
	}
	return &commandError{failures[0].ename, strings.Join(append(texts, outcome), "; ")}
}

func failureOf(err error) *transferFailure {
	if reply, ok := errors.AsType[*wire.ReplyError](err); ok {
		f := &transferFailure{ename: reply.EName, text: reply.EValue}
		if v := reply.Variable; v != "" && !strings.Contains(f.text, v) {
			f.text = v + ": " + f.text
		}
		return f
	}
	return &transferFailure{ename: "RuntimeError", text: err.Error(), whole: true}
}

func (f *transferFailure) String() string {
	switch {
	case f.whole:
		return f.text
	case f.ename == "NameError":
		return f.text + " on " + f.who
	default:
		return fmt.Sprintf("%s (%s)", f.text, f.who)
	}
}
