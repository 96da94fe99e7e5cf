package cells

import (
	"fmt"
	"slices"
	"strings"
)

// Markers are further comments that begin cells, as a user has chosen them: "# COMMAND ----------" of Databricks, "# +" and "# -" of jupytext. A nil
// Markers has none.
type Markers struct{ list []string }

// NewMarkers makes Markers of the beginnings of comments; nil of none. What follows one of them on its line, after a blank, is the cell's title and metadata.
func NewMarkers(list []string) (*Markers, error) {
	for _, m := range list {
		if !strings.HasPrefix(m, "#") || strings.Trim(m, "# \t") == "" || strings.ContainsAny(m, "\r\n\f") || m != strings.TrimSpace(m) {
			return nil, fmt.Errorf("%q is no comment that could begin a cell: want one such as \"# COMMAND ----------\" or \"# +\"", m)
		}
		if _, ours := readMagic(m); ours || strings.HasPrefix(m, "#!") {
			return nil, fmt.Errorf("%q means something else", m)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return &Markers{slices.Clone(list)}, nil
}

// Equal reports whether both are the same comments.
func (m *Markers) Equal(other *Markers) bool { return slices.Equal(m.all(), other.all()) }

func (m *Markers) all() []string {
	if m == nil {
		return nil
	}
	return m.list
}

// Parse parses the text of a file.
func (m *Markers) Parse(src string) *File {
	f := &File{markers: m}
	f.add(m.parse(src, true, true).nodes)
	return f
}

// read reads a comment, from its '#' to the end of its line, as a marker.
func (m *Markers) read(comment string) (marker, bool) {
	if m != nil {
		for _, one := range m.list {
			if rest, ok := strings.CutPrefix(comment, one); ok && (rest == "" || isBlank(rest[0])) {
				return marker{rest: len(one)}, true
			}
		}
	}
	return readMarker(comment)
}

// has reports whether a comment is a marker.
func (m *Markers) has(comment string) bool {
	_, ok := m.read(comment)
	return ok
}
