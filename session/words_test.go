package session

import (
	"os"
	"path/filepath"
	"testing"

	"dipls/cells"
)

// If a cell does not say where it goes, that depends on autodip.
func TestTargetOf(t *testing.T) {
	s := New(Options{Dir: t.TempDir()})
	defer s.Close(t.Context(), CloseRequest{})
	says := Cell{Target: cells.Target{Where: cells.Everywhere}}
	for _, want := range []string{"local", "remote"} {
		autodip, err := s.Autodip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			cell Cell
			want string
		}{{Cell{}, want}, {Cell{NoAutodip: true}, "local"}, {says, "everywhere"}} {
			if got := TargetOf(test.cell, autodip); got.String() != test.want {
				t.Errorf("under %q %+v goes %s, want %s", autodip, test.cell, got, test.want)
			}
		}
		if err := s.SetAutodip(t.Context(), true, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// The path of an interpreter is relative to the session's folder, whatever this process's directory is.
func TestInterpreterOfFolder(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "a b")
	s := New(Options{Dir: dir})
	defer s.Close(t.Context(), CloseRequest{})
	for value, want := range map[string]string{
		".venv/bin/python":  filepath.Join(dir, ".venv/bin/python"),
		"../env/bin/python": filepath.Join(parent, "env/bin/python"),
	} {
		if err := os.MkdirAll(filepath.Dir(want), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(want, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		if found, err := s.interpreter(Caller{Settings: Settings{Python: value}}); err != nil || found.Path != want {
			t.Errorf("%q is %q, %v, want %q", value, found.Path, err, want)
		}
	}
}
