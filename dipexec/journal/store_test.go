package journal

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestDefaultDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	if dir, err := DefaultDir(); dir != "/state/dipls/runs" || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/u")
	want := "/home/u/.local/state/dipls/runs"
	if runtime.GOOS == "darwin" {
		want = "/home/u/Library/Application Support/dipls/runs"
	}
	if dir, err := DefaultDir(); dir != want || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
}

// Runs are found by their ids, and by age. A directory that a running dipls has made ahead is none.
func TestRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[runs]")
	for _, name := range []string{".next-17", "2026-01-02T03-04-05-a-1", "2026-01-02T03-04-06-a-2"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "run.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "2026-01-02T03-04-05-a-1"), filepath.Join(dir, "2026-01-02T03-04-06-a-2")}
	if got := Runs(dir); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	j := open(t, Options{Dir: dir})
	for run, want := range map[string]string{"a-1": want[0], "a-2": want[1], "a-3": "", "-1": "", "*": "", "next-17": ""} {
		if got := j.Find(run); got != want {
			t.Errorf("%q is in %q, want %q", run, got, want)
		}
	}
}
