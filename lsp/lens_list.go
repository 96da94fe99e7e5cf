package lsp

import (
	"maps"
	"slices"
	"sync"

	"dipls/cells"
	"dipls/lsp/docs"
)

// lastLenses are the lenses that a document had last. They are kept because the next list is mostly the same: after a keystroke in a document of ten
// thousand cells, only the lenses of one cell are written anew.
type lastLenses struct {
	mu    sync.Mutex // guards what follows
	list  *lensList  // nil: none yet
	spare []byte     // the buffer of the list before, for the next one
}

// make makes the list of a document as it is now. It passes the JSON to use, which must not keep it.
func (l *lastLenses) make(d *docs.Snapshot, choice lensChoice, states map[docs.CellID]runOfCell, use func(json []byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		l.list = newLensList(d, choice, states, emptyList, nil)
	} else {
		old := l.list
		l.list = newLensList(d, choice, states, old, l.spare)
		l.spare = old.json
	}
	use(l.list.json)
}

// lensList is the lenses of a document as JSON, and what they were made of.
type lensList struct {
	file   *cells.File
	ids    []docs.CellID
	choice lensChoice
	states map[docs.CellID]runOfCell
	json   []byte
	begins []int32 // where in json the lenses of each cell begin, each with the comma or bracket before it; one more for the bracket at the end
	runs   int     // how many cells are above the first one that runs
}

// emptyList is what the first list of a document is made from.
var emptyList = &lensList{file: cells.Parse(""), json: []byte("[]"), begins: []int32{0}}

// newLensList makes a document's lenses, from an older list where that still fits. It writes them to the spare buffer if that is large enough.
func newLensList(d *docs.Snapshot, choice lensChoice, states map[docs.CellID]runOfCell, old *lensList, spare []byte) *lensList {
	n := &lensList{file: d.File, ids: d.IDs(), choice: choice, states: states, runs: d.File.Len()}
	first, last := n.shared(old)
	if cap(spare) < len(old.json) {
		spare = make([]byte, 0, len(old.json)+4096)
	}
	n.json = append(spare[:0], old.json[:old.begins[first]]...)
	n.begins = append(make([]int32, 0, d.File.Len()+1), old.begins[:first]...)
	if old.runs < first {
		n.runs = old.runs
	}
	for c := range d.File.CellsFrom(first + 1) {
		if i := c.Index() - 1; i == d.File.Len()-last && n.append(c, old) {
			break
		}
		n.add(d, c)
	}
	if len(n.begins) == d.File.Len() {
		n.begins = append(n.begins, int32(len(n.json)))
	}
	if len(n.json) == 0 {
		n.json = append(n.json, '[')
	}
	n.json[0] = '['
	n.json = append(n.json, ']')
	return n
}

// shared returns how many cells at the beginning and at the end have the same lenses as in an older list. Those at the end may be on other lines, and
// whether a cell above them runs may have changed.
func (n *lensList) shared(old *lensList) (first, last int) {
	if !n.choice.equal(old.choice) || !maps.Equal(n.states, old.states) || (n.file.Len() == 1) != (old.file.Len() == 1) {
		return 0, 0
	}
	first, last = n.file.Shared(old.file)
	if !slices.Equal(n.ids[:first], old.ids[:first]) || !slices.Equal(n.ids[len(n.ids)-last:], old.ids[len(old.ids)-last:]) {
		return 0, 0
	}
	return first, last
}

// append appends the lenses of c and of all cells below it from an older list, if they fit here.
func (n *lensList) append(c cells.Cell, old *lensList) bool {
	i := c.Index() - 1
	from := old.file.Len() - (n.file.Len() - i)
	before, _ := old.file.Cell(from + 1)
	if before.Line() != c.Line() || (old.runs < from) != (n.runs < i) {
		return false
	}
	if n.runs > i {
		n.runs = old.runs + i - from
	}
	at, shift := len(n.json), int32(len(n.json))-old.begins[from]
	n.json = append(n.json, old.json[old.begins[from]:old.begins[old.file.Len()]]...)
	if at < len(n.json) {
		n.json[at] = ',' // where the bracket may have been
	}
	for _, begin := range old.begins[from:] {
		n.begins = append(n.begins, begin+shift)
	}
	return true
}

// add appends the lenses of a cell.
func (n *lensList) add(d *docs.Snapshot, c cells.Cell) {
	n.begins = append(n.begins, int32(len(n.json)))
	i, runs := c.Index()-1, isWorthRunning(c)
	if c.Type() == cells.CodeCell {
		ofCell(d, c, runs, n.runs < i, n.choice, n.states, func(l lens) {
			n.json = l.appendJSON(append(n.json, ','))
		})
	}
	if runs && n.runs > i {
		n.runs = i
	}
}
