package cells

import (
	"slices"
	"strings"

	"dipls/internal/ranklist"
)

// A near is text that is nearly a directive or one of the project's own magics. It must not pass for a title or a comment, since the cell
// would silently run somewhere else.
type near struct {
	at   Range  // what should be replaced, counted from the start of the text
	fix  string // by what
	cell bool   // it is nearly a cell magic
}

// problem says what is wrong with it, where text stands at an offset of the file.
func (n near) problem(text string, at int, s Severity) Problem {
	return Problem{n.at.shift(at), s, NearDirective, text[n.at.Start:n.at.End] + " is no directive and no magic", didYouMean(n.fix), n.fix}
}

// nearMagic reads a line's text, from its first non-blank byte on, as nearly one of our magics, bare or commented: wrong case, a
// letter more or less, a percent sign too many or too few, a blank before the name, something right behind it.
func nearMagic(text string) (n near, ok bool) {
	i := 0
	if strings.HasPrefix(text, "#") {
		i = skipBlank(text, len("#"))
		if strings.HasPrefix(text, "#!") {
			i = skipBlank(text, len("#!"))
		}
	}
	start := i
	for i < len(text) && text[i] == '%' {
		i++
	}
	percents := i - start
	if percents == 0 || percents > len("%%") {
		return n, false
	}
	apart := skipBlank(text, i) > i
	if apart && percents > 1 {
		return n, false // a marker: its title is read elsewhere
	}
	i = skipBlank(text, i)
	word := text[i : i+nameLen(text[i:])]
	end := i + len(word)
	rest := text[end:]
	n.at, n.cell = Range{start, end}, percents == len("%%")
	switch magic := ipythonMagics[word]; {
	case word == "" || apart && !ownName(strings.ToLower(word)) && len(word) < len("dipsh"): // "% of all"
		return n, false
	case n.cell && magic.cell != notThere, !n.cell && magic.line != notThere, word == "load_ext":
		return n, false
	}
	name := ""
	switch lower := strings.ToLower(word); {
	case ownName(lower):
		name = lower
	case lettersMore(lower, "dip"), isDipArgs(rest) && nearest(lower, []string{"dip"}) != "": // zip, tip and dim are titles
		name = "dip"
	case lettersMore(lower, "px") && strings.HasPrefix(strings.TrimLeft(rest, " \t\f"), "--"):
		name = "px"
	default:
		most := 2
		if n.cell {
			most = 1 // it may be a title
		}
		if candidate := nearest(lower, MagicNames(false)); len(candidate) > len("px") && candidate[0] == lower[0] && editDistance(lower, candidate) <= most {
			name = candidate
		}
	}
	if name == "" || apart && !saysSo(name, rest) {
		return n, false
	}
	scope := known[name]
	switch {
	case n.cell && scope&cellScope == 0:
		n.fix, n.cell = "%"+name, false
	case !n.cell && scope&lineScope == 0:
		n.fix = "%%" + name
	default:
		n.fix = strings.Repeat("%", percents) + name
	}
	if n.fix == text[n.at.Start:n.at.End] { // the name is right: what follows it is not
		if rest == "" || isBlank(rest[0]) || strings.Trim(rest, "? \t\f") == "" {
			return n, false
		}
		for end < len(text) && strings.IndexByte(":;,.-=!", text[end]) >= 0 {
			end++
		}
		if !n.cell && (strings.TrimSpace(text[end:]) == "" || !saysSo(name, " "+text[end:])) {
			return n, false
		}
		n.at.End = end
		if end < len(text) && !isBlank(text[end]) {
			n.fix += " "
		}
	}
	return n, true
}

// nearTitle reads a marker's title, which begins at an offset of the marker's comment, as a directive that was meant: "# %% dip everywhere".
func nearTitle(comment string, from int) (n near, ok bool) {
	i := skipBlank(comment, from)
	start := i
	for i < len(comment) && comment[i] == '%' {
		i++
	}
	percents := i - start
	word := comment[i : i+nameLen(comment[i:])]
	if word == "" || percents == 0 && strings.IndexByte("adimp", word[0]|0x20) < 0 {
		return n, false // as most titles
	}
	rest := comment[i+len(word):]
	lower := strings.ToLower(word)
	n.at = Range{skipBlank(comment, len("#")), i + len(word)}
	switch scope := known[lower]; {
	case scope == 0 && lettersMore(lower, "dip") && fitsDip(rest):
		n.fix = "%%dip"
	case scope == 0 || lower == "load_ext":
		return n, false
	case percents > 0 && scope&cellScope != 0, scope&cellScope != 0 && saysSo(lower, rest):
		n.fix = "%%" + lower
	case percents > 0, scope&lineScope != 0 && scope&cellScope == 0 && saysSo(lower, rest):
		n.fix = "%" + lower
	default:
		return n, false
	}
	return n, true
}

func ownName(word string) bool { return known[word] != 0 && word != "load_ext" }

// saysSo reports whether rest, the text after the name of one of our magics, is what that magic takes, rather than prose.
func saysSo(name, rest string) bool {
	if rest != "" && !isBlank(rest[0]) {
		return false
	}
	words := strings.Fields(rest)
	switch {
	case name == "dip":
		return len(words) == 0 || fitsDip(rest)
	case len(words) > 0 && words[0][0] == '-':
		return true
	case name == "px":
		return len(words) > 0 && isPython(rest) && strings.ContainsAny(rest, "()=.[")
	case len(words) == 0:
		return lineMagics[name].needs == ""
	case reads(words):
		return false
	}
	d := argumentReader{report: func(Problem) {}}
	return d.line(Magic{Name: name, Args: strings.TrimSpace(rest)}, 0)
}

// sentenceWords are words of sentences that nobody uses as names of variables, or that cannot be names.
var sentenceWords = wordSet("and are as for from if in is not of or that the this to was which while with")

// isProse reports whether a line magic of ours in a comment is the beginning of a sentence.
func (m Magic) isProse() bool {
	first, more, _ := strings.Cut(m.Args, " ")
	if m.Cell || more == "" || !isWord(first) || m.Name == "autodip" && powers[strings.ToLower(first)] != unsaid {
		return false
	}
	if m.Name == "px" {
		return !isPython(m.Args)
	}
	for word := range strings.FieldsSeq(m.Args) {
		if sentenceWords[word] {
			return true
		}
	}
	return false
}

// lettersMore reports whether word is name with one letter more, or with two neighbours swapped.
func lettersMore(word, name string) bool {
	return word != name && editDistance(word, name) == 1 && (len(word) == len(name)+1 || len(word) == len(name) && sameLetters(word, name))
}

func sameLetters(a, b string) bool {
	for i := range len(a) {
		if strings.Count(a, a[i:i+1]) != strings.Count(b, a[i:i+1]) {
			return false
		}
	}
	return true
}

// fitsDip reports whether text holds arguments of %%dip, or what is nearly that.
func fitsDip(text string) bool {
	words := strings.Fields(text)
	if len(words) == 0 {
		return false
	}
	return words[0][0] == '-' && len(words[0]) > 1 || len(words) == 1 && nearest(words[0], targetNames) != "" || isDipArgs(text)
}

// isDipArgs reports whether text holds arguments of %%dip.
func isDipArgs(text string) bool {
	if strings.TrimSpace(text) == "" {
		return false
	}
	flawed := false
	d := argumentReader{report: func(p Problem) { flawed = flawed || p.Severity == Error }}
	d.directive("dip", text, 0, Range{0, len(text)})
	return !flawed
}

// nearDipLocally reports whether a comment is nearly #dip_locally, or has more behind it.
func nearDipLocally(comment string) (n near, ok bool) {
	start := skipBlank(comment, len("#"))
	text := strings.TrimRight(comment[start:], " \t\f")
	if len(text) < len(dipLocally)-2 || text[0]|0x20 != 'd' {
		return n, false
	}
	n = near{at: Range{start, start + len(text)}, fix: dipLocally}
	word, more, _ := strings.Cut(text, " ")
	if strings.TrimRight(word, ":,;.") == dipLocally && text != dipLocally && (more == "" || !reads(strings.Fields(more))) {
		return n, true
	}
	return n, len(text) <= len(dipLocally)+2 && text != dipLocally && editDistance(strings.ToLower(text), dipLocally) <= 2
}

// nearKey is the key of ours that a header's key was meant to be, or "": it is spelled nearly so, and its value fits.
func nearKey(m Metadatum) string {
	if m.Key == "target" || m.Key == "see" || len(m.Key) > len("target")+2 {
		return ""
	}
	lower := strings.ToLower(m.Key)
	switch d := editDistance(lower, "target"); {
	case d <= 2 && isTargetText(m.Value), d == 1 && lower != "targets":
		return "target"
	}
	if _, err := ranklist.ParseRanks(strings.Trim(m.Value, "[]")); len(lower) > len("see")+1 || err != nil {
		return ""
	}
	if lower == "see" || lettersMore(lower, "see") || lower == "se" {
		return "see"
	}
	return ""
}

// isTargetText reports whether s is a target, or nearly one.
func isTargetText(s string) bool {
	_, err := ParseTarget(s)
	return err == nil || strings.HasPrefix(s, "rank") || nearest(strings.ToLower(s), targetNames) != ""
}

// nearPair finds "target: remote" and the like at the end of a title: one of our keys, or nearly, then a colon, blanks, or an equals sign
// with blanks around it, then a value that fits, and nothing more.
func nearPair(s string) (n near, ok bool) {
	if !strings.ContainsAny(s, ":=") {
		return n, false
	}
	last := slices.Collect(words(s))
	for _, word := range last[max(0, len(last)-3):] {
		key, value := s[word.Start:word.End], s[word.End:]
		if i := strings.IndexAny(key, ":="); i >= 0 {
			key, value = key[:i], s[word.Start+i:]
		}
		rest := strings.Trim(value, " \t\f")
		if rest == "" || rest[0] != ':' && rest[0] != '=' || len(rest) > 1 && rest[1] == '=' {
			continue
		}
		rest = strings.Trim(rest[1:], " \t\f")
		text := strings.Trim(rest, `"'`)
		m := Metadatum{Key: key, Value: text}
		name := nearKey(m)
		_, badRanks := ranklist.ParseRanks(text)
		switch {
		case name != "":
		case key == "target" && isTargetText(text):
			name = "target"
		case key == "see" && badRanks == nil:
			name = "see"
		default:
			continue
		}
		if strings.ContainsAny(text, "\"' \t\f") {
			continue
		}
		return near{at: Range{word.Start, len(strings.TrimRight(s, " \t\f"))}, fix: name + `="` + text + `"`}, true
	}
	return n, false
}
