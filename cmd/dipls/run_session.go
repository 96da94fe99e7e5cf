package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dipls/internal/clean"
	"dipls/session"
)

const runSessionHelp = `
With --session the file runs in a session that stays, which is started if there is none: the one of that NAME in FILE's folder or above it. Its processes live
on when the cells are done, and are not waited for. Flags about Python and the pool count for what this command has to start; what is there stays as it is.
--trace is refused. --detach leaves as soon as the cells are queued, and prints the command that shows them; what is about watching them is refused with it.
Then signals are as in "dipls exec": Ctrl-C interrupts what this command runs, never the session, and the third time it leaves; Ctrl-\ leaves with exit
code 0, and the cells go on.`

// stayFlags are those flags of dipls run that are about a session that stays.
type stayFlags struct {
	session sessionFlag
	detach  bool
	keep    string
}

func (f *stayFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.session.text, "session", "", "run in the session `NAME`, which stays; it is started if there is none")
	flags.BoolVar(&f.detach, "detach", false, "with --session: leave as soon as the cells are queued")
	flags.StringVar(&f.keep, "keep", session.FormatKeep(session.KeepDefault),
		"with --session: how long one that is started stays with nobody attached and nothing running, such as 90m, or forever")
}

// Flags of dipls run that count for what is started only.
var (
	pythonFlags = []string{"python", "preload", "start", "env", "env-file", "chdir"}
	poolFlags   = []string{"ranks", "gpus", "app", "keep-gpu-memory", "seed", "start-timeout", "group-timeout",
		"hosts", "ranks-per-host", "hosts-lease", "hosts-ports", "hosts-prologue", "sync"}
)

// changed are those flags of a list that the user has given.
func changed(flags *pflag.FlagSet, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !flags.Changed(name) })
}

// checkStay refuses flags that contradict each other.
func (f *runFlags) checkStay(flags *pflag.FlagSet) error {
	switch stays := flags.Changed("session"); {
	case !stays && (f.detach || flags.Changed("keep")):
		return usagef("--detach and --keep go with --session NAME: what runs here ends with this command")
	case !stays:
		return nil
	case f.session.text == "":
		return usagef("--session: name the session")
	case flags.Changed("trace"):
		return usagef("--trace does not go with --session: it would miss what the session's own process does")
	}
	if no := changed(flags, []string{"json", "quiet", "hang-timeout", "notify"}); f.detach && len(no) > 0 {
		return usagef("--%s does not go with --detach: nobody watches", no[0])
	}
	return nil
}

// runInSession runs a plan in a session that stays.
func (f *runFlags) runInSession(cmd *cobra.Command, p *plan) error {
	keep, err := session.ParseKeep(f.keep)
	if err != nil || keep == session.KeepNever {
		return usagef(`--keep %q: want a time such as "4h" or "90m", or "forever"`, f.keep)
	}
	if cmd.Flags().Changed("journal-limit") {
		limit, err := session.ParseJournalLimit(f.journalLimit)
		if err != nil {
			return usagef("--journal-limit: %w", err)
		}
		for i := range p.cells {
			p.cells[i].request.JournalLimit = limit
		}
	}
	r := session.AttachRequest{Dir: filepath.Dir(p.path), Start: true, Keep: keep, Python: f.pythonPath()}
	return attached(cmd, &f.session, r, &f.frontFlags, f.logLevel, func(ctx context.Context, g *guest) error {
		wanted := f.caller(g.name, p.path).Settings
		if len(changed(cmd.Flags(), poolFlags)) == 0 {
			wanted.Pool = session.Choice{}
		}
		f.tellStay(ctx, cmd.Flags(), g, keep)
		by := g.caller(ctx, wanted)
		by.Args, by.Autoreload = f.args, f.autoreload
		return g.cells(ctx, by, p, f.keepGoing, f.detach)
	})
}

// tellStay tells what the user should know of the session: that it stays, or which flags do not count.
func (f *runFlags) tellStay(ctx context.Context, flags *pflag.FlagSet, g *guest, keep time.Duration) {
	name := clean.Line(g.about.Name)
	if g.fresh && !f.quiet {
		how := fmt.Sprintf("for %s with nothing running", shortDuration(keep))
		if keep == session.KeepForever {
			how = "until it is stopped"
		}
		g.tell(fmt.Sprintf("session %s was started, and stays %s: dipls stop %s", name, how, shellQuote(g.about.Name)))
	}
	used, err := g.session.Used(ctx)
	if err != nil {
		return
	}
	var vain []string
	if used.Python != nil {
		vain = changed(flags, pythonFlags)
	}
	if used.Pool != nil {
		vain = append(vain, changed(flags, poolFlags)...)
	}
	if len(vain) > 0 {
		g.warn(fmt.Sprintf("--%s: not heeded, since session %s has started its processes already", strings.Join(vain, ", --"), name))
	}
}
