package dipexec

import (
	"errors"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/ranks/wire"
)

// Autodip is the directive for cells that do not say where they run, such as "%%dip --see all"; "" if it is off.
func (e *Executor) Autodip() string {
	e.poolMu.Lock()
	defer e.poolMu.Unlock()
	return e.pool.Autodip
}

// SetAutodip turns autodip off, or on with the arguments of a %%dip, such as "--see all". It applies to runs whose turn in
// the local namespace comes later. Invalid arguments are an error, and change nothing.
func (e *Executor) SetAutodip(on bool, args string) error {
	var directive cells.Directive
	if on {
		var problems []cells.Problem
		directive, problems = cells.ParseDirective(args)
		for _, p := range problems {
			if p.Severity == cells.Error {
				return autodipError(p)
			}
		}
	}
	e.setAutodip(directive)
	return nil
}

func (e *Executor) setAutodip(directive cells.Directive) {
	e.poolMu.Lock()
	defer e.poolMu.Unlock()
	e.autodip = directive
	if text := directive.String(); text != e.pool.Autodip {
		e.pool.Autodip = text
		e.publishPool()
	}
}

func autodipError(p cells.Problem) error {
	if p.Hint == "" {
		return errors.New(p.Message)
	}
	return errors.New(p.Message + "; " + p.Hint)
}

// autodipDirective is the directive of autodip; zero if that is off.
func (e *Executor) autodipDirective() cells.Directive {
	e.poolMu.Lock()
	defer e.poolMu.Unlock()
	return e.autodip
}

// poolChanged publishes the pool's state.
func (e *Executor) poolChanged(state string, size int, reason string, hosts []event.HostRanks) {
	e.poolMu.Lock()
	defer e.poolMu.Unlock()
	e.pool.State, e.pool.Size, e.pool.Reason, e.pool.Text = state, size, reason, ""
	e.pool.Hosts = hosts
	e.publishPool()
}

// PoolWaits tells that a pool is to be started, and what that waits for. The pool's own events follow, or PoolGivenUp.
func (e *Executor) PoolWaits(text string) {
	e.poolMu.Lock()
	defer e.poolMu.Unlock()
	e.pool.State, e.pool.Size, e.pool.Reason, e.pool.Text = event.StateStarting, 0, "", text
	e.pool.Hosts = nil
	e.publishPool()
}

// PoolGivenUp tells that a pool that was waited for will not be started.
func (e *Executor) PoolGivenUp(reason string) {
	e.poolChanged(event.StateStopped, 0, reason, nil)
}

// publishPool publishes the state of the pool and of autodip. The caller holds poolMu, which keeps such events in order.
func (e *Executor) publishPool() {
	ev := e.pool
	e.Publish(&ev)
}

// autodip turns autodip on or off, or only answers what it is.
func (c *command) autodip(cmd wire.AutodipCommand) (any, error) {
	switch {
	case cmd.On == nil:
	case *cmd.On && cmd.Px:
		c.e.setAutodip(cells.Autopx)
	default:
		if err := c.e.SetAutodip(*cmd.On, cmd.Flags); err != nil {
			return nil, &commandError{"UsageError", err.Error()}
		}
	}
	return wire.AutodipCommandReply{CommandStatus: c.ok(), Autodip: c.e.Autodip()}, nil
}
