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
	foreign bool // its body is not Python
	below   int  // where that body begins, if it is below a magic in a comment; else 0
	block   block
	begun   bool           // there was code, other than the file's docstring
	doc     bool           // there was that
	ahead   int            // where the next line of code begins, as far as somebody has looked for it
	reader  argumentReader // of its directive
	lines   argumentReader // of its line magics
}

// A stage is how far into a cell the parser is.
type stage int

const (
	headed   stage = iota // nothing but blank lines since the marker
	directed              // nothing but blank lines since the directive magic
	magicked              // nothing but blank lines since a cell magic of IPython's in a comment
	inBody
)

// A block tells of the last line of code whether it is inside of an indented block, or begins one. Columns are Python's.
type block struct {
	known  bool // there was a line of code
	base   int  // column of the cell's first line of code
	column int  // of the last one
	colon  bool // that ends with a colon
}

func (b block) open() bool { return b.known && (b.column > b.base || b.colon) }

// A part is the parse of a stretch of a file.
type part struct {
	markers *Markers
	nodes   []*node
	whole   bool // nothing is open at its end, and nothing in it depends on what follows
	block   block

	// Of the cell that it ends in:
	origin origin
	typ    CellType
	stage  stage
}

// Parse parses the text of a file.
func Parse(src string) *File { return (*Markers)(nil).Parse(src) }

// parse parses a stretch of a file; first and last tell whether it begins and ends where the file does.
func (m *Markers) parse(src string, first, last bool) part {
	p := &parser{scanner: scanner{src: src, eof: last, markers: m}}
	p.reader.report, p.lines.report = p.report, p.report
	p.onUnclosed = p.unclosed
	if first {
		p.head()
	}
	for p.pos < len(src) {
		p.step()
	}
	if last {
		p.reportOpen()
	}
	result := part{markers: m, whole: p.clean() && !p.starved && (endsLine(src) || src == ""), stage: p.stage}
	if n := p.node; n != nil {
		result.origin, result.typ = n.origin, n.typ
		if p.isPython() {
			result.block = p.block
		}
	}
	p.finish(len(src))
	result.nodes = p.nodes
	return result
}

// joins reports whether n can follow the part with neither of them parsed anew.
func (p part) joins(n *node) bool {
	if !p.whole || n.origin < byMarker {
		return false
	}
	marker, _ := p.markers.read(n.text[skipBlank(n.text, 0):lineEnd(n.text, 0)])
	right := p.origin == byMarker && p.stage == headed
	switch {
	case p.typ != CodeCell && marker.kind != titled,
		n.origin == byMagic && (right || p.stage == magicked),
		n.origin == byCellMagic && (right || p.stage == directed || p.stage == magicked):
		return false
	}
	if !p.block.open() {
		return true
	}
	code := codeLine(n.text, 0)
	return code < len(n.text) && !p.block.holds(n.text, skipBlank(n.text, 0), code)
}

// depend notes in the part's last node how far into n the parser had to look to know that n begins there.
func (p part) depend(n *node) {
	if p.block.open() && len(p.nodes) > 0 {
		last := p.nodes[len(p.nodes)-1]
		last.reach = max(last.reach, len(last.text)+lineEnd(n.text, codeLine(n.text, 0))+1)
	}
}

// head begins the file: byte order mark, YAML header, preamble.
func (p *parser) head() {
	p.mark = len(p.src) - len(strings.TrimPrefix(p.src, byteOrderMark))
	end := p.markers.yamlEnd(p.src, p.mark)
	p.pos = max(p.mark, end)
	p.begin(end, preamble)
}

// yamlEnd is where the YAML header ends whose first line, or a "#!" or encoding line above it, begins at i; 0 if there is none.
func (m *Markers) yamlEnd(src string, i int) int {
	inside := false
	for n := 0; i < len(src); n++ {
		end := lineEnd(src, i)
		line := strings.TrimRight(src[i:end], " \t\f")
		i = skipNewline(src, end)
		switch {
		case !strings.HasPrefix(line, "#") || m.has(line):
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
		m, ok := p.markers.read(p.src[at:end])
		switch {
		case !ok || p.node != nil && p.node.typ != CodeCell && !p.endsText(m, at, end):
		case p.clean() && p.inBlock(at, end):
			p.cutsNothing(m, at, end)
			p.stage = inBody
			p.pos = skipNewline(p.src, end)
			return
		case p.splits(begin, at):
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
		if at < lineEnd(p.src, at) {
			p.stage = inBody
		}
		p.pos = skipNewline(p.src, lineEnd(p.src, at))
	case !p.clean() || at == len(p.src) || classes[p.src[at]] == newline:
		p.line()
		p.block.colon = p.colon
	case strings.IndexByte("%!?", p.src[at]) >= 0:
		p.codeAt(at)
		p.escaped(at)
	case p.src[at] == '#':
		p.comment(at, lineEnd(p.src, at))
		p.line()
	default:
		p.stage = inBody
		p.codeAt(at)
		p.line()
		p.block.colon = p.colon
	}
}

// endsText decides whether the marker from at to end ends a cell of text. There a line that begins with a magic is prose, unless it is a
// directive with code right below it.
func (p *parser) endsText(m marker, at, end int) bool {
	if m.kind != ownMagic || p.node.typ != MarkdownCell {
		return m.kind == titled
	}
	if magic, _ := readMagic(p.src[at:end]); magic.Args != "" && magic.Name == "dip" && !isDipArgs(magic.Args) {
		return false
	}
	next := end
	for next < len(p.src) && (isBlank(p.src[next]) || classes[p.src[next]] == newline) {
		next++
	}
	if next == len(p.src) {
		p.starved = p.starved || !p.eof
	}
	p.reach = max(p.reach, next+1)
	return next < len(p.src) && p.src[next] != '#' && classes[p.src[next]] != quote
}

// codeAt notes that a line of code begins at an offset.
func (p *parser) codeAt(at int) {
	if !p.begun && !p.doc && classes[p.src[at]] == quote {
		p.doc = true
	} else {
		p.begun = true
	}
	b := &p.block
	b.column, p.colon, b.colon = columnAt(p.src, at), false, false
	if !b.known {
		b.known, b.base = true, b.column
	}
}

// isPython reports whether the body of the cell being made is Python.
func (p *parser) isPython() bool { return p.node != nil && p.node.typ == CodeCell && !p.foreign }

// inBlock decides whether the comment from at to end is inside of an indented block, which is never cut.
func (p *parser) inBlock(at, end int) bool {
	if !p.isPython() || !p.block.open() {
		return false
	}
	next := skipNewline(p.src, end)
	if p.ahead < next {
		p.ahead = codeLine(p.src, next)
	}
	if p.ahead < len(p.src) {
		p.reach = max(p.reach, lineEnd(p.src, p.ahead)+1)
	} else {
		p.starved = p.starved || !p.eof
		p.reach = len(p.src) + 1
	}
	return p.block.holds(p.src, at, p.ahead)
}

// holds reports whether the block goes on at a comment: the comment is indented, or the next line of code belongs to the block.
func (b block) holds(src string, comment, code int) bool {
	if columnAt(src, comment) > b.base {
		return true
	}
	if code == len(src) {
		return false
	}
	switch src[code : code+nameLen(src[code:])] {
	case "elif", "else", "except", "finally":
		return true
	}
	return columnAt(src, code) > b.base
}

// codeLine is the offset of the first line of code at or below the line that begins at i, without its indentation; the length of src if there is
// none.
func codeLine(src string, i int) int {
	for i < len(src) {
		at := skipBlank(src, i)
		if at < len(src) && src[at] != '#' && classes[src[at]] != newline {
			return at
		}
		i = skipNewline(src, lineEnd(src, at))
	}
	return len(src)
}

// columnAt is the column, as Python counts, of the first byte of a line that is not blank.
func columnAt(src string, at int) int {
	begin := at
	for begin > 0 && isBlank(src[begin-1]) {
		begin--
	}
	column := 0
	for _, c := range []byte(src[begin:at]) {
		switch c {
		case '\t':
			column = column/8*8 + 8
		case '\f':
			column = 0
		default:
			column++
		}
	}
	return column
}

// cutsNothing reports a marker inside of an indented block.
func (p *parser) cutsNothing(m marker, at, end int) {
	whole := Range{at, at + len(strings.TrimRight(p.src[at:end], " \t\f"))}
	switch m.kind {
	case nearlyMagic:
		p.report(m.near.problem(p.src[at:end], at, Error))
	case ownMagic:
		magic, _ := readMagic(p.src[at:end])
		p.report(Problem{magic.Range.shift(at), Error, Misplaced, "%%" + magic.Name + " cannot stand inside of an indented block",
			"move it to the cell's first line, or out of the block", ""})
	default:
		p.report(Problem{whole, Hint, MarkerInBlock, "inside of an indented block a marker begins no cell", "move it out of the block if it should", ""})
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
	closes := p.closes
	if p.stack[in].kind == text {
		closes = p.stringCloses
	}
	if closes(in, 0) {
		p.stack[in].closes = true
		return false
	}
	p.reportOpen()
	p.stack = p.stack[:0]
	return true
}

// reportOpen reports the innermost open bracket or string as one that is never closed.
func (p *parser) reportOpen() {
	if len(p.stack) == 0 || !p.isPython() {
		return
	}
	o := p.stack[p.enclosing()]
	if o.kind == text {
		p.unclosed(o.opener)
		return
	}
	p.report(Problem{o.opener, Error, UnclosedBracket, p.src[o.opener.Start:o.opener.End] + " is never closed", "close it", ""})
}

// unclosed reports a string that does not end.
func (p *parser) unclosed(opener Range) {
	if p.isPython() {
		p.report(Problem{opener, Error, UnterminatedString,
			"the string that begins with " + p.src[opener.Start:opener.End] + " never ends", "close it", ""})
	}
}

// marker handles a marker that splits, or the magic right under one.
func (p *parser) marker(m marker, begin, at, end int) {
	next := skipNewline(p.src, end)
	right := p.node != nil && p.node.origin == byMarker && p.stage == headed // under a marker
	switch m.kind {
	case titled, named:
		p.finish(begin)
		p.begin(begin, byMarker)
		p.node.head, p.node.body = next, next
		p.header(m, at, end)
		return
	case ipythonsMagic:
		p.cellMagic(m, right, begin, at, end)
		return
	}
	if !right && p.stage != magicked {
		p.finish(begin)
		p.begin(begin, byMagic)
		p.node.head, p.node.body = next, next
	}
	if m.kind == nearlyMagic {
		p.report(m.near.problem(p.src[at:end], at, Error))
		p.stage = max(p.stage, directed)
		return
	}
	magic, _ := readMagic(p.src[at:end])
	p.directive(magic, at, end)
}

// cellMagic handles a cell magic of IPython's in a comment. right tells whether it stands right under a marker.
func (p *parser) cellMagic(m marker, right bool, begin, at, end int) {
	if !right && p.stage != directed && p.stage != magicked {
		p.finish(begin)
		p.begin(begin, byCellMagic)
		p.node.head = skipNewline(p.src, end)
	}
	line, _ := readIPython(p.src[at:end])
	p.node.alone = true
	p.node.cuts = append(p.node.cuts, Range{at, at + m.rest})
	p.speaks(at, end)
	p.stage = magicked
	if !ipythonMagics[line.name].python {
		p.foreign, p.below = true, skipNewline(p.src, end)
	}
}

// header reads what a marker says.
func (p *parser) header(m marker, at, end int) {
	h := readHeader(p.src[at+m.rest:end], at+m.rest)
	p.node.typ, p.node.depth, p.node.title, p.node.metadata = h.typ, m.depth, h.title, h.metadata
	if h.bad.Len() > 0 {
		severity := Warning
		if h.ours && h.typ == CodeCell {
			severity = Error // the cell would run somewhere else
		}
		p.report(Problem{h.bad, severity, BadMetadata, "the cell's metadata does not parse",
			`write key="value" pairs or a JSON object`, h.fix})
	}
	if h.typ == CodeCell {
		p.nearHeader(h, m, at, end)
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

// nearHeader reports what a header says that is nearly a directive.
func (p *parser) nearHeader(h header, m marker, at, end int) {
	comment := p.src[at:end]
	for _, n := range h.nears {
		p.report(n.problem(p.src, 0, Error))
	}
	if n, ok := nearTitle(comment, m.rest); ok {
		p.report(n.problem(comment, at, Error))
		return
	}
	if !strings.Contains(comment[m.rest:], "%%") {
		return
	}
	for word := range words(comment[m.rest:]) {
		i := m.rest + word.Start
		magic, ok := readMagic(comment[i:])
		if !ok || !magic.Cell {
			continue
		}
		if fitsDip(magic.Args) {
			p.report(Problem{magic.Range.shift(at + i), Error, Misplaced, "%%" + magic.Name + " cannot stand in a title",
				"write # %%" + magic.Name + " below it, on a line of its own", ""})
		}
		return
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
	if i := skipBlank(text, len("#")); i == len(text) || strings.IndexByte("%!dD", text[i]) < 0 && text[1] != '!' {
		p.stage = inBody
		return // as most comments
	}
	if p.node.typ == CodeCell && (at == 0 || at == p.mark || classes[p.src[at-1]] == newline) {
		if l, ok := readFileLine(text); ok && (p.atTop() || l.err == nil && l.near == nil) {
			p.speaks(at, end)
			p.fileLine(l, at, end)
			return
		}
	}
	magic, ours := readMagic(text)
	if p.node.typ != CodeCell {
		if first && ours && magic.Cell && (magic.Args == "" || isDipArgs(magic.Args)) { // further down it is prose
			p.ignored(magic.Range.shift(at))
		}
		p.stage = inBody
		return
	}
	if n, ok := nearDipLocally(text); ok && first {
		p.report(n.problem(text, at, Error))
	}
	p.stage = inBody
	if ours {
		if magic.isProse() {
			return
		}
		p.node.alone = p.node.alone || first
		p.magic(magic, at)
		p.node.cuts = append(p.node.cuts, Range{at, at + magic.Range.Start})
		p.speaks(at, end)
		return
	}
	if n, ok := nearMagic(text); ok {
		p.report(n.problem(text, at, Error))
		return
	}
	if m, ok := readIPython(text); ok && m.fits {
		p.node.alone = p.node.alone || first && m.name != ""
		p.node.cuts = append(p.node.cuts, Range{at, at + m.start})
		p.speaks(at, end)
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
	p.speaks(at, end)
	p.node.alone = p.node.alone || first && text[0] == '%'
	if ok && p.node.typ == CodeCell {
		p.magic(m, at)
		return
	}
	if n, ok := nearMagic(text); ok && p.node.typ == CodeCell {
		severity := Warning // Python has the last word
		if n.cell && first {
			severity = Error
		}
		p.report(n.problem(text, at, severity))
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
	case p.stage >= magicked && m.Name == dipLocally:
		p.report(Problem{whole, Warning, Misplaced, "only the first line of a cell can say where it runs", "move it up", ""})
		return
	case p.stage >= magicked:
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
	p.speaks(at, end)
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

// speaks notes a line of a code cell that is IPython's or ours.
func (p *parser) speaks(at, end int) {
	if p.node.typ == CodeCell {
		p.node.spoken = append(p.node.spoken, Range{at, end})
	}
}

func (p *parser) report(problem Problem) {
	p.node.problems = append(p.node.problems, problem)
}

// begin begins a node.
func (p *parser) begin(at int, o origin) {
	p.node, p.start, p.stage, p.foreign, p.below, p.reach = &node{origin: o, body: at}, at, headed, false, 0, 0
	p.block, p.colon = block{}, false
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
	if p.below > 0 && allComments(p.src[p.below:end]) {
		p.uncomment(p.below, end)
	}
	n.directive = p.reader.Directive
	if n.help.Len() > 0 {
		n.directive, n.switches = Directive{Target: Target{Where: Local}}, nil
	}
	p.emit(n, p.start, end)
}

// allComments reports whether each line that is not blank is a comment, and there is one.
func allComments(s string) bool {
	return codeLine(s, 0) == len(s) && strings.Contains(s, "#")
}

// uncomment takes the comment signs off a body in another language, which is written in comments so that the file stays Python.
func (p *parser) uncomment(i, end int) {
	for ; i < end; i = skipNewline(p.src, lineEnd(p.src, i)) {
		at := skipBlank(p.src, i)
		if at >= end || p.src[at] != '#' {
			continue
		}
		text := at + len("#")
		if text < end && p.src[text] == ' ' {
			text++
		}
		p.node.cuts = append(p.node.cuts, Range{at, text})
	}
}

// emit gives n its text and makes its offsets its own.
func (p *parser) emit(n *node, start, end int) {
	if start == end {
		return
	}
	n.text = p.src[start:end]
	n.starts = lineStarts(n.text)
	n.body -= start
	n.head = max(0, n.head-start)
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
	for i := range n.spoken {
		n.spoken[i] = n.spoken[i].shift(-start)
	}
	n.help = n.help.shift(-start)
	for i := range n.problems {
		n.problems[i].Range = n.problems[i].Range.shift(-start)
	}
	if i := invalidUTF8(n.text); i >= 0 {
		n.problems = append(n.problems, Problem{Range{i, i + 1}, Error, InvalidUTF8, "not UTF-8, which cells have to be",
			"save the file as UTF-8, without a coding line that says otherwise", ""})
	}
	if n.origin != gap && n.typ == CodeCell && !p.foreign && n.help.Len() == 0 {
		n.problems = append(n.problems, n.collectiveProblems()...)
	}
	var fault Problem
	if n.lineFault > 0 {
		fault = n.problems[n.lineFault-1]
	}
	slices.SortStableFunc(n.problems, func(a, b Problem) int { return cmp.Compare(a.Range.Start, b.Range.Start) })
	if n.lineFault > 0 {
		n.lineFault = 1 + slices.Index(n.problems, fault)
	}
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
