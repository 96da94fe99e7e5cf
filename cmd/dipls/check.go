package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/internal/trust"
	"dipls/session"
)

const checkHelp = `Compile the cells of each FILE, and tell what is wrong with them. Nothing is run, and nothing of the files' folders is imported.

What "dipls run" would refuse before the first cell is an error: a wrong directive, and a cell that does not compile. IPython's magics,
"!commands" and "await" outside of functions are right; the body of a cell magic such as %%bash is not looked at. What an earlier cell may give a
meaning to (an extension that it loads, a magic that it defines) counts as right.

The interpreter is found as by "dipls run", for each FILE. A .venv above FILE is used only if you have let it run: by "dipls run", in an editor, or
by "dipls trust FOLDER".

As a hook of pre-commit:

    repos:
    - repo: local
      hooks:
      - id: dipls
        name: dipls check
        entry: dipls check
        language: system
        types: [python]

Exit codes:
    0  nothing is wrong; nothing is printed
    1  something is wrong; each error is a line, FILE:LINE:COLUMN: error: MESSAGE
    2  usage: a flag is wrong, or a FILE cannot be read
    3  the interpreter cannot be used`

// checkFlags are the flags of dipls check.
type checkFlags struct {
	markers markerFlag
	json    bool
	python  string
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "compile the cells of files, and run nothing",
		Long:  checkHelp,
		Example: `  dipls check train.py
  dipls check --json *.py`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes a FILE, or several", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.python, "python", "", `interpreter (default: as "dipls run" finds it)`)
	f.markers.add(flags)
	flags.BoolVar(&f.json, "json", false, "print a JSON array of what is wrong (docs/events.md, Cells)")
	return cmd
}

// checkedFile is a file whose cells are compiled.
type checkedFile struct {
	source
	cells  []session.Cell
	faults []checkFault
}

// checkFault is something wrong in a file, as JSON.
type checkFault struct {
	Path    string `json:"path"`            // of the file, as it was given
	Cell    int    `json:"cell"`            // its number
	Line    int    `json:"line"`            // from 1
	Column  int    `json:"column"`          // in code points, from 1
	Name    string `json:"ename,omitempty"` // class of Python's exception; "": a directive or another line of the cell is wrong
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do
}

func (f checkFault) String() string {
	text := f.Message
	if f.Name != "" {
		text = f.Name + ": " + text
	}
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", f.Path, f.Line, f.Column, cells.Error, text)
}

// run checks files. What is wrong with some is told also where others cannot be checked.
func (f *checkFlags) run(cmd *cobra.Command, args []string) error {
	files := make([]*checkedFile, len(args))
	for i, name := range args {
		from, err := readSource(name, &f.markers)
		if err != nil {
			return err
		}
		files[i] = &checkedFile{source: from}
		files[i].parse()
	}
	failed := f.compile(cmd.Context(), files)
	faults := []checkFault{} // none is [], not null
	for _, file := range files {
		slices.SortStableFunc(file.faults, func(a, b checkFault) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
		faults = append(faults, file.faults...)
	}
	if err := f.print(cmd.OutOrStdout(), faults); err != nil {
		return err
	}
	switch {
	case failed != nil:
		return &exitError{exitPool, failed}
	case len(faults) > 0:
		return &exitError{exitFailed, nil}
	}
	return nil
}

func (f *checkFlags) print(w io.Writer, faults []checkFault) error {
	if f.json {
		return writeJSON(w, faults)
	}
	for _, fault := range faults {
		if _, err := fmt.Fprintln(w, clean.Text(fault.String())); err != nil {
			return err
		}
	}
	return nil
}

// parse finds what is wrong with the lines of dipls' own, and the cells that Python is to look at.
func (c *checkedFile) parse() {
	for cell := range c.text.Cells() {
		for _, problem := range cell.Problems() {
			if problem.Severity == cells.Error {
				at := c.text.Position(problem.Range.Start, cells.UTF32)
				c.faults = append(c.faults, checkFault{
					Path: c.name, Cell: cell.Index(), Line: at.Line + 1, Column: at.Column + 1, Message: problem.Message, Hint: problem.Hint,
				})
			}
		}
		request, runs := session.CellOf(c.path, cell)
		if _, wrong := cell.Fault(); runs && !wrong {
			c.cells = append(c.cells, request)
		}
	}
}

// compile has the cells compiled: one process looks at all files that have the same interpreter.
func (f *checkFlags) compile(ctx context.Context, files []*checkedFile) error {
	var pythons []string
	of := map[string][]*checkedFile{}
	for _, file := range files {
		if len(file.cells) == 0 {
			continue
		}
		python, err := f.interpreter(filepath.Dir(file.path))
		if err != nil {
			return fmt.Errorf("%s: %w", file.name, err)
		}
		if of[python] == nil {
			pythons = append(pythons, python)
		}
		of[python] = append(of[python], file)
	}
	for _, python := range pythons {
		var lists [][]session.Cell
		for _, file := range of[python] {
			lists = append(lists, file.cells)
		}
		found, err := session.CheckFiles(ctx, python, lists)
		if err != nil {
			return err
		}
		for i, file := range of[python] {
			for _, fault := range found[i] {
				file.faults = append(file.faults, checkFault{
					Path: file.name, Cell: file.cells[fault.Cell].Cell, Line: fault.Line, Column: fault.Column, Name: fault.Name, Message: fault.Text,
				})
			}
		}
	}
	return nil
}

// interpreter is the one for the files of a folder. One that is found above them must have been let run: this command says nothing of it.
func (f *checkFlags) interpreter(folder string) (string, error) {
	path := f.python
	if absolute, err := filepath.Abs(path); err == nil && strings.Contains(path, "/") {
		path = absolute
	}
	python, err := session.FindPython("--python", path, folder)
	if err != nil || !python.Near {
		return python.Path, err
	}
	store, err := openTrust()
	if err != nil {
		return "", err
	}
	trusted, err := store.List()
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(trusted, func(e trust.Entry) bool { return e.Python == python.Path }) {
		return python.Path, nil
	}
	return "", fmt.Errorf("its interpreter, %s, comes with the folder, and you have not let it run: dipls trust %s, or name one by --python",
		python.Path, shellQuote(filepath.Dir(filepath.Dir(filepath.Dir(python.Path)))))
}
