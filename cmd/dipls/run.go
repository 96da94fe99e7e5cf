package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/clean"
	"dipls/session"
)

// closePatience bounds the end of a session if even the shutdown ladder, which takes three seconds at most, does not help.
const closePatience = 30 * time.Second

const runHelp = `Run the cells of FILE in order: on the ranks of a pool, in the local namespace, or on both, as each cell says.

A cell begins at a "# %%" comment. Where it runs, first match wins: --target; the cell's own directive
("# %%dip everywhere --see all" under the marker, target="ranks:0-3" in the marker line, "#dip_locally");
autodip, if an earlier cell has turned it on; the file's line "# dip: remote" above its first marker and code; --default-target; the
local namespace.

All cells are compiled before the first one begins. If one does not compile, that is told, and nothing is run; with -k each fails when its turn comes.

The interpreter is the first of: --python, $DIPLS_PYTHON, an active virtualenv or conda environment,
.venv beside FILE or above it, python3.

Without -n and -g, the pool has a rank for every GPU; on a machine without GPUs it has 2 CPU ranks over gloo.

With --hosts the ranks run on other machines, and the local namespace stays on this one: "gpu1,user@gpu2:4" are reached by ssh (":4" are
ranks there), "slurm" is the allocation that this runs in, "slurm -N 4 -t 2:00:00" one of its own, and "exec[gpu1,gpu2] mpirun … {join}"
any command that starts one program on each host. -n counts the ranks of all hosts.

Ctrl-C, pressed for the
    1st time  interrupts the running cell, frees after a second what does not heed that, and ends the file with exit code 130
    2nd time  interrupts it again, and frees at once ranks that wait for each other
    3rd time  ends the pool
    4th time  ends dipls at once
Where no cell runs, it begins with the third. What input() and getpass() ask is asked at the terminal, for the ranks that ask it; Ctrl-D
answers with the end of input. Without a terminal, and with --json, they fail at once. SIGTERM and SIGHUP end everything in order.

What stands behind "--" is sys.argv[1:] in the cells, locally and on the ranks; sys.argv[0] is the file's absolute path. All processes, on every host, get
the environment of this command (on another host: that host's own), over it --env-file, and over that --env. They run in the current folder, or in --chdir.

Ranks that wait for others which do not come are told of after --hang-after: who waits, where, and for whom. SIGUSR1 prints where all
processes are in their code, at any time (kill -USR1 PID); with py-spy installed, in native code as well.

When all cells are done, what they have left in the background is waited for as Python does (threads, executors, exit handlers), however
long it takes; Ctrl-C ends that.

Cells of the local namespace may use magics, bare or commented: %makedip makes a pool, %dipush and %dipull move variables between
the local namespace and the ranks, %autodip on runs the following cells on the ranks. "%dipush?" as a line of a cell helps.

Everything that the ranks print is kept in a journal, whose place is told at the end of a run that failed, and by
--log-level info.

Exit codes:
    0  every cell ran, to its end or to a sys.exit(0)
    1  a cell failed, ran longer than --timeout, or was left out by -k because a line of it is wrong
    2  usage: a flag, the file, or a cell's directive is wrong; nothing ran
    3  the pool or the local namespace could not be started, or died; --app or --preload cannot be imported
    4  ranks have waited for each other for longer than --hang-timeout
  130  interrupted
    N  a cell ended by sys.exit(N); of ranks that disagree, the highest. With -k, of all failures the first counts.
       --json tells such a 3 or 4 from those above: "exit_code" of run_finished`

// runFlags are the flags of dipls run.
type runFlags struct {
	frontFlags
	cellFlags
	stayFlags
	processFlags
	ranks         int
	gpus          string
	cells         []string
	python        string
	app           string
	keepGPUMemory bool
	seedNumber    int64
	seed          session.Seed // of seedNumber
	preload       []string
	autoreload    bool
	start         string
	startTimeout  time.Duration
	groupTimeout  time.Duration
	hostsFlags
	ranksPerHost int
	sync         bool
	journalLimit string
	trace        string
	logLevel     string
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run FILE [-- ARGUMENTS]",
		Short: "run the cells of a file",
		Long:  runHelp + "\n" + runSessionHelp,
		Example: `  dipls run train.py -n 4 --see all
  dipls run train.py -g 3,1 --cells 1,3-5
  dipls run train.py -n 2 --target remote --json
  dipls run train.py --session train --detach
  dipls run train.py -n 2 --env HF_HUB_OFFLINE=1 -- --lr 3e-4`,
		Args: fileAndArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.takeArguments(args[1:]); err != nil {
				return err
			}
			if cmd.Flags().Changed("ranks") && f.ranks < 1 {
				return usagef("-n %d: a pool has at least one rank", f.ranks)
			}
			if cmd.Flags().Changed("ranks-per-host") && f.ranksPerHost < 1 {
				return usagef("--ranks-per-host %d: a host has at least one rank", f.ranksPerHost)
			}
			if err := f.hostsFlags.check(cmd.Flags(), "ranks-per-host", "sync"); err != nil {
				return err
			}
			if f.groupTimeout < 0 {
				return usagef("--group-timeout %s: a collective cannot take less than no time", f.groupTimeout)
			}
			if cmd.Flags().Changed("seed") {
				var err error
				if f.seed, err = session.NewSeed(f.seedNumber); err != nil {
					return usagef("--%w", err)
				}
			}
			if err := f.checkStay(cmd.Flags()); err != nil {
				return err
			}
			return f.run(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVarP(&f.ranks, "ranks", "n", 0, "number of ranks")
	flags.StringVarP(&f.gpus, "gpus", "g", "", `GPUs, one rank each, in this order: "all" or a list such as 3,1 or 0-3, numbered as torch does`)
	f.hostsFlags.add(flags, "hosts that the ranks run on")
	flags.IntVar(&f.ranksPerHost, "ranks-per-host", 0, "ranks on each host that does not say so itself (default: one for each GPU)")
	flags.BoolVar(&f.sync, "sync", false, "bring the project's Python files to hosts that do not share the folder, before each run that changed them: "+
		"those that git tracks, or without git those below the folder")
	f.cellFlags.add(flags, "target")
	f.processFlags.add(flags)
	flags.StringArrayVar(&f.cells, "cells", nil, `only these cells: numbers as "dipls cells" prints them (1,3-5), or a title; may be repeated`)
	flags.StringVar(&f.python, "python", "", "interpreter (default: see above)")
	flags.StringVar(&f.app, "app", "", "what frames the pool's life: torch (joins the process group), none, fastai, accelerate, "+
		"or a module or file of yours (default: torch if it is installed)")
	flags.BoolVar(&f.keepGPUMemory, "keep-gpu-memory", false, "leave torch's cached GPU memory alone; otherwise it is freed after cells that changed it")
	flags.Int64Var(&f.seedNumber, "seed", 0, "where random generators begin: "+
		"rank r with N + r, the local namespace with N (default: anywhere, each time elsewhere)")
	flags.BoolVar(&f.autoreload, "autoreload", false, "reload modules of the project that were edited, before each cell, on all processes alike")
	flags.StringSliceVar(&f.preload, "preload", nil, "modules to import once, before the ranks are forked, besides torch")
	flags.StringVar(&f.start, "start", "auto", "how ranks start: auto, fork or spawn")
	f.addRunning(flags)
	flags.DurationVar(&f.startTimeout, "start-timeout", 2*time.Minute, "how long the pool may take to start")
	f.addHang(flags)
	flags.DurationVar(&f.groupTimeout, "group-timeout", 0, "how long torch lets a collective wait (default: 24h)")
	f.addView(flags)
	f.stayFlags.add(flags)
	flags.StringVar(&f.journalLimit, "journal-limit", "2GiB", "how much one run's journal takes at most, such as 500MB or 4GiB, "+
		"0 for any amount; of more, the oldest and the newest are kept")
	flags.StringVar(&f.trace, "trace", "", traceUsage)
	flags.StringVar(&f.logLevel, "log-level", "warn", "what dipls logs on stderr: debug, info, warn or error")
	return cmd
}

// run is the whole life of one dipls run. Whatever it starts has ended when it returns.
func (f *runFlags) run(cmd *cobra.Command, file string) error {
	out, errOut := cmd.OutOrStdout(), newScreen(cmd.ErrOrStderr())
	log, err := newLogger(f.logLevel, errOut)
	if err != nil {
		return err
	}
	p, err := f.planFile(file)
	if err != nil {
		return err
	}
	if err := session.CheckLimits(); err != nil {
		return &exitError{exitPool, err}
	}
	for _, warning := range p.warnings {
		fmt.Fprintln(errOut, clean.Text(warning))
	}
	if len(p.cells) == 0 && p.skipped {
		return &exitError{exitFailed, nil}
	}
	if len(p.cells) == 0 {
		fmt.Fprintf(errOut, "dipls: %s has no code cell to run\n", file)
		return nil
	}

	if cmd.Flags().Changed("session") {
		return f.runInSession(cmd, p)
	}
	if err := session.AdoptOrphans(); err != nil {
		log.Warn("what a killed node leaves behind will not be cleaned up", zap.Error(err))
	}
	signals := notified()
	defer signals.stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	tracer, err := openTrace(f.trace)
	if err != nil {
		return err
	}
	defer closeTrace(tracer, log)
	limit, err := journal.ParseLimit(f.journalLimit)
	if err != nil {
		return usagef("--journal-limit: %w", err)
	}
	store := journal.Open(journal.Options{Limit: limit})
	defer store.Close()
	here, _ := os.Getwd() // "" is the file's folder
	own := session.New(session.Options{
		Dir: filepath.Dir(p.path), WorkDir: here, Journal: store, Trace: tracer, Log: log, Plain: !isTerminal(out) || !isTerminal(errOut.w),
	})
	r := &runner{flags: f, plan: p, cancel: cancel}
	r.front = &front{frontFlags: f.frontFlags, name: "dipls run", session: own, hold: r, log: log, out: out, errOut: errOut}
	stop := signals.heed(r.front, r.pressed())
	defer stop()
	return r.run(ctx)
}

// planFile is what will be run of a file.
func (f *runFlags) planFile(file string) (*plan, error) {
	from, err := readSource(file, &f.markers)
	if err != nil {
		return nil, err
	}
	selected, err := selectCells(from.text, "--cells", f.cells)
	if err != nil {
		return nil, err
	}
	return f.plan(from, selected, "target")
}

// caller is the caller of everything here, under a front's name; its settings are the flags.
func (f *runFlags) caller(name, script string) session.Caller {
	return session.Caller{
		Front: name, Prefix: session.PrefixFlags, Instead: "let dipls install into a directory of its own with --yes",
		Args: f.args, Autoreload: f.autoreload,
		Settings: session.Settings{
			Python: f.pythonPath(), Script: script, Preload: f.preload, Start: f.start, Trust: session.TrustYes, Strict: true,
			Env: f.env, EnvFile: f.envFile, Cwd: f.chdir,
			Pool: session.Choice{
				GPUs: f.gpus, Ranks: f.ranks, App: f.app, Timeout: f.startTimeout,
				KeepGPUMemory: f.keepGPUMemory, Seed: f.seed, GroupTimeout: f.groupTimeout,
				Hosts: f.hosts, RanksPerHost: f.ranksPerHost, HostTerms: f.hostTerms, Sync: f.sync,
			},
		},
	}
}

// pythonPath is --python, as seen from the working directory.
func (f *runFlags) pythonPath() string {
	if absolute, err := filepath.Abs(f.python); err == nil && strings.Contains(f.python, "/") {
		return absolute
	}
	return f.python
}

// checkPool refuses, before anything is started, a pool that the machine cannot provide, and cells that a pool of that size cannot run. It looks for
// GPUs only if a cell runs on ranks. If a cell makes the pool itself, that is left to the cell.
func (r *runner) checkPool(ctx context.Context) error {
	if !r.plan.needsRanks || r.plan.makesPool {
		return nil
	}
	size, err := r.session.PoolSize(ctx, r.caller())
	if err != nil {
		return startError(err)
	}
	return r.plan.checkRanks(size)
}

// startError is the end of the file when something could not be started.
func startError(err error) error {
	if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeInvalid {
		return usagef("%w", err)
	}
	return &exitError{exitPool, err}
}

// runner is one dipls run in progress, which owns its session.
type runner struct {
	*front
	flags  *runFlags
	plan   *plan
	cancel context.CancelFunc // for a user who has lost patience
}

// caller is the caller of everything here.
func (r *runner) caller() session.Caller { return r.wide(r.flags.caller(r.name, r.plan.path)) }

// pressed turns the first Ctrl-C into an interrupt of the running cell, the second into one that frees waiting ranks, the third into the end
// of the pool, and the last into the end of this process (the node notices and cleans up). Other signals begin with the third, and so does Ctrl-C
// while no cell runs, for example while the end waits for work in the background.
func (r *runner) pressed() func(os.Signal) {
	interrupts, ended := 0, false
	return func(got os.Signal) {
		r.end(exitInterrupted)
		switch running := r.isRunning() && got == os.Interrupt; {
		case ended:
			r.asker.leave()
			os.Exit(exitInterrupted)
		case running && interrupts == 0:
			interrupts++
			r.tell("interrupting, and ending the file; Ctrl-C again frees at once what still waits") // first: with its run, the command may end
			r.interrupt()
		case running && interrupts == 1:
			interrupts++
			r.tell("interrupting again, and freeing what waits; Ctrl-C again ends the pool")
			r.free()
		default:
			ended = true
			r.tell("ending everything; Ctrl-C again leaves at once")
			if r.isRunning() {
				r.interrupt()
			}
			r.cancel()
		}
	}
}

// holds implements [hold].
func (r *runner) holds(string) bool { return true }

// say implements [hold].
func (r *runner) say(l event.Level, text string) {
	_ = r.session.Say(context.Background(), session.Note{Level: l, Text: text})
}

// interrupt implements [hold].
func (r *runner) interrupt() { _, _ = r.session.Cancel(context.Background(), "") }

// free implements [hold].
func (r *runner) free() { _ = r.session.FreeAll(context.Background()) }

// last implements [hold].
func (r *runner) last() { _ = r.session.Last(context.Background()) }

// giveUp implements [hold]: it ends everything.
func (r *runner) giveUp(because string) {
	if because != "" {
		r.tell(because + "; ending everything")
	}
	r.cancel()
}

// run does everything. What fails after an interrupt counts as failed because of it.
func (r *runner) run(ctx context.Context) error {
	err := r.perform(ctx)
	if code := r.endsWith(); err != nil && code != 0 {
		return &exitError{code, nil}
	}
	return err
}

// perform runs the cells, and ends the session whatever their outcome.
func (r *runner) perform(ctx context.Context) error {
	shown, err := r.session.Subscribe(ctx, session.SubscribeRequest{})
	if err != nil {
		return err
	}
	viewed := r.beginView(shown)
	hangs, err := r.attend(ctx)
	if err != nil {
		return err
	}

	defer hangs.notifier.close()
	outcome := r.cells(ctx)
	hangs.close()
	endErr := r.finish(ctx)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	closeErr := r.session.Close(patience, session.CloseRequest{TellJournal: true})
	r.watches.Wait()
	viewErr := r.awaitView(ctx, viewed)
	switch {
	case viewErr != nil:
		return viewErr
	case outcome == nil && errors.Join(endErr, closeErr) != nil:
		return &exitError{exitPool, errors.Join(endErr, closeErr)}
	case endErr != nil:
		r.log.Warn("the session did not end well", zap.Error(endErr))
	case closeErr != nil:
		r.log.Warn("the session did not end in order", zap.Error(closeErr))
	}
	return outcome
}

// cells starts Python, runs one cell after the other, and waits for them.
func (r *runner) cells(ctx context.Context) error {
	if err := r.checkPool(ctx); err != nil {
		return err
	}
	r.tellOwn(filepath.Dir(r.plan.path), r.flags.pythonPath())
	by := r.caller()
	ahead := session.Preparation{Ask: true, Pool: r.plan.needsRanks && !r.plan.makesPool, Local: r.plan.needsLocal}
	ahead.Wait = r.flags.app != "" || len(r.flags.preload) > 0 // whether they are there should be known before the first cell runs
	if err := r.session.Prepare(ctx, by, ahead); err != nil {
		return startError(err)
	}
	runs, err := r.start(func() ([]string, error) {
		return r.session.Start(ctx, by, session.Sequence{Cells: r.plan.requests(), GoOn: r.flags.keepGoing})
	})
	if err != nil {
		return err
	}
	return r.outcome(ctx, runs, r.plan)
}

// start starts something, unless the user has asked for an end. That comes before it or after it: it takes no time, since the session is here.
func (r *runner) start(start func() ([]string, error)) (runs []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending != 0 {
		return nil, &exitError{r.ending, nil}
	}
	r.running = true
	return start()
}

// finish waits as Python does at the end of a script: for threads and exit handlers, however long they take. Only the user can end that.
func (r *runner) finish(ctx context.Context) error {
	r.done()
	if ctx.Err() != nil {
		return nil // the user had lost patience already
	}
	err := r.session.Finish(ctx, "Ctrl-C ends")
	if code := r.endsWith(); ctx.Err() != nil && code != 0 {
		return &exitError{code, nil}
	}
	return err
}
