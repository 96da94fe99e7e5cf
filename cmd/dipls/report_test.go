package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A report is about the last runs. A directory that a running dipls has made ahead is none.
func TestLastRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[runs]")
	for _, name := range []string{".next-17", "2026-01-02T03-04-05-a-1", "2026-01-02T03-04-06-a-2"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "run.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Join(dir, "2026-01-02T03-04-05-a-1"), filepath.Join(dir, "2026-01-02T03-04-06-a-2")}
	if got := lastRuns(dir); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
