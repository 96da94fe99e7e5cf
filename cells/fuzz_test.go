package cells

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// seeds are texts that have more to them than random pieces.
var seeds = []string{
	"",
	"\n",
	"# %%",
	"\ufeff# %% a\r\nx = 1\r\n# %% b\rz\r",
	"# ---\n# jupyter: x\n# ---\n\n# %%\n",
	"# %%\n\n# %%dip everywhere --see all\n%%dip\n#dip_locally\n",
	"# %% [markdown] T {\"target\": \"remote\", \"see\": [0, 2]}\n# %dipush x\n",
	"# %%\nx = (\n# %% inside\n)\n# %%\ny = [\n# %% recovered\ndef f(): pass\n",
	"# %%\nx = f\"{y['a']:{'>'}{w}} {{ }} \\N{DASH} {z!r}\"\n# %%\n",
	"# %%\nx = f'{\n# %% in a field\n1}'\n# %%\nf'{\n# %%\n",
	"# %%\nx = f\"\"\"{\n# %%\ny['''\n# %%\n''']:\n# %%\n}\n# %%\n\"\"\"\n# %%\n",
	"# %%\n'''\n# %%\n\\'''\n# %%\n\"\"\"\n# %%\n",
	"# %%\nx = 1 + \\\n# %% continued\n2\n%dipush a \\\n# %% b\n",
	"%%bash\necho \"don't (\n# %%\n%%dip --see 3-1 -r 0-99999999999 --sea x -q=1 -S\n",
	"# %%px --targets 0,2 --local --foo\n%px --noblock 1\n# %%dip -h\n# In[3]:\n# <codecell> x\n#!%dipush y\n",
	"f'''{:{\n# %%\n:{\n# %%\nf'''{\n# %%\n",
	"# %% a\nfor x in y:\n    z\n    # %% b\n    w\n# %% c\n    v\nelse:\n  u\n# %% d\n# %%time\nt\n# %%bash\n# ls\n",
	"# %% a\n\"\"\"b\n# %% c\nd = \"\"\"e\"\"\"\n# %% f\n\"\"\"\ng\n\"\"\"\n# %% h\n",
	"# %% [md]\n# %%dip all\n# %%time\n# %% a targt=remote b=1\n# %%dipp\n# % dipush x\n# %% dip local\n",
	"#!x\n# coding: y\n# ---\n# z\n# ---\n\"\"\"d\n\"\"\"\n# dip: remote\nimport a\n# %%\n%autodip on\n# %%rank 0,2 -S all\n# %%\n# dip: local\n",
	"# dip: remot\n# Dip: local\n# %%\nx\n",
	strings.Repeat("(\n# %%\n", 40),
	strings.Repeat("\\'''\n# %%\n", 40),
}

func FuzzParse(f *testing.F) {
	for i, s := range seeds {
		f.Add(s, uint64(i))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		checkFile(t, Parse(text), text)
		r := rand.New(rand.NewPCG(seed, 1))
		for range 3 {
			start := r.IntN(len(text) + 1)
			end := start + r.IntN(len(text)-start+1)
			if r.IntN(2) == 0 {
				end = start
			}
			checkEdit(t, text, start, end, randomText(r, 2))
		}
	})
}

func FuzzEdit(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, len(s)/2, len(s)/2+1, "(")
		f.Add(s, len(s)/3, len(s)/3, "'''\n")
	}
	f.Add("# %%\n# y \\\n# %%", 5, 6, "%") // a magic line that continues over the next marker
	f.Fuzz(func(t *testing.T, text string, start, end int, insert string) {
		start = min(max(start, 0), len(text))
		end = min(max(end, start), len(text))
		checkEdit(t, text, start, end, insert)
	})
}

func FuzzCalls(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Add("f'{a . b (c.d())}' # e()\n(x # y\n.z\n())")
	f.Fuzz(func(t *testing.T, source string) {
		end := 0
		for _, c := range callsIn(codeOf(source)) {
			if c.Range.Start < end || c.Range.End > len(source) || c.Range.Len() < len(strings.TrimPrefix(c.Name, ".")) {
				t.Fatalf("%q: %+v after %d", source, c, end)
			}
			end = c.Range.End
			if last := c.Name[strings.LastIndex(c.Name, ".")+1:]; last == "" || !strings.HasSuffix(source[:end], last) {
				t.Fatalf("%q: %+v", source, c)
			}
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add("a\u00e9😀\xff\r\nb\rc", 3, 0, 2)
	f.Fuzz(func(t *testing.T, text string, offset, line, column int) {
		file := Parse(text)
		for _, enc := range []Encoding{UTF8, UTF16, UTF32} {
			p := file.Position(offset, enc)
			at := file.Offset(p, enc)
			if want := min(max(offset, 0), len(text)); at > want || want-at > 3 {
				t.Fatalf("offset %d of %q is at %v, which is offset %d", offset, text, p, at)
			}
			if again := file.Position(at, enc); again != p {
				t.Fatalf("%v of %q goes to %d and back to %v", p, text, at, again)
			}
			if p.Line < 0 || p.Line >= file.Lines() || p.Column < 0 {
				t.Fatalf("offset %d of %q is at %v, of %d lines", offset, text, p, file.Lines())
			}
			if at := file.Offset(Position{line, column}, enc); at < 0 || at > len(text) {
				t.Fatalf("%d:%d of %q is offset %d", line, column, text, at)
			}
		}
	})
}

// Text that would make naive look-ahead quadratic still ends; -v shows how soon.
func TestHostileText(t *testing.T) {
	for _, unit := range []string{
		"(\n# %%\n", "'''\n# %%\n", "\\'''\n# %%\n", "f\"{\n", "(f\"{\n", "f'''{\n# %%\n", "f'''{\n# %%\n:{\n# %%\n", "{f'''\n# %%\n",
		"(", ")", "(]", "f'{", "\"\"\"", "\\", "# %% a=[ b=\" ", "# %%dip --see 1 ", "\r", "# %%\n", "((\n", "[\n)\n", "# %%\n\n# %%dip\n",
		"x = (\n# %%\n'''\n# %%\n'''\n", "f'''{f\"\"\"{\n# %%\n",
		"a.", "a.b(", "%autopx\n# %%\n", "%autodip on -a '-q' ", "%dipush a \\\n",
	} {
		start := time.Now()
		text := strings.Repeat(unit, 100_000/len(unit))
		checkFile(t, Parse(text), text)
		callsIn(codeOf(text))
		t.Logf("%8.0f ms %q", float64(time.Since(start).Microseconds())/1000, unit)
	}
}
