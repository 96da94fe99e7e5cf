package lsp

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
)

// verdict is how a run goes or went, as a mark and a few words.
func (r *Run) verdict() (mark, text string) {
	switch {
	case r.State == Queued:
		return "…", "queued"
	case r.State == Running:
		return "…", r.stage()
	case r.Status == event.StatusOK:
		return "✓", r.processes()
	case r.Status == event.StatusInterrupted:
		return "✗", "interrupted"
	default:
		return "✗", clean.Brief(r.fault())
	}
}

// outcome is the verdict for lenses: "✓ 4/4 ranks · 1.2 s". Of a run that failed, why counts, not after how long.
func (r *Run) outcome() string {
	mark, text := r.verdict()
	if r.Status == event.StatusOK || r.Status == event.StatusInterrupted {
		text = joined(text, r.took())
	}
	return mark + " " + text
}

// outcomeAt is outcome at a cell as it is now.
func (r *Run) outcomeAt(c cells.Cell) string {
	if r.Stale(c) {
		return joined(r.outcome(), "stale")
	}
	return r.outcome()
}

// hintAt is all of it at a cell as it is now: verdict, duration, and whether the cell is no longer what ran.
func (r *Run) hintAt(c cells.Cell) string {
	mark, text := r.verdict()
	text = joined(text, r.took())
	if r.Stale(c) {
		text = joined(text, "stale")
	}
	return mark + " " + text
}

// joined puts facts side by side; "" is none.
func joined(facts ...string) string {
	return strings.Join(slices.DeleteFunc(facts, func(s string) bool { return s == "" }), " · ")
}

// took is how long a run took that has ended; "" if it never began.
func (r *Run) took() string {
	if r.Seconds == 0 {
		return ""
	}
	return view.FormatDuration(time.Duration(r.Seconds * float64(time.Second)))
}

// parts are the parts of the local namespace, nil if it has none, and of the ranks.
func (r *Run) parts() (local *Part, ranks []Part) {
	if len(r.Parts) > 0 && r.Parts[0].Who.IsLocal() {
		return &r.Parts[0], r.Parts[1:]
	}
	return nil, r.Parts
}

// stage is how far a run is that goes on.
func (r *Run) stage() string {
	local, ranks := r.parts()
	if slices.ContainsFunc(r.Parts, func(p Part) bool { return p.State == "interrupting" }) {
		return "interrupting"
	}
	switch waits := r.waits(); {
	case waits != "":
		return waits
	case len(ranks) > 0:
		done := 0
		for _, p := range ranks {
			if p.Status != "" {
				done++
			}
		}
		return fmt.Sprintf("%d/%d done", done, len(ranks))
	case local == nil:
		return "starting"
	case r.Target == "local":
		return "running"
	default:
		return "running locally"
	}
}

// processes says where a run went well; "" if that is the local namespace alone.
func (r *Run) processes() string {
	local, ranks := r.parts()
	text := ""
	switch len(ranks) {
	case 0:
		return ""
	case 1:
		text = ranks[0].Who.String()
	default:
		text = fmt.Sprintf("%d/%[1]d ranks", len(ranks))
	}
	if local != nil {
		return "local and " + text
	}
	return text
}

// maxFaults is how many kinds of failures a few words can name.
const maxFaults = 2

// fault says in a few words why a run failed: "rank 2: NameError". Ranks that failed alike are named together.
func (r *Run) fault() string {
	if dead := r.dead(); dead != "" {
		return dead + " died"
	}
	var names []string
	who := map[string][]ranklist.Who{}
	for _, f := range r.Failures {
		name := f.Name()
		if _, known := who[name]; !known {
			names = append(names, name)
		}
		of, _ := f.Who()
		who[name] = append(who[name], of)
	}
	switch {
	case len(names) == 0 && r.Reason != "":
		return r.Reason
	case len(names) == 0:
		return "failed"
	case r.Target == "local":
		return names[0]
	}
	var faults []string
	for _, name := range names[:min(len(names), maxFaults)] {
		faults = append(faults, ranklist.Name(who[name])+": "+name)
	}
	if len(names) > maxFaults {
		faults = append(faults, "…")
	}
	return strings.Join(faults, ", ")
}

// dead names the processes that died in a run; "" if none did.
func (r *Run) dead() string {
	var dead []ranklist.Who
	for _, p := range r.Parts {
		if p.State == "dead" {
			dead = append(dead, p.Who)
		}
	}
	return ranklist.Name(dead)
}

const (
	// maxMessage is about how long the text of a diagnostic or a tooltip is, in bytes.
	maxMessage = 4 << 10
	// messageLines is how many lines it has.
	messageLines = 24
)

// excerpt is text of a bearable length for a diagnostic or a tooltip: its first and last lines, and where the rest is.
func (r *Run) excerpt(text string) string {
	return clean.Excerpt(clean.Text(text), messageLines, maxMessage, r.Journal)
}

// waits says in a few words who waits for whom in a run: "ranks 0-1,3 wait for rank 2"; "" if nobody is known to.
func (r *Run) waits() string {
	for _, ev := range r.Hangs {
		waiting, missing := ranksIn(ev.Waiting), ranksIn(ev.Missing)
		if ev.Level == event.LevelInfo || len(waiting) == 0 {
			continue
		}
		text := joinWords(ranklist.Name(waiting), verb(len(waiting) == 1, "waits", "wait"))
		if len(missing) > 0 {
			text += " for " + ranklist.Name(missing)
		}
		return text
	}
	return ""
}

// ranksIn are the ranks of some places, in order.
func ranksIn(places []event.Place) []int {
	var all []int
	for _, p := range places {
		all = append(all, p.Ranks...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func verb(one bool, singular, plural string) string {
	if one {
		return singular
	}
	return plural
}

// joinWords puts words into a row; "" is none.
func joinWords(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
}

// hangSentences are the findings about a run as sentences.
func (r *Run) hangSentences() string {
	var lines []string
	for _, ev := range r.Hangs {
		lines = append(lines, clean.Text(ev.Text))
	}
	return strings.Join(lines, "\n")
}

// titleOf names a run: "Cell 3: Train (all ranks)".
func titleOf(ev *event.RunStarted) string {
	title := clean.Line(ev.Title)
	if ev.Cell != nil {
		title = fmt.Sprintf("Cell %d", *ev.Cell)
		if ev.Title != "" {
			title += ": " + clean.Line(ev.Title)
		}
	}
	if ev.Target == cells.Local.String() {
		return title
	}
	return title + " (" + cells.NameTarget(ev.Target) + ")"
}

// shownOutcomes remembers the outcomes that a client has been able to see, so that it is asked to look again only if one is not as it was. Only one
// goroutine uses it, that of the feed.
type shownOutcomes struct {
	s    *server
	docs map[uri.URI]map[docs.CellID]string // of open documents
}

func newShownOutcomes(s *server) *shownOutcomes {
	return &shownOutcomes{s, map[uri.URI]map[docs.CellID]string{}}
}

// differ reports whether, after a change, a client sees other outcomes in an open document if it looks again. A client looks by itself when
// text changes.
func (o *shownOutcomes) differ(c change) bool {
	found := false
	open := o.s.docs.View()
	for u, d := range c.docs {
		if open[u] == nil {
			delete(o.docs, u)
			continue
		}
		shown := o.docs[u]
		if shown == nil || d.opened {
			shown = map[docs.CellID]string{}
			o.docs[u] = shown
		}
		for id := range d.cells {
			text := ""
			if r, ok := o.s.board.lastRun(u, id); ok {
				text = r.outcome()
			}
			if before, known := shown[id]; !known || before != text {
				shown[id] = text
				found = true
			}
		}
	}
	return found
}
