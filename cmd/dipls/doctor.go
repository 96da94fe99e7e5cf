package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/dipexec/view"
	"dipls/internal/private"
	"dipls/session"
)

const doctorHelp = `Check what dipls needs on this machine, and try it out: the interpreter and its packages, GPUs, directories,
sockets, sessions and what they hold, limits, and a pool of two ranks that runs one cell each.

Every line says what was found; a line that is not "ok" says how to mend it. The exit code is 0 if cells can run,
1 if they cannot.

--pool tries more, in a minute or two: it makes a pool of two ranks as the next cell would, on GPUs with NCCL where there are some, else on the CPU
with gloo; runs an all_reduce; has a rank stay away from a collective, which has to be told; interrupts those that wait, several times, after
which they have to go on with their variables and modules; sees that a GPU's memory is given back; and that nothing is left at the
end. What needs GPUs (CUDA after a fork, NCCL, memory) is tried where there are GPUs, and nowhere else.

--hosts looks at other hosts in place of this machine's GPUs and pool. It starts an agent on each as a pool would, asks it, and ends it: how it is reached, its
Python and packages, GPUs, clock, addresses, the interface by which ranks meet, whether the working directory and the home directory are shared. What
differs is told, with what to do about it. A host that does not come is told with the words of what should have started it. With --pool, it then tries a pool on
them, as above.

--report FILE puts what a bug report needs into a zip file: all that is said here, versions, a log, and the events of the
last runs, without what they printed, their code or any variable (--with-output adds output and code).`

func newDoctor() *cobra.Command {
	var python, reportPath string
	var withOutput, pool, asJSON bool
	var hosts hostsFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "check interpreter, GPUs, sockets and limits, and say how to mend what does not work",
		Long:  doctorHelp,
		Args:  nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{w: cmd.OutOrStdout(), colour: isTerminal(cmd.OutOrStdout()) && os.Getenv("NO_COLOR") == "", pool: pool, json: asJSON}
			if withOutput && reportPath == "" {
				return usagef("--with-output says what goes into a report: add --report FILE")
			}
			if err := hosts.check(cmd.Flags()); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM) // nothing may stay behind, on any host
			defer stop()
			d.report.output = withOutput
			if hosts.hosts != "" {
				d.said = cmd.ErrOrStderr()
				d.examineHosts(ctx, python, hosts)
			} else {
				d.examine(ctx, python)
			}
			if reportPath != "" {
				d.writeReport(reportPath)
			}
			if asJSON {
				d.err = json.NewEncoder(d.w).Encode(doctorFindings{!d.failed, d.checks, d.hosts})
			}
			if d.err == nil && ctx.Err() != nil {
				return &exitError{exitInterrupted, nil}
			}
			if d.err == nil && d.failed {
				return &exitError{exitFailed, nil}
			}
			return d.err
		},
	}
	cmd.Flags().StringVar(&python, "python", "", "interpreter (default: as for dipls run)")
	cmd.Flags().BoolVar(&pool, "pool", false, "try a pool out: collectives, a hang, interrupts, memory")
	hosts.add(cmd.Flags(), "look at hosts that ranks are to run on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().StringVar(&reportPath, "report", "", "write what a bug report needs into this zip `FILE`")
	cmd.Flags().BoolVar(&withOutput, "with-output", false, "the report also holds the runs' output and code")
	return cmd
}

// doctor writes one line per finding.
type doctor struct {
	w      io.Writer
	colour bool
	pool   bool // is tried out in full
	json   bool // write only the checks, as JSON, at the end
	failed bool
	took   time.Duration // how long the step of the next finding took; 0: not shown
	checks []check
	err    error // of writing
	report report

	said  io.Writer     // gets what the start of hosts waits for
	hosts []hostFinding // as JSON
}

// doctorFindings is what --json prints.
type doctorFindings struct {
	OK     bool          `json:"ok"`
	Checks []check       `json:"checks"`
	Hosts  []hostFinding `json:"hosts,omitempty"`
}

// check is a finding as JSON.
type check struct {
	Name    string  `json:"name"`
	Status  string  `json:"status"` // "ok", "warn" or "fail"
	Found   string  `json:"found"`
	Remedy  string  `json:"remedy,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// ok, warn and fail report a finding; remedy is what to do about it.
func (d *doctor) ok(what, found string) { d.line(32, "ok", what, found, "") }

func (d *doctor) warn(what, found, remedy string) { d.line(33, "warn", what, found, remedy) }

func (d *doctor) fail(what string, found error, remedy string) {
	d.failed = true
	d.line(31, "FAIL", what, found.Error(), remedy)
}

func (d *doctor) line(colour int, verdict, what, found, remedy string) {
	d.checks = append(d.checks, check{what, strings.ToLower(verdict), found, remedy, d.took.Seconds()})
	if d.took > 0 {
		found += " · " + view.FormatDuration(d.took)
	}
	verdict = fmt.Sprintf("%-4s", verdict)
	text := fmt.Sprintf("  %-12s %s\n", what, indentLines(found, 19))
	if remedy != "" {
		text += fmt.Sprintf("%18s → %s\n", "", remedy)
	}
	d.report.findings.WriteString(verdict + text)
	if d.json {
		return
	}
	if d.colour {
		verdict = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, verdict)
	}
	if _, err := io.WriteString(d.w, verdict+text); d.err == nil {
		d.err = err
	}
}

// writeReport writes the report, and says what it contains.
func (d *doctor) writeReport(path string) {
	runs, err := d.report.write(path)
	if err != nil {
		remedy, err := reportFault(path, err)
		d.fail("report", err, remedy)
		return
	}
	d.ok("report", describeReport(path, runs, d.report.output))
}

func indentLines(s string, by int) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+strings.Repeat(" ", by))
}

// examination bounds what is done on this machine.
const examination = 5 * time.Minute

func (d *doctor) examine(ctx context.Context, pythonFlag string) {
	ctx, cancel := context.WithTimeout(ctx, examination)
	defer cancel()
	d.ok("dipls", version+revision())
	python, usable := d.python(ctx, pythonFlag)
	d.gpus(ctx)
	d.sockets()
	d.sessions(ctx)
	d.logout(ctx)
	if notice := session.CacheNotice(); notice != "" {
		d.warn("cache", notice, "")
	}
	d.journal()
	d.limits()
	switch {
	case usable && d.pool:
		d.tryPool(ctx, python, session.Choice{Ranks: trialRanks})
	case usable:
		d.tryOut(ctx, python)
	default:
		d.warn("try-out", "skipped: it needs the interpreter", "")
	}
}

// python examines the interpreter and its packages; usable tells whether ranks can start on it.
func (d *doctor) python(ctx context.Context, flag string) (path string, usable bool) {
	python, err := session.FindPython("--python", flag, ".")
	if err != nil {
		d.fail("python", err, "install Python 3.9 or newer, or name one with --python or DIPLS_PYTHON")
		return "", false
	}
	info, err := session.Probe(ctx, python.Path)
	if err != nil {
		d.fail("python", err, "name another one with --python or DIPLS_PYTHON")
		return "", false
	}
	d.report.python, d.report.packages = info.Version, info.Packages
	d.ok("python", fmt.Sprintf("%s %s (from %s)", info.Version, python.Path, python.Why))
	if missing := info.Missing(); len(missing) > 0 {
		d.fail("packages", fmt.Errorf("missing: %s", strings.Join(missing, ", ")),
			fmt.Sprintf("%s -m pip install %s; or run 'dipls run --yes', which installs them into a directory of its own", python.Path, strings.Join(missing, " ")))
		return "", false
	}
	var have []string
	for _, name := range []string{"ipython", "pyzmq", "cloudpickle", "numpy", "matplotlib"} {
		if v := info.Packages[name]; v != "" {
			have = append(have, name+" "+v)
		}
	}
	d.ok("packages", strings.Join(have, ", "))
	if v := info.Packages["torch"]; v != "" {
		d.ok("torch", v)
	} else {
		d.warn("torch", "not installed: ranks are plain Python, without a process group",
			"install torch into this interpreter's environment if you want DDP")
	}
	return python.Path, true
}

func (d *doctor) gpus(ctx context.Context) {
	gpus, err := session.ListGPUs(ctx)
	switch {
	case err != nil:
		d.warn("gpus", err.Error(), "see what nvidia-smi itself says")
	case len(gpus) == 0:
		found := "none: pools are CPU ranks over gloo"
		if visible, set := os.LookupEnv("CUDA_VISIBLE_DEVICES"); set {
			found += fmt.Sprintf(" (CUDA_VISIBLE_DEVICES=%q)", visible)
		}
		d.ok("gpus", found)
	default:
		var lines []string
		for _, gpu := range gpus {
			lines = append(lines, fmt.Sprintf("%d: %s, %d of %d MiB used", gpu.Index, gpu.Name, gpu.MemUsed, gpu.MemTotal))
		}
		d.ok("gpus", strings.Join(lines, "\n"))
	}
}

func (d *doctor) sockets() {
	dir, err := session.CheckSockets()
	if err != nil {
		d.fail("sockets", err, "set DIPLS_RUNTIME_DIR to a short directory of your own, mode 700")
		return
	}
	d.ok("sockets", "private, in "+dir)
}

func (d *doctor) journal() {
	dir, err := journal.DefaultDir()
	if err == nil {
		err = writable(dir)
	}
	if err != nil {
		d.warn("journal", err.Error(), "make the directory writable, or set XDG_STATE_HOME; without it output is shown but not kept")
		return
	}
	d.ok("journal", dir)
}

// writable makes the directory if need be, and a file in it.
func writable(dir string) error {
	if err := private.Dir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// descriptorsPerRank is what the node holds for one rank: its pipes, ring and lifeline; dipls holds a socket.
const descriptorsPerRank = 8

func (d *doctor) limits() {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		found := fmt.Sprintf("%d open files: enough for about %d ranks", files.Cur, max(0, int64(min(files.Cur, 1<<30))-100)/descriptorsPerRank)
		if files.Cur < 1024 {
			d.warn("open files", found, "raise it in this shell: ulimit -n 4096")
		} else {
			d.ok("open files", found)
		}
	}
	if err := session.CheckLimits(); err != nil {
		d.fail("limits", err, "")
	}
	var shm unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &shm); err == nil {
		free := int64(shm.Bavail) * int64(shm.Bsize) >> 20
		found := fmt.Sprintf("%d MiB free in /dev/shm", free)
		if free < 1024 {
			d.warn("shared mem", found, "DataLoader workers need it; in a container start it with a larger --shm-size")
		} else {
			d.ok("shared mem", found)
		}
	}
}

// doctorSession is a session in the current directory whose pools have so many ranks, and who starts things in it. The options say what else counts.
func (d *doctor) doctorSession(python string, pool session.Choice, o session.Options) (session.API, session.Caller, error) {
	log, err := newLogger("debug", &d.report.log)
	if err != nil {
		return nil, session.Caller{}, err
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, session.Caller{}, err
	}
	by := session.Caller{Prefix: session.PrefixFlags, Settings: session.Settings{Python: python, Trust: session.TrustYes, Pool: pool}}
	o.Dir, o.Log = here, log
	return session.New(o), by, nil
}

// tryOut starts a pool of two ranks and runs a cell on it. It leaves GPUs alone, which others may use: --pool tries them.
func (d *doctor) tryOut(ctx context.Context, python string) {
	const remedy = "run with --log-level debug: dipls run FILE --log-level debug"
	begin := time.Now()
	s, by, err := d.doctorSession(python, session.Choice{Ranks: 2}, session.Options{Host: session.WithoutGPUs()})
	if err != nil {
		d.fail("log", err, "")
		return
	}
	defer func() {
		if err := s.Close(ctx, session.CloseRequest{}); err != nil {
			d.fail("shutdown", err, remedy)
		}
	}()
	if err := s.Prepare(ctx, by, session.Preparation{Ask: true}); err != nil {
		d.fail("node", err, remedy)
		return
	}
	told, err := s.Subscribe(ctx, session.SubscribeRequest{Kinds: []event.Kind{event.KindLog, event.KindRunFinished}})
	if err != nil {
		d.fail("pool", err, remedy)
		return
	}
	defer told.Close()
	cell := session.Cell{Code: "import os; assert os.environ['WORLD_SIZE'] == '2'", Target: cells.Target{Where: cells.Remote}}
	runs, err := s.Start(ctx, by, session.Sequence{Cells: []session.Cell{cell}})
	if err != nil {
		d.fail("cell", err, remedy)
		return
	}
	report, err := s.Wait(ctx, runs[0])
	switch {
	case err != nil:
		d.fail("cell", err, remedy)
		return
	case report.Status == event.StatusDied:
		d.fail("pool", errors.New(report.Reason), remedy)
		return
	case report.Status != event.StatusOK:
		d.fail("cell", fmt.Errorf("%s %s", report.Status, report.Reason), remedy)
		return
	}
	backend := "no process group"
	if info, err := s.Info(ctx, false); err == nil && info.Backend != "" {
		backend = "joined over " + info.Backend
	}
	found := fmt.Sprintf("2 ranks, %s, ran a cell; %s from nothing", backend, view.FormatDuration(time.Since(begin)))
	d.ok("pool", strings.Join(append([]string{found}, sentences(ctx, told, runs[0])...), "\n"))
}

// sentences are what was said until a run ended, which it has.
func sentences(ctx context.Context, told session.Subscription, run string) (said []string) {
	for {
		events, err := told.Next(ctx)
		if err != nil {
			return said
		}
		for _, ev := range events {
			switch e := ev.(type) {
			case *event.Log:
				said = append(said, e.Text)
			case *event.RunFinished:
				if e.Run == run {
					return said
				}
			}
		}
	}
}
