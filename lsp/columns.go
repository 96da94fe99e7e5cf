package lsp

import (
	"context"
	"errors"

	"dipls/lsp/rpc"
)

// methodColumns is the notification by which a client tells how wide the place is where its user reads what cells print.
const methodColumns = "dip/columns"

// maxColumns is more than any screen has.
const maxColumns = 10_000

func newColumns(s *server) feature {
	return feature{methods: map[string]rpc.Method{methodColumns: rpc.Notification(s.heedColumns)}}
}

type columnsParams struct {
	Columns int `json:"columns"` // of a font in which all characters are as wide
}

// heedColumns tells the sessions, whose cells may be running.
func (s *server) heedColumns(_ context.Context, p *columnsParams) error {
	if p.Columns < 1 || p.Columns > maxColumns {
		return errors.New("columns: want how many there are")
	}
	if s.columns.Swap(int64(p.Columns)) == int64(p.Columns) {
		return nil
	}
	s.goOn("how wide the screen is", func() {
		for _, w := range s.workspaces() {
			_ = w.Heed(s.ctx, s.callerNow(w)) // an error means that the session ends
		}
	})
	return nil
}
