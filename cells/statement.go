package cells

import (
	"slices"
	"strings"
)

// EndsStatement reports whether a text that somebody types line by line can run as it is, or is so wrong that Python has to say why. It is false within
// brackets, strings and continued lines. What has a block, a decorator, or a magic of a cell goes on until a blank line.
func EndsStatement(text string) bool {
	if strings.TrimSpace(text) == "" {
		return true
	}
	s := scanner{src: text, eof: true}
	magic, block := false, false
	for s.pos < len(text) {
		at := skipBlank(text, s.pos)
		line := text[at:lineEnd(text, at)]
		if s.clean() && line != "" {
			magic = magic || strings.HasPrefix(strings.TrimLeft(line, "# "), "%%")
			block = at > s.pos || beginsBlock(line)
			if line[0] == '%' || line[0] == '!' { // quotes and brackets in a line of IPython's mean nothing
				s.pos = skipNewline(text, escapedEnd(text, at))
				continue
			}
		}
		s.line()
		block = block || s.clean() && s.colon
	}
	open := len(s.stack)
	switch {
	case s.torn:
		return true
	case strings.HasSuffix(text, "\\"):
		return false
	case open > 0 && s.stack[open-1].line: // a string that has to end on its line
		return true
	case !s.clean():
		return false
	}
	return !magic && !block || strings.TrimSpace(lastLine(text)) == ""
}

// beginsBlock reports whether a line begins what goes on below it, though it may have all that Python needs.
func beginsBlock(line string) bool {
	word := line[:nameLen(line)]
	switch word {
	case "match", "case":
		return false // they may be names; a colon tells
	}
	return line[0] == '@' || word == "async" || slices.Contains(compound, word)
}

// lastLine is what stands after the last line terminator.
func lastLine(text string) string { return text[strings.LastIndexAny(text, "\r\n")+1:] }
