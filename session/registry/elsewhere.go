package registry

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dipls/ranks/host"
)

// Places are the directories in which sessions are looked for, as DIPLS_RUNTIME_DIR names them.
func Places() []string {
	roots, _, _ := host.RuntimeRoots() // then there are none
	return roots
}

// Elsewhere tells of living sessions that are not found from here, since they were started with another XDG_RUNTIME_DIR, TMPDIR or DIPLS_RUNTIME_DIR:
// sentences, with the way to them. Only those of one folder are told, if one is given.
func Elsewhere(dir string) (told []string) {
	looked := Places()
	for _, r := range records() {
		root := filepath.Dir(filepath.Dir(r.Path))
		if r.Ended != nil || dir != "" && r.Dir != dir || slices.Contains(looked, root) || !r.lives() {
			continue
		}
		if strings.ContainsAny(root, " '\"$`\\") {
			root = strconv.Quote(root)
		}
		told = append(told, fmt.Sprintf("session %s in %s lives, and is not found from here: it was started with another XDG_RUNTIME_DIR or TMPDIR; "+
			"this shows it: DIPLS_RUNTIME_DIR=%s dipls sessions", r.Name, r.Dir, root))
	}
	return told
}
