package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dipls/session"
)

// seek is the session that Attach would dial for the user of a program, by its choice, and what is said if that is gone.
func seek(t *testing.T, dir, program string) (id string, said []string) {
	t.Helper()
	all, err := living()
	if err != nil {
		t.Fatal(err)
	}
	c := chosen(dir, program)
	if c == nil {
		return "", nil
	}
	if e := c.find(all); e != nil {
		return e.ID, nil
	}
	return "", c.forget()
}

// A choice is that of a program in a folder. It means one session, whatever its name is, until that ends; then the user is told once, if there is anything
// to tell.
func TestChoose(t *testing.T) {
	dir := home(t)
	r := Open(Options{})
	there := filepath.Join(dir, "über there")
	if err := os.Mkdir(there, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ why, by, want string }{
		{"it was idle for 4 h", "", "session train in " + there +
			" was chosen for this folder, but it has ended: it was idle for 4 h; the folder has its own session again"},
		{"it was stopped", "dipls stop", ""},
		{"", "", ""},
	} {
		c := claim(t, there, "train")
		about := session.About{Dir: there, Name: "train"}
		if err := r.Choose(dir, "VS Code", about); err != nil {
			t.Fatal(err)
		}
		if id, _ := seek(t, dir, "Neovim"); id != "" {
			t.Error("another program's choice")
		}
		if id, _ := seek(t, there, "VS Code"); id != "" {
			t.Error("another folder's choice")
		}
		if err := c.Rename(t.Context(), "night"); err != nil {
			t.Fatal(err)
		}
		if id, said := seek(t, dir, "VS Code"); id != c.about.ID {
			t.Errorf("found %q, said %q", id, said)
		}
		if err := c.End(test.why, test.by); err != nil {
			t.Fatal(err)
		}
		later := claim(t, there, "night")
		id, said := seek(t, dir, "VS Code")
		if got := strings.Join(said, "\n"); id != "" || got != test.want {
			t.Errorf("ended %+v: found %q, said %q", test, id, got)
		}
		if _, said = seek(t, dir, "VS Code"); len(said) > 0 {
			t.Errorf("told again: %q", said)
		}
		if err := later.End("", ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Choose(dir, "VS Code", session.About{Dir: there, Name: "train"}); code(err) != session.CodeNoSession {
		t.Errorf("one that is not there: %v", err)
	}
}

// The folder's own session ends a choice, and choices that mean nothing any more do not pile up.
func TestChooseOwn(t *testing.T) {
	dir := home(t)
	r := Open(Options{})
	if err := r.Choose(dir, "VS Code", session.About{}); err != nil {
		t.Errorf("no choice where there never was one: %v", err)
	}
	own, other := claim(t, dir, ""), claim(t, dir, "other")
	for _, about := range []session.About{{Dir: dir, Name: own.Name()}, {}} {
		if err := r.Choose(dir, "VS Code", session.About{Dir: dir, Name: "other"}); err != nil {
			t.Fatal(err)
		}
		if id, _ := seek(t, dir, "VS Code"); id != other.about.ID {
			t.Errorf("found %q", id)
		}
		if err := r.Choose(dir, "VS Code", about); err != nil {
			t.Fatal(err)
		}
		if id, said := seek(t, dir, "VS Code"); id != "" || len(said) > 0 {
			t.Errorf("%+v: found %q, said %q", about, id, said)
		}
	}
	state, err := stateDir()
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(state, "chosen", "old.json")
	if err := writeJSON(old, choice{ID: "deadbeef", Host: hostname(), Name: "old"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Choose(dir, "VS Code", session.About{Dir: dir, Name: "other"}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(old), "*")); len(left) != 1 || left[0] == old {
		t.Errorf("left %q", left)
	}
}
