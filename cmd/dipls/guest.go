package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/session"
	"dipls/session/registry"
)

// guestHelp tells of the signals that come to a guest.
const guestHelp = `Ctrl-C, pressed for the
    1st time  interrupts what this command runs, frees after a second what does not heed that, and ends with exit code 130
    2nd time  interrupts it again, and frees at once ranks that wait for each other
    3rd time  leaves, though the run goes on, with exit code 130
The session itself, and what others run in it, is never touched. Ctrl-\ leaves with exit code 0 and says how to come back; the run goes on. SIGTERM and
SIGHUP leave with exit code 130. SIGUSR1 prints where all processes are in their code.`

// guest runs something in a session that is not the command's own. What it has started there is all that it may end, and it may leave while that goes on.
type guest struct {
	*front
	about session.About
	feed  *feed
	back  string // the name by which the user comes back
	fresh bool   // the session was started for this command
	leave context.CancelFunc
	cut   func() // ends the connection, and with it all calls; nil: there is none to end

	interrupting sync.Mutex // held while interrupts are sent, one after the other

	mu       sync.Mutex // guards what follows
	starting bool       // a session was asked to start something, and has not answered
	runs     []string   // that it has started
	left     *int       // the exit code with which the user has left; nil: they have not
	wanted   int        // how often the user has wanted an interrupt
	sent     int        // how many of those were sent
	answered int        // and how many the session has answered
}

// visit attaches to a session and begins to show what happens there. The context ends when the user leaves.
func visit(cmd *cobra.Command, flags *frontFlags, log *zap.Logger, errOut *screen, a *session.Attachment) (g *guest, ctx context.Context, err error) {
	ctx, leave := context.WithCancel(context.Background())
	g = &guest{about: a.About, leave: leave}
	g.front = &front{frontFlags: *flags, name: cmd.CommandPath(), session: a.API, hold: g, log: log, out: cmd.OutOrStdout(), errOut: errOut}
	sub, err := a.Subscribe(ctx, session.SubscribeRequest{})
	if err != nil {
		leave()
		return nil, nil, err
	}
	g.feed = newFeed(sub)
	g.feed.fills = flags.json || !isTerminal(cmd.OutOrStdout()) // a person wants to see what happens now
	return g, ctx, nil
}

// attached attaches to the session that a flag means, and does something there. Its signals are taken from the beginning.
func attached(
	cmd *cobra.Command, which *sessionFlag, r session.AttachRequest, flags *frontFlags, logLevel string, do func(context.Context, *guest) error,
) error {
	return entered(cmd, which, r, logLevel, func(e *entrance) error {
		_, err := e.visit(flags, do)
		return err
	})
}

// entrance is a session to which a command is attached, before anything is shown of it.
type entrance struct {
	*session.Attachment
	cmd     *cobra.Command
	log     *zap.Logger
	errOut  *screen
	signals *signals
	back    string // the name by which the user comes back
}

// entered attaches to the session that a flag means, and goes on there.
func entered(cmd *cobra.Command, which *sessionFlag, r session.AttachRequest, logLevel string, goOn func(*entrance) error) error {
	errOut := newScreen(cmd.ErrOrStderr())
	log, err := newLogger(cmp.Or(logLevel, "warn"), errOut)
	if err != nil {
		return err
	}
	signals := notified(syscall.SIGQUIT)
	defer signals.stop()
	r.Program = cmd.CommandPath()
	var a *session.Attachment
	got := signals.during(cmd.Context(), func(ctx context.Context) { a, err = which.open(ctx, errOut, r) })
	if a != nil {
		defer detach(a)
	}
	switch {
	case got != nil:
		fmt.Fprintln(errOut, "left before anything was started")
		return leaving(got)
	case err != nil:
		return err
	}
	if e := a.Ended; e != nil {
		text := fmt.Sprintf("this session is new: the one before it here, %s, has ended (%s)", clean.Line(e.Name), clean.Text(e.Why))
		if e.Journal != "" { // whoever is told here is told nowhere else
			text += "; journals are in " + shortPath(e.Journal)
		}
		fmt.Fprintln(errOut, text)
	}
	return goOn(&entrance{a, cmd, log, errOut, signals, cmp.Or(which.text, a.About.Name)})
}

// visit does something in the session as a guest of its own. left says that its user has left before the end.
func (e *entrance) visit(flags *frontFlags, do func(context.Context, *guest) error) (left bool, err error) {
	g, ctx, err := visit(e.cmd, flags, e.log, e.errOut, e.Attachment)
	if err != nil {
		return false, err
	}
	g.fresh, g.back, g.cut = e.Started, e.back, func() { detach(e.Attachment) }
	defer g.leave()
	stop := e.signals.heed(g.front, g.pressed())
	defer stop()
	err = g.stay(ctx, do)
	return g.hasLeft(), err
}

// stay does something in the session, and shows it until its end, or until the user leaves.
func (g *guest) stay(ctx context.Context, do func(context.Context, *guest) error) error {
	viewed := g.beginView(g.feed)
	listening, deaf := context.WithCancel(ctx)
	var listeners sync.WaitGroup
	listeners.Go(func() { listen(listening, g.session, g.warn) })
	hangs, err := g.attend(ctx)
	if err == nil {
		defer hangs.notifier.close()
		err = do(ctx, g)
	}
	deaf()
	listeners.Wait()
	hangs.close()
	g.unwatch()
	g.mu.Lock()
	left, none := g.left, len(g.runs) == 0
	g.mu.Unlock()
	if none || left != nil {
		g.feed.end()
	}
	viewErr := g.awaitView(ctx, viewed)
	switch code := g.endsWith(); {
	case left != nil:
		fmt.Fprintln(g.errOut, g.wayBack())
		switch {
		case *left == exitOK:
			return nil
		case viewErr != nil:
			return viewErr // for that it has left
		}
		return &exitError{*left, nil}
	case err != nil && code != 0:
		return &exitError{code, nil}
	case viewErr != nil:
		return viewErr
	}
	return err
}

// caller is who wants runs. Its settings are those with which the session's Python was started, so that what is missing comes as whoever started that wants
// it; if nothing was started, those that are given.
func (g *guest) caller(ctx context.Context, otherwise session.Settings) session.Caller {
	by := session.Caller{
		Front: g.name, Settings: otherwise, Prefix: session.PrefixFlags, Instead: "let dipls install into a directory of its own with --yes",
	}
	if used, err := g.session.Used(ctx); err == nil && used.Python != nil {
		by.Settings = *used.Python
		if used.Pool != nil {
			by.Settings.Pool = *used.Pool
		} else if otherwise.Pool != (session.Choice{}) {
			by.Settings.Pool = otherwise.Pool
		}
	}
	by.Settings.Trust = session.TrustYes
	return g.wide(by)
}

// checkInside refuses to wait for what the session would begin only after the cell that waits for this command.
func (g *guest) checkInside() error {
	if !inside(g.about) {
		return nil
	}
	return fmt.Errorf("%s was started by a cell of session %s, which would wait for it, while what it asks for waits for the end of the cell; "+
		"write the code into a cell (%%%%dip for ranks, %%dipush, %%dipull), or use \"dipls run --session %s FILE --detach\", which does not wait",
		g.name, clean.Line(g.about.Name), shellQuote(g.about.Name))
}

// inside reports whether this program is part of something that a session runs.
func inside(s session.About) bool { return len(s.Runs) > 0 && registry.Inside(s.PID) }

// cells runs the cells of a plan. With leave, it leaves as soon as they have been started.
func (g *guest) cells(ctx context.Context, by session.Caller, p *plan, goOn, leave bool) error {
	if !leave {
		if err := g.checkInside(); err != nil {
			return err
		}
	}
	if err := g.checkPool(ctx, by, p); err != nil {
		return err
	}
	if g.about.Python == "" {
		g.tellOwn(g.about.Dir, by.Settings.Python)
	}
	ahead := session.Preparation{Ask: true, Pool: p.needsRanks && !p.makesPool, Local: p.needsLocal}
	if err := g.session.Prepare(ctx, by, ahead); err != nil {
		return startError(err)
	}
	runs, err := g.begin(func() ([]string, error) {
		return g.session.Start(ctx, by, session.Sequence{Cells: p.requests(), GoOn: goOn})
	})
	if err != nil {
		return err
	}
	if leave {
		g.away(exitOK)
		return nil
	}
	return g.outcome(ctx, runs, p)
}

// checkPool is as that of a runner. A pool that is there counts.
func (g *guest) checkPool(ctx context.Context, by session.Caller, p *plan) error {
	if !p.needsRanks || p.makesPool {
		return nil
	}
	if g.about.Ranks > 0 {
		return p.checkRanks(g.about.Ranks)
	}
	size, err := g.session.PoolSize(ctx, by)
	if err != nil {
		return startError(err)
	}
	return p.checkRanks(size)
}

// begin starts runs, which are the guest's from then on. What the user has pressed until the session answers counts for them.
func (g *guest) begin(start func() ([]string, error)) (runs []string, err error) {
	return g.feed.begin(func() ([]string, error) {
		if err := g.begins(); err != nil {
			return nil, err
		}
		g.mu.Lock()
		left := g.left
		g.starting = left == nil
		g.mu.Unlock()
		if left != nil {
			return nil, &exitError{*left, nil}
		}
		runs, err := start()
		g.mu.Lock()
		defer g.mu.Unlock()
		if err != nil {
			// If the user left meanwhile, it is not known what becomes of it.
			g.starting = g.left != nil
			return nil, err
		}
		g.starting, g.runs = false, runs
		g.heeding.Go(g.sendInterrupts)
		return runs, nil
	})
}

// pressed turns the first Ctrl-C into an interrupt of the guest's runs, the second into one that frees waiting ranks, and the third, like other signals,
// into leaving. So does the first where nothing runs yet.
func (g *guest) pressed() func(os.Signal) {
	interrupts := 0
	return func(got os.Signal) {
		switch got { // leaving waits for nothing: the session may stand still
		case syscall.SIGQUIT:
			g.away(exitOK)
			return
		case os.Interrupt:
		default:
			g.away(exitInterrupted)
			return
		}
		switch running := g.isRunning(); {
		case running && interrupts == 0:
			interrupts++
			g.end(exitInterrupted)
			g.tell(`interrupting; Ctrl-C again frees at once what still waits, Ctrl-\ leaves`) // first: with its run, the guest may end
			g.interrupt()
		case running && interrupts == 1:
			interrupts++
			g.tell("interrupting again, and freeing what waits; Ctrl-C again leaves")
			g.free()
		default:
			g.end(exitInterrupted)
			g.away(exitInterrupted)
		}
	}
}

// away leaves with an exit code. Calls that end with the context have a moment to say what has become of them; then the connection ends.
func (g *guest) away(code int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left == nil {
		g.left = &code
		if g.cut != nil {
			time.AfterFunc(viewPatience, g.cut)
		}
	}
	g.leave()
}

// hasLeft reports whether the user has left.
func (g *guest) hasLeft() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left != nil
}

// wayBack says that the user has left, and how they come back, by a line to copy.
func (g *guest) wayBack() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	back := "dipls attach " + shellQuote(cmp.Or(g.back, g.about.Name))
	if g.starting {
		return "left before the session has answered: what it was asked for runs once it does. This shows it:\n" + back
	}
	if len(g.runs) == 0 {
		return "left before anything was started; the session goes on. This shows it:\n" + back
	}
	return fmt.Sprintf("left; the run goes on. This comes back to it:\n%s --from %s", back, g.runs[0])
}

// shellQuote is a word as a shell reads it.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:=@%+,-", r)
	}
	if word != "" && !strings.HasPrefix(word, "-") && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// holds implements [hold].
func (g *guest) holds(run string) bool { return g.feed.has(run) }

// interrupt implements [hold]. It does not wait: the session may stand still, and the user may want to leave.
func (g *guest) interrupt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wanted++
	g.heeding.Go(g.sendInterrupts)
	time.AfterFunc(cancelPatience, g.tellSilence)
}

// cancelPatience is how long a session may take to hear that its runs are to end, until the user is told that it does not.
var cancelPatience = 2 * time.Second

// tellSilence tells a user who has wanted an interrupt that the session does not answer, if that is so.
func (g *guest) tellSilence() {
	g.mu.Lock()
	silent := g.left == nil && (g.starting || len(g.runs) > 0 && g.answered < g.wanted)
	g.mu.Unlock()
	if silent {
		g.warn(`the session does not answer; Ctrl-\ leaves, and then "dipls stop" ends one that stands still`)
	}
}

// sendInterrupts sends the interrupts that are wanted and were not sent, once there are runs.
func (g *guest) sendInterrupts() {
	g.interrupting.Lock()
	defer g.interrupting.Unlock()
	for {
		g.mu.Lock()
		runs, waits := g.runs, g.wanted > g.sent
		if waits && len(runs) > 0 {
			g.sent++
		}
		g.mu.Unlock()
		if !waits || len(runs) == 0 {
			return
		}
		for i := len(runs) - 1; i >= 0; i-- { // the latest first, so that no other one begins
			_, _ = g.session.Cancel(context.Background(), runs[i]) // one that has ended is no run any more
		}
		g.mu.Lock()
		g.answered++
		g.mu.Unlock()
	}
}

// free implements [hold]: a run that is cancelled again is freed.
func (g *guest) free() { g.interrupt() }

// last implements [hold].
func (*guest) last() {}

// giveUp implements [hold]: it leaves.
func (g *guest) giveUp(because string) {
	if because != "" {
		g.tell(because + "; leaving them")
	}
	g.away(max(g.endsWith(), exitInterrupted))
}

// say implements [hold].
func (g *guest) say(l event.Level, text string) { g.feed.say(l, text) }

// warn says a warning to the user.
func (g *guest) warn(text string) { g.say(event.LevelWarning, text) }
