package diagnose

import (
	"regexp"
	"strings"

	"dipls/ranks/wire"
)

// library is where code lies that is not the user's: what comes with Python, and what was installed. The package's name follows.
var library = regexp.MustCompile(`/(?:site|dist)-packages/|/lib(?:32|64)?/(?:python|pypy)\d[^/]*/(?:(?:site|dist)-packages/)?|\.zip/|^<frozen |^<|^$`)

// LibraryOf tells whether a frame is library code rather than the user's, and of which package or module: "torch", "threading"; "" if that
// is not known.
func LibraryOf(f wire.StackFrame) (name string, ok bool) {
	file := string(f.File)
	at := library.FindAllStringIndex(file, -1)
	if f.Run != "" || at == nil || strings.HasPrefix(file, "<ipython-input-") { // code that a cell has executed has no file
		return "", false
	}
	name, _, _ = strings.Cut(file[at[len(at)-1][1]:], "/")
	return strings.TrimSuffix(strings.TrimSuffix(name, ">"), ".py"), true
}
