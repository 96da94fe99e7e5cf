package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/paced"
	"dipls/session"
)

// viewPatience is how long the last output may take to be shown once the user wants to leave.
const viewPatience = time.Second

// front is the place of the user of a terminal, or of the program that reads the output, at a session. It shows what happens, passes on what the session
// asks, and acts on alarms. Whose session it is, its hold knows.
type front struct {
	frontFlags
	name    string // under which questions arrive, such as "dipls run"
	session session.API
	hold    hold
	log     *zap.Logger
	out     io.Writer
	errOut  *screen
	asker   *asker // asks the user for what code wants to be typed; nil: nobody does

	subs    []session.Subscription // of watch
	watches sync.WaitGroup         // those of watch
	heeding sync.WaitGroup         // what goes on for signals

	mu      sync.Mutex      // guards what follows
	by      *session.Caller // as whom the front has called last; nil: it has not
	running bool            // cells have been started, and are not all done
	ending  int             // the exit code with which the command ends before its last cell; 0: it does not
}

// hold is what a front has of its session: the runs that it may end, and who hears what it says.
type hold interface {
	holds(run string) bool           // it may end that run, and acts on alarms about it
	interrupt()                      // interrupts its runs, and those that wait or are being started do not begin
	free()                           // interrupts them again, and at once frees ranks that wait for each other
	giveUp(because string)           // is for a user who has lost patience; because begins the sentence that says so; "": nobody reads it
	last()                           // nothing else will be started
	say(level event.Level, s string) // says a sentence to the user, in its place among the events
}

// frontFlags are the flags of a command that shows runs.
type frontFlags struct {
	json        bool
	quiet       bool
	whole       bool // tracebacks with all frames
	yes         bool
	typed       bool // what runs was typed just above: it needs no heading, and no outcome if all goes well at once
	hangTimeout orOff
	notify      string
	notifyAfter orOff
}

// addHang adds the flags about ranks that wait for each other.
func (f *frontFlags) addHang(flags *pflag.FlagSet) {
	flags.Var(&f.hangTimeout, "hang-timeout", "how long ranks may wait for each other before they are freed and the file ends with exit code 4, "+
		`or "off" (default: 30m without a terminal, else off)`)
	flags.StringVar(&f.notify, "notify", "", "shell `COMMAND` that tells you of ranks that wait for each other, and of the end of a cell that has taken long: "+
		"the event as JSON on its standard input, a sentence in $DIPLS_NOTICE")
	flags.Var(&f.notifyAfter, "notify-after", `how long a cell takes at least whose end --notify tells of, or "off": only of ranks that wait (default 1m)`)
}

// addView adds the flags about what is shown.
func (f *frontFlags) addView(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "print events, one JSON object a line (docs/events.md)")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print only what the cells print, and errors")
	addWhole(flags, &f.whole)
	flags.BoolVarP(&f.yes, "yes", "y", false, "install what the interpreter lacks into a directory of dipls' own, without asking")
}

// addWhole adds the flag that has tracebacks shown with all frames.
func addWhole(flags *pflag.FlagSet, whole *bool) {
	flags.BoolVar(whole, "full-tracebacks", false, "show all frames of a traceback, also those of libraries")
}

// view shows events until the subscription ends. Its error is that of a write: the reader has gone.
func (f *front) view(subscription session.Subscription) error {
	defer subscription.Close()
	if f.json {
		return showJSON(f.out, subscription)
	}
	t := newTerminal(f.out, f.errOut, f.quiet, f.whole)
	t.typed = f.typed
	t.asker = f.asker
	t.wayOut = fmt.Sprintf("%s (kill -USR1 %d)", f.wayOut(), os.Getpid())
	return t.show(subscription)
}

// beginView is view on a goroutine of its own. When nobody reads the output any more, the hold is given up.
func (f *front) beginView(subscription session.Subscription) (viewed <-chan error) {
	if !f.json {
		f.asker = newAsker(f.session, os.Stdin, f.errOut)
	}
	done := make(chan error, 1)
	go func() {
		err := f.view(subscription)
		if err != nil {
			f.hold.giveUp("")
		}
		done <- err
	}()
	return done
}

// awaitView waits until everything has been shown. A user who wants to leave, which ends ctx, does not wait for a reader that has stopped reading.
func (f *front) awaitView(ctx context.Context, viewed <-chan error) error {
	defer f.asker.close()
	select {
	case err := <-viewed:
		return viewError(err)
	case <-ctx.Done():
	}
	select {
	case err := <-viewed:
		return viewError(err)
	case <-time.After(viewPatience):
		return nil
	}
}

// viewError is how the command ends when its output could not be written.
func viewError(err error) error {
	switch {
	case errors.Is(err, syscall.EPIPE):
		return &exitError{exitInterrupted, nil} // its reader has gone, so nobody would read why
	case err != nil:
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}

// showJSON prints events, one JSON object a line.
func showJSON(w io.Writer, subscription session.Subscription) error {
	buffered := bufio.NewWriterSize(paced.Writer(w, subscription.Progress), 64<<10)
	for {
		events, err := subscription.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, ev := range events {
			if err := event.WriteJSON(buffered, ev); err != nil {
				return err
			}
		}
		if err := buffered.Flush(); err != nil {
			return err
		}
	}
}

// watch passes every event of some kinds to take, until the subscription ends. A front that subscribes under its name can be asked. caughtUp waits until
// take has had every event that has happened when it is called, or until ctx ends.
func (f *front) watch(ctx context.Context, name string, take func(event.Event), kinds ...event.Kind) (caughtUp func(ctx context.Context), err error) {
	sub, err := f.session.Subscribe(ctx, session.SubscribeRequest{Front: name, Kinds: kinds, Types: name != "" && f.asker != nil})
	if err != nil {
		return nil, err
	}
	f.subs = append(f.subs, sub)
	taken := newMilestone()
	f.watches.Go(func() {
		defer sub.Close()
		defer taken.pass(math.MaxUint64)
		for {
			events, err := sub.Next(context.Background())
			if err != nil {
				return
			}
			for _, ev := range events {
				take(ev)
			}
			taken.pass(sub.Position())
		}
	})
	return func(ctx context.Context) { taken.await(ctx, sub.End()) }, nil
}

// milestone is up to which position events have been taken.
type milestone struct {
	mu    sync.Mutex // guards what follows
	at    uint64
	moved chan struct{} // closed when at changes
}

func newMilestone() *milestone { return &milestone{moved: make(chan struct{})} }

// pass notes that everything up to a position has been taken.
func (m *milestone) pass(position uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = position
	close(m.moved)
	m.moved = make(chan struct{})
}

// await waits until everything up to a position has been taken, or until ctx ends.
func (m *milestone) await(ctx context.Context, position uint64) {
	for {
		m.mu.Lock()
		at, moved := m.at, m.moved
		m.mu.Unlock()
		if at >= position {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// unwatch ends the watches.
func (f *front) unwatch() {
	for _, sub := range f.subs {
		sub.Close()
	}
	f.watches.Wait()
}

// attend watches for ranks that wait for each other, for the ends of runs, and for questions.
func (f *front) attend(ctx context.Context) (*hangs, error) {
	h := newHangs(f)
	caughtUp, err := f.watch(ctx, "", h.take, append(h.notifier.kinds(), event.KindHang, event.KindRunFinished)...)
	if err != nil {
		return nil, err
	}
	h.caughtUp = caughtUp
	_, err = f.watch(ctx, f.name, f.question(ctx), event.KindQuestion)
	return h, err
}

// labelColumns is what is taken of a terminal's width by the names of ranks in front of what they print.
const labelColumns = 10

// wide is a caller with the width of the terminal that its output comes to.
func (f *front) wide(by session.Caller) session.Caller {
	by.Columns = f.columns()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = &by
	return by
}

// columns is how wide the terminal is for what is printed; 0: there is none.
func (f *front) columns() int {
	out := newScreen(f.out)
	columns := out.columns()
	if columns == 0 {
		columns = f.errOut.columns() // progress bars
	}
	if columns == 0 {
		return 0
	}
	return max(columns-labelColumns, 24)
}

// resized tells the session how wide the terminal is now.
func (f *front) resized() {
	f.mu.Lock()
	by := f.by
	f.mu.Unlock()
	if by != nil {
		_ = f.session.Heed(context.Background(), f.wide(*by)) // an error means that the session ends
	}
}

// begins says that something is about to be started. It is an error if the user has asked for an end.
func (f *front) begins() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending != 0 {
		return &exitError{f.ending, nil}
	}
	f.running = true
	return nil
}

// outcome waits for the runs of a plan. Its error is the exit code that they make.
func (f *front) outcome(ctx context.Context, runs []string, p *plan) error {
	tally := exitOK
	if p.skipped {
		tally = exitFailed
	}
	for _, behind := range []bool{false, true} { // what no cell waits for counts last
		for i, run := range runs {
			if noBlock := p.cells[i].request.Directive.NoBlock == cells.Yes; noBlock != behind {
				continue
			}
			if err := f.await(ctx, run, &tally); err != nil {
				return err
			}
		}
	}
	if tally != exitOK {
		return &exitError{tally, nil}
	}
	return nil
}

// await waits for a run and adds its outcome to the tally, which is an exit code. Its error ends the command.
func (f *front) await(ctx context.Context, run string, tally *int) error {
	report, err := f.session.Wait(ctx, run)
	switch code := f.endsWith(); {
	case code != 0:
		return &exitError{code, nil}
	case isClosed(err): // the session has told its subscribers why
		return &exitError{exitPool, nil}
	case err != nil:
		return &exitError{exitPool, err}
	case report.Status == event.StatusDied:
		*tally = exitPool
	case report.Status != event.StatusOK && report.Status != event.StatusSkipped:
		// The first failure decides. If it was a script's own sys.exit, that says the exit code.
		*tally = cmp.Or(*tally, report.ExitCode, exitFailed)
	}
	return nil
}

// isClosed reports whether a session has ended, or cannot be reached any more.
func isClosed(err error) bool {
	known, ok := errors.AsType[*session.Error](err)
	return ok && known.Code == session.CodeClosed
}

// end makes the command end with an exit code; ok is false if it ends with another one already.
func (f *front) end(code int) (ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending == 0 {
		f.ending = code
		f.hold.last()
		return true
	}
	return f.ending == code
}

// endsWith is the exit code with which the command ends before its last cell; 0: it does not.
func (f *front) endsWith() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ending
}

// isRunning reports whether cells have been started, and are not all done.
func (f *front) isRunning() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

// done says that all cells have ended.
func (f *front) done() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = false
}

// showStacks shows where all processes are.
func (f *front) showStacks() {
	text := describeStacks(f.session, nil, 0)
	if f.quiet && !f.json {
		fmt.Fprintln(f.errOut, text) // the user has asked for it
		return
	}
	f.tell(text)
}

// tell says something to the user, in its place among the events.
func (f *front) tell(text string) { f.hold.say(event.LevelInfo, text) }
