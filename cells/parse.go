package cells

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A parser makes nodes of text that begins where the file begins, or at a marker that is known to split.
type parser struct {
	scanner
	nodes []*node
	mark  int // length of the byte order mark before the first line

	node    *node // being made; its offsets count from the start of src until it is finished
	start   int   // where it begins in src
	stage   stage
	foreign bool           // its body is not Python
	reader  argumentReader // of its directive
	lines   argumentReader // of its line magics
}

// A stage is how far into a cell the parser is.
type stage int

const (
	headed   stage = iota // nothing but blank lines since the marker
	directed              // nothing but blank lines since the directive magic
	inBody
)

// A part is the parse of a stretch of a file.
type part struct {
	nodes []*node
	whole bool // nothing is open at its end, and nothing in it depends on what follows
	bare  bool // it ends in a cell that has nothing but a marker, so that a directive magic would belong to it
}

// Parse parses the text of a file.
func Parse(src string) *File {
	f := new(File)
	f.add(parse(src, true, true).nodes)
	return f
}

// parse parses a stretch of a file; first and last tell whether it begins and ends where the file does.
func parse(src string, first, last bool) part {
	p := &parser{scanner: scanner{src: src, eof: last}}
	p.reader.report, p.lines.report = p.report, p.report
	if first {
		p.head()
	}
	for p.pos < len(src) {
		p.step()
	}
	if last {
		p.reportOpen()
	}
	result := part{
		whole: p.clean() && !p.starved && (endsLine(src) || src == ""),
		bare:  p.node != nil && p.node.origin == byMarker && p.stage == headed,
	}
	p.finish(len(src))
	result.nodes = p.nodes
	return result
}

// joins reports whether the part stands as it is in front of n, and n behind it.
func (p part) joins(n *node) bool {
	return p.whole && (n.origin == byMarker || n.origin == byMagic && !p.bare)
}

// head begins the file: byte order mark, YAML header, preamble.
func (p *parser) head() {
	p.mark = len(p.src) - len(strings.TrimPrefix(p.src, byteOrderMark))
	end := yamlEnd(p.src, p.mark)
	p.pos = max(p.mark, end)
	p.begin(end, preamble)
}

// yamlEnd is where the YAML header ends whose first line, or a "#!" or encoding line above it, begins at i; 0 if there is none.
func yamlEnd(src string, i int) int {
	inside := false
	for n := 0; i < len(src); n++ {
		end := lineEnd(src, i)
		line := strings.TrimRight(src[i:end], " \t\f")
		i = skipNewline(src, end)
		switch {
		case !strings.HasPrefix(line, "#") || isMarker(line):
			return 0
		case line == "# ---" && inside:
			return i
		case line == "# ---":
			inside = true
		case !inside && !(n == 0 && strings.HasPrefix(line, "#!")) && !(n <= 1 && strings.Contains(line, "coding")):
			return 0
		}
	}
	return 0
}

// step consumes a line, or several that a magic continues over.
func (p *parser) step() {
	begin := p.pos
	at := skipBlank(p.src, begin)
	if at < len(p.src) && p.src[at] == '#' {
		end := lineEnd(p.src, at)
		if m, ok := readMarker(p.src[at:end]); ok && p.splits(begin, at) {
			if begin == p.mark {
				begin = 0 // a byte order mark belongs to the first cell
			}
			p.marker(m, begin, at, end)
			p.pos = skipNewline(p.src, end)
			p.continued = false
			return
		}
	}
	switch {
	case p.foreign:
		p.pos = skipNewline(p.src, lineEnd(p.src, at))
	case !p.clean() || at == len(p.src) || classes[p.src[at]] == newline:
		p.line()
	case strings.IndexByte("%!?", p.src[at]) >= 0:
		p.escaped(at)
	case p.src[at] == '#':
		p.comment(at, lineEnd(p.src, at))
		p.line()
	default:
		p.stage = inBody
		p.line()
	}
}

// splits decides whether the marker at offset at, on the line that begins at begin, begins a cell.
func (p *parser) splits(begin, at int) bool {
	switch {
	case p.continued:
		return false
	case len(p.stack) == 0:
		return true
	case at != begin:
		return false
	}
	in := p.enclosing()
	if p.stack[in].closes {
		return false
	}
	if p.closes(in, 0) {
		p.stack[in].closes = true
		return false
	}
	p.reportOpen()
	p.stack = p.stack[:0]
	return true
}

// reportOpen reports the innermost bracket or string that is open, as one that will not be closed.
func (p *parser) reportOpen() {
	if len(p.stack) == 0 {
		return
	}
	o := p.stack[p.enclosing()]
	opener := p.src[o.opener.Start:o.opener.End]
	if o.kind == text {
		p.report(Problem{o.opener, Error, UnterminatedString, "the string that begins with " + opener + " never ends", "close it", ""})
	} else {
		p.report(Problem{o.opener, Error, UnclosedBracket, opener + " is never closed", "close it", ""})
	}
}

// marker handles a marker that splits, or the directive magic right under one.
func (p *parser) marker(m marker, begin, at, end int) {
	switch {
	case !m.magic:
		p.finish(begin)
		p.begin(begin, byMarker)
		p.node.body = skipNewline(p.src, end)
		p.header(m, at, end)
		return
	case p.node == nil || p.node.origin != byMarker || p.stage != headed:
		p.finish(begin)
		p.begin(begin, byMagic)
		p.node.body = skipNewline(p.src, end)
	}
	magic, _ := readMagic(p.src[at:end])
	p.directive(magic, at, end)
}

// header reads what a marker says.
func (p *parser) header(m marker, at, end int) {
	h := readHeader(p.src[at+m.rest:end], at+m.rest)
	p.node.typ, p.node.depth, p.node.title, p.node.metadata = h.typ, m.depth, h.title, h.metadata
	if h.bad.Len() > 0 {
		p.report(Problem{h.bad, Warning, BadMetadata, "the cell's metadata does not parse",
			`write key="value" pairs or a JSON object`, ""})
	}
	for _, d := range h.metadata {
		if d.Key != "target" && d.Key != "see" {
			continue // somebody else's
		}
		if h.typ != CodeCell {
			p.ignored(d.Range)
			continue
		}
		p.reader.metadatum(d)
	}
}

// comment handles a comment outside of everything that is no marker.
func (p *parser) comment(at, end int) {
	text := p.src[at:end]
	if isDipLocally(text) {
		p.directive(Magic{Name: dipLocally, Cell: true, Commented: true, Range: Range{0, len(text)}}, at, end)
		return
	}
	first := p.stage != inBody
	p.stage = inBody
	if m, ok := readMagic(text); ok && p.node.typ == CodeCell {
		p.node.alone = p.node.alone || first
		p.magic(m, at)
		p.node.cuts = append(p.node.cuts, Range{at, at + m.Range.Start})
	}
}

// escaped handles a line outside of everything that is IPython's and not Python's.
func (p *parser) escaped(at int) {
	end := escapedEnd(p.src, at)
	p.starved = p.starved || end == len(p.src) && !p.eof
	text := p.src[at:end]
	p.pos = skipNewline(p.src, end)
	m, ok := readMagic(text)
	if ok && m.Cell && !m.Help {
		p.directive(m, at, end)
		return
	}
	first := p.stage != inBody
	p.stage = inBody
	p.node.alone = p.node.alone || first && text[0] == '%'
	if ok && p.node.typ == CodeCell {
		p.magic(m, at)
		return
	}
	p.foreign = first && isForeign(text)
}

// escapedEnd is where IPython's line at offset at ends. A backslash continues it, except in a cell magic.
func escapedEnd(src string, at int) int {
	end := lineEnd(src, at)
	for !strings.HasPrefix(src[at:], "%%") && end < len(src) && src[end-1] == '\\' {
		end = lineEnd(src, skipNewline(src, end))
	}
	return end
}

// directive handles a directive magic on the line at to end.
func (p *parser) directive(m Magic, at, end int) {
	whole := m.Range.shift(at)
	switch {
	case p.node.typ != CodeCell:
		p.ignored(whole)
		return
	case p.stage == inBody && m.Name == dipLocally:
		p.report(Problem{whole, Warning, Misplaced, "only the first line of a cell can say where it runs", "move it up", ""})
		return
	case p.stage == inBody:
		p.report(Problem{whole, Error, Misplaced, "%%" + m.Name + " must be the first line of a cell",
			"move it up, or begin a new cell with # %%" + m.Name, ""})
		return
	case p.stage == directed:
		p.report(Problem{whole, Warning, Duplicate, "the cell has a directive magic already, this one is ignored", "delete one", ""})
	case m.Name == dipLocally:
		p.node.alone = true
		p.reader.setTarget(Target{Where: Local}, whole)
	default:
		if p.reader.directive(m.Name, m.Args, whole.End-len(m.Args), whole) {
			p.node.help = whole
		}
	}
	p.magic(m, at)
	p.node.cuts = append(p.node.cuts, Range{at, end})
	p.stage = directed
}

func (p *parser) ignored(at Range) {
	p.report(Problem{at, Warning, DirectiveIgnored, "a " + p.node.typ.String() + " cell does not run, its directive is ignored", "", ""})
}

// magic notes a magic whose Range counts from offset at.
func (p *parser) magic(m Magic, at int) {
	if !m.Cell && !m.Help {
		indented := at > p.mark && classes[p.src[at-1]] != newline
		if s, ok := p.lines.switches(m, at); ok && !indented {
			p.node.switches = append(p.node.switches, s)
		}
	}
	m.Range = m.Range.shift(at)
	p.node.magics = append(p.node.magics, m)
}

func (p *parser) report(problem Problem) {
	p.node.problems = append(p.node.problems, problem)
}

// begin begins a node.
func (p *parser) begin(at int, o origin) {
	p.node, p.start, p.stage, p.foreign, p.reach = &node{origin: o, body: at}, at, headed, false, 0
	p.reader.Directive = Directive{}
}

// finish ends the node being made. A blank preamble becomes a gap, together with the YAML header.
func (p *parser) finish(end int) {
	n := p.node
	if n == nil {
		return
	}
	if n.origin == preamble {
		blank := strings.Trim(strings.TrimPrefix(p.src[p.start:end], byteOrderMark), " \t\f\r\n") == ""
		if blank {
			n.origin, n.body, p.start = gap, 0, 0
		} else if p.start > 0 {
			p.emit(&node{origin: gap}, 0, p.start)
		}
	}
	n.directive = p.reader.Directive
	if n.help.Len() > 0 {
		n.directive, n.switches = Directive{Target: Target{Where: Local}}, nil
	}
	p.emit(n, p.start, end)
}

// emit gives n its text and makes its offsets its own.
func (p *parser) emit(n *node, start, end int) {
	if start == end {
		return
	}
	n.text = p.src[start:end]
	n.starts = lineStarts(n.text)
	n.body -= start
	n.reach = max(end, p.reach) - start
	for i := range n.metadata {
		n.metadata[i].Range = n.metadata[i].Range.shift(-start)
	}
	for i := range n.magics {
		n.magics[i].Range = n.magics[i].Range.shift(-start)
	}
	for i := range n.cuts {
		n.cuts[i] = n.cuts[i].shift(-start)
	}
	n.help = n.help.shift(-start)
	for i := range n.problems {
		n.problems[i].Range = n.problems[i].Range.shift(-start)
	}
	if i := invalidUTF8(n.text); i >= 0 {
		n.problems = append(n.problems, Problem{Range{i, i + 1}, Error, InvalidUTF8, "not UTF-8, which cells have to be",
			"save the file as UTF-8, without a coding line that says otherwise", ""})
	}
	slices.SortStableFunc(n.problems, func(a, b Problem) int { return cmp.Compare(a.Range.Start, b.Range.Start) })
	p.nodes = append(p.nodes, n)
}

// invalidUTF8 is the offset of the first byte that is not UTF-8, -1 if there is none.
func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i, r := range s {
		if _, size := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
			return i
		}
	}
	return -1
}
