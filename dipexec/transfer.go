package dipexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/ranks"
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
	errs := onAll(procs, func(_ int, p Process) error { return p.Push(c.ctx, req) })
	failed := errors.Join(errs...) != nil || c.ctx.Err() != nil
	for i, p := range procs {
		if errs[i] == nil {
			p.EndPush(!failed)
		}
	}
	if failed {
		return nil, transferError(procs, errs, "nothing was pushed")
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
	errs := onAll(procs, func(i int, p Process) (err error) {
		reply.Payloads[i].Rank = rankOf(p)
		if slices.Contains(busy, p) {
			reply.Payloads[i].Payload, releases[i], err = p.PullBeside(c.ctx, cmd.Names)
		} else {
			reply.Payloads[i].Payload, releases[i], err = p.Pull(c.ctx, cmd.Names)
		}
		return err
	})
	release := func() {
		for i, err := range errs {
			if err == nil {
				releases[i]()
			}
		}
	}
	if errors.Join(errs...) != nil || c.ctx.Err() != nil {
		release()
		return nil, transferError(procs, errs, "nothing was pulled")
	}
	c.release = release
	return reply, nil
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
		ranklist.Name(rankNumbers(deaf)), verb)
}

// ranksTarget is the target that "all", a list of ranks, or nothing at all means in a command.
func ranksTarget(list string) (cells.Target, error) {
	t := cells.Target{Where: cells.Remote}
	if list == "" {
		return t, nil
	}
	ranks, err := ranklist.ParseTargets(list)
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
}

// transferError makes one error of those of the ranks, and says what it means for the transfer. Ranks that failed in the same way are named
// together.
func transferError(procs []Process, errs []error, outcome string) error {
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
		return f.text + " on " + ranklist.Name(f.ranks)
	default:
		return fmt.Sprintf("%s (%s)", f.text, ranklist.Name(f.ranks))
	}
}
