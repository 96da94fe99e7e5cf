package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dipls/export"
	"dipls/export/job"
	"dipls/internal/clean"
)

const exportHelp = `Make another file of FILE, in one of these ways:

--ipynb makes a notebook, and --html a page that needs nothing else, of the cells and of what their last runs have put out, by rank. That is read from
the journal, so it may be runs of any session, of an editor or of 'dipls run', up to two weeks old. A cell that was edited since shows what its old
text has put out, and says so. Of very much output there is the beginning and the end.

--torchrun makes a plain script that torchrun, srun and accelerate launch run, without dipls. Local cells run on rank 0, with variables of their own;
cells with %%dip run on the ranks; what %dipush and %dipull copy is broadcast where they stood. The value of a cell's last line is not shown: print it.
What has no meaning in a job, such as !commands, is an error that names the line and says what to do; what only helps at a prompt, such as
%matplotlib, becomes a comment.

--check runs both, by default on 2 ranks, and compares what they print on standard output, and the --variables that you name. What differs by its
nature, such as times and pids, counts as different. What stands behind "--" is given to both as sys.argv[1:].

Without -o the file is NAME.ipynb, NAME.html or NAME_job.py beside FILE. -o names another one, "-" is standard output. A file that is there is kept
unless --force says otherwise.

Exit codes: 0; 1 the file cannot be written, or --check has found a difference; 2 FILE cannot be exported so, or wrong flags`

// stdout is the name of standard output in place of a file.
const stdout = "-"

// exportFlags are the flags of dipls export.
type exportFlags struct {
	markers   markerFlag
	ipynb     bool
	html      bool
	torchrun  bool
	out       string
	force     bool
	checks    bool
	variables []string
	ranks     int
	args      []string // of the cells in a check
	python    string
}

func newExport() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:     "export FILE [-- ARGUMENTS]",
		Short:   "make a notebook, a page or a script for torchrun of a file",
		Long:    exportHelp,
		Example: "  dipls export --html train.py\n  dipls export --torchrun train.py && torchrun --nproc-per-node 4 train_job.py --lr 3e-4",
		Args:    fileAndArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.args = args[1:]
			switch {
			case len(f.args) > 0 && !f.checks:
				return usagef("arguments behind -- are for --check: those of the script are given to its launcher")
			case !f.ipynb && !f.html && !f.torchrun:
				return usagef("say what to make: --ipynb, --html or --torchrun")
			case f.checks && !f.torchrun:
				return usagef("--check is for --torchrun")
			case !f.checks && (len(f.variables) > 0 || cmd.Flags().Changed("ranks")):
				return usagef("--variables and -n are for --check")
			case f.ranks < 1:
				return usagef("-n %d: a job has at least one rank", f.ranks)
			}
			if f.torchrun {
				return f.script(cmd, args[0])
			}
			return f.document(cmd, args[0])
		},
	}
	cmd.Flags().BoolVar(&f.ipynb, "ipynb", false, "make a notebook, with outputs")
	cmd.Flags().BoolVar(&f.html, "html", false, "make a page, with outputs")
	cmd.Flags().BoolVar(&f.torchrun, "torchrun", false, "make a plain script for torchrun, srun and accelerate launch")
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "write to this `FILE`; \"-\" is standard output")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace a file that is there")
	cmd.Flags().BoolVar(&f.checks, "check", false, "run the cells and the script, and compare what they print")
	cmd.Flags().IntVarP(&f.ranks, "ranks", "n", checkRanks, "number of ranks of --check")
	cmd.Flags().StringSliceVar(&f.variables, "variables", nil, "compare these `NAMES` as well, at the end, in every namespace")
	cmd.Flags().StringVar(&f.python, "python", "", "interpreter for --check (default: as dipls run)")
	f.markers.add(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("ipynb", "html", "torchrun")
	return cmd
}

// document makes a notebook or a page.
func (f *exportFlags) document(cmd *cobra.Command, file string) error {
	source, err := readSource(file, &f.markers)
	if err != nil {
		return err
	}
	document, err := export.Gather("", source.path, source.text)
	if err != nil {
		return err
	}
	extension, write := ".ipynb", func(w io.Writer) error { return export.WriteNotebook(w, document) }
	if f.html {
		extension, write = ".html", func(w io.Writer) error { return export.WritePage(w, document, time.Now()) }
	}
	return f.write(cmd, cmp.Or(f.out, strings.TrimSuffix(file, ".py")+extension), write)
}

// script makes a script for torchrun.
func (f *exportFlags) script(cmd *cobra.Command, file string) error {
	source, err := readSource(file, &f.markers)
	if err != nil {
		return err
	}
	usual := strings.TrimSuffix(file, ".py") + "_job.py"
	out := cmp.Or(f.out, usual)
	named := out
	if out == stdout {
		named = usual
	}
	script, faults := job.Script(source.text, file, named)
	for _, fault := range faults {
		text := fmt.Sprintf("%s:%d: error: %s", file, fault.Line, fault.Message)
		if fault.Hint != "" {
			text += " (" + fault.Hint + ")"
		}
		fmt.Fprintln(cmd.ErrOrStderr(), clean.Text(text))
	}
	if len(faults) > 0 {
		return &exitError{exitUsage, nil}
	}
	if there, err := os.ReadFile(out); err != nil || string(there) != script { // or it has been made before
		err := f.write(cmd, out, func(w io.Writer) error {
			_, err := io.WriteString(w, script)
			return err
		})
		if err != nil {
			return err
		}
	}
	if !f.checks {
		return nil
	}
	return f.check(cmd.Context(), file, source.text, cmd.ErrOrStderr())
}

// write writes to a file, or to standard output.
func (f *exportFlags) write(cmd *cobra.Command, out string, write func(io.Writer) error) error {
	if out == stdout {
		return write(cmd.OutOrStdout())
	}
	err := export.WriteFile(out, f.force, write)
	switch {
	case errors.Is(err, fs.ErrExist):
		return usagef("%s is there already; --force replaces it, -o names another file", out)
	case err == nil:
		fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s\n", out)
	}
	return err
}
