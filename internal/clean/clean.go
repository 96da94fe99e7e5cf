// Package clean removes from text what controls a terminal or an editor: escape sequences (they can set the clipboard, the window's title, the
// keyboard …), control characters, and marks that reverse the reading order. Exceptions, names and titles may hold any of them.
package clean

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Text cleans text of one or more lines. Of control characters only line feeds and tabs stay.
func Text(s string) string { return filter(s, false) }

// Styled is like Text, but keeps colours and other styles, for terminals. Styles end with the text.
func Styled(s string) string { return filter(s, true) }

// Line cleans text and puts it on one line: line feeds and tabs become spaces.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, Text(s))
}

// maxBrief is how long a brief text may be, in characters.
const maxBrief = 80

// Brief is text on one line, with single spaces, cut to what a person takes in at a glance.
func Brief(s string) string {
	s = strings.Join(strings.Fields(Text(s)), " ")
	if runes := []rune(s); len(runes) > maxBrief {
		return string(runes[:maxBrief-1]) + "…"
	}
	return s
}

const reset = "\x1b[m"

func filter(s string, styles bool) string {
	if !strings.ContainsFunc(s, steers) {
		return s
	}
	var b strings.Builder
	styled := false
	var state byte
	for len(s) > 0 {
		seq, _, n, next := ansi.DecodeSequence(s, state, nil)
		s, state = s[n:], next
		switch {
		case seq[0] == 0x1b && styles && isStyle(seq):
			b.WriteString(seq)
			styled = seq != reset && seq != "\x1b[0m"
		case seq[0] == 0x1b:
		default:
			b.WriteString(strings.Map(func(r rune) rune {
				if steers(r) {
					return -1
				}
				return r
			}, seq))
		}
	}
	if styled {
		b.WriteString(reset)
	}
	return b.String()
}

// isStyle reports whether a sequence only changes how text looks.
func isStyle(seq string) bool {
	body, ok := strings.CutPrefix(seq, "\x1b[")
	if !ok {
		return false
	}
	body, ok = strings.CutSuffix(body, "m")
	return ok && strings.Trim(body, "0123456789;:") == ""
}

// steers reports whether a character controls something instead of being text.
func steers(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' ||
		r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' // embeddings, overrides and isolates of directions
}

// Excerpt shortens text to about so many lines and bytes: its first and last lines, and between them how much was left out. where says where
// all of it is; "" is nowhere.
func Excerpt(s string, maxLines, maxBytes int, where string) string {
	if len(s) <= maxBytes && strings.Count(s, "\n") < maxLines {
		return s
	}
	head, tail := ends(s, maxLines/2, maxBytes/2)
	left := len(s) - len(head) - len(tail)
	if left <= 0 {
		return s
	}
	note := fmt.Sprintf("… %s left out", size(left))
	if lines := strings.Count(s[len(head):len(s)-len(tail)], "\n"); lines > 1 {
		note = fmt.Sprintf("… %d lines (%s) left out", lines, size(left))
	}
	if where != "" {
		note += "; all of it is in " + where
	}
	return strings.TrimSuffix(head, "\n") + "\n" + note + " …\n" + strings.TrimPrefix(tail, "\n")
}

// ends are the beginning and the end of a text, each of whole characters and of at most so many lines and bytes.
func ends(s string, lines, bytes int) (head, tail string) {
	head = s[:min(len(s), bytes)]
	for len(head) > 0 && len(head) < len(s) && !utf8.RuneStart(s[len(head)]) {
		head = head[:len(head)-1]
	}
	if i := nth(head, lines); i >= 0 {
		head = head[:i]
	}
	from := max(len(head), len(s)-bytes)
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	tail = s[from:]
	for i, n := len(tail), 0; n < lines; n++ {
		if i = strings.LastIndexByte(tail[:i], '\n'); i < 0 {
			return head, tail
		} else if n == lines-1 {
			tail = tail[i:]
		}
	}
	return head, tail
}

// nth is where the n-th line of a text ends; -1 if it has fewer.
func nth(s string, n int) int {
	at := 0
	for range n {
		i := strings.IndexByte(s[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
	}
	return at - 1
}

func size(n int) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
