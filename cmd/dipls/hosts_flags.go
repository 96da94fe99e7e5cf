package main

import (
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dipls/session"
)

// hostsFlags are the flags about hosts that ranks run on.
type hostsFlags struct {
	hosts         string
	hostTerms     session.HostTerms
	hostsPrologue []string
}

func (f *hostsFlags) add(flags *pflag.FlagSet, what string) {
	flags.StringVar(&f.hosts, "hosts", "", what+": names for ssh (gpu1,user@gpu2:4), slurm, or exec[gpu1,gpu2] COMMAND (default: this machine)")
	flags.DurationVar(&f.hostTerms.Lease, "hosts-lease", time.Minute, "how long a host may be silent before its ranks count as dead")
	flags.StringVar(&f.hostTerms.Ports, "hosts-ports", "",
		"where hosts dial us, and each other for a push, such as 7000-7010; none: ssh carries their connections (default: any port)")
	flags.StringArrayVar(&f.hostsPrologue, "hosts-prologue", nil,
		`line of a shell for each host before Python starts, such as "module load cuda"; may be repeated`)
}

// check completes what the flags say, and refuses what makes no sense. more are other flags that are about hosts.
func (f *hostsFlags) check(flags *pflag.FlagSet, more ...string) error {
	for _, name := range append(more, "hosts-lease", "hosts-ports", "hosts-prologue") {
		if f.hosts == "" && flags.Changed(name) {
			return usagef("--%s is about hosts, and --hosts names none", name)
		}
	}
	if f.hostTerms.Lease == 0 { // it would mean the default
		return usagef("--hosts-lease 0s: want how long a host may be silent")
	}
	if err := f.hostTerms.Check(); err != nil {
		return usagef("%v", err)
	}
	f.hostTerms.Prologue = strings.Join(f.hostsPrologue, "\n")
	return nil
}
