package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dipls/dipexec/view"
	"dipls/internal/bytesize"
	"dipls/session"
	"dipls/session/registry"
)

// sessions tells which sessions there are, and what they hold.
func (d *doctor) sessions(ctx context.Context) {
	if problem := strings.Join(registry.PassedOver(), "\n"); problem != "" {
		d.warn("runtime dir", problem, "chmod go= it, or set DIPLS_RUNTIME_DIR to a short directory of your own")
	}
	all, err := openRegistry().List(ctx)
	if err != nil {
		d.fail("sessions", err, "")
		return
	}
	var lines []string
	var problems []string
	for _, l := range all {
		if l.Problem != "" {
			problems = append(problems, fmt.Sprintf("session %s (%s): %s", l.Name, l.Dir, l.Problem))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s (%s)", held(l.About, time.Now()), l.Dir))
	}
	switch {
	case len(problems) > 0:
		d.warn("sessions", strings.Join(append(problems, lines...), "\n"), "")
	case len(lines) == 0:
		d.ok("sessions", "none")
	default:
		d.ok("sessions", strings.Join(lines, "\n")+"\n\"dipls stop NAME\" ends one")
	}
}

// held says what a session holds: "4 GPUs held for 9 h 05 min by session train".
func held(a session.About, now time.Time) string {
	gpus := map[string]bool{} // ranks may share one
	for _, device := range a.Devices {
		if device != "cpu" {
			gpus[device] = true
		}
	}
	what := plural(len(gpus), "GPU")
	switch {
	case a.PoolSince == nil:
		return fmt.Sprintf("nothing held by session %s", a.Name)
	case len(gpus) == 0:
		what = plural(a.Ranks, "CPU rank")
	case a.Memory > 0:
		what += " with " + bytesize.Format(a.Memory)
	}
	return fmt.Sprintf("%s held for %s by session %s", what, view.FormatDuration(now.Sub(*a.PoolSince)), a.Name)
}

// logout tells whether sessions outlive the logout. Without logind nothing ends them then.
func (d *doctor) logout(ctx context.Context) {
	l, known := registry.LookAtLogout(ctx)
	if !known {
		return
	}
	if !l.Kills {
		d.ok("logout", "sessions stay after it")
		return
	}
	const kills = "logind kills your processes at the logout (KillUserProcesses=yes)"
	if err := registry.CheckScope(ctx); err != nil {
		d.warn("logout", fmt.Sprintf("%s, and sessions too: %v", kills, err),
			"loginctl enable-linger, then log in again: sessions get scopes of their own as soon as systemd-run --user works")
	} else if !l.Lingers {
		d.warn("logout", kills+"; sessions have scopes of their own, which end with your last login session", "loginctl enable-linger")
	} else {
		d.ok("logout", kills+"; sessions have scopes of their own, and stay, since you linger")
	}
}
