package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStore(t *testing.T) {
	base := t.TempDir()
	s := Open(base + "/state/dipls/trusted")
	folder, other := mkdir(t, base+"/a folder ü\nnew"), mkdir(t, base+"/other")
	if err := os.Symlink(folder, base+"/link"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Find(folder); ok {
		t.Error("it is remembered")
	}
	if err := s.Add(base+"/link", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(other, other+"/.venv/bin/python"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.Path()); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if e, ok := s.Find(folder); !ok || e.Python != "" || e.Folder != folder {
		t.Errorf("%+v, %v", e, ok)
	}
	if e, ok := s.Find(other); !ok || e.Python != other+"/.venv/bin/python" {
		t.Errorf("%+v, %v", e, ok)
	}
	for _, no := range []string{folder + "/sub", base} { // neither what is below nor what is above
		if _, ok := s.Find(mkdir(t, no)); ok {
			t.Errorf("%s is trusted", no)
		}
	}
	if err := os.RemoveAll(other); err != nil { // one that is gone can be forgotten
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if known, err := s.Remove(other); known != want || err != nil {
			t.Errorf("%v, %v", known, err)
		}
	}
	if all, err := s.List(); len(all) != 1 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}

// A file that others could have written is ignored, and an attempt to change it is an error.
func TestStoreThatOthersWrote(t *testing.T) {
	for name, spoil := range map[string]func(*Store) error{
		"mode":   func(s *Store) error { return os.Chmod(s.path, 0o644) },
		"folder": func(s *Store) error { return os.Chmod(filepath.Dir(s.path), 0o777) },
		"link": func(s *Store) error {
			return errors.Join(os.Rename(s.path, s.path+".moved"), os.Symlink(s.path+".moved", s.path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			s, folder := Open(base+"/state/trusted"), mkdir(t, base+"/folder")
			if err := s.Add(folder, ""); err != nil {
				t.Fatal(err)
			}
			if err := spoil(s); err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Find(folder); ok {
				t.Error("it is trusted")
			}
			if err := s.Add(folder, ""); err == nil {
				t.Error("it is written")
			}
		})
	}
}

func TestFolderOfAnybody(t *testing.T) {
	base := t.TempDir()
	folder := mkdir(t, base+"/folder")
	if err := os.Chmod(folder, 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := Open(base+"/state/trusted").Add(folder, ""); err == nil || !strings.Contains(err.Error(), "anybody may write") {
		t.Error(err)
	}
}

// Several servers remember at the same time.
func TestStoreIsShared(t *testing.T) {
	base := t.TempDir()
	var work sync.WaitGroup
	for i := range 8 {
		folder := mkdir(t, fmt.Sprintf("%s/%d", base, i))
		work.Go(func() {
			if err := Open(base+"/state/trusted").Add(folder, ""); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if all, err := Open(base + "/state/trusted").List(); len(all) != 8 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}
