// Package vocabulary finds words that mean the same as one of the table in docs/architecture.md, wherever people read them.
package vocabulary

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table: its rows have three columns, and the last one has words that nobody should read.
var row = regexp.MustCompile(`(?m)^\| [^|]+ \| [^|]+ \| ([a-z, ]+) \|$`)

// never are the words in the table's last column, as patterns: with the endings of verbs, and articles.
func never(t *testing.T) []*regexp.Regexp {
	t.Helper()
	text := read(t, "../../docs/architecture.md")
	_, table, ok := strings.Cut(text, "| word | what is done | never |")
	table, _, end := strings.Cut(table, "\n\n")
	var patterns []*regexp.Regexp
	for _, cells := range row.FindAllStringSubmatch(table, -1) {
		for _, words := range strings.Split(cells[1], ", ") {
			verb, noun, two := strings.Cut(words, " ")
			if !two {
				t.Errorf("%q in the table is a single word", words)
			}
			pattern := fmt.Sprintf(`(?i)\b%s(s|d|ed|ing|ped|ping|led|ling)?\s+((the|a|an|this|that|another|your|its|all)\s+)?%s(s|es)?\b`, verb, noun)
			patterns = append(patterns, regexp.MustCompile(pattern))
		}
	}
	if !ok || !end || len(patterns) < 20 {
		t.Fatalf("%d words in the table of docs/architecture.md", len(patterns))
	}
	return patterns
}

// literal is a string in Go or TypeScript, on one line.
var literal = regexp.MustCompile("\"(?:[^\"\\\\\n]|\\\\.)*\"|'(?:[^'\\\\\n]|\\\\.)*'|`[^`]*`")

func TestVocabulary(t *testing.T) {
	patterns := never(t)
	strays := 0
	for _, glob := range []string{
		"README.md", "docs/*.md", "vscode-extension/README.md", "vscode-extension/package.json", "lsp/*.go",
		"vscode-extension/src/*.ts", "vscode-extension/src/*/*.ts",
	} {
		files, err := filepath.Glob(filepath.Join("../..", glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", glob, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for i, line := range strings.Split(read(t, file), "\n") {
				shown := line
				if ext := filepath.Ext(file); ext == ".go" || ext == ".ts" {
					shown = strings.Join(literal.FindAllString(strings.SplitN(line, "//", 2)[0], -1), " ")
				} else if row.MatchString(line) {
					continue // the table itself
				}
				for _, pattern := range patterns {
					if stray := pattern.FindString(shown); stray != "" {
						strays++
						t.Errorf("%s:%d: %q", strings.TrimPrefix(file, "../../"), i+1, stray)
					}
				}
			}
		}
	}
	if strays > 0 {
		t.Error("the table of words in docs/architecture.md says what these are called")
	}
}

// TestPatterns is what the patterns find, and what they leave alone.
func TestPatterns(t *testing.T) {
	patterns := never(t)
	for text, want := range map[string]bool{
		"Kill pool": true, "stopped the session": true, "It is stopping this session.": true, "cancels all runs": true, "the local processes": true,
		"End pool": false, "stop at the session": false, "a session stops": false, "dipls stop": false, "killPool": false,
	} {
		found := false
		for _, pattern := range patterns {
			found = found || pattern.MatchString(text)
		}
		if found != want {
			t.Errorf("%q: %v", text, found)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
