package launch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A start-up that a killed session has left goes with the next one. What a session still holds stays, and so does what is no start-up.
func TestStartupFiles(t *testing.T) {
	dir := t.TempDir()
	input := Bootstrap{Certificate: "c", Agent: "a", Token: func(int) string { return "t" }}.input(-1, false)
	write := func() *startupFile {
		t.Helper()
		f, err := writeStartup(dir, input)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	old := time.Now().Add(-48 * time.Hour)
	aged := func(path string) string {
		t.Helper()
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		return path
	}
	held, left, young := write(), write(), write()
	aged(held.path)
	defer held.remove()
	left.lock.Close() // as when its session is killed
	aged(left.path)
	young.lock.Close()
	other := filepath.Join(dir, startupPrefix+"up.txt")
	if err := os.WriteFile(other, []byte("a recipe\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	aged(other)

	fresh := write()
	for path, want := range map[string]bool{held.path: true, left.path: false, young.path: true, other: true, fresh.path: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(path), !want, want)
		}
	}
	fresh.remove()
	if _, err := os.Lstat(fresh.path); err == nil {
		t.Error("a start-up that was removed is there")
	}
}
