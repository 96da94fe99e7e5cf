package cells

import (
	"iter"
	"slices"
	"strings"
)

// Text is the whole cell, byte for byte.
func (c Cell) Text() string { return c.n.text }

// A Stuff is what a byte of Python source belongs to.
type Stuff int

const (
	InCode Stuff = iota
	InString
	InComment // or in a line of IPython's
)

// StuffAt tells what the byte at an offset of source belongs to. source is a cell's body, or what Rewrite made of it. Quotes belong to
// their string; replacement fields of f-strings are code, and so is everything outside of the source.
func StuffAt(source string, offset int) Stuff {
	if offset < 0 || offset >= len(source) {
		return InCode
	}
	switch is, was := codeOf(source)[offset], source[offset]; {
	case is == was && was != '"':
		return InCode
	case is == '"':
		return InString
	default:
		return InComment
	}
}

// A Flag is a flag of one of the project's own magics.
type Flag struct {
	Names []string // "-S", "--see"
	Takes string   // what it takes: "" for nothing, "word", "ranks", "truth" or "arguments"
}

// ReadMagic reads a line, from its first byte that is not blank on, as one of the project's own magics, bare or commented. The range
// counts from the start of the line.
func ReadMagic(line string) (Magic, bool) {
	i := skipBlank(line, 0)
	m, ok := readMagic(line[i:])
	m.Range = m.Range.shift(i)
	return m, ok
}

// MagicNames are the names of the project's own magics: of those that begin a cell, or of those of a line.
func MagicNames(cell bool) []string {
	want := lineScope
	if cell {
		want = cellScope
	}
	var names []string
	for name, s := range known {
		if s&want != 0 && name != "load_ext" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// FlagsOf are the flags of one of the project's own magics.
func FlagsOf(name string, cell bool) []Flag {
	options := lineMagics[name].flags
	switch {
	case cell && name == "dip":
		options = dipFlags
	case cell && name == "rank":
		options = rankFlags
	case cell && name == "px":
		options = pxFlags
	}
	flags := make([]Flag, len(options))
	for i, o := range options {
		flags[i] = Flag{o.names, o.takes.String()}
	}
	return flags
}

func (t takes) String() string { return [...]string{"", "word", "ranks", "truth", "arguments"}[t] }

// A MagicLine is a line of a code cell that is for IPython or for this project: a magic or a command of the shell, bare or in a comment, or the line by which
// a file says where its cells run. Of a line that a backslash continues it is the first one.
type MagicLine struct {
	Range Range  // from its first byte that is not blank
	Name  Range  // "%matplotlib", "%%dip", "!", "dip"
	Args  Range  // what follows, trimmed
	Fix   string // a comment that does the same, of a bare line; "": there is none, or it is a comment
}

// MagicLines yields those of the cell, in order.
func (c Cell) MagicLines() iter.Seq[MagicLine] {
	return func(yield func(MagicLine) bool) {
		for _, r := range c.n.spoken {
			if !yield(readLine(c.n.text[r.Start:r.End]).shift(c.off + r.Start)) {
				return
			}
		}
	}
}

// readLine reads such a line.
func readLine(text string) (l MagicLine) {
	whole := text
	text = strings.TrimRight(text[:lineEnd(text, 0)], " \t\f\\")
	i := 0
	if strings.HasPrefix(text, "#") {
		i = skipBlank(text, len("#"))
		if strings.HasPrefix(text, "#!") {
			i = skipBlank(text, len("#!"))
		}
	} else if bare := "# " + text; text == strings.TrimRight(whole, " \t\f") && means(bare) {
		l.Fix = bare
	}
	end := i
	for end < len(text) && strings.IndexByte("%!?", text[end]) >= 0 {
		end++
	}
	if end == i || text[i] == '%' {
		end += nameLen(text[end:])
	}
	args := skipBlank(text, end)
	if args < len(text) && text[args] == ':' {
		args = skipBlank(text, args+1)
	}
	l.Range, l.Name, l.Args = Range{0, len(text)}, Range{i, end}, Range{args, len(text)}
	return l
}

// means reports whether a comment is a magic or a command.
func means(comment string) bool {
	if m, ours := readMagic(comment); ours {
		return !m.isProse()
	}
	m, ok := readIPython(comment)
	return ok && m.fits && (!m.cell || ipythonMagics[m.name].python)
}

func (l MagicLine) shift(by int) MagicLine {
	l.Range, l.Name, l.Args = l.Range.shift(by), l.Name.shift(by), l.Args.shift(by)
	return l
}

// IPythonMagicNames are the names of IPython's magics: of those that begin a cell, or of those of a line.
func IPythonMagicNames(cell bool) []string {
	var names []string
	for name, m := range ipythonMagics {
		if (cell && m.cell != notThere || !cell && m.line != notThere) && isName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
