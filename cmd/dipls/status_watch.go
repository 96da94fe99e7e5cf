package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"dipls/internal/clean"
)

const (
	askEvery   = 2 * time.Second // how often a session that is watched is asked what events do not tell
	clockEvery = time.Second     // how often the picture is drawn when nothing happens
)

// watchStatus follows a session on out, on a terminal as a view that is drawn over itself. It returns when the user leaves, or with an error when the
// session ends.
func watchStatus(ctx context.Context, m *monitor, out io.Writer, asJSON bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	asked := make(chan struct{}, 1)
	m.work.Go(func() {
		for ctx.Err() == nil {
			m.ask(ctx)
			select {
			case asked <- struct{}{}:
			default:
			}
			select {
			case <-time.After(askEvery):
			case <-ctx.Done():
			}
		}
	})
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if f, ok := out.(*os.File); ok && !asJSON && isTerminal(out) && os.Getenv("TERM") != "dumb" {
		w := &watcher{m: m, out: f, signals: signals, asked: asked}
		return w.run()
	}
	for {
		select {
		case <-asked:
			if err := writeStatus(out, m, asJSON); err != nil {
				return viewError(err)
			}
		case <-signals:
			return nil
		case <-m.ended:
			return sessionEnded(m.session)
		}
	}
}

// writeStatus writes what is known now, as one picture of many.
func writeStatus(out io.Writer, m *monitor, asJSON bool) error {
	status, err := m.status(time.Now())
	if err != nil {
		return nil // it is asked again; and if it has ended, that is noticed
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(status)
	}
	head, rows := status.lines(newScreen(out).columns())
	_, err = io.WriteString(out, strings.Join(append(head, rows...), "\n")+"\n\n")
	return err
}

// watcher is the view on a terminal.
type watcher struct {
	m       *monitor
	out     *os.File
	signals <-chan os.Signal
	asked   <-chan struct{}
	last    *sessionStatus // as it was when the session could last be asked; nil: it has not answered yet
	top     int            // the first row of the table that is shown
	cooked  *term.State    // of the keyboard before it was taken; nil: it is not ours
}

// run shows the session until the user leaves.
func (w *watcher) run() error {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	keys := make(chan string)
	left := make(chan struct{})
	defer close(left)
	if isTerminal(os.Stdin) {
		go readKeys(os.Stdin, keys, left)
	}
	w.enter()
	defer w.leave()
	clock := time.NewTicker(clockEvery)
	defer clock.Stop()
	for {
		if err := w.draw(); err != nil {
			return viewError(err)
		}
		select {
		case <-w.asked:
		case <-w.m.changed:
			time.Sleep(redrawEvery / 2) // what comes at the same time is drawn at the same time
		case <-clock.C:
		case <-resized:
		case <-w.signals:
			return nil
		case key := <-keys:
			if w.press(key) {
				return nil
			}
		case <-w.m.ended:
			w.leave()
			return sessionEnded(w.m.session)
		}
	}
}

// readKeys passes on what is typed.
func readKeys(in io.Reader, keys chan<- string, left <-chan struct{}) {
	piece := make([]byte, 64)
	for {
		n, err := in.Read(piece)
		if err != nil {
			return
		}
		select {
		case keys <- string(piece[:n]):
		case <-left:
			return
		}
	}
}

// The keys that mean something besides letters.
const (
	keyInterrupt = "\x03"
	keyQuit      = "\x1c"
	keySuspend   = "\x1a"
)

// press does what a key means, and reports whether that is to leave.
func (w *watcher) press(key string) (leave bool) {
	page := max(1, w.height()/2)
	switch key {
	case "q", "Q", keyInterrupt, keyQuit:
		return true
	case keySuspend:
		w.leave()
		_ = syscall.Kill(os.Getpid(), syscall.SIGTSTP)
		w.enter()
	case "k", "\x1b[A", "\x1bOA":
		w.top--
	case "j", "\x1b[B", "\x1bOB":
		w.top++
	case "\x1b[5~":
		w.top -= page
	case "\x1b[6~", " ":
		w.top += page
	case "g", "\x1b[H", "\x1b[1~":
		w.top = 0
	case "G", "\x1b[F", "\x1b[4~":
		w.top = 1 << 20
	}
	return false
}

// enter takes the terminal.
func (w *watcher) enter() {
	if isTerminal(os.Stdin) {
		w.cooked, _ = term.MakeRaw(int(os.Stdin.Fd())) // else only signals end the view
	}
	_, _ = io.WriteString(w.out, ansi.SetModeAltScreenSaveCursor+ansi.HideCursor)
}

// leave gives the terminal back as it was.
func (w *watcher) leave() {
	_, _ = io.WriteString(w.out, ansi.ShowCursor+ansi.ResetModeAltScreenSaveCursor)
	if w.cooked != nil {
		_ = term.Restore(int(os.Stdin.Fd()), w.cooked)
		w.cooked = nil
	}
}

// height is that of the terminal, in lines.
func (w *watcher) height() int {
	if _, height, err := term.GetSize(int(w.out.Fd())); err == nil && height > 0 {
		return height
	}
	return 24
}

// draw draws the picture over the last one, in one write so that it does not flicker.
func (w *watcher) draw() error {
	status, err := w.m.status(time.Now())
	if err == nil {
		w.last = status
	}
	width, height := newScreen(w.out).width(), w.height()
	lines, note := []string{"asking …"}, ""
	if err != nil && w.last != nil {
		note = "it does not answer: " + clean.Line(err.Error())
	}
	if w.last != nil {
		lines = w.arrange(width, height, note)
	}
	var frame strings.Builder
	frame.WriteString(ansi.CursorHomePosition)
	for i, line := range lines {
		if i > 0 {
			frame.WriteString("\r\n")
		}
		frame.WriteString(ansi.Truncate(line, width, "…") + ansi.EraseLineRight)
	}
	frame.WriteString(ansi.EraseScreenBelow)
	_, err = io.WriteString(w.out, frame.String())
	return err
}

// arrange lays the picture out: the facts, as much of the table as there is room for, and how to leave.
func (w *watcher) arrange(width, height int, note string) []string {
	head, rows := w.last.lines(width)
	foot := "q leaves"
	if note != "" {
		foot += " · " + note
	}
	room := max(height-1, 1) // above the last line
	if len(rows) > 0 {
		titles := rows[0]
		rows = rows[1:]
		shown := max(min(len(rows), room-len(head)-1), min(len(rows), 3), 0) // three rows are worth more than all of the facts
		w.top = max(0, min(w.top, len(rows)-shown))
		if shown < len(rows) {
			foot += fmt.Sprintf(" · %d-%d of %d · arrows scroll", w.top+1, w.top+shown, len(rows))
		}
		rows = append([]string{titles}, rows[w.top:w.top+shown]...)
	}
	if over := len(head) + len(rows) - room; over > 0 {
		head = head[:max(0, len(head)-over)]
	}
	lines := slices.Concat(head, rows)
	if len(lines) > room {
		lines = lines[:room]
	}
	if os.Getenv("NO_COLOR") == "" {
		foot = "\x1b[2m" + foot + "\x1b[0m"
	}
	return append(lines, foot)
}
