// Package cells splits Python source into the cells that "# %%" comments mark, and says what each cell asks for: where it
// runs, whose output it shows, which magics it uses.
//
// Parse never fails: it answers cells, and problems with ranges. The package does no I/O.
//
// # Which lines split
//
// A cell begins at a marker: a comment that is the first thing on its line, outside of strings, open brackets, backslash
// continuations and indented blocks. Source that Python accepts is never split anywhere else. A comment is inside of a block if it is
// indented itself, or if the next line of code is the block's or an else and the like.
//
// A file that is being edited is often broken, and must not lose the cells below the place that is broken. So a marker in column 0 splits
// inside an open bracket or a triple-quoted string after all, if that is never closed:
//
//   - a string is never closed if the file ends first, or if what seems to be its end rather begins the next string: Python would refuse
//     what follows that, or strings would run over markers up to the end of the file;
//   - a bracket is never closed if, read on from the marker, the file ends first, or a statement keyword (def, import, …), a
//     bracket that does not match or an unterminated string comes first, or more than 16 further markers in column 0 do.
//
// The opener is then reported as a problem. A single-quoted string that is not closed ends with its line. A line that begins
// with %, ! or ? outside of everything is IPython's and is not read as Python, and neither is the body of a cell that begins
// with a cell magic for another language, such as %%bash, or with one that nobody here knows.
//
// # What is a cell
//
// Text before the first marker is a cell too, without a header, unless it is blank. A leading YAML block between "# ---" lines
// belongs to no cell, nor do a "#!" line and an encoding comment above it. From there on each cell reaches to the next marker.
// Cells are numbered from 1 in the order of the file, whatever their type.
//
// # Offsets
//
// Ranges are half-open byte ranges in the file. Lines of cells are counted from 1, as people and tracebacks count them; a
// Position counts from 0, as editors' protocols do.
package cells

import (
	"iter"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A File is the parsed text of a file. It is immutable, and safe for concurrent use.
//
// The text is kept in nodes, one for each cell, that know nothing of their own place; nodes are kept in chunks that know only
// their own size. An edit makes new nodes for the cells it touches and a new chunk around them, and shares everything else.
type File struct {
	chunks []placed
	size   int // in bytes
	lines  int // that begin in a node
	nodes  int
	gap    int // 1 if the first node is not a cell

	markers *Markers   // that it was parsed with
	head    *node      // the text before the first marker; nil: there is none
	headOff int        // where it begins
	autodip *Directive // autodip's directive after the last cell; nil: off
}

// A node is a cell, or the gap before the first one. Its offsets count from its own start. It does not change once made.
type node struct {
	text      string
	starts    []int32 // where its lines begin
	origin    origin
	head      int // where the marker's line ends
	body      int // where the header ends
	typ       CellType
	depth     int
	title     string
	metadata  []Metadatum
	directive Directive
	magics    []Magic
	switches  []switching // of autodip, by its magics
	alone     bool        // autodip leaves it alone
	problems  []Problem
	cuts      []Range // of the text, what IPython must not see
	spoken    []Range // lines of magics and commands, bare or in comments, and the one that says where the file's cells run
	help      Range   // a directive that only asks for help, which is then all that IPython sees; empty if there is none
	says      Target  // where the file's cells run, of a preamble that says so
	lineFault int     // which of problems, from 1, is about the line that says so wrongly; 0: none
	reach     int     // end of the text that decided where the node ends; beyond len(text) if a look-ahead was needed
}

// An origin is what made a node begin where it does. From byMarker on, parsing can start at the node.
type origin int

const (
	gap         origin = iota // not a cell: blank lines, YAML header
	preamble                  // text before the first marker
	byMarker                  // "# %%" and the like
	byMagic                   // "# %%dip …", which is the directive as well
	byCellMagic               // "# %%time" and the like, which is the body's first line as well
)

// A chunk is a run of nodes with its totals.
type chunk struct {
	nodes []*node
	size  int // in bytes
	lines int
	flaws int // problems
	turns int // switches of autodip
	reach int // the furthest that a node's reach goes, from the chunk's start
}

// placed is a chunk and what comes before it.
type placed struct {
	*chunk
	off, line, first int        // bytes, lines and nodes before
	autodip          *Directive // before; nil: off
}

// located is a node and its place.
type located struct {
	*node
	off, line, index int // bytes, lines and nodes before
}

// chunkSize balances what an edit copies: the chunk around it, and the list of chunks.
const chunkSize = 64

func newChunk(nodes []*node) *chunk {
	c := &chunk{nodes: nodes}
	for _, n := range nodes {
		c.reach = max(c.reach, c.size+n.reach)
		c.size += len(n.text)
		c.lines += len(n.starts)
		c.flaws += len(n.problems)
		c.turns += len(n.switches)
	}
	return c
}

// add appends nodes in chunks of their own, none of which is needlessly small.
func (f *File) add(nodes []*node) {
	for len(nodes) > 0 {
		n := len(nodes)
		if n > 2*chunkSize {
			n = chunkSize
		}
		f.addChunk(newChunk(nodes[:n:n]))
		nodes = nodes[n:]
	}
}

func (f *File) addChunk(c *chunk) {
	if f.nodes == 0 && c.nodes[0].origin == gap {
		f.gap = 1
	}
	if off := f.size; f.nodes == 0 {
		for _, n := range c.nodes[:min(len(c.nodes), 2)] {
			if n.origin == preamble {
				f.head, f.headOff = n, off
			}
			off += len(n.text)
		}
	}
	f.chunks = append(f.chunks, placed{c, f.size, f.lines, f.nodes, f.autodip})
	f.size += c.size
	f.lines += c.lines
	f.nodes += len(c.nodes)
	if c.turns > 0 {
		for _, n := range c.nodes {
			f.autodip = n.autodipAfter(f.autodip, f.Target())
		}
	}
}

// all yields the nodes from chunk number i on.
func (f *File) all(i int) iter.Seq[located] {
	return func(yield func(located) bool) {
		for _, c := range f.chunks[i:] {
			at := located{off: c.off, line: c.line, index: c.first}
			for _, at.node = range c.nodes {
				if !yield(at) {
					return
				}
				at.off += len(at.text)
				at.line += len(at.starts)
				at.index++
			}
		}
	}
}

// find returns the last node that begins at or before a wanted place. beyond tells whether a node with so many bytes, lines and nodes
// before it begins after that place.
func (f *File) find(beyond func(off, line, index int) bool) (located, bool) {
	i := sort.Search(len(f.chunks), func(i int) bool { c := f.chunks[i]; return beyond(c.off, c.line, c.first) }) - 1
	if i < 0 {
		return located{}, false
	}
	var found located
	for at := range f.all(i) {
		if beyond(at.off, at.line, at.index) {
			break
		}
		found = at
	}
	return found, true
}

// nodeAt is the node that holds the byte at offset, or the last one if offset is the file's end.
func (f *File) nodeAt(offset int) (located, bool) {
	return f.find(func(off, _, _ int) bool { return off > offset })
}

func (f *File) nodeOfLine(line int) (located, bool) {
	if line >= f.lines {
		return located{}, false
	}
	return f.find(func(_, l, _ int) bool { return l > line })
}

// Markers are the further markers that the file was parsed with.
func (f *File) Markers() *Markers { return f.markers }

// Size is the length of the text in bytes.
func (f *File) Size() int { return f.size }

// Lines is the number of lines; after a last line terminator there is one more, empty line.
func (f *File) Lines() int {
	if n := len(f.chunks); n > 0 {
		nodes := f.chunks[n-1].nodes
		if !endsLine(nodes[len(nodes)-1].text) {
			return f.lines
		}
	}
	return f.lines + 1
}

// Text returns the whole text, byte for byte. It is put together anew on each call.
func (f *File) Text() string {
	var b strings.Builder
	b.Grow(f.size)
	for at := range f.all(0) {
		b.WriteString(at.text)
	}
	return b.String()
}

// Len is the number of cells.
func (f *File) Len() int { return f.nodes - f.gap }

// Cells yields the cells in the order of the file.
func (f *File) Cells() iter.Seq[Cell] { return f.CellsFrom(1) }

// CellsFrom yields the cells from the one with a 1-based index on.
func (f *File) CellsFrom(index int) iter.Seq[Cell] {
	first := max(index, 1) - 1 + f.gap
	return func(yield func(Cell) bool) {
		for at := range f.all(f.chunkOf(first)) {
			if at.index >= first && !yield(f.cell(at)) {
				return
			}
		}
	}
}

// Cell returns the cell with a 1-based index, and whether there is one.
func (f *File) Cell(index int) (Cell, bool) {
	if index < 1 || index > f.Len() {
		return Cell{}, false
	}
	at, ok := f.find(func(_, _, i int) bool { return i > index-1+f.gap })
	return f.cell(at), ok
}

// CellAt returns the cell that holds the byte at offset, the last one at the end of the file. There is none in the gap before
// the first cell and outside of the file.
func (f *File) CellAt(offset int) (Cell, bool) {
	at, ok := f.nodeAt(offset)
	if !ok || at.origin == gap || offset > f.size {
		return Cell{}, false
	}
	return f.cell(at), true
}

func (f *File) cell(at located) Cell {
	return Cell{f, at.index + 1 - f.gap, at.off, at.line, at.node}
}

// Problems returns all problems, in the order of the cells.
func (f *File) Problems() []Problem {
	var all []Problem
	for _, c := range f.chunks {
		if c.flaws == 0 {
			continue
		}
		off := c.off
		for _, n := range c.nodes {
			for _, p := range n.problems {
				p.Range = p.Range.shift(off)
				all = append(all, p)
			}
			off += len(n.text)
		}
	}
	return all
}

// A Cell is one cell of a File.
type Cell struct {
	f     *File
	index int
	off   int
	line  int // lines before it
	n     *node
}

// Index is the cell's number in the file, from 1.
func (c Cell) Index() int { return c.index }

// Line is the number of the cell's first line, from 1.
func (c Cell) Line() int { return c.line + 1 }

// EndLine is the number of the cell's last line, from 1: the one before the next marker, blank or not.
func (c Cell) EndLine() int { return c.line + len(c.n.starts) }

// Range is the whole cell, from the start of its marker's line.
func (c Cell) Range() Range { return Range{c.off, c.off + len(c.n.text)} }

// BodyRange is the cell without its marker's line.
func (c Cell) BodyRange() Range { return Range{c.off + c.n.body, c.off + len(c.n.text)} }

// Type says what the body is.
func (c Cell) Type() CellType { return c.n.typ }

// Depth is the number of percent signs in the marker beyond two: 0 for "# %%".
func (c Cell) Depth() int { return c.n.depth }

// Title is the marker's text without type and metadata.
func (c Cell) Title() string { return c.n.title }

// Metadata is what the marker says as key=value or JSON, whoever the keys are for.
func (c Cell) Metadata() []Metadatum {
	all := slices.Clone(c.n.metadata)
	for i := range all {
		all[i].Range = all[i].Range.shift(c.off)
	}
	return all
}

// Directive is what the cell says about its own run: zero if it says nothing, or is no code cell.
func (c Cell) Directive() Directive { return c.n.directive }

// Magics are the project's magics in the cell, in order. Other magics are not listed.
func (c Cell) Magics() []Magic {
	all := slices.Clone(c.n.magics)
	for i := range all {
		all[i].Range = all[i].Range.shift(c.off)
	}
	return all
}

// LineMagics yields the project's line magics of the body, with their indices in [Cell.Magics]: all of those but the directive.
func (c Cell) LineMagics() iter.Seq2[int, Magic] {
	return func(yield func(int, Magic) bool) {
		for i, m := range c.n.magics {
			if m.Cell {
				continue
			}
			m.Range = m.Range.shift(c.off)
			if !yield(i, m) {
				return
			}
		}
	}
}

// Problems are the cell's own, in order. One of severity Error in a directive means that the cell would not run as it says.
func (c Cell) Problems() []Problem {
	all := slices.Clone(c.n.problems)
	for i := range all {
		all[i].Range = all[i].Range.shift(c.off)
	}
	return all
}

// Fault is the cell's first problem of severity Error, and whether there is one. Where the file says wrongly where its cells run, that is the problem of each
// that does not say so itself.
func (c Cell) Fault() (Problem, bool) {
	for _, p := range c.n.problems {
		if p.Severity == Error {
			p.Range = p.Range.shift(c.off)
			return p, true
		}
	}
	if c.n.typ == CodeCell && !c.n.alone && c.n.directive.Target.Where == None {
		return c.f.Fault()
	}
	return Problem{}, false
}

// Body is the text after the marker's line, byte for byte.
func (c Cell) Body() string { return c.n.text[c.n.body:] }

// HasHeader reports whether the cell begins with a marker; the text before the first one does not.
func (c Cell) HasHeader() bool { return c.n.origin >= byMarker }

// Runs reports whether there is anything to run: the cell is code, and not blank but for its directive.
func (c Cell) Runs() bool {
	if c.n.typ != CodeCell {
		return false
	}
	for piece := range c.seen() {
		if strings.ContainsFunc(piece, func(r rune) bool { return !unicode.IsSpace(r) }) {
			return true
		}
	}
	return false
}

// OnlyComments reports whether there is nothing in the cell but comments and blank lines. It runs, and does nothing.
func (c Cell) OnlyComments() bool {
	comment := false
	for piece := range c.seen() {
		for _, r := range piece {
			switch {
			case r == '\n' || r == '\r':
				comment = false
			case comment || unicode.IsSpace(r):
			case r == '#':
				comment = true
			default:
				return false
			}
		}
	}
	return true
}

// seen yields the pieces of the body that IPython sees.
func (c Cell) seen() iter.Seq[string] {
	return func(yield func(string) bool) {
		n := c.n
		if n.help.Len() > 0 {
			_ = yield(n.text[n.help.Start:n.help.End]) && yield("\n\n") // IPython wants a cell magic to have a body
			return
		}
		i := n.body
		if c.off == 0 && i == 0 && strings.HasPrefix(n.text, byteOrderMark) {
			i = len(byteOrderMark)
		}
		for _, cut := range n.cuts {
			if cut.Start < i {
				continue // in the header
			}
			if !yield(n.text[i:cut.Start]) {
				return
			}
			i = cut.End
		}
		yield(n.text[i:])
	}
}

// Rewrite returns the body as IPython must see it, and the number of the file's line that it begins on, from 1. The directive's
// line is blank and commented line magics are bare; no line is added or taken away. All lines end in \n, a byte order mark is
// dropped, and what is not UTF-8 becomes U+FFFD. Of a cell whose directive asks for help, only that directive is left.
func (c Cell) Rewrite() (source string, line int) {
	n := c.n
	var b strings.Builder
	b.Grow(len(n.text) - n.body)
	for piece := range c.seen() {
		newlines.WriteString(&b, piece) // piece by piece: a cut may bring a \r and a \n together
	}
	line = c.Line()
	switch {
	case n.help.Len() > 0:
		line += strings.Count(newlines.Replace(n.text[:n.help.Start]), "\n")
	case n.body > 0:
		line++
	}
	return strings.ToValidUTF8(b.String(), string(utf8.RuneError)), line
}

const byteOrderMark = "\ufeff"

var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// A View is a cell as "dipls cells --json" shows it.
type View struct {
	Index   int    `json:"index"`    // from 1
	Line    int    `json:"line"`     // first line, from 1
	EndLine int    `json:"end_line"` // last line, from 1
	Type    string `json:"type"`     // code, markdown or raw
	Depth   int    `json:"depth"`    // percent signs beyond two
	Title   string `json:"title"`
	Target  string `json:"target"`            // remote, local, everywhere, ranks:LIST, everywhere:LIST; "" if the cell does not say
	See     string `json:"see"`               // all, or ranks like 0,2-4; "" if the cell does not say
	Autodip string `json:"autodip,omitempty"` // the directive by which autodip runs the cell, as far as the text tells; "" if it does not
	Default string `json:"default,omitempty"` // where the file says that its cells run, if this one does not say so and autodip is off; "" if it does not
	Source  string `json:"source"`            // the body: everything below the marker's line
}

// View returns the cell's View.
func (c Cell) View() View {
	v := View{
		Index:   c.Index(),
		Line:    c.Line(),
		EndLine: c.EndLine(),
		Type:    c.Type().String(),
		Depth:   c.Depth(),
		Title:   c.Title(),
		See:     c.Directive().See.String(),
		Source:  c.Body(),
	}
	if t := c.Directive().Target; t.Where != None {
		v.Target = t.String()
	}
	if d, ok := c.Autodip(); ok {
		v.Autodip = d.String()
	}
	if t := c.Default(); t.Where != None {
		v.Default = t.String()
	}
	return v
}
