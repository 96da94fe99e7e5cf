package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dipls/session"
)

func TestHeld(t *testing.T) {
	now := time.Now()
	since := now.Add(-9 * time.Hour)
	for want, a := range map[string]session.About{
		"4 GPUs with 12.0 GB held for 9 h 00 min by session train": {
			Name: "train", Ranks: 5, Devices: []string{"cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:3"}, Memory: 12e9, PoolSince: &since,
		},
		"1 GPU held for 9 h 00 min by session train":       {Name: "train", Ranks: 1, Devices: []string{"cuda:0"}, PoolSince: &since},
		"2 CPU ranks held for 9 h 00 min by session train": {Name: "train", Ranks: 2, Devices: []string{"cpu", "cpu"}, PoolSince: &since},
		"nothing held by session train":                    {Name: "train"},
	} {
		if got := held(a, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// programs puts programs into PATH, before all others: shell scripts by name.
func programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const (
	asksLogind = `case "$1" in
show-session) printf 'KillUserProcesses=%s\nKillExcludeUsers=root2\nKillOnlyUsers=\n' "$KILLS";;
show-user) printf 'Linger=%s\nName=me\n' "$LINGERS";;
esac`
	// As the real one does, it becomes the command, which here has the name by which this test binary knows that it is dipls.
	runsInScope = `while [ "$1" != -- ]; do shift; done; shift; IN_SCOPE=yes exec -a dipls "$@"`
)

func TestDoctorTellsOfLogout(t *testing.T) {
	for _, test := range []struct {
		name, kills, lingers, run string
		want                      string
	}{
		{"harmless", "no", "no", runsInScope, "ok    logout       sessions stay after it"},
		{"kills", "yes", "no", runsInScope, "→ loginctl enable-linger"},
		{"kills, and the user lingers", "yes", "yes", runsInScope, "sessions have scopes of their own, and stay, since you linger"},
		{"kills, and there is no scope", "yes", "yes", "echo no bus >&2; exit 1", "and sessions too: systemd-run --user --scope: exit status 1 no bus"},
		{"no logind", "", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			logind := asksLogind
			if test.kills == "" {
				logind = "exit 1"
			}
			programs(t, map[string]string{"loginctl": logind, "systemd-run": test.run})
			for name, value := range map[string]string{"KILLS": test.kills, "LINGERS": test.lingers} {
				t.Setenv(name, value)
			}
			var out bytes.Buffer
			(&doctor{w: &out}).logout(t.Context())
			if !strings.Contains(out.String(), test.want) || test.want == "" && out.Len() > 0 {
				t.Errorf("%q, want %q", out.String(), test.want)
			}
		})
	}
}

// Where logind kills at the logout, a session is started in a scope of its own; where that does not work, without one.
func TestSessionInAScope(t *testing.T) {
	for name, run := range map[string]string{"in a scope": runsInScope, "without": "exit 1"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			programs(t, map[string]string{"loginctl": asksLogind, "systemd-run": run})
			for name, value := range map[string]string{"KILLS": "yes", "LINGERS": "yes"} {
				t.Setenv(name, value)
			}
			a := p.attach(time.Hour)
			environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(a.About.PID), "environ"))
			if err != nil {
				t.Skip(err)
			}
			if scoped := bytes.Contains(environ, []byte("IN_SCOPE=yes\x00")); scoped != (run == runsInScope) {
				t.Errorf("in a scope: %v", scoped)
			}
			if err := a.Detach(t.Context()); err != nil {
				t.Error(err)
			}
			p.gone(a.About.PID)
		})
	}
}
