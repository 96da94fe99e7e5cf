package dipexec

import "dipls/cells"

// RequestFor is the request to run a cell of the file at path as the cell itself says; the caller adds the user's choices. ok is false if
// there is nothing to run: the cell is text, or blank except for a directive.
func RequestFor(path string, cell cells.Cell) (req Request, ok bool) {
	if !cell.Runs() {
		return Request{}, false
	}
	code, line := cell.Rewrite()
	return Request{
		Path: path, Cell: cell.Index(), Title: cell.Title(), Code: code, Line: line,
		Directive: cell.Directive(), NoAutodip: cell.LeavesAutodip(),
	}, true
}
