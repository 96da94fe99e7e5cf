package diagnose

import (
	"regexp"
	"strings"

	"dipls/ranks/wire"
)

// library is where code lies that is not the user's: what comes with Python, and what was installed. The package's name follows.
var library = regexp.MustCompile(`/(?:site|dist)-packages/|/lib(?:32|64)?/(?:python|pypy)\d[^/]*/(?:(?:site|dist)-packages/)?|\.zip/|^<frozen |^<|^$`)

// LibraryOf tells whether a frame is of code that is not the user's, and of which package or module that is: "torch", "threading"; "" where
// that cannot be told.
func LibraryOf(f wire.StackFrame) (name string, ok bool) {
	file := string(f.File)
	at := library.FindAllStringIndex(file, -1)
	if f.Run != "" || at == nil || strings.HasPrefix(file, "<ipython-input-") { // code that a cell has run has no file
		return "", false
	}
	name, _, _ = strings.Cut(file[at[len(at)-1][1]:], "/")
	return strings.TrimSuffix(strings.TrimSuffix(name, ">"), ".py"), true
}
