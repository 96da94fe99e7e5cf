package cells

import "strings"

// Edit returns the file with the bytes from start to end replaced by text; offsets outside of the file are taken as its nearest
// end. The answer is what Parse would make of the new text, but only the cells around the edit are parsed anew: f's text
// elsewhere is neither read nor copied. Parsing goes on beyond those cells as far as the edit has an effect, to the end of the
// file if it opens a string that never ends.
func (f *File) Edit(start, end int, text string) *File {
	start = min(max(start, 0), f.size)
	end = min(max(end, start), f.size)

	// Collect the new text from the first node that may change, until a parse of it fits in front of the nodes that are left.
	from := f.restart(start)
	to := f.nodes
	var b strings.Builder
	var new part
	inserted, joined := false, false
	batch, due := 1, 0 // nodes to take before the next attempt; fourfold each time: all attempts cost little more than the last
	for at := range f.all(f.chunkOf(from)) {
		if at.index < from {
			continue
		}
		if at.off >= end && at.index > from {
			if due == 0 {
				if new = f.markers.parse(b.String(), from == 0, false); new.joins(at.node) {
					to, joined = at.index, true
					new.depend(at.node)
					break
				}
				due, batch = batch, 4*batch
			}
			due--
		}
		n := len(at.text)
		b.WriteString(at.text[:min(max(start-at.off, 0), n)])
		if !inserted && start <= at.off+n {
			b.WriteString(text)
			inserted = true
		}
		b.WriteString(at.text[min(max(end-at.off, 0), n):])
	}
	if !inserted {
		b.WriteString(text) // into an empty file
	}
	if !joined {
		new = f.markers.parse(b.String(), from == 0, true)
	}
	return f.replace(from, to, new.nodes)
}

// restart is the number of the node where parsing begins after an edit at offset: the last one whose marker's line ends before the edit,
// while no decision about the nodes above it has looked as far as the edit.
func (f *File) restart(offset int) int {
	at, _ := f.nodeAt(offset)
	i := at.index
	for ; i > 0; i-- {
		if at, _ := f.find(func(_, _, index int) bool { return index > i }); at.origin >= byMarker && at.off+at.head < offset {
			break
		}
	}
	for number, c := range f.chunks {
		if c.first >= i {
			break
		}
		if c.off+c.reach <= offset {
			continue
		}
		for at := range f.all(number) {
			if at.index >= i {
				break
			}
			if at.off+at.reach > offset {
				if at.origin < byMarker {
					return 0
				}
				return at.index
			}
		}
	}
	return i
}

// chunkOf is the number of the chunk that holds node i, or of the last chunk.
func (f *File) chunkOf(i int) int {
	n := 0
	for n+1 < len(f.chunks) && f.chunks[n+1].first <= i {
		n++
	}
	return n
}

// replace returns the file with the nodes from number i up to j replaced.
func (f *File) replace(i, j int, nodes []*node) *File {
	g := &File{markers: f.markers, chunks: make([]placed, 0, len(f.chunks)+2)}
	var middle []*node
	k := 0
	for ; k < len(f.chunks) && f.chunks[k].first+len(f.chunks[k].nodes) <= i; k++ {
		g.addChunk(f.chunks[k].chunk)
	}
	if k < len(f.chunks) {
		middle = append(middle, f.chunks[k].nodes[:i-f.chunks[k].first]...)
	}
	middle = append(middle, nodes...)
	for ; k < len(f.chunks) && f.chunks[k].first < j; k++ {
		c := f.chunks[k]
		middle = append(middle, c.nodes[min(j-c.first, len(c.nodes)):]...)
	}
	g.add(middle)
	for ; k < len(f.chunks); k++ {
		g.addChunk(f.chunks[k].chunk)
	}
	return g
}
