package lsp

import (
	"context"

	"go.lsp.dev/uri"

	"dipls/lsp/docs"
	"dipls/lsp/rpc"
)

// methodSplit is the request of a client that shows a text cell by cell; see docs/language-server.md.
const methodSplit = "dip/split"

// newSplit splits texts that need not be open documents.
func newSplit(s *server) feature {
	return feature{methods: map[string]rpc.Method{methodSplit: rpc.Request(s.split)}}
}

type splitParams struct {
	Text string  `json:"text"`
	URI  uri.URI `json:"uri,omitempty"` // of the file, whose folder may have further markers of cells; without it, the first folder
}

// splitAnswer is a text in pieces: all of them in their order are the text again.
type splitAnswer struct {
	Gap   string      `json:"gap"` // what belongs to no cell, before the first one
	Cells []splitCell `json:"cells"`
}

// splitCell is a cell's text.
type splitCell struct {
	Kind   string `json:"kind"`   // code, markdown or raw
	Header string `json:"header"` // the marker's line, with its end; empty where there is none
	Body   string `json:"body"`
}

func (s *server) split(ctx context.Context, p *splitParams) (*splitAnswer, error) {
	text := p.Text
	s.config.await(ctx) // an editor may open a notebook at once
	answer := &splitAnswer{Gap: text, Cells: []splitCell{}}
	for c := range s.docs.Parse(docs.PathOf(p.URI), text).Cells() {
		of, body := c.Range(), c.BodyRange()
		if c.Index() == 1 {
			answer.Gap = text[:of.Start]
		}
		answer.Cells = append(answer.Cells, splitCell{c.Type().String(), text[of.Start:body.Start], text[body.Start:body.End]})
	}
	return answer, nil
}
