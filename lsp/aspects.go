package lsp

import (
	"maps"
	"reflect"
	"slices"

	"dipls/session"
)

// aspect is a setting that counts when something starts.
type aspect struct {
	key string
	of  func(session.Settings) any
}

// What is fixed when Python starts, and when a pool starts.
var (
	pythonSettings = []aspect{
		{"python", func(s session.Settings) any { return s.Python }},
		{"preload", func(s session.Settings) any { return append([]string{}, s.Preload...) }},
		{"start", func(s session.Settings) any { return s.Start }},
		{"env", func(s session.Settings) any { return maps.Clone(s.Env) }},
		{"envFile", func(s session.Settings) any { return s.EnvFile }},
		{"cwd", func(s session.Settings) any { return s.Cwd }},
	}
	poolSettings = []aspect{
		{"ranks", func(s session.Settings) any { return s.Pool.Ranks }},
		{"gpus", func(s session.Settings) any { return s.Pool.GPUs }},
		{"app", func(s session.Settings) any { return s.Pool.App }},
		{"seed", func(s session.Settings) any { return s.Pool.Seed }},
		{"keepGpuMemory", func(s session.Settings) any { return s.Pool.KeepGPUMemory }},
		{"groupTimeout", func(s session.Settings) any { return s.Pool.GroupTimeout }},
		{"hosts", func(s session.Settings) any { return s.Pool.Hosts }},
		{"ranksPerHost", onHosts(func(c session.Choice) any { return c.RanksPerHost })},
		{"hostsLease", onHosts(func(c session.Choice) any { return c.HostTerms.Lease })},
		{"hostsPorts", onHosts(func(c session.Choice) any { return c.HostTerms.Ports })},
		{"hostsPrologue", onHosts(func(c session.Choice) any { return c.HostTerms.Prologue })},
		{"hostsSync", onHosts(func(c session.Choice) any { return c.Sync })},
	}
)

var allSettings = slices.Concat(pythonSettings, poolSettings)

// onHosts is a setting that counts only for pools on other hosts.
func onHosts(of func(session.Choice) any) func(session.Settings) any {
	return func(s session.Settings) any {
		if s.Pool.Hosts == "" {
			return nil
		}
		return of(s.Pool)
	}
}

// differences returns the keys of settings that differ.
func differences(a, b session.Settings, aspects []aspect) (keys []string) {
	for _, x := range aspects {
		if !reflect.DeepEqual(x.of(a), x.of(b)) {
			keys = append(keys, x.key)
		}
	}
	return keys
}

// wantsPython and wantsPool report whether Python, or the pool, was started with other settings than those of now.
func wantsPython(used session.Used, now session.Settings) bool {
	return used.Python != nil && len(differences(*used.Python, now, pythonSettings)) > 0
}

func wantsPool(used session.Used, now session.Settings) bool {
	return used.Pool != nil && *used.Pool != now.Pool
}
