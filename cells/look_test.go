package cells

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestStuffAt(t *testing.T) {
	const source = "x = 'a# b' # c 'd'\ny = f\"e {z} f\"\n%timeit g\n'''h\n# i'''\nj = [\n1, k]"
	want := map[string]Stuff{
		"x": InCode, "a": InString, "b": InString, "c": InComment, "d": InComment, "y": InCode, "e ": InString, "z": InCode, " f": InString,
		"g": InComment, "h": InString, "i'": InString, "j": InCode, "k": InCode,
	}
	for text, stuff := range want {
		i := strings.Index(source, text)
		if text == " f" {
			i = strings.LastIndex(source, " f") + 1
		}
		if got := StuffAt(source, i); got != stuff {
			t.Errorf("%q: %d, want %d", text, got, stuff)
		}
	}
	if StuffAt(source, -1) != InCode || StuffAt(source, len(source)) != InCode {
		t.Error("outside is not code")
	}
}

func TestFlagsOf(t *testing.T) {
	for _, name := range MagicNames(false) {
		if flags := FlagsOf(name, false); len(flags) == 0 {
			t.Errorf("%%%s has no flags", name)
		}
	}
	if got := MagicNames(true); !slices.Equal(got, []string{"dip", "px", "rank"}) {
		t.Error(got)
	}
	if got := FlagsOf("dip", true)[0]; !slices.Equal(got.Names, []string{"-S", "--see"}) || got.Takes != "ranks" {
		t.Errorf("%+v", got)
	}
	m, ok := ReadMagic("  # %dipush x ")
	if !ok || m.Name != "dipush" || m.Args != "x" || m.Range != (Range{4, 13}) {
		t.Errorf("%+v %v", m, ok)
	}
}

// Where lines of magics are, what of them is the name, and what does the same as a comment.
func TestMagicLines(t *testing.T) {
	const text = "# dip: remote\n# %%\n# %matplotlib inline\n%matplotlib inline\n!nvidia-smi -L\n# !nvidia-smi\n" +
		"x = 1\n%dipush x\n%dipush a \\\n  b\n# %timeit is slow\n'''\n# %pwd\n'''\n# %%time\ny\n# %% a\n%%time\nz\n# %%\n%%bash\nls\n"
	var got strings.Builder
	for c := range Parse(text).Cells() {
		for l := range c.MagicLines() {
			of := func(r Range) string { return text[r.Start:r.End] }
			fmt.Fprintf(&got, "%q %q %q", of(l.Range), of(l.Name), of(l.Args))
			if l.Fix != "" {
				fmt.Fprintf(&got, " -> %q", l.Fix)
			}
			got.WriteByte('\n')
		}
	}
	const want = `"# dip: remote" "dip" "remote"
"# %matplotlib inline" "%matplotlib" "inline"
"%matplotlib inline" "%matplotlib" "inline" -> "# %matplotlib inline"
"!nvidia-smi -L" "!" "nvidia-smi -L" -> "# !nvidia-smi -L"
"# !nvidia-smi" "!" "nvidia-smi"
"%dipush x" "%dipush" "x" -> "# %dipush x"
"%dipush a" "%dipush" "a"
"# %%time" "%%time" ""
"%%time" "%%time" "" -> "# %%time"
"%%bash" "%%bash" ""
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if names := IPythonMagicNames(false); !slices.Contains(names, "matplotlib") || slices.Contains(names, "bash") {
		t.Error(names)
	}
}
