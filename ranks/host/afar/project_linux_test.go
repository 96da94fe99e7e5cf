package afar_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dipls/ranks/host/afar"
	"dipls/ranks/wire"
)

// projectCopy is a copy of a project on a host, and what it is to have.
type projectCopy struct {
	t    *testing.T
	host *afar.Host
	root string
	u    afar.ProjectUpdate
	text []string
}

func newProjectCopy(t *testing.T) *projectCopy {
	return &projectCopy{t: t, host: newHost(t), root: filepath.Join(t.TempDir(), "neu", "ü p")}
}

func sum(text string) string {
	hash := sha256.Sum256([]byte(text))
	return hex.EncodeToString(hash[:])
}

// wants begins another update: the files are PATH, TEXT, and so on.
func (c *projectCopy) wants(whole bool, files ...string) *projectCopy {
	c.u = afar.ProjectUpdate{Root: wire.Path(c.root), Whole: whole, Files: []afar.ProjectFile{}, Links: []afar.ProjectLink{}, Gone: []wire.Path{}}
	c.text = nil
	for i := 0; i < len(files); i += 2 {
		c.u.Files = append(c.u.Files, afar.ProjectFile{Path: wire.Path(files[i]), Hash: sum(files[i+1])})
		c.text = append(c.text, files[i+1])
	}
	return c
}

// written is when a file of a test was written.
var written = time.Unix(1_700_000_000, 123_456_789)

func (c *projectCopy) try() (afar.ProjectOutcome, error) {
	return c.host.UpdateProject(testContext(c.t), c.u, func(i int) (afar.ProjectContent, error) {
		return afar.ProjectContent{Bytes: []byte(c.text[i]), Hash: sum(c.text[i]), Mode: 0o755, Modified: written}, nil
	})
}

func (c *projectCopy) update() afar.ProjectOutcome {
	c.t.Helper()
	done, err := c.try()
	if err != nil {
		c.t.Fatal(err)
	}
	return done
}

// has fails the test if there is anything else than PATH, TEXT and so on.
func (c *projectCopy) has(files ...string) {
	c.t.Helper()
	found := map[string]string{}
	_ = filepath.WalkDir(c.root, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(c.root, path)
		switch {
		case err != nil:
			return err
		case rel == ".dipls":
			return filepath.SkipDir
		case d.Type()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			found[rel] = "-> " + target
		case !d.IsDir():
			data, _ := os.ReadFile(path)
			found[rel] = string(data)
		case rel != ".":
			found[rel+"/"] = ""
		}
		return nil
	})
	for i := 0; i < len(files); i += 2 {
		if text, ok := found[files[i]]; !ok || text != files[i+1] {
			c.t.Errorf("%q has %q, want %q", files[i], text, files[i+1])
		}
		delete(found, files[i])
	}
	if len(found) > 0 {
		c.t.Errorf("besides there is %q", found)
	}
}

func (c *projectCopy) put(path, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.root, path), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// A copy becomes what the project is. What nobody has brought stays, and what somebody has changed is kept.
func TestProjectCopy(t *testing.T) {
	c := newProjectCopy(t)
	big := strings.Repeat("x = 1\n", 1<<20)
	strange := "a b/größe\n\xff.py"
	c.wants(true, "a.py", "1", strange, big, "old/gone.py", "")
	c.u.Links = append(c.u.Links, afar.ProjectLink{Path: "link", Target: "a b"})
	if done := c.update(); done.Sent != 3 || done.Bytes != int64(len(big))+1 || done.Kept != "" || done.Removed != 0 {
		t.Errorf("%+v", done)
	}
	c.has("a.py", "1", "a b/", "", strange, big, "old/", "", "old/gone.py", "", "link", "-> a b")
	if info, err := os.Stat(filepath.Join(c.root, "a.py")); err != nil || !info.ModTime().Equal(written) || info.Mode()&0o700 != 0o700 {
		t.Errorf("%v, %v", info, err)
	}

	c.put("own.py", "of the host")
	c.put("a.py", "edited there")
	if err := os.MkdirAll(filepath.Join(c.root, "old/__pycache__"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.put("old/__pycache__/gone.cpython-311.pyc", "")
	if err := os.Mkdir(filepath.Join(c.root, "__pycache__"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.put("__pycache__/link.cpython-311.pyc", "of no file")
	c.wants(true, "a.py", "1", "link/b.py", "2")
	done := c.update()
	if done.Sent != 2 || done.Removed != 3 || !strings.HasPrefix(string(done.Kept), c.root+"/.dipls/before/") {
		t.Errorf("%+v", done)
	}
	others := []string{"own.py", "of the host", "__pycache__/", "", "__pycache__/link.cpython-311.pyc", "of no file"}
	c.has(append(others, "a.py", "1", "link/", "", "link/b.py", "2")...)
	if kept, err := os.ReadFile(filepath.Join(string(done.Kept), "a.py")); string(kept) != "edited there" {
		t.Errorf("kept %q, %v", kept, err)
	}

	c.wants(false, "c.py", "3")
	c.u.Gone = []wire.Path{"link/b.py", "never.py"}
	if done := c.update(); done.Sent != 1 || done.Removed != 1 {
		t.Errorf("%+v", done)
	}
	c.has(append(others, "a.py", "1", "c.py", "3")...)
	if done := c.wants(true, "a.py", "1", "c.py", "3").update(); done != (afar.ProjectOutcome{}) {
		t.Errorf("nothing differs, and %+v", done)
	}
}

// Nothing outside the folder is written, whatever is there.
func TestProjectStaysInside(t *testing.T) {
	c := newProjectCopy(t)
	c.wants(true, "a.py", "1").update()
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(c.root, "sub")); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		"../b.py": "no path in the project", "/b.py": "no path in the project", ".dipls/b.py": "no path in the project", "x/../b.py": "no path in the project",
		"sub/b.py": "sub is no folder there; move it away",
	} {
		if _, err := c.wants(false, path, "2").try(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if found, _ := os.ReadDir(outside); len(found) > 0 {
		t.Errorf("outside there is %v", found)
	}
	c.has("a.py", "1", "sub", "-> "+outside)
	c.wants(false, "a.py", "2").u.Files[0].Hash = sum("another")
	c.text[0] = "2" // its hash is as it was read, and is told
	if done := c.update(); done.Sent != 1 {
		t.Errorf("%+v", done)
	}
	c.root = "/proc/nothing/can/be/made"
	if _, err := c.wants(true, "a.py", "1").try(); err == nil || !strings.Contains(err.Error(), "/proc/nothing") {
		t.Errorf("error %v", err)
	}
}

// A host that sees the session's file shares the folder, and is left alone.
func TestProjectShared(t *testing.T) {
	c := newProjectCopy(t)
	file := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(file, []byte("word"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.wants(true, "a.py", "1").u.Probe = &afar.ProjectProbe{Path: wire.Path(file), Word: "word"}
	if done := c.update(); done != (afar.ProjectOutcome{Shared: true}) {
		t.Errorf("%+v", done)
	}
	if _, err := os.Stat(c.root); err == nil {
		t.Error("a folder was made")
	}
	c.u.Probe.Word = "of another session"
	if done := c.update(); done.Shared || done.Sent != 1 {
		t.Errorf("%+v", done)
	}
}

// Hosts that share a folder among themselves bring it up to date one after the other, and what a killed update has left goes.
func TestProjectSharedByHosts(t *testing.T) {
	c := newProjectCopy(t)
	var files []string
	for i := range 100 {
		files = append(files, fmt.Sprintf("p/m%d.py", i), fmt.Sprintf("x = %d\n", i))
	}
	c.wants(true, "a.py", "1").update()
	c.put(".dipls/new-0", "half")
	all := []*projectCopy{c, {t: t, host: newHost(t), root: c.root}, {t: t, host: newHost(t), root: c.root}}
	done := make([]afar.ProjectOutcome, len(all))
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, one := range all {
		one.wants(true, files...)
		work.Go(func() { done[i], errs[i] = one.try() })
	}
	work.Wait()
	sent, removed := 0, 0
	for i := range all {
		if errs[i] != nil || done[i].Kept != "" {
			t.Errorf("%+v, %v", done[i], errs[i])
		}
		sent += done[i].Sent
		removed += done[i].Removed
	}
	if sent != 100 || removed != 1 {
		t.Errorf("%d files were sent, %d removed", sent, removed)
	}
	c.has(append(files, "p/", "")...)
	own, err := os.ReadDir(filepath.Join(c.root, ".dipls"))
	if err != nil || len(own) != 3 { // what was brought, the lock, and git's leave to pass it over
		t.Errorf("in .dipls there is %v, %v", own, err)
	}
}

// A folder of another user is no place for code that we run.
func TestProjectOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder to somebody")
	}
	c := newProjectCopy(t)
	if err := os.MkdirAll(c.root, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(c.root, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	refused := func(says string) {
		t.Helper()
		if _, err := c.wants(true, "a.py", "1").try(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v", err)
		}
		c.has()
	}
	refused("p belongs to another user of this host")

	// What was brought is known by a file, which must not name what is others', or elsewhere.
	own := filepath.Join(c.root, ".dipls")
	text := `{"files": {"../outside": ""}, "links": {}}`
	if err := errors.Join(os.Chown(c.root, 0, 0), os.Mkdir(own, 0o777), os.WriteFile(filepath.Join(own, "brought.json"), []byte(text), 0o600),
		os.Chown(own, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	refused(".dipls belongs to another user of this host")
	if err := os.Chown(own, 0, 0); err != nil {
		t.Fatal(err)
	}
	refused(`'../outside' is no path in the project`)

	// In a folder such as /tmp anybody may be the first to make ours.
	scratch := t.TempDir()
	if err := errors.Join(os.Chmod(scratch, 0o777|os.ModeSticky), os.Mkdir(filepath.Join(scratch, "me"), 0o777),
		os.Chown(filepath.Join(scratch, "me"), 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	c.root = filepath.Join(scratch, "me", "project")
	refused("lies in a folder of another user of this host")
}
