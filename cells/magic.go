package cells

import "strings"

// A Magic is one of the project's own magics in a cell: the cell magic that is its directive, or a line magic of its body.
type Magic struct {
	Name      string // without percent signs
	Args      string // the text after the name, trimmed; a continued line keeps its backslash and newline
	Cell      bool   // %%name, not %name
	Commented bool   // "# %name" or "#!%name"
	Help      bool   // %name? or %name?? asks for help
	Range     Range  // from the percent sign to the end of Args
}

// A scope says whether a magic is known as %name, %%name or both.
type scope int

const (
	lineScope scope = 1 << iota
	cellScope
)

// known holds the project's own magics. All others are IPython's.
var known = map[string]scope{
	"makedip":  lineScope,
	"dipush":   lineScope,
	"dipull":   lineScope,
	"autodip":  lineScope,
	"dipper":   lineScope,
	"dip":      cellScope,
	"rank":     cellScope,
	"px":       lineScope | cellScope,
	"autopx":   lineScope,
	"pxconfig": lineScope,
	"pxresult": lineScope,
	"load_ext": lineScope, // of one of extensions
}

// extensions are those whose magics dipls has itself: %load_ext of one loads nothing. Any other extension is IPython's.
var extensions = map[string]bool{"Ddip": true, "ddip": true, "Ddipp": true, "ddipp": true, "ipyparallel": true}

// readMagic reads a line's text from its first non-blank byte on as a known magic, bare or commented. Offsets in the answer
// count from the start of text.
func readMagic(text string) (Magic, bool) {
	var m Magic
	i := 0
	if strings.HasPrefix(text, "#") {
		m.Commented = true
		i = skipBlank(text, len("#"))
		if strings.HasPrefix(text, "#!") {
			i = skipBlank(text, len("#!"))
		}
	}
	m.Range.Start = i
	if !strings.HasPrefix(text[i:], "%") {
		return m, false
	}
	i++
	want := lineScope
	if strings.HasPrefix(text[i:], "%") {
		m.Cell, want = true, cellScope
		i++
	}
	m.Name = text[i : i+nameLen(text[i:])]
	i += len(m.Name)
	if known[m.Name]&want == 0 {
		return m, false
	}
	for range len("??") {
		if strings.HasPrefix(text[i:], "?") {
			m.Help = true
			i++
		}
	}
	args := text[i:]
	if args != "" && !isBlank(args[0]) {
		return m, false
	}
	m.Args = strings.Trim(args, " \t\f\r\n")
	if m.Name == "load_ext" && !extensions[m.Args] {
		return m, false
	}
	m.Range.End = len(strings.TrimRight(text, " \t\f\r\n"))
	return m, true
}

func nameLen(s string) int {
	i := 0
	for i < len(s) && (classes[s[i]] == letter || classes[s[i]] == digit) {
		i++
	}
	return i
}

// isForeign reports whether a body whose first line is this cell magic may be something other than Python. It may, too, if the magic is
// unknown.
func isForeign(text string) bool {
	name, ok := strings.CutPrefix(text, "%%")
	if !ok {
		return false
	}
	name = name[:nameLen(name)]
	return known[name]&cellScope == 0 && !ipythonMagics[name].python
}

// dipLocally is the comment that Ddip reads as a directive; as a Magic it has this name.
const dipLocally = "dip_locally"

// isDipLocally reports whether text is the comment #dip_locally.
func isDipLocally(text string) bool {
	rest, ok := strings.CutPrefix(text, "#")
	return ok && strings.Trim(rest, " \t\f") == dipLocally
}
