package dipexec

import (
	"regexp"
	"slices"
)

var (
	// askingNames are in the text of a cell that asks for the ranks in plain words.
	askingNames = regexp.MustCompile(`\b(?:makedip|dipush|dipull|dipper|px|pxconfig|pxresult|run_line_magic|run_cell_magic)\b`)
	// dipperName matches the line by which a cell names an object that later cells may ask with.
	dipperName = regexp.MustCompile(`%dipper[ \t]+([\pL\pN_]+)`)
	word       = regexp.MustCompile(`[\pL\pN_]+`)
)

// asks tells whether code may ask for the ranks while it runs in the local namespace, as far as its text shows. A mistake
// costs little. If the code does not ask, a later run on the ranks begins later than it could. If it asks through a function of its own,
// a later run may begin before its push. The caller holds mu.
func (e *Executor) asks(code string) bool {
	for _, m := range dipperName.FindAllStringSubmatch(code, -1) {
		if !slices.Contains(e.handles, m[1]) {
			e.handles = append(e.handles, m[1])
		}
	}
	if askingNames.MatchString(code) {
		return true
	}
	return len(e.handles) > 0 && slices.ContainsFunc(word.FindAllString(code, -1), func(w string) bool {
		return slices.Contains(e.handles, w)
	})
}
