package cells

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each testdata/cells/*.py has a golden file beside it: its cells as "dipls cells --json" shows them, and its problems.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "cells", "*.py"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f := Parse(string(text))
			checkFile(t, f, string(text))
			var got strings.Builder
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			for c := range f.Cells() {
				if err := enc.Encode(c.View()); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range f.Problems() {
				pos := f.Position(p.Range.Start, UTF32)
				if err := enc.Encode([]any{pos.Line + 1, pos.Column + 1, p.Severity.String(), p.Code, p.Message, p.Hint}); err != nil {
					t.Fatal(err)
				}
			}
			golden := strings.TrimSuffix(name, ".py") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("golden is -, we are + (run with -update to accept)\n%s", diff)
			}
		})
	}
}

// bodies returns the headers' titles and the bodies, in turn.
func bodies(f *File) (all []string) {
	for c := range f.Cells() {
		all = append(all, c.Title(), c.Body())
	}
	return all
}

func TestSplit(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string // title, body, title, body, …
	}{
		"empty":                {"", nil},
		"blank":                {" \n\t\n\f\n", nil},
		"only a mark":          {"\ufeff", nil},
		"no marker":            {"x = 1", []string{"", "x = 1"}},
		"preamble":             {"x = 1\n# %% a\ny", []string{"", "x = 1\n", "a", "y"}},
		"blank preamble":       {"\n\n# %% a\ny", []string{"a", "y"}},
		"comment preamble":     {"# licence\n# %% a\n", []string{"", "# licence\n", "a", ""}},
		"yaml":                 {"# ---\n# a: 1\n# ---\n\n# %% a\n", []string{"a", ""}},
		"yaml and preamble":    {"# ---\n# a: 1\n# ---\nx\n# %% a\n", []string{"", "x\n", "a", ""}},
		"yaml below shebang":   {"#!/bin/python\n# coding: x\n# ---\n# ---\nx\n", []string{"", "x\n"}},
		"yaml not closed":      {"# ---\n# a\nx\n", []string{"", "# ---\n# a\nx\n"}},
		"yaml not leading":     {"x\n# ---\n# ---\n", []string{"", "x\n# ---\n# ---\n"}},
		"yaml cut by a marker": {"# ---\n# %% a\n# ---\n", []string{"", "# ---\n", "a", "# ---\n"}},
		"spellings":            {"# %% a\n#%% b\n#  %% c\n#\t%%\td\n# %%[md] e\n", []string{"a", "", "b", "", "c", "", "d", "", "e", ""}},
		"deeper":               {"# %%% a\n# %%%% b\n", []string{"a", "", "b", ""}},
		"notebook spellings":   {"# In[3]:\n1\n# In[ ]:\n2\n#In[]: t\n3\n# <codecell>\n4\n", []string{"", "1\n", "", "2\n", "t", "3\n", "", "4\n"}},
		"not markers": {
			"#%s\n## %%\n# % %\n# In[x]:\n# In[3]x\n#In [3]\n# <code>\n#: %%\n",
			[]string{"", "#%s\n## %%\n# % %\n# In[x]:\n# In[3]x\n#In [3]\n# <code>\n#: %%\n"},
		},
		"others' spellings": {"#%%a b\n# %%c\n#%%--- d\n# In[1]\n#In[ ] e\n#%%%f\n", []string{"a b", "", "c", "", "--- d", "", "", "", "e", "", "f", ""}},
		"titles like magics": {
			"#%%time series analysis\n# %%file handling\n#%%script parsing\n#%%bash scripts\n#%%important\n",
			[]string{"time series analysis", "", "file handling", "", "script parsing", "", "bash scripts", "", "important", ""},
		},
		"IPython's magics": {
			"# %% a\n# %%time\nx\n# %%bash\n# ls\n#%%capture out\ny\n",
			[]string{"a", "# %%time\nx\n", "", "# %%bash\n# ls\n", "", "#%%capture out\ny\n"},
		},
		"IPython's below ours": {
			"# %% a\n\n# %%dip\n# %%time\n# %%capture\nx\n# %%dip local\n#!%%prun\n",
			[]string{"a", "\n# %%dip\n# %%time\n# %%capture\nx\n", "", "#!%%prun\n"},
		},
		"in text": {
			"# %% [md] a\n# b\n# %%dip everywhere\n# %%time\n# %%time is\n# %%dipp\n# %% c\n# %% [raw]\n%%dip\n# %%px\n#%%d\n",
			[]string{"a", "# b\n# %%dip everywhere\n# %%time\n# %%time is\n# %%dipp\n", "c", "", "", "%%dip\n# %%px\n", "d", ""},
		},
		"indented": {"x\n  # %% a\n  # %% b\ny\n", []string{"", "x\n", "a", "", "b", "y\n"}},
		"code below text": {
			"# %% [md] a\n# b\n# %%dip remote\n\nc\n# %% [md] d\n# %%dip\n# e\n# %%dip\n'''f'''\n# %%dip of g\nh\n",
			[]string{"a", "# b\n", "", "\nc\n", "d", "# %%dip\n# e\n# %%dip\n'''f'''\n# %%dip of g\nh\n"},
		},
		"in a block": {
			"for x in y:\n    # %% a\n    z\n# %% b\n    w\n  # %% c\nv\n# %% d\n",
			[]string{"", "for x in y:\n    # %% a\n    z\n# %% b\n    w\n  # %% c\nv\n", "d", ""},
		},
		"in the parts of a statement": {
			"if x:\n    y\n# %% a\nelse:\n    z\n# %% b\ntry:  # c\n# %% d\n\n    # e\n\tf\n# %% g\nfinally: h\n# %% i\n",
			[]string{"", "if x:\n    y\n# %% a\nelse:\n    z\n", "b", "try:  # c\n# %% d\n\n    # e\n\tf\n# %% g\nfinally: h\n", "i", ""},
		},
		"below a block":       {"def f():\n    x\n# %% a\n# %% b\n\n# c\ny\n", []string{"", "def f():\n    x\n", "a", "", "b", "\n# c\ny\n"}},
		"a block being typed": {"for x in y:\n# %% a\nz\n", []string{"", "for x in y:\n", "a", "z\n"}},
		"a cell that is indented": {
			"x\n# %% a\n    y\n# %% b\n    z\n    if z:\n# %% c\n        w\n    # %% d\n",
			[]string{"", "x\n", "a", "    y\n", "b", "    z\n    if z:\n# %% c\n        w\n", "d", ""},
		},
		"a string being typed": {
			"# %% a\n\"\"\"\n# %% b\ndef f():\n    \"\"\"Doc.\"\"\"\n# %% c\n",
			[]string{"a", "\"\"\"\n", "b", "def f():\n    \"\"\"Doc.\"\"\"\n", "c", ""},
		},
		"likewise, more of them later": {
			"# %% a\nx = '''\n# %% b\ny = '''\nz\n'''\n# %% c\n'''\nIt's\n'''\n# %% d\n",
			[]string{"a", "x = '''\n", "b", "y = '''\nz\n'''\n", "c", "'''\nIt's\n'''\n", "d", ""},
		},
		"strings one after the other": {
			"# %% a\nx = '''\n# %% no\n'''\ny = '''\n# %% no\n''' if z else '''\n# %% no\n'''\n# %% b\n",
			[]string{"a", "x = '''\n# %% no\n'''\ny = '''\n# %% no\n''' if z else '''\n# %% no\n'''\n", "b", ""},
		},
		"behind code":                  {"x # %% a\n", []string{"", "x # %% a\n"}},
		"crlf":                         {"# %% a\r\nx\r\n# %% b\r\ny", []string{"a", "x\r\n", "b", "y"}},
		"cr":                           {"# %% a\rx\r# %% b\ry\r", []string{"a", "x\r", "b", "y\r"}},
		"byte order mark":              {"\ufeff# %% a\nx\n# %% b\n", []string{"a", "x\n", "b", ""}},
		"nul and rubbish":              {"# %% a\x00\xff\nx\x00 = \xff'\n# %% b\n", []string{"a\x00\xff", "x\x00 = \xff'\n", "b", ""}},
		"string":                       {"# %% a\n'''\n# %% no\n'''\n# %% b\n", []string{"a", "'''\n# %% no\n'''\n", "b", ""}},
		"bracket":                      {"# %% a\n(\n# %% no\n)\n# %% b\n", []string{"a", "(\n# %% no\n)\n", "b", ""}},
		"many in a bracket":            {"# %% a\n[\n# %% 1\n'1',\n# %% 2\n'2',\n]\n# %% b\n", []string{"a", "[\n# %% 1\n'1',\n# %% 2\n'2',\n]\n", "b", ""}},
		"continued":                    {"# %% a\nx = \\\n# %% no\n1\n# %% b\n", []string{"a", "x = \\\n# %% no\n1\n", "b", ""}},
		"comments do not continue":     {"# %% a \\\n# %% b\n# c \\\n# %% d\n", []string{"a \\", "", "b", "# c \\\n", "d", ""}},
		"unclosed string on a line":    {"# %% a\nx = 'it\n# %% b\ny = \"\n# %% c\n", []string{"a", "x = 'it\n", "b", "y = \"\n", "c", ""}},
		"f-string field over lines":    {"# %% a\nf'{\n# %% no\n1}'\n# %% b\n", []string{"a", "f'{\n# %% no\n1}'\n", "b", ""}},
		"f-string being typed":         {"# %% a\nf'{\n# %% b\nx = 1\n", []string{"a", "f'{\n", "b", "x = 1\n"}},
		"f-string with its own quotes": {"# %% a\nf'{x['a']}' '''\n# %% no\n'''\n# %% b\n", []string{"a", "f'{x['a']}' '''\n# %% no\n'''\n", "b", ""}},
		"unclosed to the end":          {"# %% a\nf(\n# %% b\nx = 1\n# %% c\n", []string{"a", "f(\n", "b", "x = 1\n", "c", ""}},
		"unclosed before a statement":  {"# %% a\nf(\n# %% b\nimport x\n# %% c\ny)\n", []string{"a", "f(\n", "b", "import x\n", "c", "y)\n"}},
		"unclosed before a mismatch":   {"# %% a\nf(\n# %% b\nx]\n)\n", []string{"a", "f(\n", "b", "x]\n)\n"}},
		"unclosed, indented marker":    {"# %% a\nf(\n  # %% b\nx = 1\n", []string{"a", "f(\n  # %% b\nx = 1\n"}},
		"names like statements":        {"# %% a\nf(\n# %% no\nx.imports, define, 0xdef)\n", []string{"a", "f(\n# %% no\nx.imports, define, 0xdef)\n"}},
		"string without end":           {"# %% a\n'''\n# %% b\nx\n# %% c\n", []string{"a", "'''\n", "b", "x\n", "c", ""}},
		"extra closers":                {"# %% a\n)]}\n# %% b\n", []string{"a", ")]}\n", "b", ""}},
		"IPython's lines":              {"# %% a\n!echo \"don't (\n%time f('''\n?x(\n# %% b\n", []string{"a", "!echo \"don't (\n%time f('''\n?x(\n", "b", ""}},
		"IPython's line continued":     {"# %% a\n!echo \\\n# %% no\n# %% b\n", []string{"a", "!echo \\\n# %% no\n", "b", ""}},
		"other languages":              {"# %% a\n%%bash\ncat '''(\n# %% b\n", []string{"a", "%%bash\ncat '''(\n", "b", ""}},
		"Python in a cell magic":       {"# %% a\n%%time\n'''\n# %% no\n'''\n", []string{"a", "%%time\n'''\n# %% no\n'''\n"}},
		"magic under a marker":         {"# %% a\n\n# %%dip\nx\n", []string{"a", "\n# %%dip\nx\n"}},
		"magic elsewhere":              {"# %% a\ny\n# %%dip\nx\n#%%px\n", []string{"a", "y\n", "", "x\n", "", ""}},
		"magic under a magic":          {"# %% a\n# %%dip\n# %%dip local\nx\n", []string{"a", "# %%dip\n", "", "x\n"}},
		"magic at the top":             {"\n# %%dip\nx\n", []string{"", "x\n"}},
		"magic in a bracket":           {"x = [\n    # %%dip\n# %%dip\n]\n", []string{"", "x = [\n    # %%dip\n# %%dip\n]\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := Parse(tt.text)
			checkFile(t, f, tt.text)
			if diff := cmp.Diff(tt.want, bodies(f)); diff != "" {
				t.Errorf("cells of %q, want is -\n%s", tt.text, diff)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	type want struct {
		Title    string
		Type     string
		Depth    int
		Metadata map[string]string
	}
	tests := map[string]want{
		`# %%`:                                  {},
		`# %%   Two words  `:                    {Title: "Two words"},
		`# %%% Deep`:                            {Title: "Deep", Depth: 1},
		`# %% [markdown]`:                       {Type: "markdown"},
		`# %% [md] After`:                       {Type: "markdown", Title: "After"},
		`# %% Before [raw]`:                     {Type: "raw", Title: "Before"},
		`# %% Before [raw] after`:               {Type: "raw", Title: "Before after"},
		`# %% [other] x`:                        {Title: "[other] x"},
		`# %% x[md]`:                            {Title: "x[md]"},
		`# %% T target="ranks:0-3" see='al'`:    {Title: "T", Metadata: map[string]string{"target": "ranks:0-3", "see": "al"}},
		`# %% Plot y=2*x target="local" lr=0.1`: {Title: "Plot y=2*x lr=0.1", Metadata: map[string]string{"y": "2*x", "target": "local", "lr": "0.1"}},
		`#%%Solve x=3`:                          {Title: "Solve x=3", Metadata: map[string]string{"x": "3"}},
		`# %% T [md] a=1 b.c-d=x tags=["a", "b"] e={"f": "g h"}`: {Title: `T a=1 b.c-d=x tags=["a", "b"] e={"f": "g h"}`, Type: "markdown",
			Metadata: map[string]string{"a": "1", "b.c-d": "x", "tags": `["a", "b"]`, "e": `{"f": "g h"}`}},
		`# %% T {"a": "b c=d", "n": [1, 2]}`: {Title: "T", Metadata: map[string]string{"a": "b c=d", "n": "[1, 2]"}},
		`# %% {}`:                            {},
		`# %% a="q\"\u00e9"`:                 {Title: `a="q\"\u00e9"`, Metadata: map[string]string{"a": `q"é`}},
		`# %% Solve x=3 for y`:               {Title: "Solve x=3 for y"},
		`# %% Is x==3`:                       {Title: "Is x==3"},
		`# %% A set {x} of {y}`:              {Title: "A set {x} of {y}"},
		`# %% x = 1`:                         {Title: "x = 1"},
		`# %% é=1`:                           {Title: "é=1"},
		`# In[7]: Title`:                     {Title: "Title"},
	}
	for text, want := range tests {
		if want.Type == "" {
			want.Type = "code"
		}
		f := Parse(text)
		c, _ := f.Cell(1)
		got := want
		got.Title, got.Type, got.Depth, got.Metadata = c.Title(), c.Type().String(), c.Depth(), nil
		for _, m := range c.Metadata() {
			if got.Metadata == nil {
				got.Metadata = map[string]string{}
			}
			got.Metadata[m.Key] = m.Value
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want is -\n%s", text, diff)
		}
	}
}

func TestDirective(t *testing.T) {
	tests := map[string]struct{ target, see string }{
		"x":                                  {"none", ""},
		"# %% target=remote":                 {"remote", ""},
		`# %% target="ranks:3,0-1"`:          {"ranks:0-1,3", ""},
		`# %% target="everywhere" see="all"`: {"everywhere", "all"},
		`# %% {"target": "local", "see": [2, 0]}`: {"local", "0,2"},
		"# %% see=3":                                         {"none", "3"},
		"# %%\n%%dip":                                        {"remote", ""},
		"# %%\n\n  \n%%dip locally":                          {"local", ""},
		"%%dip everywhere -S all":                            {"everywhere", "all"},
		"# %%dip --see 0 2-4 everywhere":                     {"everywhere", "0,2-4"},
		"#%%dip --see=0,2":                                   {"remote", "0,2"},
		"#!%%dip -S0,2 -r0-1":                                {"ranks:0-1", "0,2"},
		"# %%dip remote -r 0 1 2":                            {"ranks:0-2", ""},
		"# %%dip everywhere -r 1":                            {"everywhere:1", ""},
		"# %%dip ranks:1":                                    {"ranks:1", ""},
		"# %%dip -r all":                                     {"remote", ""},
		"# %%dip # everywhere --see all":                     {"remote", ""},
		"# %%dip '--see' \"all\"":                            {"remote", "all"},
		"#dip_locally":                                       {"local", ""},
		"# %% a\n\n# dip_locally \nx":                        {"local", ""},
		"# %% a see=all\n#dip_locally":                       {"local", "all"},
		"# %% a target=everywhere\n# %%dip --see 1":          {"everywhere", "1"},
		"# %% a target=everywhere\n# %%dip remote --see 1":   {"everywhere", "1"},
		"# %% a\n# %%dip\n#dip_locally":                      {"remote", ""},
		"# %% a\n# x\n#dip_locally":                          {"none", ""},
		"# %% a\nx\n%%dip":                                   {"none", ""},
		"# %% [md] target=remote":                            {"none", ""},
		"# %% [md]\n# %%dip":                                 {"none", ""},
		"%%px":                                               {"remote", "all"},
		"# %%px --targets 0,2":                               {"ranks:0,2", "all"},
		"# %%px --local -t 1 --noblock --group-outputs type": {"everywhere:1", "all"},
		"%%dip?":                         {"none", ""},
		"# %% a target=remote\n%%dip -h": {"local", ""}, // whose help it is
		"# %%px --local --help":          {"local", ""},
		"%%dipx":                         {"none", ""},
		"%%dip\tlocal":                   {"local", ""},
	}
	for text, want := range tests {
		c, _ := Parse(text).Cell(1)
		d := c.Directive()
		if d.Target.String() != want.target || d.See.String() != want.see {
			t.Errorf("%q: target %v, see %v; want %v, %v", text, d.Target, d.See, want.target, want.see)
		}
	}
	c, _ := Parse("# %%dip -q --appcmd 'a b'").Cell(1)
	if d := c.Directive(); !d.Quiet || d.AppCommand != "a b" {
		t.Errorf("-q -a: %+v", d)
	}
}

func TestProblems(t *testing.T) {
	// The problem's range is the text between the arrows.
	tests := map[string]struct {
		code    Code
		message string
		hint    string
	}{
		"# %%dip →--sea← all": {UnknownFlag, "%%dip has no flag --sea", "did you mean --see?"},
		"# %%dip →-x←":        {UnknownFlag, "%%dip has no flag -x", "did you mean -S?"},
		"# %%dip →--frobnicate← 3": {
			UnknownFlag, "%%dip has no flag --frobnicate",
			"known are -S --see -q --quiet -a --appcmd -r --ranks --anyway -h --help",
		},
		"# %%dip →-q=1←":                        {UnknownFlag, "-q takes no value", ""},
		"# %%px →--target← 1":                   {UnknownFlag, "%%px has no flag --target", "did you mean --targets?"},
		"# %%dip →--see←":                       {MissingValue, "--see needs a value", ""},
		"# %%dip →-r← everywhere":               {MissingValue, "-r needs a value", ""},
		"# %%dip -a →'x y←":                     {MissingValue, "the quote is never closed", ""},
		"# %%dip →evrywhere←":                   {UnknownTarget, `unknown target "evrywhere"`, "did you mean everywhere?"},
		"# %% a target=→\"gpu\"←":               {UnknownTarget, `unknown target "gpu"`, "write remote, local, everywhere, or ranks:LIST like ranks:0-3"},
		"# %% a target=→\"ranks:3-1\"←":         {BadRanks, `"3-1" runs backwards`, "write 1-3"},
		"# %% a see=→x←":                        {BadRanks, `"x" is not a number or range`, "write all, or numbers like 0,2-4"},
		"# %%dip --see →0 3-1←":                 {BadRanks, `"3-1" runs backwards`, "write 1-3"},
		"# %%dip --see →a←":                     {BadRanks, `"a" is not a number or range`, "write all, or numbers like 0,2-4"},
		"# %%dip -r →0-99999999999←":            {BadRanks, `"0-99999999999" goes beyond 1048575`, ""},
		"# %%dip -r →0,,1←":                     {BadRanks, `"0,,1" has an empty entry`, "write numbers like 0,2-4"},
		"# %%dip →--see=←":                      {BadRanks, "empty list", "write all, or numbers like 0,2-4"},
		"# %% a →{\"b\": }←":                    {BadMetadata, "the cell's metadata does not parse", `write key="value" pairs or a JSON object`},
		"# %% a →target=\"remote←":              {BadMetadata, "the cell's metadata does not parse", `write key="value" pairs or a JSON object`},
		"# %% a target=local\n# →%%dip remote←": {Conflict, "the cell's target is local already, remote is ignored", "say it once"},
		"# %%dip --see 0 --see →1←":             {Conflict, "the cell's see is 0 already, 1 is ignored", "say it once"},
		"# %%dip remote →local←":                {Conflict, "the cell's target is remote already, local is ignored", "say it once"},
		"# %%dip local -r →0←":                  {Conflict, "a cell that runs locally has no ranks", "write everywhere, or leave the ranks out"},
		"# %%dip\n→%%dip local←\n":              {Duplicate, "the cell has a directive magic already, this one is ignored", "delete one"},
		"# %%\nx\n→%%dip←\n":                    {Misplaced, "%%dip must be the first line of a cell", "move it up, or begin a new cell with # %%dip"},
		"# %%\nx\n→#dip_locally←\n":             {Misplaced, "only the first line of a cell can say where it runs", "move it up"},
		"# %% [md] target=→remote←":             {DirectiveIgnored, "a markdown cell does not run, its directive is ignored", ""},
		"# %% [raw]\n→#dip_locally←":            {DirectiveIgnored, "a raw cell does not run, its directive is ignored", ""},
		"# %%\nf→(←\n# %%\n":                    {UnclosedBracket, "( is never closed", "close it"},
		"# %%\nf→(←[1]\n":                       {UnclosedBracket, "( is never closed", "close it"},
		"# %%\nx = →rb'''←\n# %%\n":             {UnterminatedString, "the string that begins with rb''' never ends", "close it"},
		"# %%\nx = →f\"\"\"←{a\n":               {UnterminatedString, "the string that begins with f\"\"\" never ends", "close it"},
		// Line magics.
		"→%dipush←\n":                      {MissingValue, "%dipush needs names of variables", ""},
		"# →%dipush←  \n":                  {MissingValue, "%dipush needs names of variables", ""},
		"→%dipull -r 1←":                   {MissingValue, "%dipull needs names of variables", ""},
		"%dipush a, →b.c← d":               {BadName, `"b.c" is not the name of a variable`, ""},
		"%dipush x →--rank← 1":             {UnknownFlag, "%dipush has no flag --rank", "did you mean --ranks?"},
		"%dipull a →-r←":                   {MissingValue, "-r needs a value", ""},
		"%dipull -r →3-1← x":               {BadRanks, `"3-1" runs backwards`, "write 1-3"},
		"%dipull \\\n  -r 0 \\\r\n  →1← x": {BadName, `"1" is not the name of a variable`, ""},
		"%makedip -g 0 2 →--nodes← 3 -r": {
			UnknownFlag, "%makedip has no flag --nodes",
			"known are -g --gpus -n --ranks -H --hosts --ranks-per-host -a --app -r --restart --shrink --sync " +
				"-k --kill -i --info -v --verbose -t --timeout --seed --check --group-timeout -h --help",
		},
		"%makedip -n →0←":                  {BadValue, `"0" is not a number of ranks`, "write a whole number from 1 on"},
		"%makedip -t →soon←":               {BadValue, `"soon" is not a number of seconds`, "write a number above 0"},
		"%makedip --seed →-1←":             {BadValue, `"-1" is not a seed`, "write a number from 0 to 4294967295, or none"},
		"%makedip -v →maybe←":              {BadValue, `%makedip does not take "maybe"`, ""},
		"%makedip →--verbose=maybe←":       {BadValue, `"maybe" is neither True nor False`, ""},
		"%makedip -g →gpu0←":               {BadRanks, `"gpu0" is not a number or range`, "write all, or numbers like 0,2-4"},
		"%autodip on →--sea← all":          {UnknownFlag, "%autodip has no flag --sea", "did you mean --see?"},
		"%autodip on --args →'--sea all'←": {UnknownFlag, "%autodip has no flag --sea", "did you mean --see?"},
		"%autodip →onn←":                   {UnknownTarget, `unknown target "onn"`, "write remote, local, everywhere, or ranks:LIST like ranks:0-3"},
		"%autodip on →off←":                {Conflict, "%autodip is told on or off more than once", "say it once"},
		"→%autodip --see all←":             {MissingValue, "%autodip has flags, but neither on nor off", "write %autodip on --see all"},
		"→%autodip off -q←":                {Conflict, "%autodip off takes no flags", ""},
		"%dipper →a-b←":                    {BadName, `"a-b" is not the name of a variable`, ""},
		"→%px←":                            {MissingValue, "%px needs code to run", ""},
		"→%px --targets 0,2←":              {MissingValue, "%px needs code to run", ""},
		"%px →--target← 0 f()":             {UnknownFlag, "%px has no flag --target", "did you mean --targets?"},
		"%px →--targets←":                  {MissingValue, "--targets needs a value", ""},
		"%px --noblock --targets →x← f()":  {BadRanks, `"x" is not a number or range`, "write all, or numbers like 0,2-4"},
		"%autopx →on←":                     {BadValue, `%autopx does not take "on"`, ""},
		"%pxconfig →--target← 1":           {UnknownFlag, "%pxconfig has no flag --target", "did you mean --targets?"},
		"%dipush →{names}←":                {BadName, `"{names}" is not the name of a variable`, ""},
		"%pxresult -o →a-b←":               {BadName, `"a-b" is not the name of a variable`, ""},
		"%pxconfig →--set← a": {
			UnknownFlag, "%pxconfig has no flag --set",
			"known are -t --targets -a --noblock -b --block --verbose --no-verbose -e -r --group-outputs --stream --no-stream --progress-after -h --help",
		},
		"%pxresult →-e←":              {NoEffect, "-e has no effect: output is shown in its own order, as it comes", "leave it out"},
		"%%px --out →ar←":             {UnknownFlag, "a cell with %%px binds no variable of the local namespace", "write %pxresult --out NAME in a cell below"},
		"%%dip --see →host:←":         {BadRanks, `"host:" names no host`, "write host:NAME"},
		"%dipush -r →each:x← x":       {BadRanks, `"each:x" names no rank`, "each takes one number: each:0 is the first rank of each host"},
		"%%px -t →::0←":               {BadRanks, `"::0" has a step below 1`, "write ranks like 0,2-4, -1 for the last, or a slice like ::2"},
		"%%px --group-outputs →type←": {NoEffect, "--group-outputs has no effect: output is shown in its own order, as it comes", "leave it out"},
		"%pxresult →-x←":              {UnknownFlag, "%pxresult has no flag -x", "did you mean -o?"},
	}
	for marked, want := range tests {
		before, rest, _ := strings.Cut(marked, "→")
		inside, after, _ := strings.Cut(rest, "←")
		all := Parse(before + inside + after).Problems()
		if len(all) != 1 {
			t.Errorf("%s: problems are %+v", marked, all)
			continue
		}
		p := all[0]
		if r := (Range{len(before), len(before) + len(inside)}); p.Range != r || p.Code != want.code || p.Message != want.message || p.Hint != want.hint {
			t.Errorf("%s: %+v\nwant %v %+v", marked, p, r, want)
		}
		if magic := strings.Contains(marked, "%") && !strings.Contains(marked, "%%"); magic && p.Severity != Warning {
			t.Errorf("%s: an error, although Python has the last word", marked)
		}
	}
	for _, fine := range []string{
		"%makedip", "%makedip -g all -a fastai_v1 --verbose True", "%makedip -r -n4 -v -t=1.5",
		"%makedip -k", "%makedip -i -g 0,2", "%makedip --seed 0", "%makedip -r --seed=none", "%makedip -r --check --group-timeout 90",
		"%makedip -H gpu1,gpu2:4 -n 8", "%makedip --hosts 'slurm -N 2' --ranks-per-host 4", "%makedip -r --shrink", "%makedip -H gpu1 --sync",
		"%dipush a b,c größe", "%dipush -r 0-2 a # why", "%dipull -r all a", "%dipull -r 0 all", "%load_ext {name}",
		"%dipush?", "%dipush -h", "%autodip", "%autodip on", "%autodip OFF", "%autodip on --see all -q", `%autodip on -a "--see all"`,
		"%autodip on everywhere -a 'do it'", "%dipper d", "%dipper", "%px f('it", "%px --noblock --targets=0-1 f('it --x', -1)",
		"%px -x", "%px --help", "%px -h", "%px --block {code}", "%px print(f'{x}')", "%%dip -h", "%%px --help",
		"%autopx", "%pxconfig -t 0 --noblock", "%pxconfig -t [0, -1] --verbose", "%px --targets ::2 --out ar f()", "%pxresult -o ar", "%%px -t -1", "%%dip ranks:1:",
		"%time --foo", "# %% [md]\n%dipush", "'''\n%dipush\n'''", "%%bash\n%dipush",
	} {
		if all := Parse(fine).Problems(); len(all) > 0 {
			t.Errorf("%s: %+v", fine, all)
		}
	}
	// Python would run this one; cells are UTF-8 all the same.
	if all := Parse("# coding: latin-1\nx = '\xff'").Problems(); len(all) != 1 || strings.Contains(all[0].Message, "Python") {
		t.Errorf("latin-1: %+v", all)
	}
	if all := Parse("x = '\xff'").Problems(); len(all) != 1 || all[0].Code != InvalidUTF8 || all[0].Range != (Range{5, 6}) {
		t.Errorf("not UTF-8: %+v", all)
	}
}

func TestRewrite(t *testing.T) {
	tests := map[string]struct {
		text, source string
		line         int
	}{
		"plain":               {"# %%\nx\n", "x\n", 2},
		"preamble":            {"\nx\n", "\nx\n", 1},
		"below yaml":          {"# ---\n# ---\nx\n", "x\n", 3},
		"bare directive":      {"# %%\n\n%%dip local\nx\n", "\n\nx\n", 2},
		"commented":           {"# %%\n# %%dip local\nx\n", "\nx\n", 2},
		"own cell":            {"# %%dip\nx\n", "x\n", 2},
		"locally":             {"#dip_locally\nx\n", "\nx\n", 1},
		"both":                {"# %%\n# %%dip\n%%dip\nx", "\n\nx", 2},
		"line magics":         {"# %%\n# %dipush x\n  #!%dipull y\n%px 1\n\t#%dipush? \n", "%dipush x\n  %dipull y\n%px 1\n\t%dipush? \n", 2},
		"IPython's":           {"# %%\n# %time x\n%time x\n!ls\n  # !ls\n%%time\n#!%env A=b\n", "%time x\n%time x\n!ls\n  !ls\n%%time\n%env A=b\n", 2},
		"unknown":             {"# %%\n# %watermark -v\n# %time is money\n# !important\n", "# %watermark -v\n# %time is money\n# !important\n", 2},
		"IPython's for cells": {"# %% a\n# %%dip\n\n#!%%time\nx\n", "\n\n%%time\nx\n", 2},
		"a cell of its own":   {"# %%time\nx\n", "%%time\nx\n", 1},
		"in comments":         {"# %% a\n# %%bash -e\n# ls\n\n  #if x; then\n#  y\n", "%%bash -e\nls\n\n  if x; then\n y\n", 2},
		"not all in comments": {"# %%bash\n# ls\nls -l\n", "%%bash\n# ls\nls -l\n", 1},
		"a comment of bash":   {"%%bash\n# ls\n", "%%bash\n# ls\n", 1},
		"in strings": {
			"# %%\n'''\n# %dipush x\n%%dip\n'''\n(\n# %dipush x\n)\\\n# %dipush y\n",
			"'''\n# %dipush x\n%%dip\n'''\n(\n# %dipush x\n)\\\n# %dipush y\n", 2,
		},
		"crlf":               {"# %%\r\n%%dip\r\nx\r\n# %dipush x\r\n", "\nx\n%dipush x\n", 2},
		"cr next to a blank": {"# %%\r\r%%dip\nx", "\n\nx", 2},
		"mark":               {"\ufeffx\n", "x\n", 1},
		"mark and marker":    {"\ufeff# %%\nx\n", "x\n", 2},
		"mark and magic":     {"\ufeff%%dip\nx\n", "\nx\n", 1},
		"not UTF-8":          {"# %%\nx = '\xff'\n", "x = '\ufffd'\n", 2},
		"markdown":           {"# %% [md]\n# %dipush x\n", "# %dipush x\n", 2},
		"continued magic":    {"# %%\n%dipush a \\\n  b\n# %dipush c\n", "%dipush a \\\n  b\n%dipush c\n", 2},
		"help":               {"# %%\n# %dipush?\n#!%px??\n# %%dip?\n%%dip??\n# %time?\n# %%bash?\n", "%dipush?\n%px??\n%%dip?\n%%dip??\n%time?\n%%bash?\n", 2},
		"help of a magic":    {"# %%\r\n\r\n%%dip  everywhere -h\r\nx\r\n", "%%dip  everywhere -h\n\n", 3},
		"its own cell":       {"# %% a\nx\n# %%\n# %%dip --help\n", "x\n", 2},
		"commented help":     {"# %%dip --help", "%%dip --help\n\n", 1},
		"other language":     {"# %%dip\n%%bash\n# %dipush x\n", "%%bash\n# %dipush x\n", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := Parse(tt.text)
			checkFile(t, f, tt.text)
			c, _ := f.Cell(1)
			source, line := c.Rewrite()
			if source != tt.source || line != tt.line {
				t.Errorf("%q from line %d, want %q from line %d", source, line, tt.source, tt.line)
			}
		})
	}
}

func TestMagics(t *testing.T) {
	c, _ := Parse("# %% a\n# %%dip local\n  #!%dipush x  y \n%dipull? \n%dipush a \\\n b\n" +
		"%time x\n# %autodip on # all\n# %load_ext Ddip\n# %load_ext other\n").Cell(1)
	want := []Magic{
		{Name: "dip", Args: "local", Cell: true, Commented: true, Range: Range{9, 20}},
		{Name: "dipush", Args: "x  y", Commented: true, Range: Range{25, 37}},
		{Name: "dipull", Help: true, Range: Range{39, 47}},
		{Name: "dipush", Args: "a \\\n b", Range: Range{49, 63}},
		{Name: "autodip", Args: "on # all", Commented: true, Range: Range{74, 91}},
		{Name: "load_ext", Args: "Ddip", Commented: true, Range: Range{94, 108}},
	}
	if diff := cmp.Diff(want, c.Magics()); diff != "" {
		t.Errorf("want is -\n%s", diff)
	}
}

func TestCellLookup(t *testing.T) {
	f := Parse("\n# %% a\nx\n# %% b\n")
	for offset, want := range map[int]int{-1: 0, 0: 0, 1: 1, 9: 1, 10: 2, 17: 2, 18: 0} {
		c, ok := f.CellAt(offset)
		if got := c.Index(); ok != (want > 0) || ok && got != want {
			t.Errorf("CellAt(%d) is %v, %v; want %d", offset, c, ok, want)
		}
	}
	for index, want := range map[int]bool{-1: false, 0: false, 1: true, 2: true, 3: false} {
		if _, ok := f.Cell(index); ok != want {
			t.Errorf("Cell(%d) is there: %v", index, ok)
		}
	}
}

func TestHugeFile(t *testing.T) {
	text := bigFile() + strings.Repeat("x = [1, '''\n'''] # \n", 50_000)
	f := Parse(text)
	checkFile(t, f, text)
	if f.Len() != 10_000 || f.Lines() != 220_001 || len(f.Problems()) > 0 {
		t.Errorf("%d cells, %d lines, problems %v", f.Len(), f.Lines(), f.Problems())
	}
	g := f.Edit(len(text)/2, len(text)/2, "\n# %%\n")
	if g.Len() != f.Len()+1 || g.Lines() != f.Lines()+2 {
		t.Errorf("after an edit %d cells, %d lines", g.Len(), g.Lines())
	}
}

// What stands in a problem's range can be replaced by its fix, and then there is no problem.
func TestFixes(t *testing.T) {
	for marked, want := range map[string]string{
		"# %%dip →--sea← all":                  "--see",
		"# %%dip →--sea=all←":                  "--see=all",
		"# %%dip →evrywhere← --see all":        "everywhere",
		"# %dipush →--rank=1← x":               "--ranks=1",
		"# %%dip →--frobnicate←":               "", // like no flag
		"# %%dip →rnks:0←":                     "", // the list would be a guess
		"# %% a target=→\"remot\"←":            "", // the quotes would go
		"# %autodip on --args →\"--sea 0\"←\n": "",
		"# %%dip →'--sea'← all":                "",
		"# %%dip remote →local←":               "", // one of the two
	} {
		before, rest, _ := strings.Cut(marked, "→")
		inside, after, _ := strings.Cut(rest, "←")
		all := Parse(before + inside + after).Problems()
		if len(all) != 1 || all[0].Range != (Range{len(before), len(before) + len(inside)}) {
			t.Errorf("%s: problems are %+v", marked, all)
			continue
		}
		if all[0].Fix != want {
			t.Errorf("%s: fix %q, want %q", marked, all[0].Fix, want)
		}
		if want == "" {
			continue
		}
		if left := Parse(before + want + after).Problems(); len(left) > 0 {
			t.Errorf("%s: fixed, problems are %+v", marked, left)
		}
	}
}
