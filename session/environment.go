package session

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/joho/godotenv"

	"dipls/ranks"
)

// The name of the file of variables that need not be there, and how much such a file may hold.
const (
	usualEnvFile = ".env"
	maxEnvFile   = 1 << 20
)

// CheckEnv refuses variables that processes cannot be given.
func CheckEnv(env map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		switch {
		case name == "" || strings.ContainsAny(name, "= \t\x00") || strings.ContainsRune(env[name], 0):
			return errorf(CodeInvalid, "%q is no variable that a process can have", name)
		case ranks.SetsItself(name):
			return errorf(CodeInvalid, "%s cannot be set: each rank has its own", name)
		}
	}
	return nil
}

// envFile is the file of variables that settings name; "": none.
func (s *Session) envFile(settings Settings) string { return s.within(settings.EnvFile) }

// within is a path as seen from the session's folder; "" stays so.
func (s *Session) within(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.o.Dir, path)
}

// laterVariables reads the variables that settings give to all processes, with those of a file; nil: there is no file to be read. It may be called only
// after the user's consent: the file may be the folder's.
func (s *Session) laterVariables(by Caller) func() (map[string]string, error) {
	path := s.envFile(by.Settings)
	if _, err := os.Stat(path); path == "" || errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == usualEnvFile {
		return nil
	}
	return func() (map[string]string, error) {
		env, err := readEnvFile(path)
		if err == nil {
			err = CheckEnv(env)
		}
		if err != nil {
			return nil, errorf(CodeInvalid, "%s: %s: %v", by.setting(by.name("envFile", "env-file")), path, err)
		}
		maps.Copy(env, by.Settings.Env)
		return env, nil
	}
}

// readEnvFile reads a file of variables. Its errors quote nothing of the file, which may hold secrets.
func readEnvFile(path string) (map[string]string, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, reason(err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	switch {
	case err != nil:
		return nil, reason(err)
	case len(text) > maxEnvFile:
		return nil, errors.New("it is larger than 1 MiB")
	}
	env, err := readVariables(string(text))
	if err != nil {
		return nil, fmt.Errorf("line %d is not NAME=VALUE", wrongLine(string(text)))
	}
	return env, nil
}

// readVariables reads the text of a file of variables.
func readVariables(text string) (map[string]string, error) {
	env, err := godotenv.Unmarshal(text)
	for name := range env {
		if strings.ContainsAny(name, " \t") {
			err = errors.New("a name with blanks") // as that package reads a line without an equals sign together with the next one
		}
	}
	return env, err
}

// reason is what an error of the file system says, without the path.
func reason(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// wrongLine is the line at which a file of variables cannot be read on: what is above it can. It reads a statement at a time, since a file may be large.
func wrongLine(text string) int {
	lines := strings.SplitAfter(text, "\n")
	for n := 0; n < len(lines); {
		size := statement(lines[n:])
		if size == 0 {
			return n + 1
		}
		n += size
	}
	return 1
}

// statement is how many of some lines their first variable takes, or a comment; 0: it cannot be read.
func statement(lines []string) int {
	const most = 1000 // lines of a value
	for size := 1; size <= min(len(lines), most); size++ {
		if size > 1 && !strings.ContainsAny(lines[size-1], `"'`) { // only a quote goes on, up to another one
			continue
		}
		if _, err := readVariables(strings.Join(lines[:size], "")); err == nil {
			return size
		}
		if !strings.ContainsAny(lines[0], `"'`) {
			break
		}
	}
	return 0
}

// withVariables is an environment, in the form of [os.Environ], with further variables.
func withVariables(environ []string, env map[string]string) []string {
	if len(env) == 0 {
		return environ
	}
	all := slices.DeleteFunc(slices.Clone(environ), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		_, given := env[name]
		return given
	})
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all
}
