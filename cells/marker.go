package cells

import (
	"encoding/json"
	"slices"
	"strings"
)

// A CellType says what a cell's body is.
type CellType int

const (
	CodeCell CellType = iota
	MarkdownCell
	RawCell
)

// String is the name that Jupyter's file format has for the type: code, markdown or raw.
func (t CellType) String() string {
	switch t {
	case MarkdownCell:
		return "markdown"
	case RawCell:
		return "raw"
	}
	return "code"
}

// A Metadatum is one key of a cell header's metadata.
type Metadatum struct {
	Key   string
	Value string // a string's content; anything else as its JSON text
	Range Range  // of the value; of the whole object where the metadata is JSON
}

// A marker is a comment that begins a cell.
type marker struct {
	kind  markerKind
	depth int  // percent signs beyond two
	rest  int  // where title and metadata begin, counted from the '#'; of a magic, its percent sign
	near  near // what a nearDirective is nearly
}

// A markerKind says what makes a comment a marker.
type markerKind int

const (
	titled        markerKind = iota // "# %%" and the like
	named                           // likewise, but its title begins like one of IPython's cell magics
	ownMagic                        // "# %%dip …" and the like: the marker is the cell's directive
	nearlyMagic                     // nearly that
	ipythonsMagic                   // "# %%time" and the like
)

// readMarker reads a comment, from its '#' to the end of its line, as a marker.
func readMarker(comment string) (marker, bool) {
	i := skipBlank(comment, len("#"))
	switch rest := comment[i:]; {
	case strings.HasPrefix(rest, "%%"):
		n := len(rest) - len(strings.TrimLeft(rest, "%"))
		m := marker{depth: n - len("%%"), rest: i + n}
		if m.depth == 0 && n < len(rest) && !isBlank(rest[n]) {
			return m.magic(comment)
		}
		return m, true
	case strings.HasPrefix(rest, "In["):
		end := strings.IndexByte(rest, ']')
		if end >= 0 && strings.Trim(rest[len("In["):end], " 0123456789") == "" {
			after := strings.TrimPrefix(rest[end+1:], ":")
			if after == "" || isBlank(after[0]) || len(after) < len(rest[end+1:]) {
				return marker{rest: len(comment) - len(after)}, true
			}
		}
	case strings.HasPrefix(rest, "<codecell>"):
		return marker{rest: i + len("<codecell>")}, true
	case strings.HasPrefix(comment, "#!"):
		m, ok := marker{rest: len(comment)}.magic(comment)
		return m, ok && m.kind > named
	}
	return marker{}, false
}

// magic completes a marker of the form "# %%NAME": a cell magic, or a title that only looks like one. ok is false if the comment is no
// marker: a line magic, or a question about a magic.
func (m marker) magic(comment string) (_ marker, ok bool) {
	own, isOwn := readMagic(comment)
	if isOwn {
		m.kind, m.rest = ownMagic, own.Range.Start
		return m, own.Cell && !own.Help
	}
	if n, isNear := nearMagic(comment); isNear {
		m.kind, m.near = nearlyMagic, n
		return m, n.cell
	}
	if line, known := readIPython(comment); known && line.cell {
		m.kind = named
		if line.fits {
			m.kind, m.rest = ipythonsMagic, line.start
		}
		return m, !line.help
	}
	return m, true
}

// A header is what a marker line says after its percent signs.
type header struct {
	typ      CellType
	title    string
	metadata []Metadatum
	bad      Range // metadata that does not parse, if not empty
	ours     bool  // bad has a key of ours
	fix      string
	nears    []near // what is nearly metadata of ours
}

// readHeader reads title, type and metadata in the forms that jupytext writes: Title [type] key=value …, or
// Title [type] {"key": value, …}. base is added to every offset. What cannot be read as metadata belongs to the title, unless it was
// clearly meant as metadata. Pairs whose key is not ours belong to the title as well.
func readHeader(s string, base int) header {
	var h header
	end := len(strings.TrimRight(s, " \t\f"))
	s = s[:end]
	titleEnd := end
	more := ""

	object := jsonStart(s)
	pairs, keys, broken := readPairs(s, base)
	switch {
	case object >= 0 && json.Valid([]byte(s[object:])):
		titleEnd = object
		h.metadata = readObject(s[object:], Range{base + object, base + end})
	case pairs != nil:
		titleEnd = keys[0].Start
		h.metadata = pairs
		for i, m := range pairs {
			if key := nearKey(m); key != "" {
				at := Range{keys[i].Start, keys[i].Start + len(m.Key)}
				h.nears = append(h.nears, near{at: at.shift(base), fix: key})
			} else if m.Key != "target" && m.Key != "see" {
				more += " " + s[keys[i].Start:keys[i].End]
			}
		}
	case object >= 0:
		titleEnd = object
		h.bad = Range{base + object, base + end}
		h.ours = strings.Contains(s[object:], `"target"`) || strings.Contains(s[object:], `"see"`)
	case broken >= 0:
		titleEnd = broken
		h.bad, h.ours, h.fix = Range{base + broken, base + end}, true, mended(s[broken:])
	}
	h.title, h.typ = readTitle(s[:titleEnd])
	if n, ok := nearPair(s[:titleEnd]); ok && len(h.nears) == 0 && h.bad.Len() == 0 {
		n.at = n.at.shift(base)
		h.nears = append(h.nears, n)
	}
	h.title = strings.TrimLeft(h.title+more, " ")
	return h
}

// mended is what metadata that does not parse most likely meant: with its quote closed, or as a pair behind the title; "" if that is unclear.
func mended(s string) string {
	for _, quote := range []string{`"`, "'"} {
		if pairs, keys, _ := readPairs(s+quote, 0); pairs != nil && keys[0].Start == 0 {
			return s + quote
		}
	}
	if n, ok := nearPair(s); ok {
		return s[:n.at.Start] + n.fix
	}
	if _, end, ok := readPair(s, 0, 0); ok {
		if fix := strings.Trim(s[end:], " \t\f") + " " + s[:end]; fix != s {
			if pairs, _, _ := readPairs(fix, 0); pairs != nil {
				return fix
			}
		}
	}
	return ""
}

// readTitle takes the first [type] out of the title.
func readTitle(s string) (string, CellType) {
	for word := range words(s) {
		var typ CellType
		switch s[word.Start:word.End] {
		case "[markdown]", "[md]":
			typ = MarkdownCell
		case "[raw]":
			typ = RawCell
		default:
			continue
		}
		before, after := strings.Trim(s[:word.Start], " \t\f"), strings.Trim(s[word.End:], " \t\f")
		return strings.Trim(before+" "+after, " "), typ
	}
	return strings.Trim(s, " \t\f"), CodeCell
}

// words yields the blank-separated words of s.
func words(s string) func(func(Range) bool) {
	return func(yield func(Range) bool) {
		for i := skipBlank(s, 0); i < len(s); i = skipBlank(s, i) {
			start := i
			for i < len(s) && !isBlank(s[i]) {
				i++
			}
			if !yield(Range{start, i}) {
				return
			}
		}
	}
}

// jsonStart is the offset of the first word that looks like the start of a JSON object, or -1.
func jsonStart(s string) int {
	for word := range words(s) {
		if s[word.Start] != '{' {
			continue
		}
		if i := skipBlank(s, word.Start+1); i < len(s) && (s[i] == '"' || s[i] == '}') {
			return word.Start
		}
	}
	return -1
}

func readObject(s string, at Range) []Metadatum {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(s), &object) != nil {
		return nil
	}
	var all []Metadatum
	for key, raw := range object {
		all = append(all, Metadatum{key, plainValue(raw), at})
	}
	slices.SortFunc(all, func(a, b Metadatum) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// plainValue is a JSON string's content, or the text of any other JSON value.
func plainValue(raw json.RawMessage) string {
	var s string
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// readPairs finds the first word from which on everything is key=value pairs. keys are the ranges of their keys in s. If there is no such
// word, broken is where one of our keys stands nevertheless, or -1.
func readPairs(s string, base int) (pairs []Metadatum, keys []Range, broken int) {
	broken = -1
	failed := -1 // all words up to here are known to be followed by something that is no pair
	for word := range words(s) {
		if word.Start < failed {
			continue
		}
		i := word.Start
		var all []Metadatum
		keys = keys[:0]
		for i < len(s) {
			pair, end, ok := readPair(s, i, base)
			if !ok {
				failed = i
				break
			}
			if all == nil {
				all, keys = make([]Metadatum, 0, 2), slices.Grow(keys, 2)
			}
			all = append(all, pair)
			keys = append(keys, Range{i, end})
			i = skipBlank(s, end)
		}
		if i == len(s) && all != nil {
			return all, keys, -1
		}
		if broken < 0 && (ourKey(s[word.Start:]) || slices.ContainsFunc(all, func(m Metadatum) bool { return ourKey(m.Key + "=") })) {
			broken = word.Start
		}
	}
	return nil, nil, broken
}

func ourKey(s string) bool {
	return strings.HasPrefix(s, "target=") || strings.HasPrefix(s, "see=")
}

// readPair reads key=value at s[i:]; end is the offset after it.
func readPair(s string, i, base int) (m Metadatum, end int, ok bool) {
	start := i
	for i < len(s) && (s[i] < 0x80 && (classes[s[i]] == letter || i > start && (classes[s[i]] == digit || s[i] == '-')) || s[i] == '.') {
		i++
	}
	if i == start || i == len(s) || s[i] != '=' {
		return m, 0, false
	}
	m.Key = s[start:i]
	i++
	if i == len(s) || isBlank(s[i]) || s[i] == '=' {
		return m, 0, false // a comparison in a title, not metadata
	}
	switch c := s[i]; c {
	case '"', '\'':
		if end = stringEnd(s, i); end < 0 {
			return m, 0, false
		}
		m.Value = s[i+1 : end-1]
		if c == '"' && strings.Contains(m.Value, `\`) {
			m.Value = plainValue([]byte(s[i:end]))
		}
	case '[', '{':
		d := json.NewDecoder(strings.NewReader(s[i:]))
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			return m, 0, false
		}
		end = i + int(d.InputOffset())
		m.Value = plainValue(raw)
	default:
		for end = i; end < len(s) && !isBlank(s[end]); {
			end++
		}
		m.Value = s[i:end]
	}
	if end < len(s) && !isBlank(s[end]) {
		return m, 0, false
	}
	m.Range = Range{base + i, base + end}
	return m, end, true
}

// stringEnd is the offset after the string that begins with the quote at s[i], -1 if it does not end.
func stringEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case s[i]:
			return j + 1
		case '\\':
			j++
		}
	}
	return -1
}
