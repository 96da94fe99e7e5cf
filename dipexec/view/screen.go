package view

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"dipls/dipexec/event"
)

const (
	maxLine   = 64 << 10 // a longer line is broken
	maxRows   = 16       // rows that a screen keeps open
	maxColour = 128      // bytes of colour codes that are carried from line to line
	maxEscape = 4 << 10  // a longer control sequence is none
)

// screen turns the text of one stream into lines as a terminal would, as far as progress bars need it: after a carriage
// return the text replaces the line, and "cursor up" goes back to a line above (tqdm's nested bars, rich). Every line is
// complete in itself: it begins with the colours that are on, and turns them off at its end. Other control sequences are
// dropped, other control characters made visible.
type screen struct {
	rows    []row  // not final, the lowest one last
	at      int    // the cursor's row; len(rows): below all of them
	home    home   // the cursor is at the beginning of the row, and the next text replaces what is there
	colours string // colour codes that are on
	escape  string // the beginning of a control sequence whose end has not come
}

// home is how the cursor came to the beginning of a row.
type home uint8

const (
	away     home = iota // it is not there
	fed                  // by a line feed
	returned             // by a carriage return or the like
)

type row struct {
	text   string // without the colours that were on at its beginning
	before string // those
	colour bool   // colours are on at its end
	drawn  bool   // its text came after a carriage return: probably a progress bar
}

func (r *row) line() string {
	if r.colour {
		return r.before + r.text + "\x1b[0m"
	}
	return r.before + r.text
}

// write takes text, and calls emit for every line that nothing can change any more. Other lines become final by settle or
// finish.
func (s *screen) write(text string, emit func(line string)) {
	if s.escape != "" {
		text, s.escape = s.escape+text, ""
	}
	for text != "" {
		i := 0
		for i < len(text) && !special[text[i]] {
			i++
		}
		if i > 0 {
			if i < len(text) && text[i] == '\n' && len(s.rows) == 0 && s.colours == "" && s.home == away && i <= maxLine {
				emit(visible(text[:i])) // a whole plain line, as most are
				text = text[i+1:]
				continue
			}
			s.put(visible(text[:i]), emit)
			text = text[i:]
			continue
		}
		n := 1
		switch text[0] {
		case '\n':
			s.lineFeed(emit)
		case '\r':
			s.home = returned
		case '\x1b':
			if n = s.control(text); n == 0 {
				s.escape = text
				return
			}
		}
		text = text[n:]
	}
}

// special marks the bytes that are more than text; a backspace is dropped: what it takes back is drawn over.
var special = [256]bool{'\n': true, '\r': true, '\x1b': true, '\b': true}

// put writes text at the cursor.
func (s *screen) put(text string, emit func(string)) {
	if s.at == len(s.rows) {
		s.rows = append(s.rows, row{})
		if len(s.rows) > maxRows {
			s.emitRows(1, emit)
		}
	}
	r := &s.rows[s.at]
	if s.home != away {
		*r, s.home = row{drawn: s.home == returned}, away
	}
	if r.text == "" {
		r.before = s.colours
	}
	r.colour = s.colours != ""
	r.text += text
	for len(r.text) > maxLine {
		// Emitting every row down to this one costs only the chance to redraw those above.
		rest := ""
		r.text, rest = event.SplitText(r.text, maxLine)
		next := row{text: rest, before: s.colours, colour: r.colour}
		s.emitRows(s.at+1, emit)
		s.rows = append([]row{next}, s.rows...)
		s.at = 0
		r = &s.rows[0]
	}
}

// lineFeed moves the cursor down. A line that was plainly printed at the bottom is final, and so are those above it.
func (s *screen) lineFeed(emit func(string)) {
	s.home = away
	if s.at == len(s.rows) {
		s.rows = append(s.rows, row{before: s.colours, colour: s.colours != ""})
	}
	s.at++
	if s.at == len(s.rows) && !s.rows[s.at-1].drawn || s.at > maxRows {
		s.emitRows(s.at, emit)
	} else if s.at < len(s.rows) {
		s.home = fed
	}
}

// settle makes the lines above the cursor final: nothing went back to them for a while.
func (s *screen) settle(emit func(string)) { s.emitRows(s.at, emit) }

// unsettled reports whether settle would emit something.
func (s *screen) unsettled() bool { return s.at > 0 }

// finish makes all lines final: nothing comes any more.
func (s *screen) finish(emit func(string)) {
	s.emitRows(len(s.rows), emit)
	*s = screen{}
}

// emitRows emits the upper n rows.
func (s *screen) emitRows(n int, emit func(string)) {
	for i := range s.rows[:n] {
		if r := &s.rows[i]; !r.drawn || strings.TrimSpace(r.text) != "" { // a bar that cleared itself leaves nothing
			emit(r.line())
		}
	}
	s.rows = append(s.rows[:0], s.rows[n:]...)
	s.at = max(0, s.at-n)
}

// control obeys the control sequence that text begins with, and returns its length; 0 if its end has not come. An escape
// character that begins none is dropped alone.
func (s *screen) control(text string) int {
	if len(text) == 1 {
		return 0
	}
	limit := min(len(text), maxEscape)
	switch c := text[1]; {
	case c == '[': // up to a byte from @ to ~
		for i := 2; i < limit; i++ {
			switch c := text[i]; {
			case c >= '@' && c <= '~':
				s.csi(c, text[2:i], text[:i+1])
				return i + 1
			case c < ' ' || c > '~':
				return 1
			}
		}
	case c == ']': // up to BEL or ESC \: a title or a link
		for i := 2; i < limit; i++ {
			switch {
			case text[i] == '\a':
				return i + 1
			case text[i] == '\n':
				return 1
			case text[i] == '\\' && text[i-1] == '\x1b':
				return i + 1
			}
		}
	case c >= ' ' && c <= '~': // ESC ( B and the like
		for i := 1; i < limit; i++ {
			switch c := text[i]; {
			case c >= '0' && c <= '~':
				return i + 1
			case c < ' ' || c > '~':
				return 1
			}
		}
	default:
		return 1
	}
	if limit == maxEscape {
		return 1
	}
	return 0
}

// csi obeys ESC [ params final.
func (s *screen) csi(final byte, params, all string) {
	n, err := strconv.Atoi(params)
	if err != nil {
		n = 1
	}
	switch final {
	case 'm':
		s.colour(params, all)
	case 'A', 'F': // up
		if s.at < n && len(s.rows) > 0 && len(s.rows) < maxRows {
			// That row is final already. New text must not replace one that is not.
			s.rows = slices.Insert(s.rows, 0, row{drawn: true})
		}
		s.at = max(0, s.at-n)
		if final == 'F' {
			s.home = returned
		}
	case 'B', 'E': // down
		s.at = min(len(s.rows), s.at+n)
		if final == 'E' {
			s.home = returned
		}
	case 'G': // to a column
		if n == 1 {
			s.home = returned
		}
	case 'K': // erase to the right, or all
		if s.at < len(s.rows) && (s.home != away || params == "2") {
			s.rows[s.at].text, s.rows[s.at].before, s.rows[s.at].colour = "", "", false
		}
	}
}

// colour takes a colour code. It is added to the text, except at the beginning of a row, which starts with the active colours anyway.
func (s *screen) colour(params, all string) {
	switch {
	case params == "" || params == "0" || len(s.colours)+len(all) > maxColour:
		s.colours = ""
	case strings.HasPrefix(params, "0;"):
		s.colours = all
	default:
		s.colours += all
	}
	if s.at < len(s.rows) && s.home == away && s.rows[s.at].text != "" {
		s.rows[s.at].text += all
		s.rows[s.at].colour = s.colours != ""
	}
}

// visible replaces the control characters of text, except tabs, so that they cannot harm a terminal.
func visible(text string) string {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f || c == 0xc2 {
			return strings.Map(visibleRune, text)
		}
	}
	return text
}

func visibleRune(r rune) rune {
	switch {
	case r < ' ' && r != '\t':
		return '\u2400' + r // the picture of the character
	case r == 0x7f:
		return '\u2421'
	case r >= 0x80 && r < 0xa0:
		return utf8.RuneError
	}
	return r
}
