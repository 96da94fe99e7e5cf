package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"dipls/dipexec/journal"
	"dipls/internal/trust"
	"dipls/session"
)

const trustHelp = `Tell whose code editors may run without a word, or change that.

An editor that says nothing of trust runs nothing of a folder until a command of yours runs a cell there: that is your
consent for this folder, and is remembered. A folder that brings its own interpreter (.venv) is asked about once.
'dipls trust FOLDER' answers ahead. 'dipls run FILE' runs what you name and needs no consent.

The file that holds this is "trusted", beside the runs in $XDG_STATE_HOME/dipls.`

func newTrust() *cobra.Command {
	var list bool
	var remove string
	cmd := &cobra.Command{
		Use:   "trust [FOLDER]",
		Short: "tell or change which folders' code editors may run",
		Long:  trustHelp,
		Example: `  dipls trust --list
  dipls trust ~/project
  dipls trust --remove ~/project`,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := openTrust()
			if err != nil {
				return err
			}
			switch {
			case cmd.Flags().Changed("remove") && !list && len(args) == 0:
				return forgetFolder(cmd, store, remove)
			case len(args) == 1 && !list && !cmd.Flags().Changed("remove"):
				return trustFolder(cmd, store, args[0])
			case len(args) == 0 && !cmd.Flags().Changed("remove"):
				return listTrusted(cmd, store)
			}
			return usagef("%s takes a FOLDER, --list or --remove FOLDER", cmd.CommandPath())
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "tell the folders, and the interpreters of their own that may run")
	cmd.Flags().StringVar(&remove, "remove", "", "forget a folder")
	return cmd
}

// openTrust is the memory of the folders whose code may run.
func openTrust() (*trust.Store, error) {
	runs, err := journal.DefaultDir()
	if err != nil {
		return nil, err
	}
	return trust.Open(filepath.Join(filepath.Dir(runs), "trusted")), nil
}

func listTrusted(cmd *cobra.Command, store *trust.Store) error {
	entries, err := store.List()
	if err != nil {
		return err
	}
	for _, e := range entries {
		line := quotedPath(e.Folder)
		if e.Python != "" {
			line += "\twith " + quotedPath(e.Python)
		}
		fmt.Fprintln(cmd.OutOrStdout(), line)
	}
	return nil
}

// quotedPath is a path on one line.
func quotedPath(path string) string {
	if quoted := fmt.Sprintf("%q", path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

func forgetFolder(cmd *cobra.Command, store *trust.Store, folder string) error {
	known, err := store.Remove(folder)
	if err == nil && !known {
		err = fmt.Errorf("%s is not trusted; 'dipls trust --list' tells which folders are", folder)
	}
	return err
}

func trustFolder(cmd *cobra.Command, store *trust.Store, folder string) error {
	real, err := trust.Real(folder)
	if err != nil {
		return err
	}
	own := ""
	if python, err := session.FindPython("--python", "", real); err == nil && python.BelongsTo(real) {
		own = python.Path
	}
	return store.Add(folder, own)
}

// tellOwn tells the user, once per folder, that the interpreter that --python chooses belongs to the folder. The command is the user's consent.
func (f *front) tellOwn(folder, path string) {
	python, err := session.FindPython("--python", path, folder)
	if err != nil || !python.BelongsTo(folder) {
		return // an error is reported when Python starts
	}
	store, err := openTrust()
	if err == nil {
		if e, known := store.Find(folder); known && e.Python == python.Path {
			return
		}
		err = store.Add(folder, python.Path)
	}
	if err != nil {
		f.log.Info("that the user has been told cannot be remembered", zap.Error(err))
	}
	f.tell(fmt.Sprintf("this runs %s, which belongs to the folder", python.Path))
}
