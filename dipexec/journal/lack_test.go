package journal

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A run that cannot begin is told of at the end.
func TestRefusedRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, Options{Dir: filepath.Join(file, "runs")})
	if _, err := j.Begin(Record{Run: "a-1", Cell: 5}, 0, Hooks{}); err == nil {
		t.Error("it began")
	}
	if got := j.Lacking(); len(got) != 1 || !strings.HasPrefix(got[0], "of cell 5, all of it (") {
		t.Errorf("lacking are %q", got)
	}
}

func TestProblem(t *testing.T) {
	full := Problem(&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC})
	if !strings.Contains(full, "free some space") {
		t.Error(full)
	}
}
