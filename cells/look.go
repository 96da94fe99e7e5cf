package cells

import "slices"

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
