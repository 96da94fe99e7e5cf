package lsp

import (
	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
	"dipls/session"
)

// unsaid is what decides where the cells of a document go that do not say so themselves. Two that are equal decide alike.
type unsaid struct {
	autodip string // as [session.API.Autodip] has it
	setting string // dip.target
	line    string // what the file's line says, or why that is wrong; "": there is none
}

// targetOf is where a cell would run if its turn were now.
func (u unsaid) targetOf(c cells.Cell) cells.Target {
	cell := session.Cell{Directive: c.Directive(), NoAutodip: c.LeavesAutodip(), Otherwise: c.Default()}
	otherwise(&cell, u.setting)
	return session.TargetOf(cell, u.autodip)
}

// otherwise has a cell go where the setting says, if neither the cell nor its file says anything, and it does not begin with a magic.
func otherwise(c *session.Cell, setting string) {
	if c.Otherwise.Where == cells.None && !c.NoAutodip && setting != "" {
		c.Otherwise, _ = cells.ParseTarget(setting) // the table of settings has checked it
	}
}

// unsaidOf is what decides that for a document. Before its folder has a session, it is as in a new one.
func (s *server) unsaidOf(d *docs.Snapshot) unsaid {
	u := unsaid{setting: s.config.ofDocument(d).Target, line: d.File.Target().String()}
	if p, wrong := d.File.Fault(); wrong {
		u.line = p.Message
	}
	if w := s.joined(s.folderOf(d.Path), ""); w != nil {
		u.autodip = s.board.pool(w).Autodip
	}
	return u
}

// targetNow returns where a cell would run if its turn were now.
func (s *server) targetNow(w *workspace, d *docs.Snapshot, c cells.Cell) cells.Target {
	return unsaid{autodip: s.board.pool(w).Autodip, setting: s.config.ofDocument(d).Target}.targetOf(c)
}

// placeOf says in words where a cell runs with a target: "all ranks", "ranks 0,2", "locally", "everywhere".
func placeOf(t cells.Target) string {
	if t.Where == cells.Local {
		return "locally"
	}
	return t.Name()
}

// targetOfLine returns where the names on a line are looked up: where the cell would run, or the target of a magic on the line.
func (s *server) targetOfLine(w *workspace, d *docs.Snapshot, c cells.Cell, line string) cells.Target {
	m, _ := cells.ReadMagic(line)
	switch {
	case m.Name == "dipush":
		return cells.Target{Where: cells.Local}
	case m.Name == "dipull", m.Name == "px" && !m.Cell:
		return cells.Target{Where: cells.Remote}
	}
	return s.targetNow(w, d, c)
}

// hostsOf is the host of each rank of a workspace's pool, where that is on several, for [ranklist.NameOn].
func (s *server) hostsOf(w *workspace) func(rank int) string {
	pool := s.board.pool(w)
	return pool.HostOf
}

// nameRank names a rank of a workspace's pool.
func (s *server) nameRank(w *workspace, rank int) string {
	return ranklist.NameOn([]int{rank}, s.hostsOf(w))
}

// isWorthRunning reports whether there is anything to run in a cell that a person may mean. Comments above the first marker are not.
func isWorthRunning(c cells.Cell) bool { return c.Runs() && (c.HasHeader() || !c.OnlyComments()) }

// ranksOf names the ranks of a target: "all ranks" if it names none.
func ranksOf(t cells.Target) string {
	if t.Ranks.IsZero() {
		return ranklist.All.Name()
	}
	return t.Ranks.Name()
}

// remoteTarget returns the target of a run on these ranks only.
func remoteTarget(t cells.Target) string {
	if t.Ranks.IsZero() {
		return "remote"
	}
	return "ranks:" + t.Ranks.String()
}

// everywhereTarget returns the target of a run in the local namespace and on these ranks.
func everywhereTarget(t cells.Target) string {
	return cells.Target{Where: cells.Everywhere, Ranks: t.Ranks}.String()
}

// runsAlone reports whether a line magic has a lens that runs it alone: people run it again and again.
func runsAlone(m cells.Magic) bool {
	return !m.Help && (m.Name == "makedip" || m.Name == "dipush" || m.Name == "dipull")
}
