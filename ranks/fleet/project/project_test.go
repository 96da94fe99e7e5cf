package project

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// folder is a project of a test.
type folder struct {
	t    *testing.T
	root string
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_DIR", "/no/such/repository") // as in a hook of another one
	root := filepath.Join(t.TempDir(), "Projekt ü")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	return &folder{t, root}
}

func (f *folder) write(path, text string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) link(target, path string) {
	f.t.Helper()
	if err := os.Symlink(target, filepath.Join(f.root, path)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) git(below string, args ...string) {
	f.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = filepath.Join(f.root, below)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "GIT_DIR=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (f *folder) project(below, workDir string) *Project {
	f.t.Helper()
	p, err := Of(context.Background(), filepath.Join(f.root, below), workDir)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// list gives "PATH" of files and "PATH -> TARGET" of links, and what leads out.
func list(t *testing.T, p *Project) (found, outside []string) {
	t.Helper()
	files, outside, err := p.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text := f.Path
		if f.Target != "" {
			text += " -> " + f.Target
		}
		found = append(found, text)
	}
	return found, outside
}

// What git tracks is the project, also that of a submodule, and nothing that links outside.
func TestTracked(t *testing.T) {
	f := newFolder(t)
	other := &folder{t, t.TempDir()}
	other.write("deep/inner.py", "")
	other.git("", "init", "-q")
	other.git("", "add", ".")
	other.git("", "commit", "-q", "-m", "a")

	f.git("", "init", "-q")
	f.git("", "submodule", "-q", "add", other.root, "sub")
	f.write("a b/größe\n\xff.py", "1")
	f.write("gone.py", "")
	f.write("data.txt", "")
	f.link("a b", "package")
	f.link("data.txt", "data")
	f.link("nowhere", "broken.py")
	f.link(other.root+"/deep", "elsewhere")
	f.link("/etc/hostname", "host.py")
	f.link("/etc", "etc")
	f.git("", "add", ".")
	f.write("untracked.py", "")
	if err := os.Remove(filepath.Join(f.root, "gone.py")); err != nil {
		t.Fatal(err)
	}
	p := f.project("a b", "/")
	if p.Root != f.root {
		t.Errorf("the root is %q", p.Root)
	}
	found, outside := list(t, p)
	if diff := cmp.Diff([]string{"a b/größe\n\xff.py", "package -> a b", "sub/deep/inner.py"}, found); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"elsewhere", "host.py"}, outside); diff != "" {
		t.Error(diff)
	}
}

// Without git, it is what is below the folder, up to a bound.
func TestFound(t *testing.T) {
	f := newFolder(t)
	f.write("train.py", "")
	f.write("deep/er/a.py", "")
	f.write("deep/notes.txt", "")
	for _, path := range []string{".hidden/a.py", "__pycache__/a.py", "node_modules/a.py", "env/pyvenv.cfg", "env/lib/a.py", "site-packages/a.py"} {
		f.write(path, "")
	}
	f.link("..", "up")
	f.link("deep", "down")
	want := []string{"deep/er/a.py", "down -> deep", "train.py"}
	if found, _ := list(t, f.project("", f.root)); !slices.Equal(found, want) {
		t.Errorf("found %q", found)
	}
	home, _ := os.UserHomeDir()
	for workDir, root := range map[string]string{f.root: f.root, "/": f.root + "/deep", home: f.root + "/deep", "/etc": f.root + "/deep"} {
		if p := f.project("deep", workDir); p.Root != root {
			t.Errorf("from %s it is %s", workDir, p.Root)
		}
	}
	for i := range maxFound {
		f.write(fmt.Sprintf("many/%d.py", i), "")
	}
	if _, _, err := f.project("", f.root).List(context.Background()); err == nil || !strings.Contains(err.Error(), `or "git init" it`) {
		t.Errorf("error %v", err)
	}
}

// A file that changes has another hash, even if its size and times stay.
func TestChanges(t *testing.T) {
	f := newFolder(t)
	f.write("a.py", "1")
	p := f.project("", f.root)
	hash := func() string {
		t.Helper()
		files, _, err := p.List(context.Background())
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		return files[0].Hash
	}
	before := hash()
	info, _ := os.Stat(filepath.Join(f.root, "a.py"))
	f.write("a.py", "2")
	if err := os.Chtimes(filepath.Join(f.root, "a.py"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if hash() == before {
		t.Error("a change is not seen")
	}
	if file, data, err := p.Read(File{Path: "a.py"}); err != nil || string(data) != "2" || file.Hash != hash() || file.Size != 1 {
		t.Errorf("%+v, %q, %v", file, data, err)
	}
	if _, _, err := p.Read(File{Path: "../" + filepath.Base(f.root) + "/a.py"}); err == nil {
		t.Error("a file was read by a path that leads out")
	}
}
