package ranks

import (
	"context"
	"io"
)

// Interpreter is a Python interpreter and why it was chosen.
type Interpreter struct {
	Path string
	Why  string // "VIRTUAL_ENV", "--python", …
}

// FindPython finds the interpreter to use.
func FindPython(flag, dir string) (Interpreter, error) { return Interpreter{}, errTODO }

// Probe asks an interpreter for its version and packages.
func Probe(ctx context.Context, python string) (Info, error) { return Info{}, errTODO }

// PrivatePackages is the directory of our own for packages that an interpreter lacks.
func PrivatePackages(python string) (string, error) { return "", errTODO }

// InstallMissing installs packages into PrivatePackages(python).
func InstallMissing(ctx context.Context, python string, missing []string, progress io.Writer) error {
	return errTODO
}
