package dipexec

import (
	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// pxConfig is what %pxconfig has set, for each %%px that does not say so itself.
func (e *Executor) pxConfig() cells.PxConfig {
	e.poolMu.Lock()
	defer e.poolMu.Unlock()
	return e.px
}

// pxconfig changes what the command names, and returns all settings as they are then.
func (c *command) pxconfig(cmd wire.PxConfigCommand) (any, error) {
	c.e.poolMu.Lock()
	defer c.e.poolMu.Unlock()
	config := c.e.px
	if cmd.Targets != nil {
		target, err := ranksTarget(*cmd.Targets)
		if err != nil {
			return nil, err
		}
		config.Targets = target.Ranks
	}
	if cmd.Block != nil {
		config.NoBlock = !*cmd.Block
	}
	if cmd.Verbose != nil {
		config.Verbose = *cmd.Verbose
	}
	c.e.px = config
	targets := config.Targets
	if targets.IsZero() {
		targets = ranklist.All
	}
	return wire.PxConfigCommandReply{CommandStatus: c.ok(), Targets: targets.String(), Block: !config.NoBlock, Verbose: config.Verbose}, nil
}

// underPx fills in from %pxconfig what a %%px has left unsaid, now that the run's turn has come.
func (r *run) underPx() {
	d := r.req.Directive.Under(r.e.pxConfig())
	if r.req.Target.Where == cells.None {
		r.target = d.Target
	}
	r.req.Directive = d
	if d.NoBlock == cells.Yes {
		close(r.begun)
	}
}
