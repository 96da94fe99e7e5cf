package export

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file, all of it or none: a file that is there stays as it is until the new one is whole. Without force it stays altogether, and the
// error is [fs.ErrExist].
func WriteFile(path string, force bool, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
	}
	draft, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name()) // gone if all goes well
	err = write(draft)
	if err = errors.Join(err, draft.Chmod(0o644), draft.Close()); err != nil {
		return fmt.Errorf("%s was not written: %w", path, err)
	}
	return os.Rename(draft.Name(), path)
}
