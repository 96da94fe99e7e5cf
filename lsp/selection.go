package lsp

import (
	"context"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// newSelection serves selection ranges: the line, then the cell's body, the cell, the sections around it, the file.
func newSelection(*server) feature {
	return feature{
		methods: map[string]rpc.Method{protocol.MethodTextDocumentSelectionRange: rpc.Request(selectionRanges)},
		capabilities: func(c *protocol.ServerCapabilities) {
			c.SelectionRangeProvider = protocol.Boolean(true)
		},
	}
}

// selectionRanges answers textDocument/selectionRange: one chain for each position, from the inside out.
func selectionRanges(ctx context.Context, p *protocol.SelectionRangeParams) ([]protocol.SelectionRange, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	sections := outline(d.File)
	list := []protocol.SelectionRange{}
	for _, position := range p.Positions {
		list = append(list, chain(d, around(d, position, sections)))
	}
	return list, nil
}

// around yields the ranges around a position, inner ones first.
func around(d *docs.Snapshot, p protocol.Position, sections []section) []cells.Range {
	ranges := []cells.Range{lineAt(d, d.Offset(p))}
	if c, ok := d.CellAt(p); ok {
		ranges = append(ranges, cells.Range{Start: c.BodyRange().Start, End: contentEnd(c)}, c.BodyRange(), c.Range())
		for i := c.Index() - 1; i >= 0; i = sections[i].parent {
			ranges = append(ranges, cells.Range{Start: sections[i].cell.Range().Start, End: sections[sections[i].last].cell.Range().End})
		}
	}
	return append(ranges, cells.Range{End: d.File.Size()})
}

// lineAt returns the line of an offset, without its terminator.
func lineAt(d *docs.Snapshot, offset int) cells.Range {
	line := d.File.Position(offset, cells.UTF8).Line
	return cells.Range{
		Start: d.File.Offset(cells.Position{Line: line}, cells.UTF8),
		End:   d.File.Offset(cells.Position{Line: line, Column: d.File.Size()}, cells.UTF8),
	}
}

// chain links ranges from the inside out. It leaves out a range that is no larger than the one inside it.
func chain(d *docs.Snapshot, ranges []cells.Range) protocol.SelectionRange {
	inner := ranges[0]
	chosen := ranges[:1]
	for _, r := range ranges[1:] {
		if r != inner && r.Start <= inner.Start && inner.End <= r.End {
			chosen = append(chosen, r)
			inner = r
		}
	}
	var parent *protocol.SelectionRange
	for i := len(chosen) - 1; i > 0; i-- {
		parent = &protocol.SelectionRange{Range: d.Range(chosen[i]), Parent: parent}
	}
	return protocol.SelectionRange{Range: d.Range(chosen[0]), Parent: parent}
}
