package event

import (
	"strings"
	"time"
	"unicode/utf8"
)

// MaxText bounds the text of one Stream event.
const MaxText = 32 << 10

// TextDecoder turns the bytes of one stream into text, piece by piece. The text does not depend on where the pieces
// were cut: an incomplete character is held back until the rest arrives, and every byte that is not UTF-8 becomes one U+FFFD.
type TextDecoder struct {
	held [utf8.UTFMax]byte
	n    int // bytes in held: the beginning of a character
}

// Decode returns the text of the bytes held back and of b, as far as it is complete.
func (d *TextDecoder) Decode(b []byte) string {
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
		s.WriteString(d.Decode(b))
	}
	return s.String()
}

// Flush returns what was held back: the stream ends here.
func (d *TextDecoder) Flush() string {
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

// SplitText cuts the longest piece of at most max bytes off s, after a line feed if there is one and never inside a
// character.
func SplitText(s string, max int) (piece, rest string) {
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

// Seconds is a duration as events have it: microseconds are as fine as anybody reads, and print short.
func Seconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }
