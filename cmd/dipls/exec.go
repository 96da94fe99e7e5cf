package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dipls/internal/clean"
	"dipls/session"
)

const execHelp = `Run code in a living session, and show it as "dipls run" does.

CODE is Python as in a cell: magics work, and the value of a last expression is shown. "-" reads it from standard input. FILE:CELL is a cell of
a file, by its number as "dipls cells" prints it (also a list such as 1,3-5), or by its title; FILE alone is all its cells, one after the other. Text with
several "# %%" cells runs as these.

Where a cell runs, first match wins: --on; the cell's own directive; the session's autodip; the line "# dip: remote" at the text's top; --default-on; the local
namespace. If the session has no ranks yet, and the code
needs some, they are started as whoever started the session's Python wants them.

` + guestHelp + `

Exit codes are those of "dipls run"; 2 also if there is no such session, or several could be meant.`

// execFlags are the flags of dipls exec.
type execFlags struct {
	frontFlags
	cellFlags
	session sessionFlag
	code    string
}

func newExec() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec [-s NAME] (-c CODE | - | FILE[:CELL])",
		Short: "run code in a living session",
		Long:  execHelp,
		Example: `  dipls exec -c 'model.state_dict().keys()'
  dipls exec -s train --on remote --see all -c 'torch.cuda.memory_allocated()'
  dipls exec train.py:3
  dipls exec train.py:'Evaluate'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := f.planCode(cmd, args)
			if err != nil {
				return err
			}
			return f.run(cmd, p)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.session.add(flags)
	flags.StringVarP(&f.code, "code", "c", "", "the `CODE` to run")
	f.cellFlags.add(flags, "on")
	f.addRunning(flags)
	f.addHang(flags)
	f.addView(flags)
	return cmd
}

// run runs a plan in the session.
func (f *execFlags) run(cmd *cobra.Command, p *plan) error {
	for _, warning := range p.warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), clean.Text(warning))
	}
	if len(p.cells) == 0 && p.skipped {
		return &exitError{exitFailed, nil}
	}
	if len(p.cells) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "dipls: there is no code to run")
		return nil
	}
	return attached(cmd, &f.session, session.AttachRequest{}, &f.frontFlags, "", func(ctx context.Context, g *guest) error {
		return g.cells(ctx, g.caller(ctx, session.Settings{}), p, f.keepGoing, false)
	})
}

// planCode is what will be run, by the arguments.
func (f *execFlags) planCode(cmd *cobra.Command, args []string) (*plan, error) {
	from, wanted, err := f.source(cmd, args)
	if err != nil {
		return nil, err
	}
	selected, err := selectCells(from.text, "FILE:CELL", wanted)
	if err != nil {
		return nil, err
	}
	p, err := f.plan(from, selected, "on")
	if err != nil {
		return nil, err
	}
	if from.path == "" && len(p.cells) == 1 { // it is no cell of a file, and has no number
		c := &p.cells[0].request
		c.Cell, c.Source = 0, ""
		if c.Title == "" {
			c.Title, _, _ = strings.Cut(strings.TrimSpace(c.Code), "\n")
		}
	}
	return p, nil
}

// source is the text that the arguments mean, and the cells of it that they name; none: all.
func (f *execFlags) source(cmd *cobra.Command, args []string) (from source, wanted []string, err error) {
	markers, err := f.markers.chosen()
	if err != nil {
		return source{}, nil, err
	}
	switch hasCode := cmd.Flags().Changed("code"); {
	case hasCode && len(args) == 0:
		return source{name: "-c", text: markers.Parse(f.code)}, nil, nil
	case hasCode || len(args) != 1:
		return source{}, nil, usagef("%s takes one of -c CODE, - for standard input, and FILE or FILE:CELL", cmd.CommandPath())
	case args[0] == "-":
		text, err := io.ReadAll(cmd.InOrStdin())
		if err != nil {
			return source{}, nil, fmt.Errorf("cannot read standard input: %w", err)
		}
		return source{name: "<stdin>", text: markers.Parse(string(text))}, nil, nil
	}
	file, cell := splitCell(args[0])
	if cell != "" {
		wanted = []string{cell}
	}
	from, err = readSource(file, &f.markers)
	return from, wanted, err
}

// splitCell divides FILE:CELL. Names of files and titles of cells may have colons: the longest beginning that is a file counts.
func splitCell(argument string) (file, cell string) {
	for end := len(argument); end > 0; end = strings.LastIndexByte(argument[:end], ':') {
		if info, err := os.Stat(argument[:end]); err == nil && !info.IsDir() {
			return argument[:end], strings.TrimPrefix(argument[end:], ":")
		}
	}
	if dir, base := filepath.Split(argument); strings.Contains(base, ":") { // there is no file; the usual meaning makes the better message
		name, cell, _ := strings.Cut(base, ":")
		return dir + name, cell
	}
	return argument, ""
}
