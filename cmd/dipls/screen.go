package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// screen is standard error: a terminal with a live region at its end, for progress bars and the status line. Text is written above
// the region: a write removes the region, and its owner draws it again.
type screen struct {
	w    io.Writer
	live bool // there may be a region
	// shown lets the user see what they type, until again is called; nil: they see it in any case.
	shown func() (again func())

	mu     sync.Mutex
	drawn  int            // lines of the region that stand on the terminal
	asking bool           // a question waits for its answer; meanwhile there is no region
	line   *term.Terminal // a line that the user types, below all that is written; nil: none
}

func newScreen(w io.Writer) *screen {
	return &screen{w: w, live: isTerminal(w) && os.Getenv("TERM") != "dumb"}
}

// Write writes above the region.
func (s *screen) Write(p []byte) (int, error) { return s.writeTo(s.w, p) }

// writeTo writes to another writer that may be the same terminal.
func (s *screen) writeTo(w io.Writer, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	if s.line != nil {
		return s.line.Write(p)
	}
	return w.Write(p)
}

// typing keeps a line that the user types below what is written, until it is called with nil.
func (s *screen) typing(line *term.Terminal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.asking, s.line = line != nil, line
}

// ask writes a question, at whose end the cursor stays until answered is called.
func (s *screen) ask(question string) (answered func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	_, _ = io.WriteString(s.w, question)
	s.asking = true
	again := func() {}
	if s.shown != nil {
		again = s.shown()
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
		again()
	}
}

// region replaces the live region, in one write so that it does not flicker. Each line must fit the terminal's width.
func (s *screen) region(lines []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking {
		return nil
	}
	var frame strings.Builder
	frame.WriteString(eraseLines(s.drawn))
	for _, line := range lines {
		frame.WriteString(line)
		frame.WriteString("\x1b[0m\n")
	}
	s.drawn = len(lines)
	if frame.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(s.w, frame.String())
	return err
}

// erase takes the region away. The caller holds mu.
func (s *screen) erase() {
	if s.drawn > 0 {
		io.WriteString(s.w, eraseLines(s.drawn))
		s.drawn = 0
	}
}

// standing reports whether the region is on the terminal.
func (s *screen) standing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drawn > 0
}

// eraseLines erases the n lines above the cursor, one by one: what is erased from the first line of tmux down to the end of its screen goes to its history.
func eraseLines(n int) string { return strings.Repeat("\x1b[1A\r\x1b[2K", n) }

// say writes a text of dipls' own, broken between words before the terminal would break it inside of words.
func (s *screen) say(text string) {
	fmt.Fprintln(s, strings.Join(wrap(text, s.columns()-1, "  "), "\n"))
}

// width is the terminal's, in columns, or a guess.
func (s *screen) width() int { return cmp.Or(s.columns(), 80) }

// columns is the terminal's width; 0 where there is none.
func (s *screen) columns() int {
	if f, ok := s.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 0
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
