package cells

import "strings"

// A Line is a physical line of a cell's source, as [Cell.Rewrite] gives it.
type Line struct {
	Text    string // with its line feed
	Code    string // the same, byte for byte, with blanks for comments and IPython's lines, and quotes for what is in strings
	Starts  bool   // it begins outside of strings, brackets and continuations
	Content bool   // it begins inside of a string: its indentation is text
	IPython bool   // it begins with %, ! or ?, or goes on with such a line; or it is below a cell magic whose body may be no Python
}

// Lines are the lines of a cell's source.
func Lines(source string) []Line {
	code := codeOf(source)
	var lines []Line
	add := func(start, end int, is Line) {
		for start < end {
			next := min(skipNewline(source, lineEnd(source, start)), end)
			is.Text, is.Code = source[start:next], code[start:next]
			lines = append(lines, is)
			start, is.Starts = next, false
		}
	}
	s := scanner{src: source, eof: true}
	first := true // nothing but blank lines so far
	for s.pos < len(source) {
		start := s.pos
		is := Line{Starts: s.clean(), Content: s.inText()}
		at := skipBlank(source, start)
		if is.Starts && at < len(source) && strings.IndexByte("%!?", source[at]) >= 0 {
			is.IPython = true
			s.pos = escapedEnd(source, at)
			if first && isForeign(source[at:s.pos]) {
				s.pos = len(source)
			}
			s.pos = skipNewline(source, s.pos)
		} else {
			first = first && at == lineEnd(source, at)
			s.line()
		}
		add(start, s.pos, is)
	}
	return lines
}
