package lsp

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// hints are the inlay hints. After a cell's header they say how its last run went, and whether the text has changed since.
type hints struct {
	s     *server
	shown *shownOutcomes
}

func newHints(s *server) feature {
	h := &hints{s, newShownOutcomes(s)}
	return feature{
		methods: map[string]rpc.Method{protocol.MethodTextDocumentInlayHint: rpc.Request(h.list)},
		capabilities: func(c *protocol.ServerCapabilities) {
			c.InlayHintProvider = protocol.Boolean(true)
		},
		changed: h.changed,
	}
}

// list answers textDocument/inlayHint. A client asks for what is in view.
func (h *hints) list(ctx context.Context, p *protocol.InlayHintParams) ([]protocol.InlayHint, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	list := []protocol.InlayHint{}
	if docs.InNotebook(d.URI) {
		return list, nil
	}
	for c := range headersIn(d, p.Range) {
		if r, ran := h.s.board.lastRun(d.URI, d.ID(c)); ran {
			list = append(list, h.hint(d, c, &r))
		}
	}
	return list, nil
}

// headersIn yields the cells whose first line is in a range.
func headersIn(d *docs.Snapshot, r protocol.Range) iter.Seq[cells.Cell] {
	return func(yield func(cells.Cell) bool) {
		first := 1
		if c, ok := d.CellAt(r.Start); ok {
			first = c.Index()
			if c.Line()-1 < int(r.Start.Line) {
				first++
			}
		}
		for i := first; i <= d.File.Len(); i++ {
			c, _ := d.File.Cell(i)
			if c.Line()-1 > int(r.End.Line) || !yield(c) {
				return
			}
		}
	}
}

func (h *hints) hint(d *docs.Snapshot, c cells.Cell, r *Run) protocol.InlayHint {
	n := protocol.InlayHint{
		Position: d.LineRange(c.Line()).End, Label: protocol.String(clean.Line(r.hintAt(c, h.s.going(r)))), PaddingLeft: ptr(true),
	}
	if text := r.explained(); text != "" {
		n.Tooltip = protocol.String(r.excerpt(text))
	}
	return n
}

// explained says what went wrong, a line for each distinct failure, and who waits for whom; "" if nothing did.
func (r *Run) explained() string {
	var lines []string
	who := map[string][]ranklist.Who{}
	for _, f := range r.Failures {
		text := f.EName
		if f.EValue != "" {
			text += ": " + f.EValue
		}
		if _, known := who[text]; !known {
			lines = append(lines, text)
		}
		of, _ := f.Who()
		who[text] = append(who[text], of)
	}
	for i, text := range lines {
		lines[i] = fmt.Sprintf("%s: %s", r.Name(who[text]), text)
	}
	if r.Reason != "" {
		lines = slices.Insert(lines, 0, r.Reason)
	}
	if hangs := r.HangSentences(); hangs != "" {
		lines = append(lines, hangs)
	}
	return strings.Join(lines, "\n")
}

// changed makes the client ask again if it would see something else.
func (h *hints) changed(c change) {
	differ := h.shown.differ(c) || c.tick
	workspace := h.s.client.Can.Workspace
	if differ && workspace != nil && workspace.InlayHint != nil && workspace.InlayHint.RefreshSupport != nil && *workspace.InlayHint.RefreshSupport {
		h.s.client.Refresh(protocol.MethodWorkspaceInlayHintRefresh)
	}
}
