package cells

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is nearly a directive or one of our magics is an error, of its cell alone, and fixed it is the directive.
func TestNearDirectives(t *testing.T) {
	for marked, want := range map[string]string{
		"# %% a\n# →%%dipp← everywhere\nx\n# %% b\n":    "%%dip",
		"# %% a\n# →%%Dip←\nx\n":                        "%%dip",
		"x\n#→%%DIP← local\n":                           "%%dip",
		"x\n#!→%%idp← local\n":                          "%%dip",
		"# →%%dp← --see all\nx\n":                       "%%dip",
		"# →%%dop← everywhere\nx\n":                     "%%dip",
		"# →%%dip:← everywhere\n":                       "%%dip",
		"# →%%dip=←everywhere\n":                        "%%dip ",
		"# →%% dip← everywhere\nx\n":                    "%%dip",
		"# →%% dip←\nx\n":                               "%%dip",
		"#→%%  Dip← --see all\nx\n":                     "%%dip",
		"# →%% %%dip← everywhere\nx\n":                  "%%dip",
		"# →%% dipp← everywhere\nx\n":                   "%%dip",
		"# →%% px← --targets 0\nx\n":                    "%%px",
		"# →%% dipush← model data\nx\n":                 "%dipush",
		"# →%% autodip← on\n":                           "%autodip",
		"#→dip_localy←\nx\n":                            "dip_locally",
		"# %% a\n# →dip locally←  \nx\n":                "dip_locally",
		"# %% a\n#→Dip-locally←\nx\n":                   "dip_locally",
		"# %% a\n#→dip_locally!←\nx\n":                  "dip_locally",
		"# %% a\n#→dip_locally please←\nx\n":            "dip_locally",
		"x\n# →%dipsh← x\n":                             "%dipush",
		"x\n  # →%Dipull← x\n":                          "%dipull",
		"x\n# →% dipush← x\n":                           "%dipush",
		"x\n# →% dipsh← x\n":                            "%dipush",
		"x\n# →% Dipull← x\n":                           "%dipull",
		"x\n#→%\tmakedip← -n 2\n":                       "%makedip",
		"x\n# →%dipush:← x\n":                           "%dipush",
		"x\n# →%%dipush← x\n":                           "%dipush",
		"# →%%autodip← on\n":                            "%autodip",
		"x\n# →%dip← everywhere\n":                      "%%dip",
		"x\n# →% dip← everywhere\n":                     "%%dip",
		"# →%autodp← on\n":                              "%autodip",
		"→%%dipp← everywhere\nx\n":                      "%%dip",
		`# %% a →targt←="remote"`:                       "target",
		`# %% a →Target←="remote"`:                      "target",
		`# %% a →targets←=ranks:0`:                      "target",
		`# %% a →target: remote←`:                       `target="remote"`,
		`# %% a →target:"ranks:0-3"← `:                  `target="ranks:0-3"`,
		`# %% a →target = everywhere←`:                  `target="everywhere"`,
		`# %% a →target= local←`:                        `target="local"`,
		`# %% a →See: all←`:                             `see="all"`,
		`# %% a lr=1 →sees←=0,2`:                        "see",
		`# %% a →target="remote←`:                       `target="remote"`,
		`# %% a →target="remote" and more←`:             `and more target="remote"`,
		"# %% a target=→remot← see=all":                 "remote",
		"for x in y:\n    # →%%dipp← everywhere\n    z": "", // fixed, it stands in a block all the same
		`# %% a →{"target": remote}←`:                   "",
		"# %% Train →%%dip everywhere←\n":               "",
		"# %% a\n# %%time\n# →%%dip← everywhere":        "",
		"for x in y:\n    # →%%dip← remote\n    z":      "",
	} {
		before, rest, _ := strings.Cut(marked, "→")
		inside, after, _ := strings.Cut(rest, "←")
		text := before + inside + after
		f := Parse(text)
		checkFile(t, f, text)
		all := f.Problems()
		if strings.Contains(inside, "%%dip") && len(all) == 1 && all[0].Code == Misplaced {
			all[0].Range.End = all[0].Range.Start + len(inside) // its arguments are part of it
		}
		if len(all) != 1 || all[0].Range != (Range{len(before), len(before) + len(inside)}) || all[0].Severity != Error || all[0].Hint == "" {
			t.Errorf("%q: problems are %+v", marked, all)
			continue
		}
		if fix := all[0].Fix; fix != want && !strings.HasPrefix(before, "for") {
			t.Errorf("%q: fix %q, want %q", marked, fix, want)
		}
		for c := range f.Cells() {
			if _, faulty := c.Fault(); faulty != (c.Range().Start <= len(before) && len(before) < c.Range().End) {
				t.Errorf("%q: cell %d is faulty: %v", marked, c.Index(), faulty)
			}
		}
		if want == "" {
			continue
		}
		fixed := Parse(before + want + after)
		if left := fixed.Problems(); len(left) > 0 {
			t.Errorf("%q: fixed, problems are %+v", marked, left)
		}
	}
	// Line magics are Python's at run time: a user may have magics of her own.
	if all := Parse("x\n%dipsh x\n").Problems(); len(all) != 1 || all[0].Severity != Warning || all[0].Fix != "%dipush" {
		t.Errorf("bare: %+v", all)
	}
}

// What only looks like a directive is a title or a comment.
func TestNotNearDirectives(t *testing.T) {
	for _, text := range []string{
		"#%%zip\n", "#%%tip\n", "#%%dim\n", "#%%skip\n", "#%%dinner\n", "#%%Training\n", "#%%p\n", "#%%pxl\n",
		"# %% dip in the loss curve\n", "# %% Dip of the curve\n", "# %% px or mm\n", "# %% Push to the ranks\n", "# %% dipush is slow\n",
		"# %% Target: 95% accuracy\n", "# %% target: the moon\n", "# %% see: the docs\n", "# %% Split set=all\n", "# %% Solve x=3\n",
		"# %% targets=5\n", "# %% y == x\n", "# %% Is see what I mean\n",
		"# dip_locally is how Ddip says it\nx\n", "# dip\n", "# dips the loss locally\n", "x\n# % of the total\n", "x\n# %d items\n",
		"x\n# %makedip.\n", "x\n# %dipush, %dipull\n", "x\n# %dipush: how variables travel to the ranks\n", "x\n# %dipush is all that this takes\n",
		"x\n# %px runs that on the ranks\n", "x\n# %makedip is called once\n", "# %% How to write %%dip\n",
		"x\n# %s\n", "x\n## %dipsh x\n", "x\n# # % dipush x\n", "x\n# 3 %dipsh\n", "# %% [md] dip everywhere\n", "# %% [md]\n# a\n# %%dip everywhere\n# b\n",
		"# %% [md]\n# %%dipp\n# %dipsh x\n#dip_localy\n",
		"# %% a\n%%sql\nselect 'it\n# %dipsh x\n", "'''\n# %%dipp\n# %dipsh x\n'''\n", "# %%pip\n", "x\n# %pdb on\n",
	} {
		f := Parse(text)
		checkFile(t, f, text)
		for _, p := range f.Problems() {
			t.Errorf("%q: %+v", text, p)
		}
	}
}

// A string or bracket that is not closed is a problem where it begins, and of its cell alone.
func TestUnclosed(t *testing.T) {
	for _, marked := range []string{
		"# %% a\nx = →'←it\n# %% b\ny\n",
		"# %% a\nx = →f\"←{y\n# %% b\ny\n",
		"# %% a\nprint(→b'←it\n)\n# %% b\ny\n",
		"# %% a\n→'←",
		"# %% a\n→\"\"\"←Doc.\n# %% b\ndef f():\n    \"\"\"Doc's.\"\"\"\n# %% c\n",
		"# %% a\nx = [→f'''←\n# %% b\ny = '''z'''\n# %% c\nw\n# %% d\n'''\nIt is (\n'''\n",
		"# %% a\nf(→[←\n# %% b\ny = f(x)\n# %% c\nw\n",
	} {
		before, rest, _ := strings.Cut(marked, "→")
		inside, after, _ := strings.Cut(rest, "←")
		text := before + inside + after
		f := Parse(text)
		checkFile(t, f, text)
		if all := f.Problems(); len(all) != 1 || all[0].Range != (Range{len(before), len(before) + len(inside)}) || all[0].Severity != Error {
			t.Errorf("%q: problems are %+v", marked, all)
		}
		if want := strings.Count(text, "# %%"); f.Len() != want {
			t.Errorf("%q: %d cells, want %d", marked, f.Len(), want)
		}
	}
	// What nobody here understands may have quotes as it likes.
	for _, fine := range []string{"%%sql\nselect 'it\nx = (\n", "# %% [raw]\nit's (\n", "# %%html\n<p>It's (\n", "%%time\nx = '''\n# %% no\n'''\n"} {
		if all := Parse(fine).Problems(); len(all) > 0 {
			t.Errorf("%q: %+v", fine, all)
		}
	}
}

// testdata/cases/markers.py is what Spyder, PyCharm and people write.
func TestMarkersCase(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "testdata", "cases", "markers.py"))
	if err != nil {
		t.Fatal(err)
	}
	f := Parse(string(text))
	var titles []string
	for c := range f.Cells() {
		titles = append(titles, c.Title())
	}
	if got := strings.Join(titles, "|"); got != "Load data|--------- part two ----------|plot|Train" {
		t.Errorf("cells are %s", got)
	}
	all := f.Problems()
	if len(all) != 1 || all[0].Severity != Hint || all[0].Code != MarkerInBlock || f.Position(all[0].Range.Start, UTF8) != (Position{10, 4}) {
		t.Errorf("problems are %+v", all)
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"see", "sea", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	if diff := cmp.Diff("", nearest("completely-different", []string{"--see"})); diff != "" {
		t.Error(diff)
	}
}
