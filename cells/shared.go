package cells

// Shared tells how many cells at the beginning and at the end two files have in common, one of which comes from the other by edits:
// cells that no edit has touched, wherever they are now. The two stretches do not overlap in either file. Files that are not
// related share nothing, even if their text is the same. It is much faster than comparing the texts.
func (f *File) Shared(old *File) (first, last int) {
	before := sharedStart(f, old)
	after := sharedEnd(f, old, min(f.nodes, old.nodes)-before)
	return max(0, before-f.gap), after
}

// sharedStart is the number of nodes that both files begin with.
func sharedStart(f, g *File) int {
	k, n := 0, 0
	for k < min(len(f.chunks), len(g.chunks)) && f.chunks[k].chunk == g.chunks[k].chunk {
		n += len(f.chunks[k].nodes)
		k++
	}
	for a, b := (cursor{f, k, 0}), (cursor{g, k, 0}); a.node() != nil && a.node() == b.node(); n++ {
		a.next()
		b.next()
	}
	return n
}

// sharedEnd is the number of nodes that both files end with, at most limit.
func sharedEnd(f, g *File, limit int) int {
	a, b := len(f.chunks)-1, len(g.chunks)-1
	n := 0
	for a >= 0 && b >= 0 && f.chunks[a].chunk == g.chunks[b].chunk && n < limit {
		n += len(f.chunks[a].nodes)
		a--
		b--
	}
	i, j := lastOf(f, a), lastOf(g, b)
	for ; n < limit && i.node() != nil && i.node() == j.node(); n++ {
		i.previous()
		j.previous()
	}
	return min(n, limit)
}

// A cursor is a place in the list of a file's nodes.
type cursor struct {
	f        *File
	chunk, i int
}

// lastOf is the place of a chunk's last node.
func lastOf(f *File, chunk int) cursor {
	if chunk < 0 {
		return cursor{f, -1, 0}
	}
	return cursor{f, chunk, len(f.chunks[chunk].nodes) - 1}
}

// node is nil outside of the file.
func (c *cursor) node() *node {
	if c.chunk < 0 || c.chunk >= len(c.f.chunks) {
		return nil
	}
	return c.f.chunks[c.chunk].nodes[c.i]
}

func (c *cursor) next() {
	if c.i++; c.i == len(c.f.chunks[c.chunk].nodes) {
		c.chunk, c.i = c.chunk+1, 0
	}
}

func (c *cursor) previous() {
	if c.i--; c.i < 0 {
		*c = lastOf(c.f, c.chunk-1)
	}
}
