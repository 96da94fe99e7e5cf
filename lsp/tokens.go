package lsp

import (
	"context"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// tokenTypes are the types of the semantic tokens, by their numbers.
var tokenTypes = []string{string(protocol.SemanticTokenTypesMacro), string(protocol.SemanticTokenTypesParameter)}

// The numbers of the types.
const (
	tokenName = iota // of a magic
	tokenArgs        // what it is given
)

// newTokens tells comments that mean something from others: magics and commands, and the line by which a file says where its cells run. The rest of the
// document is left to whoever knows Python.
func newTokens(*server) feature {
	return feature{
		methods: map[string]rpc.Method{
			protocol.MethodTextDocumentSemanticTokensFull:  rpc.Request(allTokens),
			protocol.MethodTextDocumentSemanticTokensRange: rpc.Request(someTokens),
		},
		capabilities: func(c *protocol.ServerCapabilities) {
			c.SemanticTokensProvider = &protocol.SemanticTokensOptions{
				Legend: protocol.SemanticTokensLegend{TokenTypes: tokenTypes, TokenModifiers: []string{}},
				Full:   protocol.Boolean(true), Range: protocol.Boolean(true),
			}
		},
	}
}

func allTokens(ctx context.Context, p *protocol.SemanticTokensParams) (*protocol.SemanticTokens, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	return tokensOf(d, 1, d.File.Size()), nil
}

func someTokens(ctx context.Context, p *protocol.SemanticTokensRangeParams) (*protocol.SemanticTokens, error) {
	d, err := snapshotOf(ctx, p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	first := 1
	if c, ok := d.CellAt(p.Range.Start); ok {
		first = c.Index()
	}
	return tokensOf(d, first, d.Offset(p.Range.End)), nil
}

// tokensOf are the tokens of the cells from a number on that begin before an offset, each as LSP has it: five numbers that count from the token before.
func tokensOf(d *docs.Snapshot, first, end int) *protocol.SemanticTokens {
	tokens := &protocol.SemanticTokens{Data: []uint32{}}
	var last protocol.Position
	add := func(r cells.Range, kind uint32) {
		if r.Len() == 0 {
			return
		}
		at := d.Range(r)
		column := at.Start.Character
		if at.Start.Line == last.Line {
			column -= last.Character
		}
		tokens.Data = append(tokens.Data, at.Start.Line-last.Line, column, at.End.Character-at.Start.Character, kind, 0)
		last = at.Start
	}
	for c := range d.File.CellsFrom(first) {
		if c.Range().Start > end {
			break
		}
		for l := range c.MagicLines() {
			add(l.Name, tokenName)
			add(l.Args, tokenArgs)
		}
	}
	return tokens
}
