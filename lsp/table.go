package lsp

import (
	"context"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/session"
)

type tableArgs struct {
	Name        string         `json:"name" doc:"of a variable, or a dotted name"`
	Rank        *ranklist.Who  `json:"rank,omitempty" doc:"only of this rank; -1 is the local namespace; without it, of all processes"`
	Place       []int          `json:"place,omitempty" doc:"of an array of more than two dimensions: where in those before the last two"`
	Start       int            `json:"start,omitempty" doc:"the first row, counted as they are sorted and filtered"`
	Rows        int            `json:"rows,omitempty" doc:"how many rows, at most 500"`
	FirstColumn int            `json:"first_column,omitempty" doc:"the first column"`
	Columns     int            `json:"columns,omitempty" doc:"how many columns, at most 200"`
	Sort        *int           `json:"sort,omitempty" doc:"sort by this column, from 0; without it, rows are in their own order"`
	Descending  bool           `json:"descending,omitempty" doc:"from the highest to the lowest"`
	Filters     []columnFilter `json:"filters,omitempty" doc:"which rows: for a column, a text that its cells contain, or a comparison such as >= 3"`
	whereArgs
}

// columnFilter chooses rows by a column.
type columnFilter struct {
	Column int    `json:"column"`
	Text   string `json:"text"`
}

type tableReply struct {
	Tables []session.Table `json:"tables"` // of the processes, the local namespace first
}

// table shows a part of a table or an array on each process.
func (s *server) table(ctx context.Context, a *tableArgs) (*tableReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	q := session.TableQuery{
		Target: targetOf(a.Rank),
		TablePart: session.TablePart{
			Name: a.Name, Place: a.Place, Start: a.Start, Rows: a.Rows, FirstColumn: a.FirstColumn, Columns: a.Columns, Sort: a.Sort, Descending: a.Descending,
		},
	}
	for _, f := range a.Filters {
		q.Filters = append(q.Filters, session.TableFilter(f))
	}
	tables, err := w.Table(ctx, q)
	if err != nil {
		return nil, err
	}
	return &tableReply{Tables: tables}, nil
}

// targetOf is one process, or all without one.
func targetOf(who *ranklist.Who) cells.Target {
	switch {
	case who == nil:
		return cells.Target{Where: cells.Everywhere}
	case who.IsLocal():
		return cells.Target{Where: cells.Local}
	}
	rank, _ := who.Rank()
	return cells.Target{Where: cells.Remote, Ranks: ranklist.Of(rank)}
}
