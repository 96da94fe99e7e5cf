package lsp

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"dipls/internal/ranklist"
	"dipls/session"
)

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		json     string
		check    func(Settings) bool
		problems []string // what each contains
	}{
		{`null`, func(s Settings) bool { return s.Start == "auto" && s.StartTimeout == 2*time.Minute && s.Prewarm }, nil},
		{`{}`, func(s Settings) bool {
			return slices.Equal(s.CodeLens, []string{"runCell", "runRemote", "runEverywhere", "runLocal", "runAbove", "runBelow"})
		}, nil},
		{`{"ranks": 4, "gpus": "3,1", "preload": ["numpy"], "prewarm": false}`,
			func(s Settings) bool { return s.Ranks == 4 && s.GPUs == "3,1" && s.Preload[0] == "numpy" && !s.Prewarm }, nil},
		{`{"diagnostics": {"output": "off"}}`, func(s Settings) bool { return s.DiagnosticsOutput == "off" }, nil},
		{`{"diagnostics.output": "full"}`, func(s Settings) bool { return s.DiagnosticsOutput == "full" }, nil},
		{`{"diagnostics": 7, "unknown": {}, "ranks": null}`, func(s Settings) bool { return s.DiagnosticsOutput == "last" && s.Ranks == 0 }, nil},
		{`{"ranks": "four", "app": "none"}`, func(s Settings) bool { return s.Ranks == 0 && s.App == "none" },
			[]string{`dip.ranks: want a number of ranks, or 0, not "four"`}},
		{`{"ranks": -1}`, func(s Settings) bool { return s.Ranks == 0 }, []string{"dip.ranks"}},
		{`{"ranks": 2.5}`, func(s Settings) bool { return s.Ranks == 0 }, []string{"dip.ranks"}},
		{`{"python": ["a"]}`, func(s Settings) bool { return s.Python == "" }, []string{`dip.python: want a string, not ["a"]`}},
		{`{"preload": "numpy"}`, func(s Settings) bool { return len(s.Preload) == 0 }, []string{"dip.preload: want a list of strings"}},
		{`{"prewarm": 1}`, func(s Settings) bool { return s.Prewarm }, []string{"dip.prewarm: want true or false"}},
		{`{"start": "clone", "codeLens": ["runLocal", "runAway"]}`, func(s Settings) bool { return s.Start == "auto" && len(s.CodeLens) == 6 },
			[]string{"dip.start: want auto, fork, spawn", "dip.codeLens: want runCell"}},
		{`{"codeLens": []}`, func(s Settings) bool { return len(s.CodeLens) == 0 }, nil},
		{`{"seed": 0}`, func(s Settings) bool { return *s.pool().Seed.Of(ranklist.Rank(1)) == 1 }, nil},
		{`{"seed": -1}`, func(s Settings) bool { return s.pool().Seed.Of(ranklist.Local) == nil }, nil},
		{`{"seed": -2}`, func(s Settings) bool { return s.pool().Seed.Of(ranklist.Local) == nil }, []string{"dip.seed: seed -2: want a number from 0 to 4294967295"}},
		{`{"startTimeout": 0}`, func(s Settings) bool { return s.StartTimeout == 2*time.Minute }, []string{"dip.startTimeout"}},
		{`null`, func(s Settings) bool { return s.HangAfter == 10*time.Second && s.pool().GroupTimeout == 24*time.Hour }, nil},
		{`{"hang": {"after": 2.5}, "groupTimeout": 60}`, func(s Settings) bool {
			return s.HangAfter == 2500*time.Millisecond && s.pool().GroupTimeout == time.Minute
		}, nil},
		{`{"hang.after": 0}`, func(s Settings) bool { return s.HangAfter < 0 }, nil},
		{`{"hang.after": -1, "groupTimeout": 0}`, func(s Settings) bool { return s.HangAfter == 10*time.Second && s.GroupTimeout == 24*time.Hour },
			[]string{"dip.groupTimeout: want seconds, more than 0", "dip.hang.after: want seconds, or 0 for never"}},
		{`{"hang.after": "off"}`, func(s Settings) bool { return s.HangAfter == 10*time.Second },
			[]string{`dip.hang.after: want seconds, or 0 for never, not "off"`}},
		{`{"journalLimit": "500MB"}`, func(s Settings) bool { return s.JournalLimit == 500e6 }, nil},
		{`{"journalLimit": "0"}`, func(s Settings) bool { return s.JournalLimit < 0 }, nil},
		{`{"journalLimit": "1MB"}`, func(s Settings) bool { return s.JournalLimit == 2<<30 },
			[]string{"dip.journalLimit: \"1MB\" is too little for a journal; want at least 16 MiB"}},
		{`[1]`, func(s Settings) bool { return s.Start == "auto" }, []string{"dip: want an object"}},
	} {
		s := defaultSettings()
		problems := s.apply(json.RawMessage(test.json))
		if !test.check(s) {
			t.Errorf("%s gives %+v", test.json, s)
		}
		fits := func(a, b string) bool { return strings.Contains(a, b) }
		if !slices.EqualFunc(problems, test.problems, fits) {
			t.Errorf("%s: told %q, want %q", test.json, problems, test.problems)
		}
	}
}

// Settings of hosts count for the next pool as others do, as far as it is on hosts.
func TestSettingsOfHostsCount(t *testing.T) {
	settings := func(change func(*Settings)) session.Settings {
		s := Settings{RanksPerHost: 2, HostTerms: session.HostTerms{Lease: time.Minute}}
		change(&s)
		return s.ofSession("/work")
	}
	on := func(s *Settings) { s.Hosts = "gpu1" }
	for want, change := range map[string]func(*Settings){
		"hosts":         func(s *Settings) { s.Hosts = "gpu1,gpu2" },
		"ranksPerHost":  func(s *Settings) { on(s); s.RanksPerHost = 4 },
		"hostsLease":    func(s *Settings) { on(s); s.HostTerms.Lease = time.Second },
		"hostsPorts":    func(s *Settings) { on(s); s.HostTerms.Ports = "7000-7010" },
		"hostsPrologue": func(s *Settings) { on(s); s.HostTerms.Prologue = "module load cuda" },
		"hostsSync":     func(s *Settings) { on(s); s.HostsSync = true },
	} {
		if keys := differences(settings(on), settings(change), poolSettings); !slices.Equal(keys, []string{want}) {
			t.Errorf("with %s changed, %v have", want, keys)
		}
	}
	here := settings(func(*Settings) {})
	other := settings(func(s *Settings) { s.RanksPerHost, s.HostsSync, s.HostTerms.Lease = 4, true, time.Second })
	if keys := differences(here, other, poolSettings); len(keys) > 0 || here.Pool.RanksPerHost != 0 {
		t.Errorf("on this machine %v count, and %d ranks per host are asked for", keys, here.Pool.RanksPerHost)
	}
}
