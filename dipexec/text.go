package dipexec

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// textDecoder turns the bytes of one stream into text, piece by piece. What comes out does not depend on where the pieces
// were cut: a character that is cut is held back until its rest arrives, and every byte that is no UTF-8 becomes one U+FFFD.
type textDecoder struct {
	held [utf8.UTFMax]byte
	n    int // bytes in held: the beginning of a character
}

// decode returns the text of what was held back and of b, as far as it is complete.
func (d *textDecoder) decode(b []byte) string {
	if d.n == 0 {
		cut := len(b) - incompleteTail(b)
		d.n = copy(d.held[:], b[cut:])
		return validText(b[:cut])
	}
	var s strings.Builder
	for d.n > 0 && len(b) > 0 {
		d.held[d.n] = b[0]
		d.n++
		b = b[1:]
		for d.n > 0 && utf8.FullRune(d.held[:d.n]) {
			r, size := utf8.DecodeRune(d.held[:d.n])
			s.WriteRune(r)
			d.n = copy(d.held[:], d.held[size:d.n])
		}
	}
	if len(b) > 0 {
		s.WriteString(d.decode(b))
	}
	return s.String()
}

// flush returns what was held back: the stream ends here.
func (d *textDecoder) flush() string {
	n := d.n
	d.n = 0
	return strings.Repeat(string(utf8.RuneError), n)
}

// incompleteTail is how many bytes at the end of b are the beginning of a character.
func incompleteTail(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if utf8.FullRune(b[len(b)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

func validText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	s.Grow(len(b) + len(b)/4)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		s.WriteRune(r)
		b = b[size:]
	}
	return s.String()
}

// splitText cuts the longest piece of at most max bytes off s, after a line feed if there is one and never inside a
// character.
func splitText(s string, max int) (piece, rest string) {
	if len(s) <= max {
		return s, ""
	}
	cut := strings.LastIndexByte(s[:max], '\n') + 1
	if cut == 0 {
		for cut = max; !utf8.RuneStart(s[cut]); cut-- {
		}
	}
	return s[:cut], s[cut:]
}

// FormatDuration writes a duration as a person would: 30 ms, 1.2 s, 12 s, 3 min 05 s.
func FormatDuration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 0.1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 60:
		return fmt.Sprintf("%.0f s", s)
	default:
		return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
	}
}
