package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/session"
)

const interruptHelp = `Interrupt a RUN of a session, or all that runs and waits in it; "dipls status" tells the runs. The session, its ranks and their
variables stay.

What does not heed that is freed after a second. Called again while the run goes on, it frees at once ranks that wait for each other. The command waits
up to 10 seconds for the end of what it has interrupted.

Exit codes: 0 all of it has ended; 1 nothing runs, or something has not ended yet; 2 there is no such run, or it is not clear which session is meant`

// interruptPatience is how long a run may take to end that was interrupted.
const interruptPatience = 10 * time.Second

func newInterrupt() *cobra.Command {
	var chosen sessionFlag
	cmd := &cobra.Command{
		Use:     "interrupt [RUN]",
		Short:   "interrupt what runs in a session",
		Long:    interruptHelp,
		Example: "  dipls interrupt\n  dipls interrupt -s train 3f9a2c-1",
		Args:    oneAtMost("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			a, err := chosen.open(ctx, cmd.ErrOrStderr(), session.AttachRequest{Program: "dipls interrupt"})
			if err != nil {
				return err
			}
			defer detach(a)
			about, err := a.API.About(ctx, false)
			if err != nil {
				return err
			}
			run := ""
			if len(args) > 0 {
				run = args[0]
			}
			of := slices.DeleteFunc(about.Runs, func(r session.AboutRun) bool { return run != "" && r.ID != run })
			if len(of) == 0 && run == "" {
				return fmt.Errorf("nothing runs in session %s", clean.Line(about.Name))
			}
			if _, err := a.Cancel(ctx, run); err != nil {
				if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeNoRun {
					return usagef("no run %s goes on in session %s%s", clean.Line(run), clean.Line(about.Name), goingOn(about))
				}
				return err
			}
			return awaitInterrupted(ctx, cmd, a.API, of)
		},
	}
	chosen.add(cmd.Flags())
	return cmd
}

// goingOn tells what goes on in a session, as the end of a sentence.
func goingOn(a session.About) string {
	if len(a.Runs) == 0 {
		return ": nothing runs there"
	}
	text := "; these do:"
	for _, r := range a.Runs {
		text += "\n  " + clean.Line(r.ID) + "  " + runName(r)
	}
	return text
}

// awaitInterrupted waits for the ends of runs that were interrupted, and tells them.
func awaitInterrupted(ctx context.Context, cmd *cobra.Command, s session.API, runs []session.AboutRun) error {
	patient, cancel := context.WithTimeout(ctx, interruptPatience)
	defer cancel()
	still := 0
	for _, r := range runs {
		report, err := s.Wait(patient, r.ID)
		e, _ := errors.AsType[*session.Error](err)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			still++
			fmt.Fprintf(cmd.OutOrStdout(), "%s has not ended yet\n", runName(r))
		case e != nil && e.Code == session.CodeNoRun:
			fmt.Fprintf(cmd.OutOrStdout(), "%s has ended\n", runName(r))
		case err != nil:
			return err
		case report.Status == event.StatusInterrupted && r.Since == nil:
			fmt.Fprintf(cmd.OutOrStdout(), "%s will not run\n", runName(r))
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "%s has ended: %s\n", runName(r), report.Status)
		}
	}
	if still > 0 {
		return errors.New("interrupted, but not ended yet; 'dipls interrupt' again frees at once ranks that wait for each other")
	}
	return nil
}
