package session

import (
	"strings"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/dipexec/journal"
	"dipls/ranks"
	"dipls/ranks/fleet"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Types of the packages below that belong to the [API]. They have names here, so that a front needs no package below this one.
type (
	// InputAnswer is what a user has typed for code that asks.
	InputAnswer = dipexec.InputAnswer
	// Cell is one cell to run: an immutable snapshot of it, and where it goes. [CellOf] makes one from a cell of a file.
	Cell = dipexec.Request
	// Transfer is variables that go from the local namespace to ranks, or from ranks to the local namespace.
	Transfer = dipexec.Transfer
	// File is variables that processes write to a file, or one variable that they read from it.
	File = dipexec.File
	// PoolInfo describes the pool and the local namespace.
	PoolInfo = wire.PoolInfo
	// RankInfo describes a rank.
	RankInfo = wire.RankInfo
	// HostInfo describes a host of a pool.
	HostInfo = wire.HostInfo
	// LocalInfo describes the local namespace.
	LocalInfo = wire.LocalInfo
	// TablePart says which table is meant, and which part of it.
	TablePart = wire.TableQuery
	// TableFilter chooses rows of a table.
	TableFilter = wire.TableFilter
	// TablePage is a part of a table.
	TablePage = wire.TablePage
	// Object describes an object in a namespace.
	Object = wire.Object
	// Thread is where one thread is.
	Thread = wire.Thread
	// StackFrame is a frame of a Thread.
	StackFrame = wire.StackFrame
	// GPU is a GPU that a pool can be made of.
	GPU = host.GPU
	// Seed is where random generators begin.
	Seed = ranks.Seed
	// HostTerms are what a user may say of hosts besides where they are.
	HostTerms = fleet.Terms
)

// CellOf is a cell of the file at path, to be run as the cell itself says; the caller adds the user's choices. ok is false if there is nothing to run:
// the cell is text, or blank except for a directive.
func CellOf(path string, cell cells.Cell) (c Cell, ok bool) { return dipexec.RequestFor(path, cell) }

// CellOfTransfer is a transfer as a member of a [Sequence]: if it fails, the cells after it do not run.
func CellOfTransfer(t Transfer) Cell { return dipexec.RequestForTransfer(t) }

// CellOfPool is the making of a pool as a member of a [Sequence].
func CellOfPool(p PoolRequest) Cell {
	cmd := wire.MakeCommand{Ranks: p.Ranks, App: p.App, Restart: p.Restart, Timeout: p.Timeout.Seconds()}
	if p.GPUs != "" {
		cmd.GPUs = &p.GPUs
	}
	return dipexec.RequestForPool(cmd)
}

// CellOfMemory is the giving back of GPU memory that torch has cached, by all processes that live.
func CellOfMemory(p PoolInfo) Cell {
	on := cells.Target{Where: cells.Everywhere}
	switch {
	case len(p.Ranks) == 0:
		on.Where = cells.Local
	case p.Local == nil:
		on.Where = cells.Remote
	}
	return dipexec.RequestForMemory(on)
}

// CellOfFile is a file that is written or read by the processes of a target, as a member of a [Sequence].
func CellOfFile(f File, on cells.Target) Cell { return dipexec.RequestForFile(f, on) }

// TargetOf is where a cell would run if its turn were now, with autodip as [API.Autodip] returns it.
func TargetOf(c Cell, autodip string) cells.Target {
	var auto cells.Directive
	arguments, dip := strings.CutPrefix(autodip, "%%dip")
	switch {
	case c.NoAutodip || autodip == "":
	case dip:
		auto, _ = cells.ParseDirective(arguments)
	default:
		auto = cells.Autopx
	}
	return dipexec.Resolve(c.Target, c.Directive.Target, auto.Target, c.Otherwise)
}

// NewSeed checks a seed. -1 is none.
func NewSeed(n int64) (Seed, error) { return ranks.NewSeed(n) }

// ParseJournalLimit reads how much the journal of a run may take, as a [Cell] has it: "2GiB", "500 MB"; "0" is any amount.
func ParseJournalLimit(text string) (int64, error) { return journal.ParseLimit(text) }
