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

const attachHelp = `Show what happens in a session, as 'dipls run' shows it, whoever runs it: an editor, 'dipls exec'.
NAME is ` + sessionUse + `.

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
	var whole bool
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
			var a *session.Attachment
			var sub session.Subscription
			var err error
			got := signals.during(cmd.Context(), func(ctx context.Context) {
				if a, err = chosen.open(ctx, errOut, session.AttachRequest{Program: "dipls attach", History: true}); err == nil {
					sub, err = a.Subscribe(ctx, session.SubscribeRequest{From: from, History: from == ""})
				}
			})
			if a != nil {
				defer detach(a)
			}
			if got != nil {
				return leaving(got)
			}
			if a != nil && inside(a.About) { // it would show its own output, for ever
				return fmt.Errorf("dipls attach was started by a cell of session %s, whose output it would show as output of that cell; "+
					`run it in a terminal, or "dipls status" here`, clean.Line(a.About.Name))
			}
			if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.CodeNoRun {
				return unknownRun(errOut, a.About, from)
			}
			if err != nil {
				return err
			}
			t := newTerminal(cmd.OutOrStdout(), errOut, false, whole)
			t.asker = newAsker(a.API, os.Stdin, errOut)
			defer t.asker.close()
			if t.asker != nil {
				typing, err := a.Subscribe(cmd.Context(), session.SubscribeRequest{Front: "dipls attach", Types: true, Kinds: []event.Kind{event.KindQuestion}})
				if err != nil {
					return err
				}
				defer typing.Close()
			}
			t.wayOut = fmt.Sprintf("Ctrl-C frees them and ends the run · SIGUSR1 prints stacks (kill -USR1 %d)", os.Getpid())
			v := &visitor{session: a.API, name: cmp.Or(chosen.text, a.About.Name), sub: sub, errOut: errOut, from: from, code: -1, cut: func() { detach(a) }}
			return v.stay(cmd.Context(), t, signals)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "show everything from this `RUN` on")
	addWhole(cmd.Flags(), &whole)
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
	from    string // the run from which everything is shown; "": from now on
	sub     session.Subscription
	errOut  *screen
	left    context.CancelFunc // ends what goes on before the view
	cut     func()             // ends the connection, and with it all calls
	heeding sync.WaitGroup     // what goes on for signals

	interrupting sync.Mutex     // held for one Ctrl-C after the other
	presses      map[string]int // Ctrl-C, by what it has interrupted; "": nothing ran; guarded by interrupting

	mu      sync.Mutex    // guards what follows
	greeted session.About // the session when the user came
	code    int           // the exit code with which the user leaves; -1: they have not
}

// stay shows the session until the user leaves, or until it ends.
func (v *visitor) stay(ctx context.Context, t *terminal, signals *signals) error {
	v.presses = map[string]int{}
	ctx, v.left = context.WithCancel(ctx)
	defer v.left()
	finished := make(chan struct{})
	v.heeding.Go(func() {
		for {
			select {
			case <-finished:
				return
			case <-signals.asks:
				v.heeding.Go(func() { fmt.Fprintln(v.errOut, describeStacks(v.session, nil, 0)) })
			case got := <-signals.presses:
				v.press(got)
			}
		}
	})
	v.heeding.Go(func() { listen(ctx, v.session, func(text string) { fmt.Fprintln(v.errOut, text) }) })
	viewed := make(chan error, 1)
	go func() { viewed <- v.show(ctx, t) }()
	var viewErr error
	select {
	case viewErr = <-viewed:
	case <-ctx.Done(): // who wants to leave does not wait for a reader that has stopped reading
		select {
		case viewErr = <-viewed:
		case <-time.After(viewPatience):
		}
	}
	close(finished)
	v.left()
	v.heeding.Wait()
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
		return viewErr
	}
	return &exitError{exitFailed, nil} // why the session has ended was its last event
}

// show says how things stand, and then what happens, until the subscription ends.
func (v *visitor) show(ctx context.Context, t *terminal) error {
	about, err := v.session.About(ctx, false)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.greeted = about
	v.mu.Unlock()
	v.greet(about)
	if v.from == "" {
		if err := v.recall(ctx, t); err != nil {
			return viewError(err)
		}
	}
	return viewError(t.show(&shownEvents{Subscription: v.sub, v: v}))
}

// greet says how things stand.
func (v *visitor) greet(a session.About) {
	others := clientsInWords(withoutMe(a.Clients))
	if others != "" {
		others = "with " + others
	}
	v.errOut.say(view.Joined("attached to "+clean.Line(a.Name), shortPath(a.Dir), cmp.Or(poolInWords(a.Ranks, a.Devices), "no ranks"), others))
	what := "nothing runs"
	if runs := runsInWords(a, time.Now()); runs != "" {
		what = "runs " + runs
	}
	v.errOut.say(what + ` · Ctrl-\ leaves, and the session goes on`)
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
	about, err := v.about()
	if err != nil {
		v.mu.Lock()
		about = v.greeted
		v.mu.Unlock()
	}
	from := v.from
	for _, r := range about.Runs {
		if r.Since != nil {
			from = r.ID // the earliest that goes on
			break
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
		v.heeding.Go(v.interrupt) // the session may stand still, and the user may want to leave
	default:
		v.leave(exitInterrupted)
	}
}

// interrupt does what a Ctrl-C means.
func (v *visitor) interrupt() {
	v.interrupting.Lock()
	defer v.interrupting.Unlock()
	about, err := v.about()
	if err != nil {
		if v.leave(exitInterrupted) {
			fmt.Fprintln(v.errOut, "the session does not answer, so nothing can be interrupted")
		}
		v.cut()
		return
	}
	run := latestOf(about.Runs)
	v.presses[run.ID]++
	name := runName(run)
	ctx, cancel := context.WithTimeout(context.Background(), viewPatience)
	defer cancel()
	switch n := v.presses[run.ID]; {
	case run.ID == "" && n == 1:
		v.errOut.say(`nothing runs; Ctrl-C again leaves, and so does Ctrl-\`)
	case run.ID == "" || n > 2:
		v.leave(exitInterrupted)
	case n == 1:
		v.errOut.say("interrupting " + name + `; Ctrl-C again frees at once what still waits, Ctrl-\ leaves`)
		_, _ = v.session.Cancel(ctx, run.ID) // it may just have ended
	default:
		v.errOut.say("interrupting " + name + " again, and freeing what waits; Ctrl-C again leaves")
		_, _ = v.session.Cancel(ctx, run.ID) // a run that is cancelled again is freed
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

// leave ends the view, unless the user has left.
func (v *visitor) leave(code int) (leaves bool) {
	v.mu.Lock()
	if leaves = v.code < 0; leaves {
		v.code = code
		time.AfterFunc(viewPatience, v.cut)
	}
	v.mu.Unlock()
	v.left()
	v.sub.Close()
	return leaves
}

// sessionEnded is why the events of a session came to an end.
func sessionEnded(s session.API) error {
	ctx, cancel := context.WithTimeout(context.Background(), viewPatience)
	defer cancel()
	_, err := s.About(ctx, false)
	return &exitError{exitFailed, cmp.Or(err, errors.New("the session has ended"))}
}
