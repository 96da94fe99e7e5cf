package cells

import (
	"fmt"
	"slices"
	"strings"

	"dipls/internal/ranklist"
)

// A file says once where its cells run, by a comment such as "# dip: remote". It stands above the first marker and the first code; above it there may be
// comments, a YAML header and a docstring.

// fileWord is what such a comment begins with.
const fileWord = "dip"

// A fileLine is such a comment, or what is nearly one.
type fileLine struct {
	target Target
	at     Range // of what stands for the target, counted from the '#'
	err    error // why it is no target; nil: it is one
	near   *near // what is wrong with the beginning; nil: nothing
}

// readFileLine reads a comment as such a line. ok is false if it is any other comment.
func readFileLine(comment string) (l fileLine, ok bool) {
	start := skipBlank(comment, len("#"))
	end := start + nameLen(comment[start:])
	word := comment[start:end]
	if lower := strings.ToLower(word); lower != fileWord && !lettersMore(lower, fileWord) {
		return l, false
	}
	colon := skipBlank(comment, end)
	text := colon
	if colon < len(comment) && (comment[colon] == ':' || comment[colon] == '=') {
		text = skipBlank(comment, colon+1)
	}
	value, _, _ := strings.Cut(comment[text:], " #")
	value = strings.TrimRight(value, " \t\f\r\n")
	l.at = Range{text, text + len(value)}
	l.target, l.err = readPlace(value)
	right := word == fileWord && colon < len(comment) && comment[colon] == ':'
	switch {
	case right && l.err == nil:
	case right: // what does not look like a target is prose
		first, more, _ := strings.Cut(value, " ")
		return l, value == "" || more == "" || nearest(strings.ToLower(first), placeWords) != ""
	case l.err == nil:
		l.near = &near{at: Range{start, text}, fix: fileWord + ": "}
		return l, true
	default:
		return l, false
	}
	return l, true
}

// placeWords are what the words for a place begin with.
var placeWords = []string{"remote", "local", "locally", "everywhere", "rank", "ranks", "all"}

// readPlace reads where cells run as people write it: what ParseTarget reads, "ranks 0,2", "rank 0", "all ranks".
func readPlace(text string) (Target, error) {
	words := strings.Fields(text)
	switch {
	case len(words) == 1:
		return ParseTarget(words[0])
	case len(words) == 0:
		return Target{}, &TargetError{Hint: "write remote, local, everywhere, or ranks 0,2"}
	case slices.Equal(words, []string{"all", "ranks"}):
		return Target{Where: Remote}, nil
	case words[0] == "rank" || words[0] == "ranks":
		list, err := ranklist.ParseRanks(joinRanks(words[1:]))
		if err != nil {
			return Target{}, err
		}
		return Target{Where: Remote}.only(list), nil
	}
	err := &TargetError{Name: text, Hint: "write remote, local, everywhere, or ranks 0,2"}
	if meant := nearest(strings.ToLower(words[0]), placeWords); strings.HasPrefix(meant, "rank") {
		err.Hint, err.Fix = didYouMean("ranks"), "ranks "+strings.Join(words[1:], " ")
	}
	return Target{}, err
}

// joinRanks makes one list of words that are parts of one: "0,", "2" and "0", "2" are both 0,2.
func joinRanks(words []string) string {
	var parts []string
	for _, w := range words {
		if w = strings.Trim(w, ","); w != "" {
			parts = append(parts, w)
		}
	}
	return strings.Join(parts, ",")
}

// atTop reports whether the parser is above the first marker and the first code.
func (p *parser) atTop() bool { return p.node.origin == preamble && !p.begun }

// fileLine handles a comment that says where the file's cells run.
func (p *parser) fileLine(l fileLine, at, end int) {
	comment := p.src[at:end]
	whole := Range{at, at + len(strings.TrimRight(comment, " \t\f"))}
	n := p.node
	switch {
	case !p.atTop():
		where := Directive{Target: l.target}.String()
		p.report(Problem{whole, Error, Misplaced, "where a file's cells run stands above its first marker and its first code",
			fmt.Sprintf("move it there, or write # %s for this cell", where), ""})
	case l.near != nil:
		p.report(l.near.problem(comment, at, Error))
		n.lineFault = len(n.problems)
	case l.err != nil:
		p.lines.begin("# ", fileWord, Error)
		p.lines.fail(l.err, l.at.shift(at))
		n.lineFault = len(n.problems)
	case n.says.Where == None:
		n.says = l.target
	case !n.says.Equal(l.target):
		p.report(Problem{whole, Warning, Conflict, fmt.Sprintf("the file's target is %s already, %s is ignored", n.says, l.target), "say it once", ""})
	}
}

// Target is where the file says that its cells run; zero: it does not say.
func (f *File) Target() Target {
	if f.head == nil {
		return Target{}
	}
	return f.head.says
}

// Fault is what is wrong with the line by which the file says where its cells run; ok is false if nothing is.
func (f *File) Fault() (problem Problem, ok bool) {
	if f.head == nil || f.head.lineFault == 0 {
		return Problem{}, false
	}
	problem = f.head.problems[f.head.lineFault-1]
	problem.Range = problem.Range.shift(f.headOff)
	return problem, true
}

// Default is where the file says that the cell runs, if neither a command nor the cell nor autodip says so; zero: it does not say. A cell that autodip
// leaves alone, the file's line leaves alone, too.
func (c Cell) Default() Target {
	if c.n.typ != CodeCell || c.n.alone {
		return Target{}
	}
	return c.f.Target()
}
