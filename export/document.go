// Package export makes a document of a file of cells and of what its runs have put out: a notebook (.ipynb) or a page (HTML), for people who have no
// dipls.
//
// [Gather] finds the last run of each cell in the journal, so no session has to live. A cell that was edited since shows the output of the text that
// ran, and says so. What is put out is bounded: of a cell that has printed very much, a document has the beginning and the end.
package export

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/bytesize"
	"dipls/internal/ranklist"
	"dipls/session"
)

// A Document is a file of cells with the outputs of their last runs.
type Document struct {
	Name  string // of the file, without its folder
	Cells []Cell
}

// A Cell is a cell of a Document.
type Cell struct {
	Type    cells.CellType
	Number  int // from 1
	Depth   int // as in [cells.Cell]
	Title   string
	Source  string // without the marker's line and blank lines around it
	Target  string // where it says that it runs, for people; "": it does not say
	Run     *session.PastRun
	Edited  bool // the text of Source is not what ran
	Outputs []Output
}

// An Output is something that a run has put out. One of Text, Data and Failure is set.
type Output struct {
	Local   bool  // of the local namespace
	Ranks   []int // of these ranks, ascending; nil with Local, and for a sentence about the run
	Label   string
	Stream  string // "stdout" or "stderr", with Text
	Notice  bool   // Text is a sentence of dipls about the run
	Text    string // lines, each with its line feed and the ranks that have printed it; may hold ANSI colours
	Data    map[string]json.RawMessage
	Meta    map[string]json.RawMessage // of Data
	Result  bool                       // Data is the value of the cell's last expression
	Count   int                        // of that, as the prompt has it
	Failure *event.Failure
}

// The limits of what a document has of a cell.
const (
	maxText = 512 << 10 // bytes of text; of more, the first and the last half of that
	maxRich = 16 << 20  // bytes of one piece of rich output
	maxAll  = 64 << 20  // bytes of all rich output together
)

// Gather makes the document of a file, whose absolute path is path. journal is the directory with the runs; "": the usual one.
func Gather(journal, path string, f *cells.File) (Document, error) {
	d := Document{Name: filepath.Base(path)}
	past, err := session.PastRuns(journal, session.PastRequest{Path: path})
	if err != nil {
		return d, err
	}
	runs := newRunsOf(past, f)
	rich := maxAll
	for c := range f.Cells() {
		cell := Cell{
			Type: c.Type(), Number: c.Index(), Depth: c.Depth(), Title: c.Title(), Source: strings.Trim(dedosed(c.Body()), "\n"),
		}
		if t := c.Directive().Target; t.Where != cells.None {
			cell.Target = t.Name()
		}
		if cell.Run, cell.Edited = runs.of(c); cell.Run != nil {
			o := outputs{run: cell.Run.Run, rich: &rich}
			for _, run := range append([]session.PastRun{*cell.Run}, runs.children(cell.Run.Run)...) {
				if err := o.read(run); err != nil {
					o.notice("the output of run " + run.Run + " cannot be read: " + err.Error())
				}
			}
			cell.Outputs = o.all()
		}
		d.Cells = append(d.Cells, cell)
	}
	return d, nil
}

// dedosed is a text whose lines end in line feeds.
func dedosed(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// runsOf are the runs of a file, as they belong to its cells.
type runsOf struct {
	past  []session.PastRun // the latest first
	texts map[string]bool   // of its cells as they are now
}

func newRunsOf(past []session.PastRun, f *cells.File) *runsOf {
	r := &runsOf{past: past, texts: map[string]bool{}}
	for c := range f.Cells() {
		r.texts[textOf(c)] = true
	}
	return r
}

// textOf is the text of a cell, as it is compared.
func textOf(c cells.Cell) string {
	source, _ := c.Rewrite()
	return strings.TrimSpace(source)
}

// of is the last run of a cell; nil: it has not run. edited tells that it ran with another text: then it is known by its title, or by its number. Of cells
// with the same text, each has its own run if their numbers tell.
func (r *runsOf) of(c cells.Cell) (run *session.PastRun, edited bool) {
	text := textOf(c)
	var same, alike *session.PastRun
	for i := range r.past {
		p := &r.past[i]
		ran := strings.TrimSpace(p.Code)
		switch {
		case p.Parent != "" || p.Cell == 0:
		case ran == text && p.Cell == c.Index():
			return p, false
		case ran == text:
			if same == nil {
				same = p
			}
		case alike == nil && !r.texts[ran] && p.Title == c.Title() && (c.Title() != "" || p.Cell == c.Index()):
			alike = p
		}
	}
	if same != nil || text == "" {
		return same, false
	}
	return alike, alike != nil
}

// children are the runs that a run's cell has asked for, in order.
func (r *runsOf) children(of string) (children []session.PastRun) {
	for i := len(r.past) - 1; i >= 0; i-- {
		if r.past[i].Parent == of {
			children = append(children, r.past[i])
		}
	}
	return children
}

// outputs collects what a run has put out.
type outputs struct {
	run     string
	done    []Output        // while there is room for text, and after that the last ones
	lines   strings.Builder // the text of the last of them, so far
	text    int             // bytes of text of done
	rich    *int            // bytes of rich output that the document still has room for
	head    []Output        // what came before text was left out
	headed  bool            // head is complete
	dropped int             // bytes of text left out between
}

// foldWindow is how far apart ranks may print the same line for it to be one line here.
const foldWindow = 10 * time.Second

// read adds what a run has put out.
func (o *outputs) read(run session.PastRun) error {
	folder := view.NewFolder(view.FoldOptions{Window: foldWindow})
	var now time.Time
	err := session.PastEvents(run, func(ev event.Event, at time.Duration) error {
		now = run.Started.Add(at)
		switch e := ev.(type) {
		case *event.RunStarted: // a document has all of it
			all := *e
			all.See, all.Quiet = ranklist.All.String(), false
			ev = &all
		case *event.Log:
			if e.Level == event.LevelInfo {
				return nil
			}
		}
		o.take(folder.Add(ev, now))
		return nil
	})
	o.take(folder.Flush(now))
	for _, line := range folder.Live() {
		o.add(Output{Stream: event.Stdout, Text: line.Prefix + line.Text + "\n"})
	}
	return err
}

// take adds what a folder shows.
func (o *outputs) take(items []view.Item) {
	for _, it := range items {
		out := Output{Local: it.Local, Ranks: it.Ranks, Label: label(it)}
		switch it.Kind {
		case view.ItemLine:
			out.Stream, out.Text = it.Stream, it.String()+"\n"
		case view.ItemNotice:
			out.Stream, out.Text, out.Notice = event.Stderr, it.Text+"\n", true
		case view.ItemFailure:
			out.Failure, _ = it.Event.(*event.Failure)
			if first, rest, _ := strings.Cut(it.Text, "\n"); out.Failure == nil || strings.Contains(first, " (as on ") {
				out.Failure, out.Stream, out.Text = nil, event.Stderr, strings.TrimSpace(out.Label+" "+first+"\n"+rest)+"\n"
			}
		case view.ItemResult:
			e := it.Event.(*event.Result)
			out.Result, out.Count, out.Data, out.Meta = true, e.ExecutionCount, e.Data, e.Metadata
		case view.ItemDisplay:
			e, ok := it.Event.(*event.Display)
			if !ok {
				continue
			}
			out.Data, out.Meta = e.Data, e.Metadata
		}
		o.add(out)
	}
}

// label is which ranks an item is of, as lines have it: "[0-3]"; "" where nobody needs to be told.
func label(it view.Item) string {
	if it.Local || len(it.Ranks) == 0 {
		return ""
	}
	return "[" + ranklist.Of(it.Ranks...).String() + "]"
}

// notice adds a sentence about the run.
func (o *outputs) notice(text string) {
	o.add(Output{Stream: event.Stderr, Text: text + "\n", Notice: true})
}

// add adds an output. Lines of one stream go together.
func (o *outputs) add(out Output) {
	if out.Data != nil {
		out.Data = o.bounded(out.Data)
	}
	if last := len(o.done) - 1; out.Text != "" && last >= 0 && o.lines.Len() < maxText/8 && o.done[last].goesWith(out) {
		o.done[last].addRanks(out.Ranks)
	} else {
		o.close()
		o.done = append(o.done, out)
	}
	o.lines.WriteString(out.Text)
	o.text += len(out.Text)
	if !o.headed && o.text > maxText/2 {
		o.close()
		o.head, o.headed = o.done, true
		o.done, o.text = nil, 0
	}
	for o.headed && o.text > maxText/2 && len(o.done) > 1 {
		o.text -= len(o.done[0].Text)
		o.dropped += len(o.done[0].Text)
		o.done = o.done[1:]
	}
}

// close gives the last output its text.
func (o *outputs) close() {
	if last := len(o.done) - 1; last >= 0 && o.lines.Len() > 0 {
		o.done[last].Text = o.lines.String()
	}
	o.lines.Reset()
}

// goesWith reports whether a line can stand in the same output.
func (o Output) goesWith(line Output) bool {
	return o.Text != "" && o.Stream == line.Stream && o.Notice == line.Notice && o.Local == line.Local
}

// addRanks adds ranks to those of an output.
func (o *Output) addRanks(ranks []int) {
	if slices.Equal(o.Ranks, ranks) {
		return
	}
	both := slices.Concat(o.Ranks, ranks)
	slices.Sort(both)
	o.Ranks = slices.Compact(both)
}

// bounded is rich output without what is too large for a document.
func (o *outputs) bounded(data map[string]json.RawMessage) map[string]json.RawMessage {
	kept := map[string]json.RawMessage{}
	for mime, value := range data {
		if len(value) > maxRich || len(value) > *o.rich {
			continue
		}
		*o.rich -= len(value)
		kept[mime] = value
	}
	if len(kept) < len(data) && kept["text/plain"] == nil || len(kept) == 0 {
		kept["text/plain"], _ = json.Marshal("rich output that is too large for this document; 'dipls logs " + o.run + "' names its file")
	}
	return kept
}

// all is everything, with a sentence where something was left out.
func (o *outputs) all() []Output {
	o.close()
	if !o.headed {
		return o.done
	}
	all := o.head
	if o.dropped > 0 {
		all = append(all, Output{Stream: event.Stderr, Notice: true, Text: o.leftOut() + "\n"})
	}
	return append(all, o.done...)
}

// leftOut is a sentence about text that the document does not have.
func (o *outputs) leftOut() string {
	return fmt.Sprintf("… %s of output left out here; 'dipls logs %s' has all of it …", bytesize.Format(int64(o.dropped)), o.run)
}
