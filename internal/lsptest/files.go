package lsptest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/rogpeppe/go-internal/txtar"
)

// Marked is a test case in a txtar file: documents with marks in them, and what is expected at these.
//
// The comment above the first file says what the case is for; lines of it that begin with a word and a colon are [Marked.Value]s,
// such as "settings: {"ranks": 3}". A file whose name begins with "@" is expected text, see [Marked.Golden]; every other file is a document.
//
// In a document, a mark is a comment at the end of a line:
//
//	print(x)  #@ hover:x "int" "3"
//
// It is "#@" and then expectations between semicolons; each is a kind, perhaps a colon and a text of that line which says where (without
// it: the line), and arguments: quoted strings (Go's rules) or single words. Marks are not part of the document: the editor
// opens it without them and the blanks before.
type Marked struct {
	Name      string
	Documents map[string]string // without marks
	Marks     []Mark            // in the order of the files and their lines

	values  map[string]string
	archive *txtar.Archive
	path    string
}

// Mark is one expectation.
type Mark struct {
	File  string
	Range Range // in UTF-16: the text that it names, or the line without its terminator
	Kind  string
	Args  []string
}

// String is where the mark stands, for messages.
func (m Mark) String() string { return fmt.Sprintf("%s:%d: %s", m.File, m.Range.Start.Line+1, m.Kind) }

// Files runs a test for every txtar file that a pattern names, each as a subtest with the name of its file.
func Files(t *testing.T, pattern string, test func(*testing.T, *Marked)) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s (%v)", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := parseMarked(path, data)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			test(t, m)
		})
	}
}

func parseMarked(path string, data []byte) (*Marked, error) {
	a := txtar.Parse(data)
	m := &Marked{
		Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), Documents: map[string]string{}, values: map[string]string{}, archive: a, path: path,
	}
	for line := range strings.Lines(string(a.Comment)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.Contains(key, " ") {
			m.values[key] = strings.TrimSpace(value)
		}
	}
	for _, f := range a.Files {
		if strings.HasPrefix(f.Name, "@") {
			continue
		}
		text, marks, err := takeMarks(f.Name, string(f.Data))
		if err != nil {
			return nil, err
		}
		m.Documents[f.Name] = text
		m.Marks = append(m.Marks, marks...)
	}
	return m, nil
}

// Value is the value of a "key: value" line of the comment; "" if there is none.
func (m *Marked) Value(key string) string { return m.values[key] }

// Kinds are the marks of a kind.
func (m *Marked) Kinds(kind string) []Mark {
	return slices.DeleteFunc(slices.Clone(m.Marks), func(mark Mark) bool { return mark.Kind != kind })
}

// Open opens all documents.
func (m *Marked) Open(e *Editor) {
	for _, f := range m.archive.Files {
		if text, ok := m.Documents[f.Name]; ok {
			e.Open(f.Name, text)
		}
	}
}

// Golden compares text with the file "@name" of the case. With DIPLS_UPDATE_GOLDEN=1 in the environment it writes that file instead.
func (m *Marked) Golden(t *testing.T, name, got string) {
	t.Helper()
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	i := slices.IndexFunc(m.archive.Files, func(f txtar.File) bool { return f.Name == "@"+name })
	if os.Getenv("DIPLS_UPDATE_GOLDEN") == "1" {
		if i < 0 {
			m.archive.Files = append(m.archive.Files, txtar.File{Name: "@" + name})
			i = len(m.archive.Files) - 1
		}
		m.archive.Files[i].Data = []byte(got)
		if err := os.WriteFile(m.path, txtar.Format(m.archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 {
		t.Fatalf("%s has no file @%s; DIPLS_UPDATE_GOLDEN=1 would write\n%s", m.path, name, got)
	}
	if want := string(m.archive.Files[i].Data); got != want {
		t.Errorf("@%s of %s: got\n%s\nwant\n%s", name, m.path, got, want)
	}
}

var (
	markStart = regexp.MustCompile(`[ \t]*#@ `)
	argument  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\S+`)
)

// takeMarks takes the marks out of a document.
func takeMarks(name, data string) (text string, marks []Mark, err error) {
	var b strings.Builder
	number := 0
	for line := range strings.Lines(data) {
		content := strings.TrimRight(line, "\r\n")
		at := markStart.FindStringIndex(content)
		if at == nil {
			b.WriteString(line)
			number++
			continue
		}
		code := content[:at[0]]
		b.WriteString(code + line[len(content):])
		for _, expectation := range splitExpectations(content[at[1]:]) {
			mark, err := parseMark(code, expectation)
			if err != nil {
				return "", nil, fmt.Errorf("%s:%d: %w", name, number+1, err)
			}
			mark.File = name
			mark.Range.Start.Line, mark.Range.End.Line = number, number
			marks = append(marks, mark)
		}
		number++
	}
	return b.String(), marks, nil
}

// splitExpectations splits at semicolons outside of quotes.
func splitExpectations(text string) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quoted:
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ';' && !quoted:
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}

// parseMark parses one expectation about a line.
func parseMark(line, text string) (Mark, error) {
	words := argument.FindAllString(text, -1)
	if len(words) == 0 {
		return Mark{}, fmt.Errorf("an empty expectation")
	}
	kind, where, named := strings.Cut(words[0], ":")
	mark := Mark{Kind: kind, Range: Range{End: Position{Character: utf16Length(line)}}}
	args := words[1:]
	if named {
		if where == "" && len(args) > 0 { // kind: "text with blanks"
			where, args = args[0], args[1:]
		}
		where, err := unquoted(where)
		if err != nil {
			return Mark{}, err
		}
		i := strings.Index(line, where)
		if i < 0 {
			return Mark{}, fmt.Errorf("there is no %q in the line", where)
		}
		mark.Range.Start.Character = utf16Length(line[:i])
		mark.Range.End.Character = utf16Length(line[:i+len(where)])
	}
	for _, word := range args {
		arg, err := unquoted(word)
		if err != nil {
			return Mark{}, err
		}
		mark.Args = append(mark.Args, arg)
	}
	return mark, nil
}

func unquoted(word string) (string, error) {
	if !strings.HasPrefix(word, `"`) {
		return word, nil
	}
	return strconv.Unquote(word)
}

func utf16Length(text string) int { return len(utf16.Encode([]rune(text))) }
