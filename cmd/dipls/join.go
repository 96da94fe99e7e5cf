package main

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dipls/ranks/launch"
)

const joinHelp = `Make this host one of a session's pool. The session waits for it: it was started with --hosts 'join[2]', or by a command (exec[…]) that
runs this. It says which file has the start-up, with the token by which a host may join once; nothing secret is on a command line.

  dipls join --env                          the file that $` + launch.StartupVariable + ` names: for sbatch, a pod, torchrun --no-python
  dipls join ADDRESS --token-file FILE      the same file, and where the session is to be found (HOST:PORT)
  dipls join ADDRESS                        what is in that file comes on standard input

The host serves the session until that ends, and then ends with all that it runs. If the connection is lost, it resumes it; if the session does not answer
for the lease, it ends by itself.

The interpreter that runs the ranks is the first of: --python, $DIPLS_PYTHON, an active virtualenv or conda environment, the session's own if it is
here, python3.`

func newJoin() *cobra.Command {
	var env bool
	var file, python string
	cmd := &cobra.Command{
		Use:   "join (ADDRESS | --env)",
		Short: "make this host one of a session's pool",
		Long:  joinHelp,
		Example: "  dipls join --env\n  dipls join 10.0.0.1:7000 --token-file ~/.cache/dipls/hosts/start-1\n" +
			"  kubectl exec -i pod-0 -- dipls join 10.0.0.1:7000 <~/.cache/dipls/hosts/start-1",
		Args: oneAtMost("ADDRESS"),
		RunE: func(_ *cobra.Command, args []string) error {
			if env == (len(args) > 0) {
				return usagef("say where the session is: dipls join HOST:PORT, or dipls join --env")
			}
			if env {
				if file != "" {
					return usagef("with --env, $%s names the file", launch.StartupVariable)
				}
				if file = os.Getenv(launch.StartupVariable); file == "" {
					return usagef("$%s is not set: it is to name the file with the start-up, which the session tells", launch.StartupVariable)
				}
			}
			invited, err := startup(file)
			if err != nil {
				return err
			}
			for _, address := range args {
				if err := invited.At(address); err != nil {
					return usagef("%w", err)
				}
			}
			return invited.Become(interpreterHere(python, invited.Python))
		},
	}
	cmd.Flags().BoolVar(&env, "env", false, "the start-up is in the file that $"+launch.StartupVariable+" names")
	cmd.Flags().StringVar(&file, "token-file", "", "the file with the start-up, which only you can read; without it, standard input has it")
	cmd.Flags().StringVar(&python, "python", "", "the interpreter that runs the ranks")
	return cmd
}

// startup reads a start-up from a file, or from standard input if there is none.
func startup(file string) (*launch.Invited, error) {
	if file != "" {
		return launch.ReadFile(file)
	}
	invited, err := launch.Read(os.Stdin)
	if err != nil {
		return nil, errors.Join(err, errors.New("standard input is to have the start-up; --token-file names a file that has it"))
	}
	return invited, nil
}

// interpreterHere chooses the interpreter on a host that joins.
func interpreterHere(named, sessions string) string {
	if python := cmp.Or(named, os.Getenv("DIPLS_PYTHON")); python != "" {
		return python
	}
	var likely []string
	for _, env := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if dir := os.Getenv(env); dir != "" {
			likely = append(likely, filepath.Join(dir, "bin", "python"))
		}
	}
	if strings.Contains(sessions, "/") { // a name would be another interpreter here
		likely = append(likely, sessions)
	}
	if i := slices.IndexFunc(likely, isProgram); i >= 0 {
		return likely[i]
	}
	return "python3"
}

func isProgram(path string) bool {
	_, err := exec.LookPath(path)
	return err == nil
}
