package lsp

import (
	"fmt"

	"go.lsp.dev/uri"

	"dipls/cells"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/lsp/docs"
)

// outcomeAt returns a run's outcome at a cell as it is now: it also says how long it has been [server.going], or if the cell is no longer what ran.
func (r *Run) outcomeAt(c cells.Cell, going string) string {
	if r.asks {
		going = "" // it is the user who takes that long
	}
	return r.at(c, view.Joined(r.Outcome(), going))
}

// hintAt returns a run's hint at a cell as it is now, likewise.
func (r *Run) hintAt(c cells.Cell, going string) string {
	if r.asks {
		return r.outcomeAt(c, going)
	}
	return r.at(c, view.Joined(r.Hint(), going))
}

func (r *Run) at(c cells.Cell, text string) string {
	if r.Stale(c) {
		return view.Joined(text, "stale")
	}
	return text
}

const (
	// maxMessage is about how long the text of a diagnostic or a tooltip may be, in bytes.
	maxMessage = 4 << 10
	// messageLines is how many lines it may have.
	messageLines = 24
)

// excerpt shortens a text for a diagnostic or a tooltip: it keeps the first and last lines, and says where the rest is.
func (r *Run) excerpt(text string) string {
	return clean.Excerpt(clean.Text(text), messageLines, maxMessage, r.Journal)
}

// shownOutcomes remembers the outcomes that a client may have seen, so that it is asked to look again only if one has changed. Only the feed's goroutine
// uses it.
type shownOutcomes struct {
	s    *server
	docs map[uri.URI]map[docs.CellID]string // of open documents
}

func newShownOutcomes(s *server) *shownOutcomes {
	return &shownOutcomes{s, map[uri.URI]map[docs.CellID]string{}}
}

// differ reports whether a client would see other outcomes in an open document after a change. It looks again by itself when the text changes.
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
				text = r.Outcome()
			}
			if before, known := shown[id]; !known || before != text {
				shown[id] = text
				found = true
			}
		}
	}
	return found
}

// withHint is a problem and what to do about it.
func withHint(p cells.Problem) string {
	if p.Hint == "" {
		return p.Message
	}
	return fmt.Sprintf("%s; %s", p.Message, p.Hint)
}
