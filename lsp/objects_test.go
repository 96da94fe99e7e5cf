package lsp

import (
	"strings"
	"testing"

	"dipls/session"
)

// Names and values from a namespace stay code in Markdown: they load no image and make no link.
func TestHoverStaysCode(t *testing.T) {
	const evil = "x`\n\n![i](http://evil/i.png) [l](http://evil) <img src=http://evil> ```\x1b]0;t\x07"
	object := session.Object{
		Name: "n" + evil, Type: evil, Kind: "instance", Signature: evil, DType: evil, Device: evil, Text: evil + "\n```\n````\n" + evil, Doc: evil,
	}
	for _, kind := range []string{"instance", "function", evil} {
		object.Kind = kind
		text := describeName([]session.Inspection{{Found: true, Object: &object}}, func(int) string { return "" }, true)
		if text == "" || strings.ContainsAny(text, "\x1b\x07") {
			t.Errorf("%q", text)
		}
		fence := ""
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\n")
			ticks := line[:len(line)-len(strings.TrimLeft(line, "`"))]
			switch {
			case fence != "" && line == fence:
				fence = ""
			case fence != "":
			case len(ticks) >= 3 && line == ticks+"text":
				fence = ticks
			default:
				spans := strings.Split(line, "`")
				for i := 0; i < len(spans); i += 2 { // outside of spans
					if strings.Contains(spans[i], "evil") {
						t.Errorf("%s: %q is no code in %q", kind, spans[i], line)
					}
				}
				if len(spans)%2 == 0 {
					t.Errorf("a span is open in %q", line)
				}
			}
		}
		if fence != "" {
			t.Errorf("a block is open in %q", text)
		}
	}
}
