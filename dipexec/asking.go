package dipexec

import (
	"regexp"
	"slices"
)

var (
	// askingNames are in the text of a cell that asks for the ranks in plain words.
	askingNames = regexp.MustCompile(`\b(?:makedip|dipush|dipull|dipper|px|pxconfig|pxresult|run_line_magic|run_cell_magic)\b`)
	// dipperName is how a cell names an object by which later cells may ask.
	dipperName = regexp.MustCompile(`%dipper[ \t]+([\pL\pN_]+)`)
	word       = regexp.MustCompile(`[\pL\pN_]+`)
)

// asks tells, as far as the text does, whether code may ask for the ranks while it runs in the local namespace. To be wrong
// costs little: a later run on the ranks begins too late if it does not ask, and does not find what it pushes if it does so by
// a function of its own. The caller holds mu.
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
