package lifetime

import (
	"testing"
	"time"

	"dipls/session"
)

const hour = time.Hour

func TestLifetime(t *testing.T) {
	type step struct {
		at    time.Duration
		state State
	}
	attached, busy, idle, unused := State{Clients: 1, Used: true}, State{Runs: 1, Used: true}, State{Used: true}, State{}
	for _, test := range []struct {
		name  string
		keep  time.Duration
		steps []step
		at    time.Duration
		left  time.Duration
		ends  bool
		why   string
	}{
		{"nobody comes", 4 * hour, nil, 10 * time.Second, 50 * time.Second, true, "nobody has come to it"},
		{"somebody is attached", 4 * hour, []step{{0, attached}}, 9 * hour, 0, false, ""},
		{"a run goes on", 4 * hour, []step{{0, attached}, {1, busy}}, 90 * hour, 0, false, ""},
		{"a run that is kept for no time goes on", 0, []step{{0, attached}, {1, busy}}, 90 * hour, 0, false, ""},
		{"idle", 4 * hour, []step{{0, attached}, {hour, idle}}, 2 * hour, 3 * hour, true, "it was idle for 4 h"},
		{"idle since its run has ended", 90 * time.Minute, []step{{0, attached}, {hour, busy}, {5 * hour, idle}}, 5 * hour, 90 * time.Minute, true,
			"it was idle for 1 h 30 min"},
		{"what changes nothing", 4 * hour, []step{{0, attached}, {hour, idle}, {2 * hour, idle}}, 2 * hour, 3 * hour, true, "it was idle for 4 h"},
		{"through suspend", 4 * hour, []step{{0, attached}, {hour, idle}}, 9 * hour, -4 * hour, true, "it was idle for 4 h"},
		{"somebody comes back", 4 * hour, []step{{0, attached}, {hour, idle}, {3 * hour, attached}, {4 * hour, idle}}, 4 * hour, 4 * hour, true,
			"it was idle for 4 h"},
		{"for ever", session.KeepForever, []step{{0, attached}, {1, idle}}, 9999 * hour, 0, false, ""},
		{"unused", 4 * hour, []step{{0, State{Clients: 1}}, {hour, unused}}, hour, 0, true, "its last client left, and nothing had run in it"},
		{"unused and for ever", session.KeepForever, []step{{0, State{Clients: 1}}, {hour, unused}}, hour, 0, true,
			"its last client left, and nothing had run in it"},
		{"one of two leaves an unused one", 4 * hour, []step{{0, State{Clients: 2}}, {hour, State{Clients: 1}}}, hour, 0, false, ""},
		{"not to be kept", session.KeepNever, []step{{0, attached}, {hour, idle}}, hour, 0, true, "its last client left, and it was not to be kept"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := New(test.keep, 0)
			for _, s := range test.steps {
				l.Change(s.state, s.at)
			}
			left, ends := l.Left(test.at)
			if left != test.left || ends != test.ends {
				t.Errorf("left %v, ends %v; want %v, %v", left, ends, test.left, test.ends)
			}
			if ends && l.Why() != test.why {
				t.Errorf("%q, want %q", l.Why(), test.why)
			}
		})
	}
}

// A client begins the time anew even if it left before anybody has seen it.
func TestCome(t *testing.T) {
	l := New(4*hour, 0)
	l.Change(State{Clients: 1, Used: true}, 0)
	l.Change(State{Used: true}, hour)
	l.Come(4 * hour)
	l.Change(State{Used: true}, 4*hour)
	if left, ends := l.Left(5 * hour); left != 3*hour || !ends {
		t.Errorf("after a short visit: %v, %v", left, ends)
	}
}

func TestKeepFor(t *testing.T) {
	l := New(hour, 0)
	l.Change(State{Clients: 1, Used: true}, 0)
	l.KeepFor(5 * hour)
	l.Change(State{Used: true}, hour)
	if left, ends := l.Left(2 * hour); left != 4*hour || !ends || l.Keep() != 5*hour {
		t.Errorf("left %v, %v, kept %v", left, ends, l.Keep())
	}
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1 s", 90 * time.Second: "90 s", 5 * time.Minute: "5 min", 4 * hour: "4 h", 26*hour + time.Minute: "26 h 1 min",
	} {
		if got := spell(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestClock(t *testing.T) {
	before := Clock()
	if after := Clock(); after < before || after-before > hour {
		t.Errorf("%v, then %v", before, after)
	}
}
