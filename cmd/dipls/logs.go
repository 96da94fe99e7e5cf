package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dipls/cells"
	"dipls/dipexec/journal"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

const logsHelp = `Print what a RUN has put out, on all of its processes: the same line of several ranks once, "[0-3] epoch 1". It is read from the
run's journal, so it may be a run of a session, of 'dipls run', or of an editor, also one that has ended long ago. 'dipls runs'
lists them.

Without RUN, or with "last", it is the latest run of the session: that of -s, else of this folder or the nearest one above it; where there
is no session, the latest of all.

-f goes on until the run has ended, or the process that runs it. Ctrl-C leaves, and the run goes on.

Exit codes: 0; 1 the journal cannot be read, or RANK has no part in the run; 2 there is no such run, or it is not clear which session is meant;
130 Ctrl-C`

// latestShown is how many runs are named to whoever has named one that there is not.
const latestShown = 10

// lastRun is the word for the latest run.
const lastRun = "last"

// logsFlags are the flags of dipls logs.
type logsFlags struct {
	session sessionFlag
	rank    string
	follow  bool
}

func newLogs() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:     "logs [RUN]",
		Short:   "print what a run has put out",
		Long:    logsHelp,
		Example: "  dipls logs -f\n  dipls logs 3f9a2c-1 --rank 3\n  dipls logs last",
		Args:    oneAtMost("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
			defer stop()
			err := f.print(ctx, cmd, strings.TrimSuffix(strings.Join(args, ""), lastRun))
			switch {
			case ctx.Err() != nil:
				return &exitError{exitInterrupted, nil}
			case errors.Is(err, syscall.EPIPE):
				return &exitError{exitInterrupted, nil} // its reader has gone
			}
			return err
		},
	}
	f.session.add(cmd.Flags())
	cmd.Flags().StringVarP(&f.rank, "rank", "r", "", "only of this `RANK`, or \"local\"")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the run has ended")
	return cmd
}

// print prints the output of a run, or lists runs.
func (f *logsFlags) print(ctx context.Context, cmd *cobra.Command, run string) error {
	who, err := parseWho(f.rank)
	if err != nil {
		return err
	}
	of, err := f.about(ctx, cmd.ErrOrStderr(), run)
	if err != nil {
		return err
	}
	if f.follow && of != nil && inside(*of) { // it would follow its own output, for ever
		return usagef("-f in a cell of session %s would print as output of that cell what it prints; run it in a terminal", clean.Line(of.Name))
	}
	dir, err := journal.DefaultDir()
	if of != nil && of.Journal != "" {
		dir, err = of.Journal, nil
	}
	if err != nil {
		return err
	}
	found, err := f.find(ctx, cmd.ErrOrStderr(), dir, of, run)
	if err != nil || found == "" {
		return err
	}
	record, err := journal.ReadRecord(found)
	if err != nil {
		return err
	}
	if isTerminal(cmd.OutOrStdout()) {
		fmt.Fprintln(cmd.ErrOrStderr(), runHeading(record))
	}
	return journal.Print(ctx, cmd.OutOrStdout(), found, journal.PrintOptions{Who: who, Follow: f.follow})
}

// parseWho is the process that a user has named; nil: none.
func parseWho(text string) (*ranklist.Who, error) {
	if text == "" {
		return nil, nil
	}
	if text == ranklist.Local.String() {
		return new(ranklist.Local), nil
	}
	list, err := ranklist.Parse(text)
	if err == nil {
		if ranks := slices.Collect(list.Written()); len(ranks) == 1 && !list.All() {
			return new(ranklist.Rank(ranks[0])), nil
		}
	}
	return nil, usagef(`--rank %s: one rank's number, or "local"`, clean.Line(text))
}

// about is the session whose runs are meant; nil: those of all processes.
func (f *logsFlags) about(ctx context.Context, errOut io.Writer, run string) (*session.About, error) {
	if f.session.text == "" && run != "" {
		return nil, nil // ids of runs are like no others
	}
	r, err := f.session.request(session.AttachRequest{})
	if err != nil {
		return nil, err
	}
	l, err := openSessions().Find(ctx, r)
	if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeNoSession && f.session.text == "" {
		return nil, nil
	}
	if err != nil {
		return nil, choiceError(errOut, err)
	}
	return &l.About, nil
}

// find is the directory of the run that is meant; "" if it has put nothing out, which the user was told.
func (f *logsFlags) find(ctx context.Context, errOut io.Writer, dir string, of *session.About, run string) (string, error) {
	if run == "" && of != nil && len(of.Runs) > 0 {
		run = of.Runs[len(of.Runs)-1].ID
		for _, r := range of.Runs {
			if r.Since != nil {
				run = r.ID
			}
		}
	}
	if run == "" {
		latest := latestRuns(dir, of)
		if len(latest) == 0 {
			fmt.Fprintln(errOut, "no run has put anything out yet")
			return "", nil
		}
		return latest[len(latest)-1].Journal, nil
	}
	found := journal.Find(dir, run)
	if found == "" && of != nil && slices.ContainsFunc(of.Runs, func(r session.AboutRun) bool { return r.ID == run }) {
		if !f.follow {
			fmt.Fprintf(errOut, "run %s goes on, and has put nothing out yet; -f waits for it\n", clean.Line(run))
			return "", nil
		}
		return f.await(ctx, errOut, dir, of, run)
	}
	if found == "" && isSilent(dir, run) {
		fmt.Fprintf(errOut, "run %s has put nothing out\n", clean.Line(run))
		return "", nil
	}
	if found == "" {
		fmt.Fprintf(errOut, "dipls: there is no run %s that has put anything out\n", clean.Line(run))
		if latest := latestRuns(dir, of); len(latest) > 0 {
			fmt.Fprintln(errOut, "The latest are:\n"+strings.Join(runLines(latest, newScreen(errOut).columns(), time.Now()), "\n"))
		}
		return "", &exitError{exitUsage, nil}
	}
	return found, nil
}

// isSilent reports whether a run is known that has put nothing out.
func isSilent(dir, run string) bool {
	runs, _ := session.PastRuns(dir, session.PastRequest{})
	return slices.ContainsFunc(runs, func(r session.PastRun) bool { return r.Run == run && r.Journal == "" })
}

// awaitEvery is how often is looked for a run that has put nothing out yet.
const awaitEvery = 200 * time.Millisecond

// await waits until a run that goes on puts something out, or is long enough to be kept. "" if it ends without.
func (f *logsFlags) await(ctx context.Context, errOut io.Writer, dir string, of *session.About, run string) (string, error) {
	ended := make(chan error, 1)
	flag := sessionFlag{filepath.Join(of.Dir, of.Name)}
	a, err := flag.open(ctx, errOut, session.AttachRequest{Program: "dipls logs"})
	if err != nil {
		return "", err
	}
	defer detach(a)
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, err := a.Wait(waiting, run)
		ended <- err
	}()
	for over := false; ; {
		if found := journal.Find(dir, run); found != "" {
			return found, nil
		}
		if over {
			fmt.Fprintf(errOut, "run %s has ended, and has put nothing out\n", clean.Line(run))
			return "", nil
		}
		select {
		case <-ended:
			over = true
		case <-time.After(awaitEvery):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// latestRuns are the latest runs in the directory of a journal that have put something out, oldest first; only those of a session if it is not nil.
func latestRuns(dir string, of *session.About) []session.PastRun {
	request := session.PastRequest{Loud: true, Limit: latestShown}
	if of != nil {
		request.Server, request.Since = of.PID, of.Since.Add(-time.Second)
	}
	latest, _ := session.PastRuns(dir, request) // none can be read, or there are none
	slices.Reverse(latest)
	return latest
}

// runHeading is a line above a run's output.
func runHeading(r journal.Record) string {
	return "── " + view.Joined((&view.Run{Index: r.Cell, Title: r.Title}).Label(), cells.NameTarget(r.Target), "run "+r.Run,
		"began "+r.Started.Local().Format("2006-01-02 15:04:05"), string(r.Status))
}
