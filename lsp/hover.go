package lsp

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
	"dipls/session"
)

// hover shows what a name is bound to where its cell runs: in the local namespace, or on the ranks. Ranks that agree are shown together. It never
// starts a process, and shows nothing of one that is busy.
type hover struct{ s *server }

func newHover(s *server) feature {
	h := &hover{s}
	return feature{
		methods:      map[string]rpc.Method{protocol.MethodTextDocumentHover: rpc.Request(h.show)},
		capabilities: func(c *protocol.ServerCapabilities) { c.HoverProvider = protocol.Boolean(true) },
	}
}

func (h *hover) show(ctx context.Context, p *protocol.HoverParams) (*protocol.Hover, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	c, ok := d.CellAt(p.Position)
	if !ok || c.Type() != cells.CodeCell {
		return nil, nil
	}
	if text, at := aboutFile(d, c, d.Offset(p.Position)); text != "" {
		return &protocol.Hover{Contents: &protocol.MarkupContent{Kind: protocol.MarkupKindPlainText, Value: text}, Range: ptr(d.Range(at))}, nil
	}
	line, at, word := d.NameAt(c, d.Offset(p.Position))
	if word.Len() == 0 {
		return nil, nil
	}
	w := h.s.existing(ctx, d)
	if w == nil {
		return nil, nil
	}
	answers, err := w.Inspect(ctx, session.Lookup{Target: h.s.targetOfLine(w, d, c, line), Code: line, Cursor: utf8.RuneCountInString(line[:at])})
	if err != nil {
		return nil, err
	}
	format := h.format()
	text := describeName(answers, h.s.hostsOf(w), format == protocol.MarkupKindMarkdown)
	if text == "" {
		return nil, nil
	}
	return &protocol.Hover{Contents: &protocol.MarkupContent{Kind: format, Value: text}, Range: ptr(d.Range(word))}, nil
}

// aboutFile explains the line at an offset by which the file says where its cells run; "" if another line is there.
func aboutFile(d *docs.Snapshot, c cells.Cell, offset int) (text string, at cells.Range) {
	target := d.File.Target()
	if c.HasHeader() || target.Where == cells.None {
		return "", at
	}
	for l := range c.MagicLines() {
		if l.Range.Start <= offset && offset <= l.Range.End && d.Text(l.Name.Start, l.Name.End) == "dip" {
			return fmt.Sprintf("The cells of this file run %s, unless a command, the cell itself or autodip says otherwise, or the cell begins with a magic.",
				onPlace(target)), l.Range
		}
	}
	return "", at
}

// onPlace is placeOf behind a verb: "on ranks 0,2", "locally".
func onPlace(t cells.Target) string {
	if t.Where == cells.Remote {
		return "on " + placeOf(t)
	}
	return placeOf(t)
}

// format is Markdown unless the client wants plain text.
func (h *hover) format() protocol.MarkupKind {
	if t := h.s.client.Can.TextDocument; t != nil && t.Hover != nil && len(t.Hover.ContentFormat) > 0 &&
		!slices.Contains(t.Hover.ContentFormat, protocol.MarkupKindMarkdown) {
		return protocol.MarkupKindPlainText
	}
	return protocol.MarkupKindMarkdown
}
