package lsp

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

const (
	// lastLines is how many lines of output a diagnostic has under the setting "last".
	lastLines = 5
	// fullLines and fullOutputSize bound it under "full". An editor is no pager; the journal has all of it.
	fullLines      = 1000
	fullOutputSize = 64 << 10
)

// cellOutput shows at the header of a cell what its last run has printed.
type cellOutput struct {
	marks  *marks
	layer  *layer[*printed]
	folder *view.Folder
	byRun  map[string]*printed // of the runs that the store follows; a run that a cell has asked for prints where that cell's does
}

func newCellOutput(s *server) feature {
	o := &cellOutput{
		marks: s.marks, layer: newLayer[*printed](s.marks, false), folder: view.NewFolder(view.FoldOptions{}), byRun: map[string]*printed{},
	}
	s.marks.addSource(source{
		event: o.event, cleared: o.cleared, settle: o.settle, deadline: o.folder.Deadline,
		flush: func(now time.Time) { o.print(o.folder.Flush(now)) },
	})
	return feature{}
}

// printed is what a cell's run has printed, and the runs that it has asked for.
type printed struct {
	mark
	run     string
	lines   []string // final
	size    int      // of lines
	missing bool     // there were lines before these
	live    []string // unfinished: progress bars
}

// begin makes room for the output of a run of a cell, instead of that of earlier runs of the cell, whole or partial.
func (o *cellOutput) begin(r Run) {
	maps.DeleteFunc(o.byRun, func(run string, _ *printed) bool { return !o.marks.follows(run) })
	if o.marks.follows(r.Parent) {
		if p := o.byRun[r.Parent]; p != nil {
			o.byRun[r.ID] = p
		}
		return
	}
	if r.Cell == 0 || docs.InNotebook(r.Doc) {
		return
	}
	p := &printed{run: r.ID}
	p.mark = mark{spot: spotAt(headerOf(r)), wholeLine: true, severity: protocol.DiagnosticSeverityInformation, code: "output", text: func(s Settings) string {
		return p.show(s.DiagnosticsOutput)
	}}
	o.layer.set(p)
	o.byRun[r.ID] = p
}

// event enters an event of a run.
func (o *cellOutput) event(r *followed, ev event.Event, now time.Time) {
	if _, ok := ev.(*event.RunStarted); ok {
		o.begin(r.Run)
	}
	p := o.byRun[r.ID]
	if p == nil {
		return
	}
	switch ev := ev.(type) {
	case *leftOut:
		p.add(ev.text(r.Journal))
		o.touch(p)
	case *event.Log:
		if ev.Path != "" { // it is about output that was left out before it came here
			p.add(ev.Text)
			o.touch(p)
		}
	}
	o.print(o.folder.Add(ev, now))
	switch ev.(type) {
	case *event.Stream:
		o.touch(p) // unfinished lines are shown, too
	case *event.RunFinished:
		o.marks.touch(&p.mark)
	}
}

// print enters folded output.
func (o *cellOutput) print(items []view.Item) {
	for _, item := range items {
		p := o.byRun[item.Run]
		if p == nil || item.Kind == view.ItemFailure || item.Kind == view.ItemNotice {
			continue
		}
		p.add(item.String())
		o.touch(p)
	}
}

// touch notes that there is more output, unless a later run of the cell has begun.
func (o *cellOutput) touch(p *printed) {
	if slices.Contains(o.layer.of(p.key()), p) {
		o.marks.touchOutput(&p.mark)
	}
}

// settle updates the unfinished lines of all runs.
func (o *cellOutput) settle() {
	for _, p := range o.byRun {
		p.live = nil
	}
	for _, line := range o.folder.Live() {
		if p := o.byRun[line.Run]; p != nil {
			p.live = append(p.live, clean.Text(line.Prefix+line.Text))
		}
	}
}

// cleared forgets what runs that are over have printed in a document.
func (o *cellOutput) cleared(u uri.URI, over func(run string) bool) {
	o.layer.drop(func(p *printed) bool { return p.uri == u && over(p.run) })
}

// add adds a text of one or more lines.
func (p *printed) add(text string) {
	for line := range strings.Lines(clean.Text(text)) {
		line = strings.TrimRight(line, "\r\n")
		p.lines = append(p.lines, line)
		p.size += len(line) + 1
	}
	for len(p.lines) > fullLines || p.size > fullOutputSize && len(p.lines) > 1 {
		p.size -= len(p.lines[0]) + 1
		p.lines = p.lines[1:]
		p.missing = true
	}
	if len(p.lines) == 1 {
		p.lines[0] = cutStart(p.lines[0])
	}
}

// cutStart cuts a line that is too long at its start.
func cutStart(line string) string {
	if len(line) <= fullOutputSize {
		return line
	}
	return "…" + strings.ToValidUTF8(line[len(line)-fullOutputSize:], "")
}

// show returns the text of the diagnostic under the setting; "" if there is none.
func (p *printed) show(mode string) string {
	if mode == outputOff || len(p.lines)+len(p.live) == 0 {
		return ""
	}
	lines, missing := slices.Concat(p.lines, p.live), p.missing
	if mode == outputLast && len(lines) > lastLines {
		lines, missing = lines[len(lines)-lastLines:], true
	}
	if missing {
		lines = append([]string{"…"}, lines...)
	}
	return strings.Join(lines, "\n")
}
