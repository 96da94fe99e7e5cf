package cells

import (
	"sort"
	"unicode/utf8"
)

// An Encoding is the unit that columns are counted in. The zero Encoding is what the Language Server Protocol falls back to.
type Encoding int

const (
	UTF16 Encoding = iota
	UTF8           // bytes
	UTF32          // code points
)

// A Position is a place between two characters: a line and a column on it, both counted from 0. Lines end in \n, \r\n or \r.
// A byte that is not UTF-8 counts as one character, whatever the unit.
type Position struct{ Line, Column int }

// units is the number of columns that a character takes, which was decoded from size bytes.
func (e Encoding) units(r rune, size int) int {
	switch {
	case e == UTF8:
		return size
	case e == UTF16 && r > 0xFFFF:
		return 2
	}
	return 1
}

// Position is the position of a byte offset. An offset outside of the file is taken as its nearest end, one inside of a
// character as that character's start, one inside of a line terminator as the terminator's start.
func (f *File) Position(offset int, enc Encoding) Position {
	offset = min(max(offset, 0), f.size)
	at, ok := f.nodeAt(offset)
	if !ok {
		return Position{}
	}
	rel := offset - at.off
	if rel == len(at.text) && endsLine(at.text) {
		return Position{at.line + len(at.starts), 0} // the empty line after the last terminator
	}
	line := sort.Search(len(at.starts), func(i int) bool { return int(at.starts[i]) > rel }) - 1
	start := int(at.starts[line])
	end := lineEnd(at.text, start)
	column := 0
	for i := start; i < min(rel, end); {
		r, size := utf8.DecodeRuneInString(at.text[i:end])
		if i+size > rel {
			break
		}
		column += enc.units(r, size)
		i += size
	}
	return Position{at.line + line, column}
}

// Offset is the byte offset of a position. A line outside of the file is taken as the file's nearest end, a column beyond the
// line as the line's end, one inside of a character as that character's start.
func (f *File) Offset(p Position, enc Encoding) int {
	if p.Line < 0 {
		return 0
	}
	at, ok := f.nodeOfLine(p.Line)
	if !ok {
		return f.size
	}
	start := int(at.starts[p.Line-at.line])
	end := lineEnd(at.text, start)
	i := start
	for column := 0; i < end; {
		r, size := utf8.DecodeRuneInString(at.text[i:end])
		column += enc.units(r, size)
		if column > p.Column {
			break
		}
		i += size
	}
	return at.off + i
}

// lineStarts returns the offsets at which the lines of text begin, not counting the empty line after a last terminator.
func lineStarts(text string) []int32 {
	starts := make([]int32, 0, 8)
	for i := 0; i < len(text); i = skipNewline(text, lineEnd(text, i)) {
		starts = append(starts, int32(i))
	}
	return starts
}

func endsLine(text string) bool {
	n := len(text)
	return n > 0 && (text[n-1] == '\n' || text[n-1] == '\r')
}
