package export

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file, all of it or none: a file that is there stays as it is until the new one is whole. Without force it stays altogether, and the
// error is [fs.ErrExist]. Who may read the new file is as it was with the old one, otherwise as the process's umask has it.
func WriteFile(path string, force bool, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
	}
	mode, old := fs.FileMode(0o666), false
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		mode, old = info.Mode().Perm(), true
	}
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-"+rand.Text())
	draft, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name()) // gone if all goes well
	err = write(draft)
	if old {
		err = errors.Join(err, draft.Chmod(mode)) // what the umask would take
	}
	if err = errors.Join(err, draft.Close()); err != nil {
		return fmt.Errorf("%s was not written: %w", path, err)
	}
	return os.Rename(draft.Name(), path)
}
