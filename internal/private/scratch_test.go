package private

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScratch(t *testing.T) {
	prefix := "dipls-" + strings.ToLower(t.Name()) + "-"
	dir, remove, err := Scratch(prefix)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info, err)
	}
	dead, err := os.MkdirTemp(filepath.Dir(dir), prefix) // as a program leaves it that was killed
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dead+"/socket", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, removeOther, err := Scratch(prefix)
	if err != nil {
		t.Fatal(err)
	}
	for path, there := range map[string]bool{dir: true, dead: false, other: true} {
		if _, err := os.Stat(path); (err == nil) != there {
			t.Errorf("%s: %v, want it there: %v", path, err, there)
		}
	}
	removeOther()
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Error(err)
	}

	t.Setenv("TMPDIR", "/tmp/"+strings.Repeat("x", 100))
	long, removeLong, err := Scratch(prefix)
	if err != nil {
		t.Fatal(err)
	}
	defer removeLong()
	if len(long) > longestScratch {
		t.Errorf("%s is too long for a socket", long)
	}
}
