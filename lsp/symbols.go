package lsp

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// symbols are the document symbols: the cells, deeper ones inside of the ones above them.
type symbols struct{ s *server }

func newSymbols(s *server) feature {
	y := &symbols{s}
	return feature{
		methods: map[string]rpc.Method{protocol.MethodTextDocumentDocumentSymbol: rpc.Request(y.list)},
		capabilities: func(c *protocol.ServerCapabilities) {
			c.DocumentSymbolProvider = &protocol.DocumentSymbolOptions{Label: ptr("cells")}
		},
	}
}

func (y *symbols) list(ctx context.Context, p *protocol.DocumentSymbolParams) (protocol.DocumentSymbolResult, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	var sections []section
	if !docs.InNotebook(d.URI) { // the cells of a notebook are in its own outline
		sections = outline(d.File)
	}
	if y.nests() {
		return nested(d, sections), nil
	}
	return flat(d, sections), nil
}

// nests reports whether the client knows symbols inside of symbols.
func (y *symbols) nests() bool {
	text := y.s.client.Can.TextDocument
	if text == nil || text.DocumentSymbol == nil {
		return false
	}
	nests := text.DocumentSymbol.HierarchicalDocumentSymbolSupport
	return nests != nil && *nests
}

// nested returns the sections as a tree.
func nested(d *docs.Snapshot, sections []section) protocol.DocumentSymbolSlice {
	list := protocol.DocumentSymbolSlice{}
	for i := 0; i < len(sections); i = sections[i].last + 1 {
		list = append(list, symbol(d, sections, i))
	}
	return list
}

func symbol(d *docs.Snapshot, sections []section, i int) protocol.DocumentSymbol {
	n := sections[i]
	y := protocol.DocumentSymbol{
		Name: nameOf(n.cell), Kind: kindOfCell(n.cell),
		Range:          d.Range(cells.Range{Start: n.cell.Range().Start, End: n.end(d, sections)}),
		SelectionRange: d.LineRange(n.cell.Line()),
	}
	if detail := n.cell.Directive().String(); detail != "" {
		y.Detail = &detail
	}
	for j := i + 1; j <= n.last; j = sections[j].last + 1 {
		y.Children = append(y.Children, symbol(d, sections, j))
	}
	return y
}

// flat returns the sections as a list, for clients that know no trees.
func flat(d *docs.Snapshot, sections []section) protocol.SymbolInformationSlice {
	list := protocol.SymbolInformationSlice{}
	for _, n := range sections {
		y := protocol.SymbolInformation{Location: protocol.Location{
			URI: d.URI, Range: d.Range(cells.Range{Start: n.cell.Range().Start, End: n.end(d, sections)}),
		}}
		y.Name, y.Kind = nameOf(n.cell), kindOfCell(n.cell)
		if n.parent >= 0 {
			y.ContainerName = ptr(nameOf(sections[n.parent].cell))
		}
		list = append(list, y)
	}
	return list
}

// maxName is how long a symbol's name may be, in characters.
const maxName = 100

// nameOf returns a cell's title, or the first line of a text cell, or the cell's number.
func nameOf(c cells.Cell) string {
	name := strings.TrimSpace(clean.Line(c.Title()))
	if name == "" && c.Type() != cells.CodeCell {
		for line := range strings.Lines(c.Body()) {
			if name = strings.Trim(clean.Text(line), "#\"' \t\f\r\n"); name != "" {
				break
			}
		}
	}
	if runes := []rune(name); len(runes) > maxName {
		name = string(runes[:maxName-1]) + "…"
	}
	return cmp.Or(name, fmt.Sprintf("Cell %d", c.Index()))
}

// kindOfCell returns the kind of symbol for a cell: string for text, module for code.
func kindOfCell(c cells.Cell) protocol.SymbolKind {
	if c.Type() == cells.CodeCell {
		return protocol.SymbolKindModule
	}
	return protocol.SymbolKindString
}
