package cells

import (
	"sort"

	"dipls/internal/ranklist"
)

// A power is what a magic does to autodip.
type power int

const (
	unsaid power = iota
	on
	off
	toggled
)

// A switching is a line magic that turns autodip on or off.
type switching struct {
	power     power
	directive Directive // of the cells that autodip runs, once on
}

// Autopx is how %autopx has cells run.
var Autopx = Directive{Target: Target{Where: Remote}, See: ranklist.All, Px: true}

// switches reads a line magic at offset at, and reports what is wrong with it; ok tells whether it switches autodip.
func (d *argumentReader) switches(m Magic, at int) (s switching, ok bool) {
	if !d.line(m, at) {
		return s, false
	}
	switch {
	case m.Name == "autopx":
		return switching{toggled, Autopx}, true
	case m.Name == "autodip" && d.power == off && len(d.buffer) > 1:
		d.fault(m.Range.shift(at), Conflict, "%autodip off takes no flags", "")
	case m.Name == "autodip" && d.power != unsaid:
		d.finish(m.Range.shift(at))
		return switching{d.power, d.Directive}, !d.flawed
	case m.Name == "autodip" && len(d.buffer) > 0:
		d.fault(m.Range.shift(at), MissingValue, "%autodip has flags, but neither on nor off", "write %autodip on "+m.Args)
	}
	return s, false
}

// autodipAfter is the directive of autodip after the node has run, given the one before it, nil meaning that autodip is off, and where the file says that its
// cells run.
func (n *node) autodipAfter(d *Directive, file Target) *Directive {
	if len(n.switches) == 0 || !n.runsLocally(d, file) {
		return d
	}
	for i := range n.switches {
		s := &n.switches[i]
		if s.power == on || s.power == toggled && d == nil {
			d = &s.directive
		} else {
			d = nil
		}
	}
	return d
}

// runsLocally reports whether the local namespace takes part in the cell's run under autodip's directive d. Only there can a cell
// switch autodip.
func (n *node) runsLocally(d *Directive, file Target) bool {
	where := n.directive.Target.Where
	switch {
	case where != None || n.alone:
	case d != nil:
		where = d.Target.Where
	default:
		where = file.Where
	}
	return where != Remote
}

// LeavesAutodip reports whether autodip leaves the cell alone, which then runs locally unless it says otherwise itself: the first
// line of its body that is not blank is a line or cell magic, bare or in a comment, IPython's too, or #dip_locally.
func (c Cell) LeavesAutodip() bool { return c.n.alone }

// Autodip returns the directive by which autodip runs the cell, and whether autodip runs it at all. It goes by the text alone: as if
// the cells above had run in order, with their %autodip and %autopx lines that are not indented. Autodip does not run a cell that has
// nothing to run, has a target of its own, or is left alone ([Cell.LeavesAutodip]).
func (c Cell) Autodip() (Directive, bool) {
	if c.n.typ != CodeCell || c.n.directive.Target.Where != None || c.n.alone {
		return Directive{}, false
	}
	d := c.f.autodipBefore(c.off)
	if d == nil {
		return Directive{}, false
	}
	return *d, true
}

// autodipBefore is autodip's directive just before the node at offset runs; nil: off.
func (f *File) autodipBefore(offset int) *Directive {
	c := f.chunks[sort.Search(len(f.chunks), func(i int) bool { return f.chunks[i].off > offset })-1]
	d := c.autodip
	if c.turns == 0 {
		return d
	}
	off := c.off
	for _, n := range c.nodes {
		if off == offset {
			break
		}
		d = n.autodipAfter(d, f.Target())
		off += len(n.text)
	}
	return d
}
