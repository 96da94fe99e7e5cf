package cells

import (
	"fmt"
	"strings"
	"testing"
)

func TestLeavesAutodip(t *testing.T) {
	for text, want := range map[string]bool{
		"x":                                false,
		"# %% a\n\n%dipush x":              true,
		"# %% a\n# %dipush x\ny":           true,
		"#!%autodip off":                   true,
		"%time x":                          true,
		"  %time x":                        true,
		"%%time\nx":                        true,
		"%%bash\nls":                       true,
		"%dipush?":                         true,
		"# %%dip?":                         true,
		"#dip_locally\nx":                  true,
		"# %% a\nx\n%dipush x":             false,
		"# why\n%dipush x":                 false,
		"# %time x":                        true,
		"# %time is money":                 false,
		"# %%time\nx":                      true,
		"# %% a\n# !ls":                    false,
		"!ls":                              false,
		"?x":                               false,
		"'''\n%time\n'''":                  false,
		"# %% a\n%%dip\nx":                 false,
		"# %% a see=all\n%dipush x\n":      true,
		"# %% [md]\n# %dipush x":           false,
		"# %% a\nx\n#dip_locally":          false,
		"\ufeff%dipush x":                  true,
		"# %% a\n\\\n%dipush x":            false,
		"# %% a\n# %%\n# %dipush x\n":      true,
		"# %% a\n# %%dip local\n%dipush x": true,
	} {
		f := Parse(text)
		c, _ := f.Cell(f.Len())
		if c.LeavesAutodip() != want {
			t.Errorf("%q: %v, want %v", text, !want, want)
		}
	}
}

func TestAutodip(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cells []string
		want  string // of each cell: the directive, "" if autodip does not run it
	}{
		{"off", []string{"x", "y"}, "|"},
		{"on", []string{"x", "%autodip on", "y", "z"}, "||%%dip|%%dip"},
		{"on and off", []string{"# %autodip on --see all -q", "x", "%autodip off", "y"}, "|%%dip --see all --quiet||"},
		{"on twice", []string{"%autodip on", "x", "%autodip on -r 0-1", "y"}, "|%%dip||%%dip --ranks 0-1"},
		{"Ddip's spelling", []string{`%autodip on -a "--see all"`, "x", `%autodip on --args='everywhere -S 0'`, "y"},
			"|%%dip --see all||%%dip everywhere --see 0"},
		{"app command", []string{`%autodip on -a fp16`, "x"}, "|%%dip --appcmd fp16"},
		{"own target", []string{"%autodip on", "%%dip local\nx", "#dip_locally\nx", "%%px\nx", "%time x", "x"}, "|||||%%dip"},
		{"see only", []string{"%autodip on", "x"}, "|%%dip"},
		{"markdown", []string{"%autodip on", "[md]\nx", "x"}, "||%%dip"},
		{"asks only", []string{"%autodip", "x", "%autodip?", "y"}, "|||"},
		{"several", []string{"%autodip on\n%autodip off\n%autodip on --see 1", "x"}, "|%%dip --see 1"},
		{"below code", []string{"x\n%autodip on", "y"}, "|%%dip"},
		// The third cell runs on the ranks, where no magic switches anything.
		{"below code, while on", []string{"%autodip on", "x", "x\n%autodip off", "y"}, "|%%dip|%%dip|%%dip"},
		{"below code, while on everywhere", []string{"%autodip on everywhere", "x\n%autodip off", "y"}, "|%%dip everywhere|"},
		{"on the ranks", []string{"%%dip\n%autodip on", "x"}, "|"},
		{"in both", []string{"%%dip everywhere\n%autodip on", "x"}, "|%%dip"},
		{"indented", []string{"if y:\n    %autodip on", "x"}, "|"},
		{"in a string", []string{"'''\n%autodip on\n'''", "x"}, "|"},
		{"wrong", []string{"%autodip on --sea all", "x", "%autodip on off", "x", "%autodip off -q", "x", "%autodip --see 0", "x"}, "|||||||"},
		{"of a variable", []string{"%autodip on --see {ranks}", "x"}, "|"},
		{"autopx", []string{"%autopx", "x", "%autopx", "y", "%autodip on", "%autopx", "z"}, "|%%px|||||"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var text strings.Builder
			for _, c := range tt.cells {
				if !strings.HasPrefix(c, "[md]") {
					c = "\n" + c
				}
				text.WriteString("# %% " + c + "\n")
			}
			f := Parse(text.String())
			checkFile(t, f, text.String())
			var got []string
			for c := range f.Cells() {
				d, ok := c.Autodip()
				if ok != (d.String() != "") {
					t.Errorf("cell %d: %v, %v", c.Index(), d, ok)
				}
				got = append(got, d.String())
			}
			if got := strings.Join(got, "|"); got != tt.want {
				t.Errorf("%s, want %s\n%s", got, tt.want, text.String())
			}
		})
	}
}

// A switch acts on cells that are far away, and so does the edit that takes it away.
func TestAutodipAfterEdits(t *testing.T) {
	text := "# %%\n%autodip on\n" + bigFile() + "# %% last\nx\n"
	f := Parse(text)
	last := func(f *File) string {
		c, _ := f.Cell(f.Len())
		d, _ := c.Autodip()
		return d.String()
	}
	if got := last(f); got != "%%dip" {
		t.Errorf("on: %q", got)
	}
	at := strings.Index(text, "on")
	if got := last(f.Edit(at, at+len("on"), "on --see all")); got != "%%dip --see all" {
		t.Errorf("on --see all: %q", got)
	}
	if got := last(f.Edit(at, at+len("on"), "off")); got != "" {
		t.Errorf("off: %q", got)
	}
	at = len(text) / 2
	at += strings.Index(text[at:], "# %%")
	if got := last(f.Edit(at, at, "# %%\n# %autodip off\n")); got != "" {
		t.Errorf("off in the middle: %q", got)
	}
}

func TestParseDirective(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "%%dip",
		"--see all":                       "%%dip --see all",
		"  remote -S 0 2 ":                "%%dip --see 0,2",
		"locally -q":                      "%%dip local --quiet",
		"everywhere:1 --see all -a 'a b'": `%%dip everywhere --ranks 1 --see all --appcmd "a b"`,
		"ranks:2,0-1":                     "%%dip --ranks 0-2",
		"-r all":                          "%%dip",
		"--see\nall\r\n-q":                "%%dip --see all --quiet",
		"-a local":                        "%%dip local", // -a lacks its value
		"-q --anyway -S all":              "%%dip --see all --quiet --anyway",
		"-a 'local'":                      `%%dip --appcmd "local"`,
		`-a '--x "y"'`:                    `%%dip --appcmd "--x "'"'"y"'"'""`,
		"--see all # everywhere":          "%%dip --see all",
	} {
		d, problems := ParseDirective(text)
		if d.String() != want {
			t.Errorf("%q: %s, want %s", text, d, want)
		}
		if (len(problems) > 0) != (text == "-a local") {
			t.Errorf("%q: problems %v", text, problems)
		}
	}
	d, problems := ParseDirective("local --help")
	if len(problems) != 1 || problems[0].Message != "help is nothing to run" || d.String() != "%%dip" {
		t.Errorf("%s %+v", d, problems)
	}
	_, problems = ParseDirective("everywhere --sea all")
	if len(problems) != 1 || problems[0].Range != (Range{11, 16}) || problems[0].Code != UnknownFlag || problems[0].Hint != "did you mean --see?" {
		t.Errorf("%+v", problems)
	}
}

func TestDirectiveString(t *testing.T) {
	for text, want := range map[string]string{
		"x":                                    "",
		"# %% see=3":                           "%%dip --see 3",
		"# %% target=local":                    "%%dip local",
		"%%px":                                 "%%px",
		"%%px --noblock":                       "%%px --noblock",
		"%%px -a --local --targets 0,1":        "%%px --noblock --local --targets 0-1",
		"%%px --noblock --block -t 3":          "%%px --block --targets 3",
		"%%px --verbose -t [0, -1]":            "%%px --verbose --targets 0,-1",
		"# %% target=everywhere\n# %%dip -S 0": "%%dip everywhere --see 0",
	} {
		c, _ := Parse(text).Cell(1)
		if got := c.Directive().String(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzDirective(f *testing.F) {
	for _, s := range []string{"everywhere --see all", "-a 'x \"y\"' -q", "-r 0-3 -S 0 2", "-S -1 '", "# x", "--appcmd=-q", "-h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, problems := ParseDirective(text)
		for _, p := range problems {
			if p.Range.Start < 0 || p.Range.Start > p.Range.End || p.Range.End > len(text) {
				t.Fatalf("%q: problem %+v", text, p)
			}
		}
		args, ok := strings.CutPrefix(d.String(), "%%dip")
		again, problems := ParseDirective(args)
		if !ok || len(problems) > 0 || fmt.Sprint(again) != fmt.Sprint(d) || again.AppCommand != d.AppCommand {
			t.Fatalf("%q is %q, which is %q, problems %v", text, d, again, problems)
		}
	})
}

func BenchmarkAutodip(b *testing.B) {
	f := Parse("# %%\n%autodip on\n" + bigFile())
	for b.Loop() {
		for c := range f.Cells() {
			c.Autodip()
		}
	}
}
