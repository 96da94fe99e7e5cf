package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dipls/cells"
	"dipls/internal/clean"
)

func newCells() *cobra.Command {
	var asJSON bool
	var markers markerFlag
	cmd := &cobra.Command{
		Use:   "cells FILE",
		Short: "show the cells of a file as the parser sees them",
		Long: `Show the cells of FILE as the parser sees them, and what is wrong with them.

The number in the first column is what "dipls run --cells" takes. A cell without a target runs in the local namespace.
"(autodip)" marks a cell that says nothing itself and runs where an "%autodip on" above it says, when the cells run in order; "(file)" one that
runs where the file says so for all of its cells ("# dip: remote" at its top).`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readCells(args[0], &markers)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeCellsJSON(cmd.OutOrStdout(), file)
			} else {
				err = writeCellsTable(cmd.OutOrStdout(), file)
			}
			for _, problem := range file.Problems() {
				fmt.Fprintln(cmd.ErrOrStderr(), describeProblem(args[0], file, problem))
			}
			return err
		},
	}
	markers.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array (docs/events.md, Cells)")
	return cmd
}

// markerFlag is the comments that begin cells besides the usual ones.
type markerFlag struct{ list []string }

func (f *markerFlag) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.list, "cell-marker", nil, "a `COMMENT` that begins a cell besides \"# %%\" and the like, such as "+
		"\"# COMMAND ----------\" or \"# +\"; may be repeated")
}

// chosen are the comments, once they were checked.
func (f *markerFlag) chosen() (*cells.Markers, error) {
	markers, err := cells.NewMarkers(f.list)
	if err != nil {
		return nil, usagef("--cell-marker: %w", err)
	}
	return markers, nil
}

// readCells reads and parses a file.
func readCells(path string, f *markerFlag) (*cells.File, error) {
	markers, err := f.chosen()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("cannot read %s: %w", path, fileFault(err))
	}
	return markers.Parse(string(text)), nil
}

// fileFault is what is wrong with a file that a message names: which of the system's calls has failed is for programmers.
func fileFault(err error) error {
	if of, ok := errors.AsType[*fs.PathError](err); ok {
		return of.Err
	}
	return err
}

func writeCellsJSON(w io.Writer, file *cells.File) error {
	views := []cells.View{} // an empty file is [], not null
	for cell := range file.Cells() {
		views = append(views, cell.View())
	}
	return writeJSON(w, views)
}

func writeCellsTable(w io.Writer, file *cells.File) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CELL\tLINES\tTYPE\tTARGET\tSEE\tTITLE")
	for cell := range file.Cells() {
		view := cell.View()
		title := view.Title
		if title == "" {
			title = firstLine(view.Source)
		}
		target, see := view.Target, view.See
		if autodip, ok := cell.Autodip(); ok {
			target, see = autodip.Target.String()+" (autodip)", autodip.See.String()
		} else if target == "" && view.Default != "" && cell.Runs() {
			target = view.Default + " (file)"
		}
		fmt.Fprintf(table, "%d\t%d-%d\t%s\t%s\t%s\t%s%s\n", view.Index, view.Line, view.EndLine, view.Type,
			dash(target), dash(see), strings.Repeat("  ", view.Depth), clean.Line(title))
	}
	return table.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// firstLine is the title shown for a cell that has none: its first line of text, in brackets.
func firstLine(source string) string {
	for line := range strings.Lines(source) {
		if line = strings.TrimSpace(line); line != "" {
			if runes := []rune(line); len(runes) > 50 {
				line = string(runes[:49]) + "…"
			}
			return "(" + line + ")"
		}
	}
	return "(empty)"
}

// describeProblem writes a problem the way compilers do, so that editors and terminals can follow it.
func describeProblem(path string, file *cells.File, problem cells.Problem) string {
	at := file.Position(problem.Range.Start, cells.UTF32)
	text := fmt.Sprintf("%s:%d:%d: %s: %s", path, at.Line+1, at.Column+1, problem.Severity, problem.Message)
	if problem.Hint != "" {
		text += " (" + problem.Hint + ")"
	}
	return text
}
