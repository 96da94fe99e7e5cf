package export_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"dipls/export"
)

// A file keeps who may read it, and a new one is as closed as the user has their files.
func TestWriteFileMode(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) fs.FileMode {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := export.WriteFile(path, true, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	usual := syscall.Umask(0o027) // of the whole process: no test runs beside this one
	defer syscall.Umask(usual)
	if mode := write("new"); mode != 0o640 {
		t.Errorf("a new file: %v", mode)
	}
	for _, want := range []fs.FileMode{0o600, 0o666} {
		path := filepath.Join(dir, "old")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, want); err != nil {
			t.Fatal(err)
		}
		if mode := write("old"); mode != want {
			t.Errorf("a file of mode %v: %v", want, mode)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Error(left)
	}
}
