package registry

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dipls/session"
)

// find finds the session that is meant, from a folder without links; nil: there is none. The error's code is [session.CodeAmbiguous] if it may be several.
//
// With a name it is the nearest folder upwards that has a session of that name. If none has and nothing would be started, it may be that of any other folder.
//
// Without a name it is the nearest folder upwards that has a session. Who would start one means the folder itself, and if it has several, the one that has
// the folder's name.
//
// With only it is one of the folder itself. Without a name the folder may also be written FOLDER/NAME.
func find(all []*entry, dir, name string, start, only bool) (*entry, error) {
	if only {
		named := func(dir, name string) bool {
			return slices.ContainsFunc(all, func(e *entry) bool { return e.Dir == dir && (name == "" || e.Name == name) })
		}
		if base := filepath.Base(dir); name == "" && !named(dir, "") && named(filepath.Dir(dir), base) {
			dir, name = filepath.Dir(dir), base
		}
		all = slices.DeleteFunc(slices.Clone(all), func(e *entry) bool { return e.Dir != dir })
	}
	all = slices.DeleteFunc(slices.Clone(all), func(e *entry) bool { return e.Dir == "" || name != "" && e.Name != name })
	for at := dir; ; at = filepath.Dir(at) {
		here := slices.DeleteFunc(slices.Clone(all), func(e *entry) bool { return e.Dir != at })
		if len(here) > 1 && name == "" && start {
			if i := slices.IndexFunc(here, func(e *entry) bool { return e.Name == defaultName(dir) }); i >= 0 {
				here = here[i : i+1]
			}
		}
		switch {
		case len(here) == 1:
			return here[0], nil
		case len(here) > 1:
			return nil, ambiguous(here)
		case at == filepath.Dir(at), name == "" && start:
			if name == "" || start || len(all) == 0 {
				return nil, nil
			}
			if len(all) > 1 {
				return nil, ambiguous(all)
			}
			return all[0], nil
		}
	}
}

// ambiguous is the error about several sessions.
func ambiguous(of []*entry) error {
	lines := make([]string, len(of))
	for i, e := range of {
		lines[i] = "  " + e.String()
	}
	slices.Sort(lines)
	return &session.Error{
		Code: session.CodeAmbiguous, Text: "several sessions could be meant: name one, as NAME or FOLDER/NAME\n" + strings.Join(lines, "\n"),
	}
}

// noSession is the error that there is none.
func noSession(q session.AttachRequest, dir string) error {
	switch name := q.Name; {
	case q.Only && name != "":
		return &session.Error{
			Code: session.CodeNoSession, Text: fmt.Sprintf("%s has no session %s", dir, name), Hint: `"dipls sessions" lists those that there are`,
		}
	case q.Only:
		return &session.Error{
			Code: session.CodeNoSession, Text: fmt.Sprintf("%s has no session", dir), Hint: `"dipls sessions" lists those of other folders`,
		}
	case name != "":
		return &session.Error{Code: session.CodeNoSession, Text: fmt.Sprintf("there is no session %s", name), Hint: `"dipls sessions" lists those that there are`}
	}
	hint := `"dipls sessions" lists those of other folders`
	if there := Elsewhere(dir); len(there) > 0 {
		hint = there[0]
	}
	return &session.Error{Code: session.CodeNoSession, Text: fmt.Sprintf("neither %s nor a folder above it has a session", dir), Hint: hint}
}
