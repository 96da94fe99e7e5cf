package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"dipls/internal/private"
	"dipls/ranks/wire"
	"dipls/session"
)

// choice is the session that the user of a program has chosen for a folder, in place of the folder's own. It means that very session, whatever it is called
// by now, and no later one.
type choice struct {
	ID   string    `json:"id"`   // of the session
	Host string    `json:"host"` // a home may be shared by machines
	Dir  wire.Path `json:"dir"`  // of the session
	Name string    `json:"name"` // that it had

	file string
}

// Choose notes that the user of a program has chosen a session for a folder: Attach finds it for who asks for the chosen one. The folder's own session, or
// none, ends an earlier choice.
func (r *Registry) Choose(dir, program string, of session.About) error {
	dir, err := realDir(dir)
	if err != nil {
		return err
	}
	file, err := choiceFile(dir, program)
	if err != nil {
		return err
	}
	if of.Name == "" || of.Dir == dir && of.Name == defaultName(dir) {
		if err := private.Check(filepath.Dir(file)); err != nil {
			return ignoreMissing(err)
		}
		return ignoreMissing(os.Remove(file))
	}
	if err := private.Dir(filepath.Dir(file)); err != nil {
		return err
	}
	all, err := living()
	if err != nil {
		return err
	}
	forgetOld(filepath.Dir(file), all)
	e, err := find(all, of.Dir, of.Name, false, true)
	if err != nil {
		return err
	}
	if e == nil {
		return noSession(session.AttachRequest{Name: of.Name, Only: true}, of.Dir)
	}
	return writeJSON(file, choice{ID: e.ID, Host: hostname(), Dir: wire.Path(e.Dir), Name: e.Name})
}

// chosen is what was chosen for a folder without links; nil: nothing, or it cannot be read.
func chosen(dir, program string) *choice {
	file, err := choiceFile(dir, program)
	if err != nil || private.Check(filepath.Dir(file)) != nil {
		return nil
	}
	return readChoice(file)
}

// choiceFile is where a choice is kept.
func choiceFile(dir, program string) (string, error) {
	state, err := stateDir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(hostname() + "\x00" + dir + "\x00" + program))
	return filepath.Join(state, "chosen", hex.EncodeToString(key[:8])+".json"), nil
}

func readChoice(file string) *choice {
	data, err := os.ReadFile(file)
	c := &choice{file: file}
	if err != nil || json.Unmarshal(data, c) != nil {
		return nil
	}
	return c
}

// find finds the chosen session; nil: it lives no more.
func (c *choice) find(all []*entry) *entry {
	i := slices.IndexFunc(all, func(e *entry) bool { return e.ID == c.ID })
	if i < 0 {
		return nil
	}
	return all[i]
}

// record is what is kept of the chosen session; nil: nothing is any more.
func (c *choice) record() *record {
	all := records()
	i := slices.IndexFunc(all, func(r *record) bool { return r.ID == c.ID })
	if i < 0 {
		return nil
	}
	return all[i]
}

// forget ends a choice whose session was not found, and says what the user should know of that, a sentence, if anything: of a session that the user has
// stopped, or that nobody had used, there is nothing to say.
func (c *choice) forget() []string {
	_ = os.Remove(c.file) // else it is told again
	why := "it has ended"
	if r := c.record(); r != nil && r.lives() {
		why = "it was started with other directories, and is not found"
	} else if r != nil {
		r.close()
		if r.By != "" || r.Ended.Why == "" {
			return nil
		}
		why += ": " + r.Ended.Why
	}
	return []string{fmt.Sprintf("session %s in %s was chosen for this folder, but %s; the folder has its own session again", c.Name, c.Dir, why)}
}

// forgetOld removes what nobody has come back to: choices of sessions that are dead, and of which no record is kept any more.
func forgetOld(dir string, living []*entry) {
	files, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.json"))
	for _, file := range files {
		if c := readChoice(file); c != nil && (c.Host != hostname() || c.find(living) != nil || c.record() != nil) {
			continue
		}
		_ = os.Remove(file)
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
