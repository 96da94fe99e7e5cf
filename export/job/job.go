// Package job makes a plain script of a file of cells: one that torchrun, srun and accelerate launch run, without dipls.
//
// Every rank runs the script from its beginning to its end. Cells of all ranks stand there as they are, cells of some ranks below an if. Rank 0 also
// plays the local namespace, with variables of its own: before such a cell the script exchanges its global variables for those of the local namespace,
// and afterwards they are exchanged again. So a name may mean one thing in local cells and another one on the ranks, as it does in dipls.
// %dipush and %dipull are broadcasts between the two. What has no meaning in a job is a comment if that is harmless, and otherwise an error.
//
// The package is text to text: it reads no file and runs nothing.
package job

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"dipls/cells"
)

// A Fault is why a line of the file cannot be part of a job.
type Fault struct {
	Line    int // of the file, from 1
	Message string
	Hint    string // what to do; "": the message says it
}

// String is the fault as a sentence behind its line.
func (f Fault) String() string {
	text := fmt.Sprintf("line %d: %s", f.Line, f.Message)
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return text
}

//go:embed job.py
var library string

// Script makes the script of a file. name is the file's, and target the script's, for the text that says how to run it. If there are faults, there is no
// script.
func Script(f *cells.File, name, target string) (script string, faults []Fault) {
	w := writer{where: onRanks}
	for cell := range f.Cells() {
		w.cell(cell)
	}
	if len(w.faults) > 0 {
		return "", w.faults
	}
	var b strings.Builder
	b.WriteString(w.shebang)
	fmt.Fprintf(&b, "# Made of %s by dipls. Run it with one of:\n", oneLine(path.Base(name)))
	for _, launcher := range []string{"torchrun --nproc-per-node 2", "srun python", "accelerate launch"} {
		fmt.Fprintf(&b, "#     %s %s\n", launcher, oneLine(path.Base(target)))
	}
	b.WriteString("# Local cells run on rank 0, with variables of their own. The value of a cell's last line is not shown: print it.\n")
	if w.doc != "" {
		b.WriteString(w.doc)
	}
	for _, line := range w.futures {
		b.WriteString(line)
	}
	if w.displays {
		b.WriteString("\ndisplay = print\n")
	}
	b.WriteString("\n\n" + library)
	b.WriteString(w.b.String())
	b.WriteString("\n# %% The end\njob.end()\n")
	return b.String(), nil
}

// oneLine keeps a name from ending its comment.
func oneLine(name string) string { return strings.Map(noBreak, name) }

func noBreak(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

// namespace is whose variables are the script's global ones at some place.
type namespace int

const (
	onRanks namespace = iota
	locally
)

// writer writes the script.
type writer struct {
	b        strings.Builder
	where    namespace // after what has been written
	joined   bool      // the process group has been joined by then
	shebang  string    // the file's first line, if it begins with #!
	doc      string    // the docstring
	futures  []string  // imports that must come first
	displays bool      // something calls display
	ended    int       // line of the %makedip that has ended the ranks; 0: none has
	code     bool      // a cell with code has been written
	faults   []Fault
}

func (w *writer) fault(line int, message, hint string) {
	w.faults = append(w.faults, Fault{line, message, hint})
}

// cell writes one cell.
func (w *writer) cell(c cells.Cell) {
	if p, wrong := c.Fault(); wrong {
		w.fault(c.Line(), p.Message, p.Hint)
		return
	}
	if c.HasHeader() {
		w.b.WriteString("\n" + strings.TrimSpace("# "+strings.Repeat("%", 2+c.Depth())+" "+kindOf(c)+oneLine(c.Title())) + "\n")
	} else {
		w.b.WriteString("\n")
	}
	if c.Type() != cells.CodeCell {
		w.b.WriteString(commented(c.Body()))
		return
	}
	d := c.Directive()
	if auto, ok := c.Autodip(); ok {
		d = auto
	} else if d.Target.Where == cells.None {
		d.Target = c.Default()
	}
	source, line := c.Rewrite()
	if d.AppCommand != "" {
		w.fault(line, "-a "+d.AppCommand+" is for the app of a pool, which a job has not", "write what the app does there in the cell")
	}
	pieces := w.pieces(source, line, d.Target.Where)
	for i := range pieces {
		pieces[i].lines = trimmed(pieces[i].lines)
	}
	ranks, err := arguments(d.Target.Ranks.String())
	if err != nil {
		w.fault(c.Line(), err.Error(), hostsHint)
	}
	for _, p := range pieces {
		w.piece(p, d.Target.Where, ranks)
	}
}

// trimmed is lines without blank ones at both ends.
func trimmed(lines []cells.Line) []cells.Line {
	for len(lines) > 0 && strings.TrimSpace(lines[0].Text) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1].Text) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// kindOf is how a header says that a cell is no code.
func kindOf(c cells.Cell) string {
	if c.Type() == cells.CodeCell {
		return ""
	}
	return "[" + c.Type().String() + "] "
}

// commented is a text whose lines are all comments.
func commented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			b.WriteString("# ")
		}
		b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
	}
	return b.String()
}

// piece is a stretch of a cell.
type piece struct {
	lines []cells.Line
	call  string // a statement of all ranks; then there are no lines
	code  string // code of all ranks, of a %px
}

// runs reports whether there is more than comments and blank lines.
func (p piece) runs() bool {
	return slices.ContainsFunc(p.lines, func(l cells.Line) bool { return strings.TrimSpace(l.Code) != "" })
}

// piece writes a stretch of a cell that goes to a target.
func (w *writer) piece(p piece, where cells.Where, ranks string) {
	indent := "    "
	switch {
	case p.call != "":
		w.b.WriteString(p.call + "\n")
		w.comeToRanks()
		return
	case p.code != "":
		w.toRanks()
		w.b.WriteString(p.code + "\n")
		return
	case !p.runs():
		indent = ""
	case where == cells.Everywhere:
		w.b.WriteString("for _ in job.everywhere(" + ranks + "):\n")
		w.comeToRanks()
	case where != cells.Remote:
		w.b.WriteString("if job.local():\n")
		w.where = locally
	case ranks != "":
		w.b.WriteString("if job.ranks(" + ranks + "):\n")
		w.comeToRanks()
	default:
		indent = ""
		w.toRanks()
	}
	w.code = w.code || p.runs()
	for _, l := range p.lines {
		text := strings.TrimRight(l.Text, "\r\n")
		if indent != "" && !l.Content && strings.TrimSpace(text) != "" {
			w.b.WriteString(indent)
		}
		w.b.WriteString(text + "\n")
	}
}

// toRanks makes what follows code of all ranks.
func (w *writer) toRanks() {
	if w.where != onRanks || !w.joined {
		w.b.WriteString("job.ranks()\n")
	}
	w.comeToRanks()
}

// comeToRanks notes that what has been written last ends on the ranks.
func (w *writer) comeToRanks() {
	if w.ended > 0 {
		w.fault(w.ended, "%makedip ends the ranks here, and a job has the same ones to its end", "export the cells above it and those below it as files of their own")
		w.ended = 0
	}
	w.where, w.joined, w.code = onRanks, true, true
}
