package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dipls/session"
)

// processFlags are the flags about what code finds in its process.
type processFlags struct {
	variables []string          // NAME=VALUE
	env       map[string]string // of variables, once they were checked
	envFile   string            // likewise absolute
	chdir     string            // likewise absolute
	args      []string          // what sys.argv has behind the file; nil: nothing was said
}

func (f *processFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.variables, "env", nil, "a variable of all processes, `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.envFile, "env-file", "", "`FILE` of such variables, a line each; --env counts before it")
	flags.StringVar(&f.chdir, "chdir", "", "working `FOLDER` of all processes (default: the current one; with --session, the session's folder)")
}

// fileAndArguments takes one file and, behind "--", what the cells find in sys.argv.
func fileAndArguments(cmd *cobra.Command, args []string) error {
	named := args
	if dash := cmd.ArgsLenAtDash(); dash > 0 {
		named = args[:dash]
	} else if dash == 0 && len(args) > 0 {
		named = args[:1] // the file may have a name like a flag
	}
	if len(named) == 1 {
		return nil
	}
	if len(named) > 1 {
		return usagef("%s takes one file; what is meant for its cells goes behind --: %s %s -- %s", cmd.CommandPath(), cmd.CommandPath(),
			shellQuote(named[0]), strings.Join(named[1:], " "))
	}
	return oneFile(cmd, named)
}

// takeArguments reads the flags, with what stands behind "--".
func (f *processFlags) takeArguments(args []string) error {
	if len(args) > 0 {
		f.args = args
	}
	for _, variable := range f.variables {
		name, value, ok := strings.Cut(variable, "=")
		if !ok {
			return usagef("--env %s: want NAME=VALUE", variable)
		}
		if f.env == nil {
			f.env = map[string]string{}
		}
		f.env[name] = value
	}
	if err := session.CheckEnv(f.env); err != nil {
		return usagef("--env: %w", err)
	}
	var err error
	if f.envFile, err = existing("--env-file", f.envFile, false); err != nil {
		return err
	}
	f.chdir, err = existing("--chdir", f.chdir, true)
	return err
}

// existing is the absolute path that a flag names; "" if it names none.
func existing(flag, path string, folder bool) (string, error) {
	if path == "" {
		return "", nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	info, err := os.Stat(absolute)
	switch {
	case err != nil:
		return "", usagef("%s %s: %w", flag, path, fileFault(err))
	case info.IsDir() != folder:
		return "", usagef("%s %s: it is %s", flag, path, map[bool]string{true: "no folder", false: "no file"}[folder])
	}
	return absolute, nil
}
