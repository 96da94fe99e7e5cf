package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// sources are the project's files, as git would commit them now, whose names end in one of suffixes.
func sources(t *testing.T, suffixes ...string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git ls-files: %v", err)
	}
	var files []string
	for file := range strings.SplitSeq(string(out), "\x00") {
		for _, suffix := range suffixes {
			if strings.HasSuffix(file, suffix) {
				files = append(files, filepath.Join("../..", file))
			}
		}
	}
	return files
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

// anchors are the fragments by which links reach a page's headings, as code hosts make them.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case r == ' ':
				b.WriteRune('-')
			case r == '-' || r == '_' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
				b.WriteRune(r)
			}
		}
		found[b.String()] = true
	}
	return found
}

// Every link from page to page leads to a file and a heading that are there.
func TestLinksOfDocuments(t *testing.T) {
	for _, file := range sources(t, ".md") {
		page, err := os.ReadFile(file)
		if err != nil {
			continue // removed, but not yet from git's index
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(string(page), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue
			}
			to := file
			if target != "" {
				to = filepath.Join(filepath.Dir(file), target)
			}
			text, err := os.ReadFile(to)
			if info, statErr := os.Stat(to); statErr == nil && info.IsDir() {
				err = nil
			}
			switch {
			case err != nil:
				t.Errorf("%s links to %s, which is not there", file, m[1])
			case anchor != "" && !anchors(string(text))[anchor]:
				t.Errorf("%s links to %s: there is no such heading", file, m[1])
			}
		}
	}
}

// No line of a source is longer than maxLine characters: its end would be out of sight in an editor, and in a diff.
func TestLinesOfSources(t *testing.T) {
	const maxLine = 160
	for _, file := range sources(t, ".go", ".py", ".ts", ".mts", ".js", ".mjs", ".lua", ".sh") {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // removed, but not yet from git's index
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			if size := utf8.RuneCount(bytes.TrimSuffix(line, []byte("\n"))); size > maxLine {
				t.Errorf("%s:%d has %d characters, more than %d", file, n, size, maxLine)
			}
		}
	}
}
