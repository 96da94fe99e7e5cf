package lsp

import (
	"context"

	"go.lsp.dev/protocol"

	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// newFolding serves folding ranges: a section folds into its header.
func newFolding(*server) feature {
	return feature{
		methods: map[string]rpc.Method{protocol.MethodTextDocumentFoldingRange: rpc.Request(foldingRanges)},
		capabilities: func(c *protocol.ServerCapabilities) {
			c.FoldingRangeProvider = protocol.Boolean(true)
		},
	}
}

// foldingRanges answers textDocument/foldingRange. Blank lines at the end of a section are not folded, so folded sections stay apart.
func foldingRanges(ctx context.Context, p *protocol.FoldingRangeParams) ([]protocol.FoldingRange, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	ranges := []protocol.FoldingRange{}
	sections := outline(d.File)
	for _, n := range sections {
		if !n.cell.HasHeader() {
			continue
		}
		first, last := uint32(n.cell.Line()-1), lastLine(d, sections[n.last])
		if last > first {
			ranges = append(ranges, protocol.FoldingRange{StartLine: first, EndLine: last, Kind: protocol.FoldingRangeKindRegion})
		}
	}
	return ranges, nil
}

// lastLine is the last line of a section's own cell that is not blank, from 0.
func lastLine(d *docs.Snapshot, n section) uint32 {
	end := contentEnd(n.cell)
	if end == n.cell.BodyRange().Start {
		return uint32(n.cell.Line() - 1)
	}
	return d.Position(end).Line
}
