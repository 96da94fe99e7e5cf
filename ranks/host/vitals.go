package host

import (
	"fmt"
	"time"
)

// Vitals are what the system tells of a process at one moment. What it does not tell is 0.
type Vitals struct {
	At       time.Time
	State    byte          // 'R', 'S', 'T' (stopped), 't' (by a debugger), …
	CPU      time.Duration // of all of its threads
	Main     time.Duration // of the main one
	Switches uint64        // how often the main thread has been put aside
	Faults   uint64        // pages that it has waited for
	Swapped  int64         // bytes of it that are in swap
	Children time.Duration // CPU time of the processes that its main thread has started, and that live
}

// ConditionState says what keeps a process from going on.
type ConditionState string

// The states of a condition.
const (
	Sound    ConditionState = ""         // nothing is known that does
	Halted   ConditionState = "stopped"  // by a signal
	Traced   ConditionState = "traced"   // stopped by a debugger
	Swapping ConditionState = "swapping" // it waits for its memory
	Native   ConditionState = "native"   // native code holds Python's lock
)

// Ran reports whether the main thread of the process, or a process that it has started, has run since an earlier moment, or would if it got a core.
func (v Vitals) Ran(before Vitals) bool {
	return v.Switches != before.Switches || v.Main != before.Main || v.Children > before.Children || v.runnable() || before.runnable()
}

// runnable reports whether the main thread waits for no more than a core, or a disk.
func (v Vitals) runnable() bool { return v.State == 'R' || v.State == 'D' }

// Condition is how a process does, as far as the system knows.
type Condition struct {
	State ConditionState
	How   string // the rest of a sentence about the process: "is stopped: kill -CONT 7 lets it go on"
	Lock  string // what the process does while native code holds Python's lock: "and computes"; "" if that is not known to hold it
	Moved bool   // its main thread, or a process that it has started, has run between two looks
	Works bool   // all of its threads together have kept some part of a core busy in between
	Still bool   // it has done next to nothing in between: neither is so, for sure
	Waits string // what its main thread waits in that has not run, "in a lock" or "reading a socket"; "": nothing of that kind, or nobody knows
}

// A process that has used no more than that does next to nothing: it answers those who look at it.
const (
	idleShare = 0.05                  // of a core
	idleTime  = 30 * time.Millisecond // however short the time between two looks is
)

// A process that reads so many of its pages a second back from swap does little else.
const swapsPerSecond = 50

// holdLock notes that native code holds Python's lock, and what it does meanwhile.
func (c *Condition) holdLock(how string, before, now Vitals) {
	c.State, c.Lock = Native, how
	c.How = "is in native code that holds Python's lock " + how
	if share := coresUsed(before, now); share > 0 {
		c.How += fmt.Sprintf(" (%.0f %% of a core)", 100*share)
	}
}

// coresUsed is how many cores a process has kept busy between two moments.
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

// stoppedState tells of a process that the system says to be stopped.
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
