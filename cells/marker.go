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
	magic bool // "# %%dip …" and the like: the marker is the cell's directive
	depth int  // percent signs beyond two
	rest  int  // where title and metadata begin, counted from the '#'
}

// readMarker reads a comment, from its '#' to the end of its line, as a marker.
func readMarker(comment string) (marker, bool) {
	i := skipBlank(comment, len("#"))
	switch rest := comment[i:]; {
	case strings.HasPrefix(rest, "%%"):
		n := len(rest) - len(strings.TrimLeft(rest, "%"))
		if n == len(rest) || isBlank(rest[n]) || rest[n] == '[' {
			return marker{depth: n - len("%%"), rest: i + n}, true
		}
	case strings.HasPrefix(rest, "In["):
		end := strings.IndexByte(rest, ']')
		if end >= 0 && strings.HasPrefix(rest[end:], "]:") && strings.Trim(rest[len("In["):end], " 0123456789") == "" {
			return marker{rest: i + end + len("]:")}, true
		}
	case strings.HasPrefix(rest, "<codecell>"):
		return marker{rest: i + len("<codecell>")}, true
	}
	if i < len(comment) && (comment[i] == '%' || comment[i] == '!') {
		if m, ok := readMagic(comment); ok && m.Cell && !m.Help {
			return marker{magic: true, rest: m.Range.Start}, true
		}
	}
	return marker{}, false
}

func isMarker(comment string) bool {
	_, ok := readMarker(comment)
	return ok
}

// A header is what a marker line says after its percent signs.
type header struct {
	typ      CellType
	title    string
	metadata []Metadatum
	bad      Range // metadata that does not parse, if not empty
}

// readHeader reads title, type and metadata in the forms that jupytext writes: Title [type] key=value …, or
// Title [type] {"key": value, …}. base is added to every offset. What does not read as metadata is title, unless it was
// clearly meant to be metadata.
func readHeader(s string, base int) header {
	var h header
	end := len(strings.TrimRight(s, " \t\f"))
	s = s[:end]
	titleEnd := end

	object := jsonStart(s)
	pairs, pairsStart, broken := readPairs(s, base)
	switch {
	case object >= 0 && json.Valid([]byte(s[object:])):
		titleEnd = object
		h.metadata = readObject(s[object:], Range{base + object, base + end})
	case pairs != nil:
		titleEnd = pairsStart
		h.metadata = pairs
	case object >= 0:
		titleEnd = object
		h.bad = Range{base + object, base + end}
	case broken >= 0:
		titleEnd = broken
		h.bad = Range{base + broken, base + end}
	}
	h.title, h.typ = readTitle(s[:titleEnd])
	return h
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

// jsonStart is where a word begins that looks like the start of a JSON object; -1 if none does.
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

// readPairs finds the first word from which on everything is key=value pairs. If there is none, broken is where a key of ours
// stands all the same, or -1.
func readPairs(s string, base int) (pairs []Metadatum, start, broken int) {
	broken = -1
	failed := -1 // all words up to here are known to be followed by something that is no pair
	for word := range words(s) {
		if word.Start < failed {
			continue
		}
		i := word.Start
		var all []Metadatum
		for i < len(s) {
			pair, end, ok := readPair(s, i, base)
			if !ok {
				failed = i
				break
			}
			all = append(all, pair)
			i = skipBlank(s, end)
		}
		if i == len(s) && all != nil {
			return all, word.Start, -1
		}
		if broken < 0 && (ourKey(s[word.Start:]) || slices.ContainsFunc(all, func(m Metadatum) bool { return ourKey(m.Key + "=") })) {
			broken = word.Start
		}
	}
	return nil, 0, broken
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
