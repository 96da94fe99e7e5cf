package lsp

import (
	"strings"
	"testing"
)

// Output in a diagnostic is bounded, and the diagnostic says so.
func TestPrinted(t *testing.T) {
	var p printed
	if got := p.show("last"); got != "" {
		t.Errorf("nothing: %q", got)
	}
	p.add("\x1b[1mone\x1b[0m\ntwo")
	p.live = []string{"50%"}
	for mode, want := range map[string]string{"off": "", "last": "one\ntwo\n50%", "full": "one\ntwo\n50%"} {
		if got := p.show(mode); got != want {
			t.Errorf("%s: %q, want %q", mode, got, want)
		}
	}
	for range 2 * fullLines {
		p.add("line")
	}
	if got, want := p.show("last"), "…\nline\nline\nline\nline\n50%"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := p.show("full"); !strings.HasPrefix(got, "…\nline\n") || strings.Count(got, "\n") != fullLines+1 {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
	p.add(strings.Repeat("é", fullOutputSize))
	if got := p.show("full"); len(got) > fullOutputSize+20 || !strings.HasSuffix(got, "é\n50%") {
		t.Errorf("%d bytes", len(got))
	}
}
