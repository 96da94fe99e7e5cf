package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/session"
)

const attachHelp = `Show what happens in a session, as 'dipls run' shows it, whoever runs it: an editor, 'dipls exec'. NAME is ` + sessionUse + `.

First it says how things stand: the ranks, what runs and since when, and the last lines of its output. With --from RUN it shows everything from that run on;
what the session does not hold any more comes from the journals.

Ctrl-\ leaves, with exit code 0, and prints the command that comes back. The session goes on, and so does all that runs there.
Ctrl-C never ends the session. Pressed for the
    1st time  it interrupts what runs, and frees after a second what does not heed that
    2nd time  it interrupts that again, and frees at once ranks that wait for each other
    3rd time  it leaves, with exit code 130; 'dipls stop' ends a session whose ranks do not come back
Where nothing runs, the first says so, and the second leaves. SIGTERM and SIGHUP (a terminal that is closed) leave at once. SIGUSR1 prints where all
processes are in their code.

Exit codes: 0 you have left by Ctrl-\; 1 the session has ended, or cannot be reached any more; 2 there is no such session or run, or it is not clear
which is meant; 130 you have left otherwise`

// recalledLines is how many lines of what has been put out are shown to somebody who comes.
const recalledLines = 10

func newAttach() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:     "attach [NAME]",
		Short:   "show what happens in a session, live",
		Long:    attachHelp,
		Example: "  dipls attach\n  dipls attach train --from 3f9a2c-1",
		Args:    oneAtMost("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			errOut := newScreen(cmd.ErrOrStderr())
			signals := notified(syscall.SIGQUIT)
			defer signals.stop()
			chosen := sessionFlag{strings.Join(args, "")}
			a, err := chosen.open(cmd.Context(), errOut, session.AttachRequest{Program: "dipls attach", History: true})
			if err != nil {
				return err
			}
			defer detach(a)
			sub, err := a.Subscribe(cmd.Context(), session.SubscribeRequest{From: from, History: from == ""})
			if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeNoRun {
				return unknownRun(errOut, a.About, from)
			}
			if err != nil {
				return err
			}
			t := newTerminal(cmd.OutOrStdout(), errOut, false)
			t.wayOut = fmt.Sprintf("Ctrl-C frees them and ends the run · SIGUSR1 prints stacks (kill -USR1 %d)", os.Getpid())
			v := &visitor{session: a.API, name: cmp.Or(chosen.text, a.About.Name), sub: sub, errOut: errOut, from: from, code: -1}
			return v.stay(cmd.Context(), t, signals)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "show everything from this `RUN` on")
	return cmd
}

// unknownRun tells that a session does not know a run, and which it knows.
func unknownRun(errOut *screen, about session.About, run string) error {
	fmt.Fprintf(errOut, "dipls: session %s knows no run %s\n", clean.Line(about.Name), clean.Line(run))
	if latest := latestRuns(about.Journal, &about); len(latest) > 0 {
		fmt.Fprintln(errOut, "The latest are:\n"+strings.Join(runLines(latest, errOut.columns(), time.Now()), "\n"))
	}
	return &exitError{exitUsage, nil}
}

// visitor watches a session in which others run something.
type visitor struct {
	session session.API
	name    string // by which the user comes back
	sub     session.Subscription
	errOut  *screen

	mu      sync.Mutex     // guards what follows
	from    string         // the run from which the user would miss something; "": none
	code    int            // the exit code with which the user leaves; -1: they have not
	presses map[string]int // Ctrl-C, by what it has interrupted; "": nothing ran
}

// stay shows the session until the user leaves, or until it ends.
func (v *visitor) stay(ctx context.Context, t *terminal, signals *signals) error {
	v.presses = map[string]int{}
	about, err := v.session.About(ctx, false)
	if err != nil {
		return err
	}
	v.greet(about)
	if v.from == "" {
		if err := v.recall(ctx, t); err != nil {
			return err
		}
	}
	finished := make(chan struct{})
	var heeding sync.WaitGroup
	heeding.Go(func() {
		for {
			select {
			case <-finished:
				return
			case <-signals.asks:
				heeding.Go(func() { fmt.Fprintln(v.errOut, describeStacks(v.session, nil, 0)) })
			case got := <-signals.presses:
				v.press(got)
			}
		}
	})
	viewErr := t.show(&shownEvents{Subscription: v.sub, v: v})
	close(finished)
	heeding.Wait()
	v.mu.Lock()
	code := v.code
	v.mu.Unlock()
	switch {
	case code >= 0:
		v.farewell()
		if code == exitOK {
			return nil
		}
		return &exitError{code, nil}
	case viewErr != nil:
		return viewError(viewErr)
	}
	return &exitError{exitFailed, nil} // why the session has ended was its last event
}

// greet says how things stand.
func (v *visitor) greet(a session.About) {
	others := clientsInWords(withoutMe(a.Clients))
	if others != "" {
		others = "with " + others
	}
	fmt.Fprintln(v.errOut, view.Joined("attached to "+clean.Line(a.Name), shortPath(a.Dir), cmp.Or(poolInWords(a.Ranks, a.Devices), "no ranks"), others))
	what := "nothing runs"
	if runs := runsInWords(a, time.Now()); runs != "" {
		what = "runs " + runs
	}
	fmt.Fprintln(v.errOut, what+` · Ctrl-\ leaves, and the session goes on`)
}

// withoutMe are the clients that are not this program.
func withoutMe(clients []session.Client) (others []session.Client) {
	for _, c := range clients {
		if c.PID != os.Getpid() {
			others = append(others, c)
		}
	}
	return others
}

// recall takes what has happened. Of runs that have ended nothing is shown, of those that go on the last lines of their output.
func (v *visitor) recall(ctx context.Context, t *terminal) error {
	var past []event.Event
	ended := map[string]bool{}
	for v.sub.Position() < v.sub.Past() {
		events, err := v.sub.Next(ctx)
		if err != nil {
			break // show sees it again
		}
		for _, ev := range events {
			past = append(past, ev)
			if ev.Head().Kind == event.KindRunFinished {
				ended[ev.Head().Run] = true
			}
		}
	}
	t.held = &heldLines{limit: recalledLines}
	var goesOn []event.Event
	for _, ev := range past {
		run := ev.Head().Run
		if run != "" && !ended[run] || session.IsUnattended(ev) {
			goesOn = append(goesOn, ev)
		}
	}
	t.take(goesOn)
	t.release(v.comeBack())
	if t.writeError == nil {
		v.noteShown(ctx, goesOn)
	}
	return t.writeError
}

// noteShown says what was shown of what was asked while nobody was attached.
func (v *visitor) noteShown(ctx context.Context, events []event.Event) {
	for _, ev := range events {
		if session.IsUnattended(ev) {
			_ = v.session.Shown(ctx, ev.(*event.Log).Text) // else it is told once more
		}
	}
}

// shownEvents is a subscription whose reader has shown everything once it wants more.
type shownEvents struct {
	session.Subscription
	v    *visitor
	last []event.Event
}

// Next implements [session.Subscription].
func (s *shownEvents) Next(ctx context.Context) (events []event.Event, err error) {
	s.v.noteShown(ctx, s.last)
	s.last, err = s.Subscription.Next(ctx)
	return s.last, err
}

// comeBack is the command that comes back.
func (v *visitor) comeBack() string {
	v.mu.Lock()
	from := v.from
	v.mu.Unlock()
	if about, err := v.about(); err == nil {
		for _, r := range about.Runs {
			if r.Since != nil {
				from = r.ID // the earliest that goes on
				break
			}
		}
	}
	line := "dipls attach " + shellQuote(v.name)
	if from != "" {
		line += " --from " + shellQuote(from)
	}
	return line
}

// about describes the session, soon or not at all.
func (v *visitor) about() (session.About, error) {
	ctx, cancel := context.WithTimeout(context.Background(), viewPatience)
	defer cancel()
	return v.session.About(ctx, false)
}

// farewell tells the command that comes back.
func (v *visitor) farewell() {
	fmt.Fprintf(v.errOut, "left; the session goes on. This comes back to it:\n%s\n", v.comeBack())
}

// press does what a signal means.
func (v *visitor) press(got os.Signal) {
	switch got {
	case syscall.SIGQUIT:
		v.leave(exitOK)
		return
	case os.Interrupt:
	default:
		v.leave(exitInterrupted)
		return
	}
	about, err := v.about()
	if err != nil {
		v.leave(exitInterrupted) // it does not answer: nothing can be interrupted
		return
	}
	run := latestOf(about.Runs)
	v.presses[run.ID]++
	name := runName(run)
	ctx, cancel := context.WithTimeout(context.Background(), viewPatience)
	defer cancel()
	switch n := v.presses[run.ID]; {
	case run.ID == "" && n == 1:
		fmt.Fprintln(v.errOut, `nothing runs; Ctrl-C again leaves, and so does Ctrl-\`)
	case run.ID == "" || n > 2:
		v.leave(exitInterrupted)
	case n == 1:
		_, _ = v.session.Cancel(ctx, run.ID) // it may just have ended
		fmt.Fprintf(v.errOut, "interrupting %s; Ctrl-C again frees at once what still waits, Ctrl-\\ leaves\n", name)
	default:
		_, _ = v.session.Cancel(ctx, run.ID) // a run that is cancelled again is freed
		fmt.Fprintf(v.errOut, "interrupting %s again, and freeing what waits; Ctrl-C again leaves\n", name)
	}
}

// latestOf is the run that has begun last, or else the one whose turn is next; the zero value if there is none.
func latestOf(runs []session.AboutRun) (latest session.AboutRun) {
	for _, r := range runs {
		if latest.ID == "" || r.Since != nil && (latest.Since == nil || !r.Since.Before(*latest.Since)) {
			latest = r
		}
	}
	return latest
}

// leave ends the view.
func (v *visitor) leave(code int) {
	v.mu.Lock()
	if v.code < 0 {
		v.code = code
	}
	v.mu.Unlock()
	v.sub.Close()
}

// sessionEnded is why the events of a session came to an end.
func sessionEnded(s session.API) error {
	ctx, cancel := context.WithTimeout(context.Background(), viewPatience)
	defer cancel()
	_, err := s.About(ctx, false)
	return &exitError{exitFailed, cmp.Or(err, errors.New("the session has ended"))}
}
