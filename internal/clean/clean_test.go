package clean

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, test := range []struct{ in, text, styled string }{
		{"plain Ünïcode 🚀\n\ttext", "plain Ünïcode 🚀\n\ttext", "plain Ünïcode 🚀\n\ttext"},
		{"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m"},
		{"\x1b[31mred", "red", "\x1b[31mred\x1b[m"},
		{"a\x1b]52;c;ZXZpbA==\x07b", "ab", "ab"}, // the clipboard
		{"a\x1b]0;title\x1b\\b", "ab", "ab"},     // the window's title
		{"a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\c", "abc", "abc"},
		{"a\x1b[2J\x1b[H\x1b[?1049hb", "ab", "ab"},      // the screen
		{"a\x1bPq#0\x1b\\b\x1b_G\x1b\\c", "abc", "abc"}, // pictures
		{"a\x1bcb\x1b(0c", "abc", "abc"},
		{"a\rb\bc\x07d\x00e\x7ff", "abcdef", "abcdef"},
		{"a\u009b31mb\u0085c", "a31mbc", "a31mbc"},
		{"a\u202eb\u2066c", "abc", "abc"},
		{"a\x1b]0;never ends", "a", "a"},
		{"a\x1b[>4;1mb", "ab", "ab"}, // the keyboard, though it ends as colours do
		{"\x1b", "", ""},
	} {
		if got := Text(test.in); got != test.text {
			t.Errorf("Text(%q) = %q, want %q", test.in, got, test.text)
		}
		if got := Styled(test.in); got != test.styled {
			t.Errorf("Styled(%q) = %q, want %q", test.in, got, test.styled)
		}
	}
	if got := Line("a\n\tb\x1b[1mc"); got != "a  bc" {
		t.Errorf("Line: %q", got)
	}
}

func TestExcerpt(t *testing.T) {
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("line %d é", i))
	}
	got := Excerpt(strings.Join(lines, "\n"), 6, 1000, "/journal")
	want := "line 0 é\nline 1 é\nline 2 é\n… 994 lines (12 kB) left out; all of it is in /journal …\nline 997 é\nline 998 é\nline 999 é"
	if got != want {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"", "a", "a\nb", strings.Repeat("x", 1000), "a\nb\nc\nd\ne\nf"} {
		if got := Excerpt(s, 6, 1000, ""); got != s {
			t.Errorf("%.20q: %q", s, got)
		}
	}
	long := strings.Repeat("é", 3<<20)
	for _, s := range []string{long, "x" + long, long + "\n" + long, "\n\n\n" + long + "\n\n\n", strings.Repeat("\n", 5000)} {
		got := Excerpt(s, 6, 1000, "")
		if len(got) > 1100 || strings.Count(got, "\n") > 8 || !utf8.ValidString(got) || !strings.Contains(got, "left out …") {
			t.Errorf("%.20q: %d bytes, %.40q", s, len(got), got)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"\x1b[31mé\x1b]0;x\x07", "\x9b1m", "\x1b\x1b[", "\u009b", "a\x18b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Text(s); strings.ContainsFunc(got, steers) {
			t.Errorf("Text(%q) = %q", s, got)
		}
		rest := Styled(s)
		for _, piece := range strings.Split(rest, "\x1b[")[1:] {
			if i := strings.IndexFunc(piece, func(r rune) bool { return !strings.ContainsRune("0123456789;:", r) }); i < 0 || piece[i] != 'm' {
				t.Errorf("Styled(%q) = %q", s, rest)
			}
		}
		Excerpt(s, 4, 20, "")
	})
}
