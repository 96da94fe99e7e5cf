package host

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"dipls/internal/private"
)

// makeRuntimeDir makes a session's directory.
func makeRuntimeDir(t *testing.T) *runtimeDir {
	t.Helper()
	d, err := planRuntimeDir(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.make(); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRuntimeDir(t *testing.T) {
	base := shortTempDir(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	d := makeRuntimeDir(t)
	if filepath.Dir(d.path) != filepath.Join(base, "dipls") || !sessionName.MatchString(filepath.Base(d.path)) {
		t.Errorf("path %s", d.path)
	}
	if err := private.Closed(d.path); err != nil {
		t.Error(err)
	}
	// Directories of dead sessions are swept; those of living ones, and what is not ours, stay.
	dead := filepath.Join(base, "dipls", "0000dead")
	halfMade := filepath.Join(base, "dipls", "0000beef")
	foreign := filepath.Join(base, "dipls", "notes")
	for _, dir := range []string{dead, halfMade, foreign} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dead, "node"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := makeRuntimeDir(t)
	for dir, want := range map[string]bool{d.path: true, other.path: true, foreign: true, dead: false, halfMade: false} {
		if _, err := os.Lstat(dir); (err == nil) != want {
			t.Errorf("%s: there %v, want %v", dir, err == nil, want)
		}
	}
	for _, dir := range []*runtimeDir{d, other} {
		if err := dir.remove(); err != nil {
			t.Error(err)
		}
		// After that nothing can be started in it any more.
		if err := dir.make(); err == nil {
			t.Error("made after it was removed for good")
		}
		if _, err := os.Lstat(dir.path); err == nil {
			t.Errorf("%s is left", dir.path)
		}
	}
}

// shortTempDir is a directory whose path leaves room for sockets.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestRuntimeDirConcurrently(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", shortTempDir(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				d, err := planRuntimeDir(zap.NewNop())
				if err == nil {
					err = d.make()
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Lstat(d.path); err != nil {
					t.Errorf("swept away while alive: %v", err)
				}
				if err := d.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Cleaners of /tmp may remove anything old: files, a session's directory, that of all sessions. The session goes on, and another dipls does not
// take it for dead.
func TestRuntimeDirCleanedUp(t *testing.T) {
	base := shortTempDir(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	d := makeRuntimeDir(t)
	os.WriteFile(d.socket("old"), nil, 0o600)

	inside, _ := filepath.Glob(d.path + "/*")
	for _, file := range append(inside, filepath.Join(base, "dipls", "lock")) {
		os.Remove(file)
	}
	other := makeRuntimeDir(t) // sweeps
	defer other.remove()
	if _, err := os.Lstat(d.path); err != nil {
		t.Errorf("another dipls has removed the directory of a living session: %v", err)
	}

	for _, dir := range []string{d.path, filepath.Join(base, "dipls")} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := d.make(); err != nil {
			t.Fatal(err)
		}
		if err := private.Closed(d.path); err != nil {
			t.Error(err)
		}
		sweep(filepath.Dir(d.path), zap.NewNop())
		if _, err := os.Lstat(d.path); err != nil {
			t.Errorf("the directory made anew is not locked: %v", err)
		}
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(d.path); err == nil {
		t.Error("the directory made anew is left")
	}

	// A directory that is not ours is not used.
	d = makeRuntimeDir(t)
	defer d.remove()
	os.RemoveAll(d.path)
	os.WriteFile(d.path, nil, 0o600)
	if err := d.make(); err == nil || !strings.Contains(err.Error(), "file exists") {
		t.Errorf("a file in the place of the directory: error %v", err)
	}
}

func TestRuntimeRoot(t *testing.T) {
	open := func(dir string) { os.Chmod(dir, 0o755) }
	for _, test := range []struct {
		name    string
		prepare func(xdg, tmp string) (newXDG, newTmp string)
		want    string // "xdg", "tmp", or an error's text
	}{
		{"normal", func(x, t string) (string, string) { return x, t }, "xdg"},
		{"no XDG_RUNTIME_DIR", func(x, t string) (string, string) { return "", t }, "tmp"},
		{"XDG_RUNTIME_DIR missing", func(x, t string) (string, string) { return x + "/nothing", t }, "tmp"},
		{"XDG_RUNTIME_DIR relative", func(x, t string) (string, string) { return "run", t }, "tmp"},
		{"XDG_RUNTIME_DIR open", func(x, t string) (string, string) { open(x); return x, t }, "tmp"},
		{"XDG_RUNTIME_DIR long", func(x, t string) (string, string) {
			long := filepath.Join(x, strings.Repeat("x", 90))
			os.Mkdir(long, 0o700)
			return long, t
		}, "tmp"},
		{"link", func(x, tmp string) (string, string) {
			os.Symlink(x, filepath.Join(tmp, filepath.Base(userRoot(tmp))))
			return "", tmp
		}, "is not a directory"},
		{"open", func(x, tmp string) (string, string) {
			os.Mkdir(userRoot(tmp), 0o700)
			open(userRoot(tmp))
			return "", tmp
		}, "is open to others (mode 0755): chmod go="},
		{"long", func(x, tmp string) (string, string) {
			long := filepath.Join(tmp, strings.Repeat("x", 90))
			os.Mkdir(long, 0o700)
			return "", long
		}, "set DIPLS_RUNTIME_DIR to a short directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			xdg, tmp := test.prepare(shortTempDir(t), shortTempDir(t))
			t.Setenv("XDG_RUNTIME_DIR", xdg)
			t.Setenv("TMPDIR", tmp)
			got, err := runtimeRoot(zap.NewNop())
			switch {
			case test.want == "xdg" && got != filepath.Join(xdg, "dipls"),
				test.want == "tmp" && got != userRoot(tmp):
				t.Errorf("%s, %v", got, err)
			case test.want != "xdg" && test.want != "tmp" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%s, error %v, want %s", got, err, test.want)
			}
		})
	}
}

// What is in logind's directory is gone after the last logout, unless the user lingers.
func TestRuntimeDirThatLogoutRemoves(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", fmt.Sprint("/run/user/", os.Geteuid()))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if lingers(dir) {
		t.Error("nobody lingers")
	}
	if err := os.WriteFile(filepath.Join(dir, me.Username), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !lingers(dir) {
		t.Error("the user lingers")
	}
	tmp := shortTempDir(t)
	t.Setenv("TMPDIR", tmp)
	if first := runtimePlaces()[0].root; first != userRoot(tmp) && !lingers(lingering) {
		t.Errorf("sockets are in %s, which a logout removes", first)
	}
}

// A session that was started in another environment is found as well, and with a directory of one's own nothing else is.
func TestRuntimeRoots(t *testing.T) {
	xdg, tmp := shortTempDir(t), shortTempDir(t)
	t.Setenv("XDG_RUNTIME_DIR", xdg)
	t.Setenv("TMPDIR", tmp)
	os.Mkdir(userRoot(tmp), 0o700)
	roots, passed, err := RuntimeRoots()
	if want := filepath.Join(xdg, "dipls"); err != nil || passed != nil || !slices.Equal(roots, []string{want}) {
		t.Errorf("%q, %v, %v", roots, passed, err)
	}
	os.Chmod(xdg, 0o777)
	roots, passed, err = RuntimeRoots()
	if err != nil || !slices.Equal(roots, []string{userRoot(tmp)}) || passed == nil || !strings.Contains(passed.Error(), "is open to others (mode 0777)") {
		t.Errorf("one that is open to others: %q, %v, %v", roots, passed, err)
	}
	os.Chmod(userRoot(tmp), 0o777)
	if roots, _, err = RuntimeRoots(); err == nil || !strings.Contains(err.Error(), "is open to others") {
		t.Errorf("both open to others: %q, %v", roots, err)
	}
	only := filepath.Join(tmp, "only")
	t.Setenv("DIPLS_RUNTIME_DIR", only)
	if roots, _, err = RuntimeRoots(); err != nil || !slices.Equal(roots, []string{only}) {
		t.Errorf("DIPLS_RUNTIME_DIR: %q, %v", roots, err)
	}
	os.Chmod(only, 0o777)
	if roots, _, err = RuntimeRoots(); err == nil || !strings.Contains(err.Error(), "only is open to others") {
		t.Errorf("DIPLS_RUNTIME_DIR that is open to others: %q, %v", roots, err)
	}
	t.Setenv("DIPLS_RUNTIME_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	var searched []string
	for _, place := range runtimePlaces() {
		searched = append(searched, place.root)
	}
	if want := []string{userRoot(tmp), fmt.Sprintf("/run/user/%d/dipls", os.Geteuid()), userRoot("/tmp")}; !slices.Equal(searched, want) {
		t.Errorf("without XDG_RUNTIME_DIR %q are looked at, want %q", searched, want)
	}
}

// userRoot is where the sessions are without XDG_RUNTIME_DIR.
func userRoot(tmp string) string { return filepath.Join(tmp, fmt.Sprint("dipls-", os.Geteuid())) }

func TestDialOfALongPath(t *testing.T) {
	dir := &runtimeDir{path: "/tmp/" + strings.Repeat("x", maxSocketPath)}
	if _, err := dir.dial(testContext(t), "node"); err == nil || !strings.Contains(err.Error(), "the system allows") {
		t.Errorf("a long path: %v", err)
	}
}
