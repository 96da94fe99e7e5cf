package host

import (
	"context"
	"fmt"
	"time"
)

// Vitals are what the operating system tells of a process at one moment. What it does not tell is 0.
type Vitals struct {
	At       time.Time
	State    byte          // 'R', 'S', 'T' (stopped), 't' (by a debugger), …
	CPU      time.Duration // of all of its threads
	Main     time.Duration // of its main thread
	Switches uint64        // context switches of its main thread
	Faults   uint64        // major page faults: pages that it waited for
	Swapped  int64         // bytes of it that are in swap
	Children time.Duration // CPU time of the living processes that its main thread has started
}

// ConditionState says what stops a process from making progress.
type ConditionState string

// The states of a condition.
const (
	Sound    ConditionState = ""         // nothing, as far as is known
	Halted   ConditionState = "stopped"  // by a signal
	Traced   ConditionState = "traced"   // stopped by a debugger
	Swapping ConditionState = "swapping" // it waits for its memory
	Native   ConditionState = "native"   // native code holds Python's lock
)

// Ran reports whether the main thread of the process, or a process that it has started, has run since an earlier moment, or would have if it had
// got a core.
func (v Vitals) Ran(before Vitals) bool {
	return v.Switches != before.Switches || v.Main != before.Main || v.Children > before.Children || v.runnable() || before.runnable()
}

// runnable reports whether the main thread runs, or waits only for a core or a disk.
func (v Vitals) runnable() bool { return v.State == 'R' || v.State == 'D' }

// Condition is how a process does, as far as the operating system knows.
type Condition struct {
	State ConditionState
	How   string // the rest of a sentence about the process: "is stopped: kill -CONT 7 lets it go on"
	Lock  string // with Native: what the process does meanwhile, "and computes"; otherwise ""
	Moved bool   // its main thread, or a process that it has started, has run between the two looks
	Works bool   // its threads together have used a noticeable share of a core between them
	Still bool   // neither, and none of its threads waits for a core: it has certainly done next to nothing
	Waits string // with Still: what its main thread waits for, "in a lock" or "reading a socket"; "" if that is not known
}

// A process that has used no more than this does next to nothing but answer those who look at it.
const (
	idleShare = 0.05                  // of a core
	idleTime  = 30 * time.Millisecond // at least, however soon the second look comes
)

// A process that reads this many pages a second back from swap does little else.
const swapsPerSecond = 50

// holdLock sets the state to Native.
func (c *Condition) holdLock(how string, before, now Vitals) {
	c.State, c.Lock = Native, how
	c.How = "is in native code that holds Python's lock " + how
	if share := coresUsed(before, now); share > 0 {
		c.How += fmt.Sprintf(" (%.0f %% of a core)", 100*share)
	}
}

// coresUsed is how many cores a process has used between two moments, on average.
func coresUsed(before, now Vitals) float64 {
	passed := now.At.Sub(before.At)
	if before.At.IsZero() || passed <= 0 {
		return 0
	}
	return float64(now.CPU-before.CPU) / float64(passed)
}

// conditionOf compares two moments of a process.
func conditionOf(pid int, before, now Vitals) Condition {
	c := Condition{}
	if !before.At.IsZero() {
		c.Moved = now.Ran(before)
		c.Works = coresUsed(before, now) >= idleShare && now.CPU-before.CPU >= idleTime
		c.Still = !c.Moved && !c.Works
	}
	switch how, state := stoppedState(pid, now.State); {
	case state != Sound:
		c.State, c.How = state, how
	case !before.At.IsZero() && now.Swapped > 0:
		passed := now.At.Sub(before.At).Seconds()
		if rate := float64(now.Faults-before.Faults) / passed; passed > 0 && rate >= swapsPerSecond {
			c.State = Swapping
			c.How = fmt.Sprintf("is swapping: %s of it are in swap, and it waits for %.0f pages a second", spellBytes(now.Swapped), rate)
		}
	}
	return c
}

// Condition implements [Host].
func (o Observer) Condition(ctx context.Context, p Process, before, now Vitals, answered bool, thread int) Condition {
	if now.At.IsZero() {
		return Condition{}
	}
	c := conditionOf(p.PID, before, now)
	switch {
	case c.State != Sound:
	case answered && c.Still && o.threadRuns(ctx, p.PID): // one that gets no core has no CPU time either
		c.Still = false
	case answered && c.Still:
		if waits := o.mainWaits(ctx, p.PID); o.same(ctx, p) {
			c.Waits = waits
		}
	case !answered && ctx.Err() == nil && thread != 0:
		if how, yes := o.lockHeld(ctx, p.PID, thread); yes && o.same(ctx, p) {
			c.holdLock(how, before, now)
		}
	}
	return c
}

// stoppedState tells whether a process in a state of the operating system is stopped.
func stoppedState(pid int, state byte) (how string, what ConditionState) {
	switch state {
	case 'T':
		return fmt.Sprintf("is stopped: kill -CONT %d lets it go on", pid), Halted
	case 't':
		return "is stopped by a debugger", Traced
	}
	return "", Sound
}

// spellBytes is "3.2 GiB" or "812 MiB".
func spellBytes(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
}
