package lsp

import (
	"os"
	"path/filepath"
	"testing"
)

// What the setting dip.python has in it is replaced; the session sees other paths from the folder.
func TestPythonIn(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"":                                     "",
		"python3.12":                           "python3.12",
		"/usr/bin/python3":                     "/usr/bin/python3",
		".venv/bin/python":                     ".venv/bin/python",
		"~/env/bin/python":                     filepath.Join(home, "env/bin/python"),
		"${workspaceFolder}/.venv/bin/python":  "/a b/.venv/bin/python",
		"${workspaceFolder}/../env/bin/python": "/a b/../env/bin/python",
	} {
		if got := pathIn(value, "/a b"); got != want {
			t.Errorf("%q is %q, want %q", value, got, want)
		}
	}
}
