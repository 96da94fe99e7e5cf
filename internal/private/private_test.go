package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// somebody is another user's id.
const somebody = 4711

func mkdir(t *testing.T, path string, mode fs.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func give(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := os.Lchown(path, somebody, somebody); err != nil {
		t.Fatal(err)
	}
}

func TestDirMakesWhatIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b", "ü", "c")
	if err := Check(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check: %v", err)
	}
	if err := Dir(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Check(dir); err != nil {
		t.Error(err)
	}
}

// A directory is not private if anybody else could change something anywhere on its path.
func TestOpenToOthers(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, base string) string
		want string
	}{
		"parent for all":         {func(t *testing.T, b string) string { return filepath.Join(mkdir(t, b+"/open", 0o777), "x/y") }, "others may write to "},
		"itself for all":         {func(t *testing.T, b string) string { return mkdir(t, b+"/open", 0o777) }, "chmod go-w"},
		"itself for all, sticky": {func(t *testing.T, b string) string { return mkdir(t, b+"/open", 0o777|fs.ModeSticky) }, "chmod go-w"},
		"somebody's parent": {func(t *testing.T, b string) string {
			dir := mkdir(t, b+"/theirs", 0o755)
			give(t, dir)
			return dir + "/x"
		}, "belongs to uid 4711"},
		"somebody's in a sticky one": {func(t *testing.T, b string) string {
			dir := mkdir(t, mkdir(t, b+"/tmp", 0o777|fs.ModeSticky)+"/x", 0o700)
			give(t, dir)
			return dir
		}, "belongs to uid 4711"},
		"somebody's link": {func(t *testing.T, b string) string {
			mkdir(t, b+"/mine", 0o700)
			link := mkdir(t, b+"/tmp", 0o777|fs.ModeSticky) + "/link"
			if err := os.Symlink(b+"/mine", link); err != nil {
				t.Fatal(err)
			}
			give(t, link)
			return link + "/x"
		}, "belongs to uid 4711"},
		"link to somebody's": {func(t *testing.T, b string) string {
			give(t, mkdir(t, b+"/theirs", 0o755))
			if err := os.Symlink("theirs", b+"/link"); err != nil {
				t.Fatal(err)
			}
			return b + "/link/x"
		}, "belongs to uid 4711"},
		"group": {func(t *testing.T, b string) string {
			dir := mkdir(t, b+"/g", 0o770)
			if os.Geteuid() != 0 {
				t.Skip("only root can give files to any group")
			}
			if err := os.Chown(dir, 0, somebody); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "others may write"},
		"back out of a link": {func(t *testing.T, b string) string {
			mkdir(t, b+"/theirs/inner", 0o700)
			mkdir(t, b+"/x", 0o700)
			for link, to := range map[string]string{"/in": b + "/theirs/inner", "/out": "in/../x"} { // theirs/x, not x
				if err := os.Symlink(to, b+link); err != nil {
					t.Fatal(err)
				}
			}
			give(t, b+"/theirs")
			return b + "/out"
		}, "belongs to uid 4711"},
		"loop": {func(t *testing.T, b string) string {
			if err := os.Symlink("loop", b+"/loop"); err != nil {
				t.Fatal(err)
			}
			return b + "/loop"
		}, "too many links"},
		"file": {func(t *testing.T, b string) string {
			if err := os.WriteFile(b+"/file", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return b + "/file/x"
		}, "not a directory"},
		"relative": {func(*testing.T, string) string { return "x" }, "not an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			path := test.make(t, t.TempDir())
			if err := Dir(path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", path, err, test.want)
			}
		})
	}
}

// The user's own links are followed, and a sticky directory may be on the way.
func TestWaysThatAreFine(t *testing.T) {
	base := t.TempDir()
	mkdir(t, base+"/real/deep", 0o755)
	sticky := mkdir(t, base+"/tmp", 0o777|fs.ModeSticky)
	for link, to := range map[string]string{"/abs": base + "/real", "/rel": "real/../real/deep", "/again": "abs/deep", "/tmp/mine": "../real"} {
		if err := os.Symlink(to, base+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/abs/new", "/rel", "/again/x/y", "/tmp/mine/z"} {
		if err := Dir(base + path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := Dir(sticky + "/new"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(base + "/real/deep/x/y"); err != nil {
		t.Error(err)
	}
}

// A home may lie in a directory that nobody may list.
func TestDirectoryThatCannotBeListed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may list everything")
	}
	base := t.TempDir()
	mkdir(t, base+"/homes/mine", 0o700)
	mkdir(t, base+"/homes", 0o100)
	defer os.Chmod(base+"/homes", 0o700)
	if err := Dir(base + "/homes/mine/x"); err != nil {
		t.Error(err)
	}
}
