package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/term"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

// asker asks the user of a terminal for what code wants to be typed, one question after the other. A nil asker asks nobody.
type asker struct {
	session session.API
	in      *os.File
	errOut  *screen
	ended   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	news    *sync.Cond
	closed  bool
	open    []*toType // that somebody asks, the earliest first
	now     *asking   // what the user is asked; nil: nothing
	restore func()    // makes the terminal as it was; nil: it is
	hinted  bool      // the user has been told how each rank gets its own answer
}

// toType is a question that somebody asks.
type toType struct {
	*event.Input // as it was told last
	hostOf       func(rank int) string
	sent         bool         // it was answered here for all that ask it
	answered     map[int]bool // ranks, here
}

// asking is a question on the screen.
type asking struct {
	*toType
	line *term.Terminal
	keys *pressed
	each bool // one rank is asked after the other
}

// Why no line was read.
var (
	errNotWanted = errors.New("no answer is wanted any more")
	errEach      = errors.New("each rank is to be asked")
)

// newAsker is a asker for a front; nil if nobody sits at the terminal.
func newAsker(s session.API, in *os.File, errOut *screen) *asker {
	if !isTerminal(in) || !errOut.live {
		return nil
	}
	t := &asker{session: s, in: in, errOut: errOut}
	t.news = sync.NewCond(&t.mu)
	t.ended.Go(t.askAll)
	return t
}

// close asks nothing more, and makes the terminal as it was.
func (t *asker) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.closed = true
	t.giveUp()
	t.news.Broadcast()
	t.mu.Unlock()
	t.ended.Wait()
}

// leave makes the terminal as it was, for a program that ends at once.
func (t *asker) leave() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.restore != nil {
		t.restore()
	}
}

// giveUp takes what is asked off the screen. The caller holds mu.
func (t *asker) giveUp() {
	if t.now != nil {
		t.now.keys.stop(errNotWanted)
	}
}

// take enters what is told of a question. What was printed before it has been shown.
func (t *asker) take(ev *event.Input, hostOf func(rank int) string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.open, func(q *toType) bool { return q.Run == ev.Run && q.Input.Input == ev.Input })
	if i < 0 {
		i = len(t.open)
		t.open = append(t.open, &toType{hostOf: hostOf, answered: map[int]bool{}})
	}
	q := t.open[i]
	q.Input = ev
	if !ev.Open() {
		t.open = slices.Delete(t.open, i, i+1)
	}
	switch now := t.now; {
	case now == nil || now.toType != q:
		t.news.Signal()
	case !ev.Open() || !q.waits():
		t.giveUp()
	case !now.each:
		now.line.SetPrompt(q.prompt(q.waiting()))
		_, _ = now.line.Write(nil) // shows it
	}
}

// waits reports whether somebody waits for an answer that was not given here.
func (q *toType) waits() bool { return !q.sent && (q.Local || len(q.waiting()) > 0) }

// waiting are the ranks that ask, and have no answer from here.
func (q *toType) waiting() []int {
	return slices.DeleteFunc(slices.Clone(q.Asking()), func(rank int) bool { return q.answered[rank] })
}

// prompt is what stands before what is typed: "ranks 0-3 ask: learning rate: ".
func (q *toType) prompt(ranks []int) string {
	text := clean.Line(q.Prompt)
	switch len(ranks) {
	case 0:
		return text
	case 1:
		return ranklist.NameOn(ranks, q.hostOf) + " asks: " + text
	}
	return ranklist.NameOn(ranks, q.hostOf) + " ask: " + text
}

// askAll asks one question after the other.
func (t *asker) askAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.closed {
		if i := slices.IndexFunc(t.open, (*toType).waits); i >= 0 {
			t.ask(t.open[i])
		} else {
			t.news.Wait()
		}
	}
}

// ask asks a question: of all ranks together, or of one after the other, as the user likes it. The caller holds mu, which is free while the user types.
func (t *asker) ask(q *toType) {
	keys, restore, err := takeKeys(t.in)
	if err != nil {
		q.sent = true
		t.unlocked(func() {
			t.errOut.say(fmt.Sprintf("dipls: nothing can be typed here: %v", err))
			_ = t.session.AnswerInput(context.Background(), session.InputAnswer{Run: q.Run, Input: q.Input.Input, EOF: true})
		})
		return
	}
	now := &asking{toType: q, keys: keys, line: t.newLine(keys)}
	ranks := q.waiting()
	hint := ""
	if len(ranks) > 1 {
		now.line.AutoCompleteCallback = func(text string, _ int, key rune) (string, int, bool) {
			if key == '\t' && text == "" {
				keys.stop(errEach)
			}
			return "", 0, false
		}
		if !t.hinted {
			hint = "what you type goes to all of them; Tab asks for an answer for each"
		}
		t.hinted = true
	}
	t.now, t.restore = now, restore
	t.unlocked(func() {
		if hint != "" {
			t.errOut.say(hint)
		}
		t.errOut.typing(now.line)
		defer t.errOut.typing(nil)
		if err = t.read(now, ranks, nil); errors.Is(err, errEach) {
			t.mu.Lock()
			now.line = t.newLine(keys) // the other one has its prompt on the screen
			t.errOut.typing(now.line)
			t.mu.Unlock()
			_, _ = io.WriteString(t.errOut.w, "\r\x1b[K")
			for _, rank := range ranks {
				keys.goOn(errEach)
				if t.read(now, []int{rank}, []int{rank}) != nil {
					break
				}
			}
		}
	})
	restore()
	keys.close()
	t.now, t.restore = nil, nil
}

// newLine is a line that the user types.
func (t *asker) newLine(keys *pressed) *term.Terminal {
	line := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, t.errOut.w}, "")
	_ = line.SetSize(t.errOut.width(), 1) // its height does not matter
	return line
}

// unlocked does something without mu.
func (t *asker) unlocked(f func()) {
	t.mu.Unlock()
	defer t.mu.Lock()
	f()
}

// read reads a line and sends it to those whom it is for; to all that ask if that is nil. shown are the ranks that the user reads. Its error says why nothing
// was sent.
func (t *asker) read(now *asking, shown, meant []int) error {
	t.mu.Lock()
	prompt, password := now.prompt(shown), now.Password
	answer := session.InputAnswer{Run: now.Run, Input: now.Input.Input, Ranks: ranklist.Of(meant...)}
	now.each = meant != nil
	t.mu.Unlock()
	var text string
	var err error
	if password {
		text, err = now.line.ReadPassword(prompt)
	} else {
		now.line.SetPrompt(prompt)
		text, err = now.line.ReadLine()
	}
	if errors.Is(err, errEach) {
		return err
	}
	if err != nil {
		_, _ = io.WriteString(t.errOut.w, "\r\n") // what was typed stays to be seen
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	answer.Text, answer.EOF = text, err != nil
	t.mu.Lock()
	now.sent = meant == nil
	for _, rank := range meant {
		now.answered[rank] = true
	}
	t.mu.Unlock()
	_ = t.session.AnswerInput(context.Background(), answer) // an error means that nobody waits for it any more
	return nil
}
