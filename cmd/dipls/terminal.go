package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/paced"
	"dipls/session"
)

// maxLiveLines bounds the progress bars shown at once; the rest are counted.
const maxLiveLines = 8

// flushAt is how many bytes are collected at most before a write.
const flushAt = 64 << 10

// worthTelling is how long what was typed runs, in seconds, until it is worth telling how long that was.
const worthTelling = 1.0

// redrawEvery is how often the status line's clock and spinner move.
const redrawEvery = 100 * time.Millisecond

// terminal shows events to a person: the ranks' output, folded, on out; messages of dipls itself on err. If err
// is a terminal, its last lines are live: unfinished lines of the ranks (progress bars) and a status line.
//
// All fields belong to the goroutine that runs show.
type terminal struct {
	out        io.Writer
	err        *screen
	outColour  bool
	errColour  bool
	shared     bool            // out and err may be the same terminal
	quiet      bool            // no headings, no outcomes
	typed      bool            // no headings, and no outcomes of runs that end well at once
	wayOut     string          // what the user can do about ranks that wait, a line; "": nothing is said
	shownOut   map[string]bool // runs in which it was said
	folder     *view.Folder
	runs       view.Runs // in progress
	pool       string    // what the pool is doing while no cell runs; "": nothing worth showing
	pending    bytes.Buffer
	pendingTo  io.Writer
	drawnAt    time.Time  // when the live region was drawn
	progress   func()     // called when the reader has taken some of what was written
	held       *heldLines // what is held back; nil: everything is shown
	asker      *asker     // asks the user for what code wants to be typed; nil: nobody does
	writeError error      // the first failure to write: the reader has gone
}

// heldLines are the last lines of what was put out before somebody came.
type heldLines struct {
	limit int
	items []view.Item
	more  int // how many came before these
}

// release shows what was held back, and how the rest can be seen.
func (t *terminal) release(command string) {
	held := t.held
	t.held = nil
	if held.more > 0 {
		t.say(t.dim(fmt.Sprintf("… %s before; all of it: %s", plural(held.more, "line"), command)))
	}
	t.print(held.items)
	t.flush()
}

func newTerminal(out io.Writer, err *screen, quiet, whole bool) *terminal {
	colour := os.Getenv("NO_COLOR") == ""
	return &terminal{
		out: out, err: err, shared: out == err.w || isTerminal(out), quiet: quiet,
		outColour: colour && isTerminal(out), errColour: colour && isTerminal(err.w),
		folder: view.NewFolder(view.FoldOptions{Whole: whole}), progress: func() {}, shownOut: map[string]bool{},
	}
}

// show reads the subscription to its end. It returns the error of a failed write: the reader of our output has gone.
func (t *terminal) show(sub session.Subscription) error {
	t.progress = sub.Progress
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	batches := make(chan []event.Event)
	go func() {
		defer close(batches)
		for {
			events, err := sub.Next(ctx)
			if err != nil {
				return
			}
			select {
			case batches <- events:
			case <-ctx.Done():
				return
			}
		}
	}()

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for t.writeError == nil {
		timer.Reset(t.nextWake(time.Now()))
		select {
		case events, ok := <-batches:
			if !ok {
				t.print(t.folder.Flush(time.Now().Add(time.Hour)))
				t.flush()
				return errors.Join(t.writeError, t.err.region(nil))
			}
			t.take(events)
		case <-timer.C:
			t.print(t.folder.Flush(time.Now()))
		}
		t.flush()
		t.draw(time.Now())
	}
	cancel()
	for range batches {
	}
	return t.writeError
}

// nextWake is how long show may sleep without an event.
func (t *terminal) nextWake(now time.Time) time.Duration {
	wake := time.Hour
	if t.err.live && (t.runs.Last() != nil || t.pool != "") {
		wake = redrawEvery
	}
	if deadline, ok := t.folder.Deadline(); ok {
		wake = min(wake, max(0, deadline.Sub(now)))
	}
	return wake
}

// take shows a batch of events.
func (t *terminal) take(events []event.Event) {
	now := time.Now()
	for _, ev := range events {
		run := t.runs.Apply(ev, now)
		switch e := ev.(type) {
		case *event.RunStarted:
			t.started(run)
		case *event.PoolState:
			t.poolState(e)
		}
		items := t.folder.Add(ev, now)
		if run != nil && run.State == view.Ended && run.Parent == "" && run.Reason == run.Summary() { // the line that sums it up says so
			items = slices.DeleteFunc(items, func(i view.Item) bool { return i.Event == ev })
		}
		t.print(items)
		if q, ok := ev.(*event.Input); ok && run != nil {
			t.flush()
			known := run.Clone() // later events change the run
			t.asker.take(q, known.HostOf)
		}
		if run != nil && run.State == view.Ended {
			t.finished(run)
		}
	}
}

func (t *terminal) started(run *view.Run) {
	if t.quiet || t.typed || run.Parent != "" {
		return
	}
	heading := "── " + run.Label() + " · " + cells.NameTarget(run.Target)
	if run.Autodip {
		heading += " (autodip)"
	}
	t.say(t.dim(heading))
}

// startingPool is "starting 4 ranks", or what the hosts of a pool are waited for.
func startingPool(e *event.PoolState) string {
	switch {
	case e.Text != "":
		return "starting hosts: " + e.Text
	case e.Size == 0:
		return "starting hosts"
	}
	return "starting " + plural(e.Size, "rank")
}

func (t *terminal) poolState(e *event.PoolState) {
	t.pool = ""
	if e.State == "starting" {
		t.pool = startingPool(e)
	}
	if e.Text != "" && !t.quiet && !(t.err.live && ansi.StringWidth(t.statusLine(time.Now())) < t.err.width()) {
		t.say(t.dim(e.Text)) // the status line does not show it, or not to its end
	}
}

func (t *terminal) finished(run *view.Run) {
	if run.Parent != "" {
		return // its output and failures have been shown, and the cell that asked shows its own outcome
	}
	if (t.quiet || t.typed && run.Seconds < worthTelling) && run.Status == event.StatusOK {
		return
	}
	took, ranks := view.FormatDuration(time.Duration(run.Seconds*float64(time.Second))), len(run.Ranks())
	switch {
	case run.Status == event.StatusOK && ranks > 0:
		t.say(t.colour(32, "✓") + t.dim(fmt.Sprintf(" %s · %s", plural(ranks, "rank"), took)))
	case run.Status == event.StatusOK:
		t.say(t.colour(32, "✓") + t.dim(" "+took))
	default:
		// The traceback or the reason was shown before; this line sums it up at the end, where people look.
		t.say(t.colour(31, "✗") + fmt.Sprintf(" %s: %s after %s", run.Label(), run.Summary(), took))
		if run.Journal != "" {
			t.say(t.dim("  journal: " + run.Journal))
		}
	}
}

// print shows folded items.
func (t *terminal) print(items []view.Item) {
	for _, item := range items {
		if h := t.held; h != nil {
			if h.items = append(h.items, item); len(h.items) > h.limit {
				h.items = h.items[1:]
				h.more++
			}
			continue
		}
		switch e := item.Event.(type) {
		case *event.Log:
			if t.quiet && e.Level == event.LevelInfo {
				continue
			}
		case *event.Hang:
			t.hang(e, item.Text)
			continue
		}
		w, colour := t.out, t.outColour
		if item.Kind == view.ItemFailure || item.Kind == view.ItemNotice || item.Stream == "stderr" {
			w, colour = t.err.w, t.errColour
		}
		text := item.Text
		// Output of programs stays as it is; the colours of Python's tracebacks are for terminals only.
		if !colour && item.Kind != view.ItemLine {
			text = ansi.Strip(text)
		}
		item.Text = text
		t.write(w, item.String()+"\n")
	}
}

// hangIndent indents the further lines of a finding, below the text after "hang? ".
const hangIndent = "      "

// hang shows a finding, or that it is over; with the first alarm of a run, also what the user can do.
func (t *terminal) hang(e *event.Hang, text string) {
	alarm := !e.Gone && e.Level != event.LevelInfo
	if t.quiet && !alarm {
		return
	}
	text = t.wrapped(text)
	if !alarm {
		t.say(t.dim(text))
		return
	}
	word, rest, _ := strings.Cut(text, " ")
	t.say(t.colour(33, word) + " " + rest)
	if t.wayOut != "" && !t.shownOut[e.Run] {
		t.shownOut[e.Run] = true
		t.say(t.dim(t.wrapped(hangIndent + t.wayOut)))
	}
}

// minWrap is the least width to which text is wrapped: a narrower terminal is hopeless.
const minWrap = 24

// noBreak is a hyphen at which no line is broken.
const noBreak = "\u2011"

// wrapped breaks a text's lines between words, before the terminal would break them inside of words.
func (t *terminal) wrapped(text string) string {
	width := t.err.columns()
	if width == 0 {
		return text
	}
	return strings.Join(wrap(text, width-1, hangIndent), "\n")
}

// wrap breaks a text's lines between words, so that none is wider than width. What is broken off is indented. Width 0 breaks nothing.
func wrap(text string, width int, indent string) (lines []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if width > 0 {
			line = strings.ReplaceAll(line, "-", noBreak) // "ranks 0-3" stays whole
			line = strings.ReplaceAll(ansi.Wrap(line, max(width, minWrap)-len(indent), ""), noBreak, "-")
		}
		for i, part := range strings.Split(line, "\n") {
			if i > 0 {
				part = indent + part
			}
			lines = append(lines, part)
		}
	}
	return lines
}

// say writes a line of dipls' own.
func (t *terminal) say(line string) { t.write(t.err.w, line+"\n") }

// write collects text, and writes it when the destination changes or there is enough of it: out and err
// may be the same terminal, where the order matters.
func (t *terminal) write(w io.Writer, text string) {
	if t.pendingTo != w {
		t.flush()
		t.pendingTo = w
	}
	t.pending.WriteString(text)
	if t.pending.Len() >= flushAt {
		t.flush()
	}
}

// flush writes the collected text.
func (t *terminal) flush() {
	if t.pending.Len() == 0 {
		return
	}
	w := paced.Writer(t.pendingTo, t.progress)
	switch {
	case t.writeError != nil:
	case t.pendingTo == t.err.w || t.shared:
		_, t.writeError = t.err.writeTo(w, t.pending.Bytes())
	default: // a goroutine that logs does not wait for the reader of the output
		_, t.writeError = w.Write(t.pending.Bytes())
	}
	t.pending.Reset()
}

// draw puts the live region on the screen: unfinished lines, then the status line. It does so no more often than the eye can
// follow, unless output has removed the region.
func (t *terminal) draw(now time.Time) {
	if !t.err.live || t.err.standing() && now.Sub(t.drawnAt) < redrawEvery {
		return
	}
	lines := t.liveLines(now)
	if len(lines) == 0 && !t.err.standing() {
		return
	}
	width := t.err.width()
	for i, line := range lines {
		// One column stays free: on some terminals a full line would wrap, and the cursor would come back too low.
		lines[i] = ansi.Truncate(line, width-1, "…")
	}
	t.drawnAt = now
	if err := t.err.region(lines); err != nil {
		t.writeError = err
	}
}

func (t *terminal) liveLines(now time.Time) []string {
	var lines []string
	unfinished := t.folder.Live()
	for i, line := range unfinished {
		if i == maxLiveLines {
			lines = append(lines, t.dim(fmt.Sprintf("… %d more unfinished lines", len(unfinished)-i)))
			break
		}
		lines = append(lines, line.Prefix+line.Text)
	}
	if status := t.statusLine(now); status != "" {
		lines = append(lines, status)
	}
	return lines
}

func (t *terminal) statusLine(now time.Time) string {
	spinner := string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[now.UnixMilli()/redrawEvery.Milliseconds()%10])
	run := t.runs.Last()
	switch {
	case run != nil:
		busy := run.Busy()
		if t.pool != "" {
			busy = t.pool
		}
		return t.dim(fmt.Sprintf("%s %s · %s · %s", spinner, run.Label(), busy, view.FormatDuration(now.Sub(run.Started))))
	case t.pool != "":
		return t.dim(spinner + " " + t.pool)
	}
	return ""
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (t *terminal) dim(s string) string { return t.colour(2, s) }

func (t *terminal) colour(code int, s string) string {
	if !t.errColour {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", code, s)
}
