package lsp

import (
	"maps"
	"slices"
)

// methodGone is the notification that runs have left nothing behind; see docs/language-server.md.
const methodGone = "dip/gone"

type goneParams struct {
	Runs []goneRun `json:"runs"` // those of which that has changed
}

// goneRun is a run of which something is gone.
type goneRun struct {
	Run  string `json:"run"`
	Gone string `json:"gone"` // as in a cell of dip/cells
}

// newGone tells clients that take events what has become of what runs have left in namespaces that have ended since.
func newGone(s *server) feature {
	return feature{changed: func(c change) {
		if !s.wants.Events {
			return
		}
		p := &goneParams{}
		for _, id := range slices.Sorted(maps.Keys(c.gone)) {
			if r, known := s.board.kept(id); known && r.Gone() != "" {
				p.Runs = append(p.Runs, goneRun{id, r.Gone()})
			}
		}
		if len(p.Runs) > 0 {
			s.client.Notify(methodGone, p)
		}
	}}
}
