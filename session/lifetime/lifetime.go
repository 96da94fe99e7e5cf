// Package lifetime decides when a session ends that outlives its fronts. It has no timer and reads no clock: whoever has it tells it what has changed
// and when, and asks when to come back.
//
// Times are readings of a clock that goes on while the machine is suspended; see [Clock].
package lifetime

import (
	"fmt"
	"time"

	"dipls/session"
)

// unmet is how long a session waits for its first client, which has started it and comes at once, unless it has died.
const unmet = time.Minute

// State is what the end of a session depends on.
type State struct {
	Clients int  // that are attached
	Runs    int  // that have not ended
	Used    bool // something has run in it
}

// Lifetime is how long one session lives.
type Lifetime struct {
	keep  time.Duration
	state State
	met   bool          // somebody has come
	idle  time.Duration // since when nobody is attached and nothing runs, if that is so
}

// New is the lifetime of a session that begins now and is kept for keep; see [session.KeepForever].
func New(keep, now time.Duration) *Lifetime { return &Lifetime{keep: keep, idle: now} }

// Come tells that somebody has come. Who leaves at once may never be seen among the clients.
func (l *Lifetime) Come(now time.Duration) { l.met, l.idle = true, now }

// Change tells what the state is from now on.
func (l *Lifetime) Change(s State, now time.Duration) {
	if l.busy() {
		l.idle = now
	}
	l.state = s
	l.met = l.met || s.Clients > 0
}

// KeepFor says how long the session is kept from its next idle moment on, or from this one.
func (l *Lifetime) KeepFor(keep time.Duration) { l.keep = keep }

// Keep is how long the session is kept.
func (l *Lifetime) Keep() time.Duration { return l.keep }

func (l *Lifetime) busy() bool { return l.state.Clients > 0 || l.state.Runs > 0 }

// Left is how long the session still lives if nothing changes, 0 or less if it is over; ends is false if it does not end by itself.
func (l *Lifetime) Left(now time.Duration) (left time.Duration, ends bool) {
	switch {
	case l.busy():
		return 0, false
	case !l.met:
		return l.idle + unmet - now, true
	case !l.state.Used:
		return 0, true
	case l.keep < 0:
		return 0, false
	}
	return l.idle + l.keep - now, true
}

// Why says why the session ends when nothing is left: a sentence.
func (l *Lifetime) Why() string {
	switch {
	case !l.met:
		return "nobody has come to it"
	case !l.state.Used:
		return "its last client left, and nothing had run in it"
	case l.keep == session.KeepNever:
		return "its last client left, and it was not to be kept"
	}
	return "it was idle for " + spell(l.keep)
}

// spell writes how long a session is kept as a person would: "4 h", "1 h 30 min", "90 s".
func spell(d time.Duration) string {
	hours, minutes := int(d.Hours()), int(d.Minutes())%60
	switch {
	case d < time.Minute || d%time.Minute != 0 && hours == 0:
		return fmt.Sprintf("%v s", d.Round(time.Second).Seconds())
	case hours == 0:
		return fmt.Sprintf("%d min", minutes)
	case minutes == 0:
		return fmt.Sprintf("%d h", hours)
	}
	return fmt.Sprintf("%d h %d min", hours, minutes)
}
