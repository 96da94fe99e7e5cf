package session

import (
	"cmp"
	"context"
	"fmt"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Fault is why a cell does not compile.
type Fault struct {
	Cell   int    // its index in the list
	Name   string // class of the exception: SyntaxError
	Text   string // its text, without the place
	Line   int    // of the file, from 1
	Column int    // in code points, from 1
}

// CheckFiles has the cells of files compiled by an interpreter, given by its path, as a session would before it runs those of each file one after the
// other. It answers what is wrong in each file. Nothing of the files or their folders is run or imported. The error's code is CodePackages if the
// interpreter lacks what that needs, and CodePython if it does not work.
func CheckFiles(ctx context.Context, python string, files [][]Cell) ([][]Fault, error) {
	requests := make([]wire.CheckRequest, len(files))
	for i, list := range files {
		requests[i].Cells = []wire.CheckedCell{}
		for _, c := range list {
			requests[i].Cells = append(requests[i].Cells, wire.CheckedCell{Code: c.Code, Path: wire.Path(c.Path), Line: c.Line})
		}
	}
	answer, err := host.CheckFiles(ctx, python, requests, ownPackages(python)...)
	if err != nil {
		return nil, coded(err, CodePython)
	}
	faults := make([][]Fault, len(files))
	for i, list := range answer {
		for _, f := range list {
			if f.Cell < 0 || f.Cell >= len(files[i]) {
				return nil, &Error{Code: CodePython, Text: fmt.Sprintf("%s answered of a cell %d that it was not asked about", python, f.Cell)}
			}
			line := files[i][f.Cell].Line
			if n := len(f.Frames); n > 0 {
				line = f.Frames[n-1].Line
			}
			faults[i] = append(faults[i], Fault{Cell: f.Cell, Name: f.EName, Text: cmp.Or(f.Message, f.EValue), Line: line, Column: max(1, f.Column)})
		}
	}
	return faults, nil
}
