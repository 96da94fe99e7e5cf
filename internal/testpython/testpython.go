// Package testpython finds the Python interpreter with which tests run the real agent.
package testpython

import (
	"os"
	"path/filepath"
	"testing"
)

// Path is $DIPLS_TEST_PYTHON, or the interpreter that `make setup` makes in the repository; it may not be there.
func Path() string {
	if python := os.Getenv("DIPLS_TEST_PYTHON"); python != "" {
		return python
	}
	dir, err := os.Getwd() // of a test: its package's
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, ".venv", "bin", "python")
}

// Need is Path for a test that needs it: without the interpreter, and in short mode, the test is skipped.
func Need(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Python processes")
	}
	python := Path()
	if _, err := os.Stat(python); err != nil {
		t.Skip("no interpreter with the agent's packages: run make setup, or set DIPLS_TEST_PYTHON")
	}
	return python
}
