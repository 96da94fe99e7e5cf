package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/session"
)

const (
	formats = `The end of a file's name says its format: .npy (one array), .npz (arrays by name), .pt (tensors, numbers, text, and lists and dictionaries of them;
read with weights_only), .json. Nothing that is read can run code.`

	pushHelp = `Give the ranks of a living session variables of its local namespace: all of them, or, if something fails, none.

NAME is a variable that is there. NAME=EXPR first gives it the value of a Python expression, which runs in the local namespace. NAME=@FILE first gives it what
a file holds.

` + formats + `

` + guestHelp

	pullHelp = `Write variables of a living session to a file, from rank 0, from another rank, or from the local namespace. No variable changes.

One variable is written as it is, several as a mapping by name; .npz always holds a mapping. The file is written whole or not at all, and takes the place of
one that is there.

` + formats + `

` + guestHelp
)

// transferFlags are the flags of dipls push and dipls pull.
type transferFlags struct {
	frontFlags
	session sessionFlag
	rank    int
	from    string
	output  string
}

func newPush() *cobra.Command {
	var f transferFlags
	cmd := &cobra.Command{
		Use:   "push [-s NAME] (NAME | NAME=EXPR | NAME=@FILE)…",
		Short: "give the ranks of a living session variables",
		Long:  pushHelp,
		Example: `  dipls push model lr
  dipls push lr=3e-4 'batch=[1, 2, 3]'
  dipls push weights=@best.pt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := planPush(args)
			if err != nil {
				return err
			}
			return attached(cmd, &f.session, session.AttachRequest{}, &f.frontFlags, "", func(ctx context.Context, g *guest) error {
				return g.cells(ctx, g.caller(ctx, session.Settings{}), p, false, false)
			})
		},
	}
	cmd.Flags().SortFlags = false
	f.session.add(cmd.Flags())
	f.addView(cmd.Flags())
	return cmd
}

// planPush is what a push does: values first, then all names at once.
func planPush(args []string) (*plan, error) {
	if len(args) == 0 {
		return nil, usagef("dipls push: name variables, as NAME, NAME=EXPR or NAME=@FILE")
	}
	local := cells.Target{Where: cells.Local}
	p := &plan{needsLocal: true, needsRanks: true}
	var names []string
	for _, arg := range args {
		name, value, valued := strings.Cut(arg, "=")
		name = strings.TrimSpace(name)
		if !isName(name) {
			return nil, usagef("%q: %q is no name of a variable", arg, name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		file, isFile := strings.CutPrefix(value, "@")
		switch {
		case !valued:
		case isFile:
			if err := checkFormat(file); err != nil {
				return nil, err
			}
			path, err := filepath.Abs(file)
			if err != nil {
				return nil, usagef("%w", err)
			}
			if _, err := os.Stat(path); err != nil {
				return nil, usagef("%q: cannot read the file: %w", arg, err)
			}
			p.cells = append(p.cells, plannedCell{session.CellOfFile(session.File{Path: path, Names: []string{name}}, local), local})
		case strings.TrimSpace(value) == "" || strings.HasPrefix(value, "="):
			return nil, usagef("%q: no value; write NAME=EXPR or NAME=@FILE", arg)
		default:
			// In parentheses it is one expression, whatever it contains.
			code := fmt.Sprintf("%s = (%s\n)", name, value)
			p.cells = append(p.cells, plannedCell{session.Cell{Code: code, Line: 1, Title: arg, NoAutodip: true, Target: local}, local})
		}
	}
	p.cells = append(p.cells, plannedCell{session.CellOfTransfer(session.Transfer{Names: names}), local})
	return p, nil
}

// fileFormats are the ends of the names of files that can be read and written.
var fileFormats = []string{".npy", ".npz", ".pt", ".json"}

// checkFormat refuses a file whose name does not say its format.
func checkFormat(file string) error {
	if slices.Contains(fileFormats, strings.ToLower(filepath.Ext(file))) {
		return nil
	}
	return usagef("%s: the end of a file's name says its format: %s", file, strings.Join(fileFormats, ", "))
}

// isName reports whether a word may be a variable's name. Python has the last word.
func isName(word string) bool {
	return word != "" && !strings.ContainsAny(word, " \t\n.,;:()[]{}'\"+-*/%&|^~<>!@#$?\\=") && (word[0] < '0' || word[0] > '9')
}

func newPull() *cobra.Command {
	var f transferFlags
	cmd := &cobra.Command{
		Use:   "pull [-s NAME] [-r RANK | --from local] NAMES… -o FILE",
		Short: "write variables of a living session to a file",
		Long:  pullHelp,
		Example: `  dipls pull losses -o losses.json
  dipls pull -r 3 grads weights -o rank3.pt
  dipls pull --from local metrics -o metrics.npz`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := f.planPull(cmd, args)
			if err != nil {
				return err
			}
			return attached(cmd, &f.session, session.AttachRequest{}, &f.frontFlags, "", func(ctx context.Context, g *guest) error {
				if p.needsRanks && g.about.Ranks == 0 {
					return &exitError{exitPool, fmt.Errorf("session %s has no ranks; --from local takes variables of the local namespace", g.about.Name)}
				}
				return g.cells(ctx, g.caller(ctx, session.Settings{}), p, false, false)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.session.add(flags)
	flags.IntVarP(&f.rank, "rank", "r", 0, "the `RANK` whose variables are written")
	flags.StringVar(&f.from, "from", "", `"local": the variables of the local namespace are written`)
	flags.StringVarP(&f.output, "output", "o", "", "the `FILE`")
	f.addView(flags)
	return cmd
}

// planPull is what a pull does.
func (f *transferFlags) planPull(cmd *cobra.Command, args []string) (*plan, error) {
	switch {
	case len(args) == 0:
		return nil, usagef("%s: name variables", cmd.CommandPath())
	case f.output == "":
		return nil, usagef("%s: -o FILE says where to", cmd.CommandPath())
	case f.from != "" && f.from != "local":
		return nil, usagef(`--from %q: only "local" is meant so; -r RANK is a rank`, f.from)
	case f.from != "" && cmd.Flags().Changed("rank"):
		return nil, usagef("-r and --from contradict each other")
	case f.rank < 0:
		return nil, usagef("-r %d: ranks are numbered from 0", f.rank)
	}
	for _, name := range args {
		if !isName(name) {
			return nil, usagef("%q is no name of a variable", name)
		}
	}
	if err := checkFormat(f.output); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(f.output)
	if err != nil {
		return nil, usagef("%w", err)
	}
	on := cells.Target{Where: cells.Local}
	if f.from == "" {
		on = cells.Target{Where: cells.Remote}
		if on.Ranks, err = ranklist.Parse(fmt.Sprint(f.rank)); err != nil {
			return nil, usagef("-r: %w", err)
		}
	}
	request := session.CellOfFile(session.File{Path: path, Names: args, Write: true}, on)
	request.See = on.Ranks
	return &plan{needsLocal: f.from != "", needsRanks: f.from == "", cells: []plannedCell{{request, on}}}, nil
}
