package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dipls/internal/clean"
	"dipls/session"
)

const stopHelp = `End a session, in order: what runs is interrupted, and its processes end. Their variables, and what they hold in GPU memory, are lost;
the journals of all runs stay.
NAME is ` + sessionUse + `.

If something runs there and you are at a terminal, you are asked first; --yes asks nothing, and neither does a script. It also ends a session of another
version of dipls, which cannot be talked to otherwise, and one that does not answer: after a few seconds its process is ended by SIGTERM, then
by SIGKILL. Ctrl-C while it waits leaves; the session ends all the same.

With --gpu-memory nothing ends, and no variable is lost: all processes of the session give back the GPU memory that torch has cached, when its turn comes.

Exit codes: 0 all that was meant has ended, also if --all finds none; 1 something could not be ended, or you have said no; 2 it is not clear which
session is meant, or there is none`

func newStop() *cobra.Command {
	var all, yes, gpuMemory bool
	cmd := &cobra.Command{
		Use:     "stop [NAME | --all]",
		Short:   "end a session",
		Long:    stopHelp,
		Example: "  dipls stop\n  dipls stop train\n  dipls stop --all --yes",
		Args:    oneAtMost("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if gpuMemory {
				if all || yes {
					return usagef("--gpu-memory ends nothing, and goes with no other flag")
				}
				return freeMemory(cmd, &sessionFlag{strings.Join(args, "")})
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
			defer stop()
			var of []session.Listed
			switch {
			case all && len(args) > 0:
				return usagef("%s takes a NAME or --all", cmd.CommandPath())
			case all:
				var err error
				if of, err = openSessions().List(ctx); err != nil {
					return err
				}
			default:
				l, err := (&sessionFlag{strings.Join(args, "")}).find(ctx, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				of = []session.Listed{l}
			}
			if len(of) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no session lives")
				return nil
			}
			errOut := newScreen(cmd.ErrOrStderr())
			if text := questionOfStop(of, time.Now()); text != "" && !yes && isTerminal(os.Stdin) && isTerminal(errOut.w) {
				if !agrees(ctx, text, os.Stdin, errOut) {
					fmt.Fprintln(errOut, "nothing was ended")
					return &exitError{exitFailed, nil}
				}
			}
			return stopAll(ctx, cmd, of)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all sessions of yours on this machine")
	cmd.Flags().BoolVar(&gpuMemory, "gpu-memory", false, "end nothing; have its processes give back the GPU memory that torch has cached")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "ask nothing")
	return cmd
}

// questionOfStop is what to ask before sessions are ended; "" if nothing runs there.
func questionOfStop(of []session.Listed, now time.Time) string {
	var lines []string
	for _, l := range of {
		if len(l.Runs) > 0 {
			lines = append(lines, fmt.Sprintf("session %s in %s runs %s", clean.Line(l.Name), shortPath(l.Dir), runsInWords(l.About, now)))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	question := "end it, and lose its variables?"
	if len(of) > 1 {
		question = fmt.Sprintf("end all %d sessions, and lose their variables?", len(of))
	}
	return strings.Join(append(lines, question), "\n")
}

// stopAll ends sessions, all at the same time.
func stopAll(ctx context.Context, cmd *cobra.Command, of []session.Listed) error {
	finder := openSessions()
	errs := make([]error, len(of))
	var work sync.WaitGroup
	for i, l := range of {
		work.Go(func() { errs[i] = finder.Stop(ctx, l, "dipls stop") })
	}
	work.Wait()
	failed := false
	for i, l := range of {
		name := clean.Line(l.Name)
		switch err := errs[i]; {
		case ctx.Err() != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "dipls: session %s was asked to end; 'dipls sessions' tells whether it has\n", name)
			failed = true
		case err != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), "dipls: "+clean.Text(err.Error()))
			failed = true
		default:
			fmt.Fprintln(cmd.OutOrStdout(), stopped(l))
		}
	}
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, nil}
	}
	if failed {
		return &exitError{exitFailed, nil}
	}
	return nil
}

// stopped is what to say about a session that was ended.
func stopped(l session.Listed) string {
	text := "session " + clean.Line(l.Name) + " has ended"
	if l.Memory > 0 {
		text += ", and gave back " + sizeOrNothing(l.Memory) + " of GPU memory"
	}
	if n := len(l.Runs); n > 0 {
		text += fmt.Sprintf("; %s with it", plural(n, "run"))
	}
	if l.Journal != "" {
		text += "; journals are in " + shortPath(l.Journal)
	}
	return text
}
