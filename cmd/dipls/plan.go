package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/session"
)

// plan is what a run will do, decided before anything is started.
type plan struct {
	path       string // of the file, absolute
	cells      []plannedCell
	needsRanks bool // as far as the text tells: magics may ask for the pool as well
	needsLocal bool
	makesPool  bool // a cell says itself what pool it wants (%makedip)
	warnings   []string
	skipped    bool // a cell is wrong, and the others run without it
}

// plannedCell is a cell that will be run.
type plannedCell struct {
	request session.Cell
	target  cells.Target // where it will run, as far as the text tells
}

// cellFlags are the flags of a command that runs cells.
type cellFlags struct {
	target    string
	otherwise string
	see       string
	timeout   time.Duration
	hangAfter orOff
	keepGoing bool
	markers   markerFlag
}

// add adds the flags; where is the name of the one for the target.
func (f *cellFlags) add(flags *pflag.FlagSet, where string) {
	f.hangAfter.d = defaultHangAfter
	f.markers.add(flags)
	flags.StringVar(&f.target, where, "", "where every cell runs, whatever it says itself: remote, local, everywhere or ranks:LIST")
	flags.StringVar(&f.otherwise, "default-"+where, "", "where a cell runs if neither it nor autodip nor the file says so "+
		`("# dip: remote" at its top; default: local)`)
	flags.StringVar(&f.see, "see", "", `whose output is shown: "all", or ranks such as 0,2-4 or host:gpu2 (default: what the cell says, else rank 0)`)
}

// addRunning adds the flags about cells that run.
func (f *cellFlags) addRunning(flags *pflag.FlagSet) {
	flags.BoolVarP(&f.keepGoing, "keep-going", "k", false, "go on with the next cell after one has failed, and leave out those of which a line is wrong")
	flags.DurationVar(&f.timeout, "timeout", 0, "interrupt a cell that runs longer, such as 90s or 2h; it counts as failed (default: none)")
	flags.Var(&f.hangAfter, "hang-after", `how long a cell runs before its ranks are looked at for some that wait for others, or "off"`)
}

// source is the text of cells, and where it is from.
type source struct {
	name string // for messages
	path string // absolute; "": no file
	text *cells.File
}

// readSource reads a file.
func readSource(file string, markers *markerFlag) (source, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return source{}, usagef("%w", err)
	}
	parsed, err := readCells(file, markers)
	return source{file, path, parsed}, err
}

// plan checks everything that can be checked without Python, for cells of a source that were selected. Its errors are usage errors; where is the name of
// the flag for the target.
func (f *cellFlags) plan(from source, selected []cells.Cell, where string) (*plan, error) {
	if f.timeout < 0 {
		return nil, usagef("--timeout %s: a cell cannot take less than no time", f.timeout)
	}
	var target cells.Target
	var see ranklist.List
	var otherwise cells.Target
	var err error
	if f.otherwise != "" {
		if otherwise, err = cells.ParseTarget(f.otherwise); err != nil {
			return nil, usagef("--default-%s: %w", where, err)
		}
	}
	if f.target != "" {
		if target, err = cells.ParseTarget(f.target); err != nil {
			return nil, usagef("--%s: %w", where, err)
		}
	}
	if f.see != "" {
		if see, err = ranklist.ParseRanks(f.see); err != nil {
			return nil, usagef("--see: %w", err)
		}
	}
	p := &plan{path: from.path}
	selected, err = p.checkProblems(from.name, from.text, selected, f.keepGoing)
	if err != nil {
		return nil, err
	}
	for _, cell := range selected {
		request, ok := session.CellOf(from.path, cell)
		if !ok {
			continue
		}
		if request.Otherwise.Where == cells.None && !request.NoAutodip {
			request.Otherwise = otherwise
		}
		request.Target, request.See, request.Timeout, request.HangAfter = target, see, f.timeout, f.hangAfterOf()
		p.add(cell, request)
	}
	return p, nil
}

// add plans to run a cell.
func (p *plan) add(cell cells.Cell, request session.Cell) {
	autodip, _ := cell.Autodip()
	planned := plannedCell{
		request: request,
		target:  session.TargetOf(request, autodip.String()),
	}
	switch planned.target.Where {
	case cells.Local:
		p.needsLocal = true
	case cells.Remote:
		p.needsRanks = true
	case cells.Everywhere:
		p.needsLocal, p.needsRanks = true, true
	}
	for _, magic := range cell.Magics() {
		p.makesPool = p.makesPool || magic.Name == "makedip" && !magic.Help
	}
	p.cells = append(p.cells, planned)
}

// requests are the cells for the session.
func (p *plan) requests() []session.Cell {
	list := make([]session.Cell, len(p.cells))
	for i, planned := range p.cells {
		list[i] = planned.request
	}
	return list
}

// checkRanks refuses cells that a pool of so many ranks (0: nobody knows yet) cannot run, before the first one has had any effect.
func (p *plan) checkRanks(size int) error {
	if size == 0 {
		return nil
	}
	for _, planned := range p.cells {
		request := planned.request
		if planned.target.Where == cells.Local {
			continue
		}
		see := request.See
		if see.IsZero() {
			see = request.Directive.See
		}
		if highest := max(planned.target.Ranks.Max(), see.Max()); highest >= size {
			what := fmt.Sprintf("cell %d", request.Cell)
			if request.Cell == 0 {
				what = strconv.Quote(request.Title)
			}
			return usagef("nothing was run: %s names rank %d, and the pool has %s, numbered from 0", what, highest, plural(size, "rank"))
		}
	}
	return nil
}

// checkProblems refuses to run if a line of a selected cell is wrong, such as its directive: to guess where it should run could cost hours.
// With keepGoing it returns the other cells. What Python itself will complain about, or what does no harm, is a warning.
func (p *plan) checkProblems(file string, parsed *cells.File, selected []cells.Cell, keepGoing bool) ([]cells.Cell, error) {
	var right []cells.Cell
	var errors []string
	for _, cell := range selected {
		fault, wrong := cell.Fault()
		wrong = wrong && cell.Runs()
		if text := describeProblem(file, parsed, fault); wrong && fault.Range.End <= cell.Range().Start && !slices.Contains(errors, text) {
			errors = append(errors, text) // it is the file's
		}
		for _, problem := range cell.Problems() {
			text := describeProblem(file, parsed, problem)
			if wrong && problem.Severity == cells.Error {
				errors = append(errors, text)
			} else {
				p.warnings = append(p.warnings, text)
			}
		}
		switch {
		case !wrong:
			right = append(right, cell)
		case keepGoing:
			p.warnings = append(p.warnings, append(errors, fmt.Sprintf("dipls: cell %d is skipped", cell.Index()))...)
			p.skipped, errors = true, nil
		}
	}
	if len(errors) > 0 {
		return nil, usagef("nothing was run: the file asks for what cannot be\n%s", strings.Join(errors, "\n"))
	}
	return right, nil
}

// selectCells picks the cells that a flag or argument names, in file order; all of them if it names none.
func selectCells(file *cells.File, flag string, wanted []string) ([]cells.Cell, error) {
	chosen := map[int]bool{}
	for _, want := range wanted {
		indices, err := matchCells(file, flag, want)
		if err != nil {
			return nil, err
		}
		for _, index := range indices {
			chosen[index] = true
		}
	}
	var selected []cells.Cell
	for cell := range file.Cells() {
		if len(wanted) == 0 || chosen[cell.Index()] {
			selected = append(selected, cell)
		}
	}
	return selected, nil
}

// matchCells returns the indices of the cells that one value of --cells, or the end of FILE:CELL, names: a list of numbers, or a title.
func matchCells(file *cells.File, flag, want string) ([]int, error) {
	list, err := ranklist.Parse(want)
	switch {
	case strings.TrimSpace(want) == "":
		return nil, usagef("%s: name cells by number (1,3-5) or by title", flag)
	case err != nil && strings.Trim(want, "0123456789,- ") == "":
		return nil, usagef("%s: %w", flag, err)
	case err == nil:
		if list.All() {
			return list.Of(file.Len() + 1), nil
		}
		for index := range list.Written() {
			if index < 1 || index > file.Len() {
				return nil, usagef("%s %s: there is no cell %d; the file has %s, see: dipls cells", flag, want, index, plural(file.Len(), "cell"))
			}
		}
		return list.Of(file.Len() + 1), nil
	}
	return matchTitle(file, flag, want)
}

// matchTitle returns the indices of the cells with a title. The title may be cut short if it then fits one cell only.
func matchTitle(file *cells.File, flag, want string) ([]int, error) {
	var exact, prefix []int
	var titles []string
	for cell := range file.Cells() {
		title := cell.Title()
		if title != "" {
			titles = append(titles, strconv.Quote(title))
		}
		switch {
		case strings.EqualFold(title, want):
			exact = append(exact, cell.Index())
		case len(title) >= len(want) && strings.EqualFold(title[:len(want)], want):
			prefix = append(prefix, cell.Index())
		}
	}
	switch {
	case len(exact) > 0:
		return exact, nil
	case len(prefix) == 1:
		return prefix, nil
	case len(prefix) > 1:
		return nil, usagef("%s %q: %d titles begin so; write one out, or its number", flag, want, len(prefix))
	case len(titles) == 0:
		return nil, usagef("%s %q: no cell has a title; use numbers, see: dipls cells", flag, want)
	}
	return nil, usagef("%s %q: no such title; there are %s", flag, want, strings.Join(titles, ", "))
}
