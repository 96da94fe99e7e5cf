package cells

import (
	"fmt"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	source := "x = 1  # one\n" +
		"text = '''a\n" +
		"  b'''\n" +
		"f(\n" +
		"  x)\n" +
		"%time f(x) \\\n" +
		"  + 1\n" +
		"if x:\n" +
		"    !ls\n" +
		"y = 'a\\\n" +
		" b'\n" +
		"z"
	var got strings.Builder
	var whole string
	for _, l := range Lines(source) {
		if len(l.Text) != len(l.Code) {
			t.Errorf("%q and %q", l.Text, l.Code)
		}
		whole += l.Text
		kinds := map[bool]string{true: "starts "}[l.Starts] + map[bool]string{true: "content "}[l.Content] + map[bool]string{true: "ipython"}[l.IPython]
		fmt.Fprintf(&got, "%-8s", strings.TrimSpace(kinds))
		got.WriteString("|" + strings.TrimRight(l.Code, " \n") + "\n")
	}
	want := `starts  |x = 1
starts  |text = '''""
content |""""""
starts  |f(
        |  x)
starts ipython|
ipython |
starts  |if x:
starts ipython|
starts  |y = '"""
content |"""
starts  |z
`
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
	if whole != source {
		t.Errorf("together: %q", whole)
	}
	foreign := Lines("\n%%bash\nls 'it\nx = 1\n")
	if len(foreign) != 4 || foreign[0].IPython || !foreign[1].IPython || !foreign[3].IPython {
		t.Errorf("%+v", foreign)
	}
}
