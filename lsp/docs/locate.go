package docs

import (
	"path/filepath"
	"slices"

	"go.lsp.dev/uri"

	"dipls/cells"
)

// Locate gives the identity of a cell that somebody else knows by its file's name (see [Snapshot.Name]), its index and its text as it was. In a document
// as it is now that is the nearest cell with this text, else one with this header, whose text has changed since. An untitled cell has the same header
// only at the same index, apart from what was put above it, and if it is not taken, which the caller says of the cell as it is now: something better is
// known of it. A cell that is not there, or whose document is not open, gets its identity when it comes. The uri is "" if there cannot be such a document.
func (s *Store) Locate(name string, index int, text CellText, taken func(uri.URI, CellID, CellText) bool) (uri.URI, CellID) {
	s.mu.Lock()
	d, forgotten := s.known(name)
	var (
		id   CellID
		lost []CellID
		ok   bool
	)
	if d != nil {
		if id, ok = s.ids.find(d, index, text, taken); !ok {
			id, lost = s.ids.locate(d.URI, index, text)
		}
	}
	s.mu.Unlock()
	if forgotten != "" {
		s.gone(Gone{Doc: forgotten})
	}
	if d == nil {
		return "", 0
	}
	if len(lost) > 0 {
		s.gone(Gone{d.URI, lost})
	}
	return d.URI, id
}

// known is a document that is open, or was, by its name; nil if there cannot be such a document. One that never was open is as if it had been closed when it
// was empty. forgotten is another document that had to make room. mu is held.
func (s *Store) known(name string) (d *Snapshot, forgotten uri.URI) {
	if d := s.View().ByName(name); d != nil {
		return d, ""
	}
	if d := s.closedByName(name); d != nil {
		return d, ""
	}
	if !filepath.IsAbs(name) {
		return nil, ""
	}
	d = &Snapshot{URI: uri.File(name), Path: name, File: cells.Parse(""), encoding: s.Encoding}
	return d, s.shelve(d)
}

// closedByName is a document that was closed; nil: none of that name was. mu is held.
func (s *Store) closedByName(name string) *Snapshot {
	for _, d := range s.closed {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// rename takes what is known of a document that was never open to the uri under which it is opened now: clients write some characters in their own way.
// mu is held.
func (s *Store) rename(next *Snapshot) (from uri.URI) {
	if next.Path == "" || s.closed[next.URI] != nil {
		return ""
	}
	d := s.closedByName(next.Name())
	if d == nil || d.File.Size() > 0 {
		return ""
	}
	s.ids.lost[next.URI] = append(s.ids.lost[d.URI], s.ids.lost[next.URI]...)
	s.unshelve(d.URI)
	delete(s.ids.lost, d.URI)
	return d.URI
}

// find finds a cell in a document by its index and text as they were.
func (g *identities) find(d *Snapshot, index int, text CellText, taken func(uri.URI, CellID, CellText) bool) (CellID, bool) {
	texts := make([]CellText, d.File.Len())
	for c := range d.File.Cells() {
		texts[c.Index()-1] = TextOf(c)
	}
	lost := lostCell{text: text, index: index + g.shift[d.URI]}
	i := nearest(texts, lost, lost.isText)
	if i >= 0 {
		g.shift[d.URI] = i + 1 - index
		return d.ids[i], true
	}
	i = nearest(texts, lost, func(t CellText, at int) bool {
		return lost.isHeader(t, at) && (t.title != "" || !taken(d.URI, d.ids[at-1], t))
	})
	if i < 0 {
		return 0, false
	}
	return d.ids[i], true
}

// isText reports whether a cell has the same code.
func (l lostCell) isText(t CellText, _ int) bool {
	return l.text.SameCode(t) && l.text.depth == t.depth
}

// isHeader reports whether a cell at an index has the same header. Untitled cells are too much alike to be the same one at another place.
func (l lostCell) isHeader(t CellText, index int) bool {
	return l.text.header() == t.header() && (t.title != "" || l.index == index)
}

// nearest is the position of the cell that fits and whose index is nearest to that of a lost one; -1: none fits. Cells that are equal up to their titles
// come before others.
func nearest(texts []CellText, lost lostCell, fits func(t CellText, index int) bool) int {
	best := -1
	for i, t := range texts {
		if !fits(t, i+1) {
			continue
		}
		if best < 0 || distance(t, i, lost) < distance(texts[best], best, lost) {
			best = i
		}
	}
	return best
}

// distance is how far a cell is from a lost one that it could be. One with another title is further than all others.
func distance(t CellText, i int, lost lostCell) int {
	d := max(i+1-lost.index, lost.index-i-1)
	if t.title != lost.text.title {
		d += 1 << 30
	}
	return d
}

// locate gives a cell that is not there an identity, until it comes. A cell with the same header at the same place is the same one, edited.
func (g *identities) locate(u uri.URI, index int, text CellText) (id CellID, forgotten []CellID) {
	l := lostCell{text: text, index: index, located: true}
	for i, other := range slices.Backward(g.lost[u]) {
		if other.text == text && (!other.located || other.index == index) || other.located && l.isHeader(other.text, other.index) {
			l.id = other.id
			g.lost[u] = append(slices.Delete(g.lost[u], i, i+1), l)
			return l.id, nil
		}
	}
	g.last++
	l.id = g.last
	return l.id, g.lose(u, []lostCell{l})
}

// settle gives cells without an id those of located cells that they are, the latest first. first is how many cells are above them.
func (g *identities) settle(u uri.URI, first int, ids []CellID, texts []CellText, same func(lostCell, CellText, int) bool) {
	for i, l := range slices.Backward(g.lost[u]) {
		if !l.located {
			continue
		}
		here := l
		here.index += g.shift[u] - first
		at := nearest(texts, here, func(t CellText, index int) bool { return ids[index-1] == 0 && same(here, t, index) })
		if at >= 0 {
			ids[at] = l.id
			g.shift[u] = at + 1 + first - l.index
			g.lost[u] = slices.Delete(g.lost[u], i, i+1)
		}
	}
}
