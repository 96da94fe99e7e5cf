package cells

import (
	"fmt"
	"strings"
	"testing"
)

// What a file says about all of its cells, and where it may say so.
func TestFileLine(t *testing.T) {
	const misplaced = "none | error: where a file's cells run stands above its first marker and its first code"
	const again = "remote | warning: the file's target is remote already, local is ignored"
	for text, want := range map[string]string{
		"# dip: remote\n# %%\nx":                   "remote",
		"#dip:local\n# %%\nx":                      "local",
		"# dip: locally\n# %%\nx":                  "local",
		"# dip : everywhere   # a comment\n# %%\n": "everywhere",
		"# dip: ranks 0,2\n# %%\nx":                "ranks:0,2",
		"# dip: ranks 0, 2-4\n# %%\nx":             "ranks:0,2-4",
		"# dip: rank 1\r\n# %%\r\nx":               "ranks:1",
		"# dip: ranks:host:gpu2\n# %%\nx":          "ranks:host:gpu2",
		"# dip: everywhere:0\n# %%\nx":             "everywhere:0",
		"# dip: all ranks\n# %%\nx":                "remote",
		"\ufeff# dip: remote\n":                    "remote",
		"#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright\n\n# dip: remote\nimport x": "remote",
		"# ---\n# jupyter: x\n# ---\n\n# dip: remote\n# %%\nx":                                   "remote",
		"\"\"\"Trains.\n\n# dip: local\n\"\"\"\n# dip: remote\n# %%\nx":                          "remote",
		"# dip: remote\n# dip: local\n":                                                          again,
		"# %%\nx":                                                                                "none",
		"# dip: a library for cells\n# %%\nx":                                                    "none", // prose
		"# dip into the data\n# %%\nx":                                                           "none",
		"# tip: remote\n# %%\nx":                                                                 "none",
		"# dip: remot\n# %%\nx":                                                                  `none | error: unknown target "remot" -> remote`,
		"# dip: rnks 0,2\n# %%\nx":                                                               `none | error: unknown target "rnks 0,2" -> ranks 0,2`,
		"# dip: ranks 2-1\n# %%\nx":                                                              `none | error: "2-1" runs backwards`,
		"# dip:\n# %%\nx":                                                                        `none | error: unknown target ""`,
		"# Dip: remote\n# %%\nx":                                                                 "none | error: Dip:  is no directive and no magic -> dip: ",
		"# dip remote\n# %%\nx":                                                                  "none | error: dip  is no directive and no magic -> dip: ",
		"# dip = ranks 0\n# %%\nx":                                                               "none | error: dip =  is no directive and no magic -> dip: ",
		"import x\n# dip: remote\n# %%\nx":                                                       misplaced,
		"# %%\n# dip: ranks 0\nx":                                                                misplaced,
		"# %%\n# dip: into it\nx":                                                                "none",
		"# %% [markdown]\n# dip: remote\n":                                                       "none",
	} {
		f := Parse(text)
		got := f.Target().String()
		for _, p := range f.Problems() {
			got += fmt.Sprintf(" | %v: %s", p.Severity, p.Message)
			if p.Fix != "" {
				got += " -> " + p.Fix
			}
		}
		if got != want {
			t.Errorf("%q: %s\nwant %s", text, got, want)
		}
	}
}

// The file's line counts for cells that do not say otherwise and do not begin with a magic. Where it is wrong, these do not run.
func TestFileLineOfCells(t *testing.T) {
	const rest = "\n# %% a\nx\n# %%dip local\ny\n# %% b\n%dipush x\n# %% [markdown]\n# text\n# %%rank 0,2\nz\n"
	var got strings.Builder
	for _, line := range []string{"# dip: everywhere", "# dip: everywhre"} {
		for c := range Parse(line + rest).Cells() {
			fault, wrong := c.Fault()
			fmt.Fprintf(&got, "%d %v %v %v %v\n", c.Index(), c.Directive().Target, c.Default(), wrong, fault.Range)
		}
	}
	const want = `1 none everywhere false {0 0}
2 none everywhere false {0 0}
3 local everywhere false {0 0}
4 none none false {0 0}
5 none none false {0 0}
6 ranks:0,2 everywhere false {0 0}
1 none none true {7 16}
2 none none true {7 16}
3 local none false {0 0}
4 none none false {0 0}
5 none none false {0 0}
6 ranks:0,2 none false {0 0}
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// A cell that runs on the ranks only, since the file says so, does not switch autodip.
func TestFileLineAndAutodip(t *testing.T) {
	for line, want := range map[string]string{"# dip: remote": "", "# dip: everywhere": "%%dip --see all", "#": "%%dip --see all"} {
		c, _ := Parse(line + "\n# %%\nx\n%autodip on --see all\n# %%\ny\n").Cell(3)
		if d, _ := c.Autodip(); d.String() != want {
			t.Errorf("%s: %q", line, d)
		}
	}
}

// %%rank is %%dip with ranks.
func TestRankMagic(t *testing.T) {
	for text, want := range map[string]string{
		"# %%rank 0,2":            "%%dip --ranks 0,2",
		"%%rank 1 -S all":         "%%dip --ranks 1 --see all",
		"# %%rank 0, 2-3 --quiet": "%%dip --ranks 0,2-3 --quiet",
		"# %%rank 0 2":            "%%dip --ranks 0,2",
		"# %%rank all":            "%%dip",
		"# %%rank":                "%%rank needs ranks",
		"# %%rank two":            `"two" is not a number or range`,
		"# %%rank 0 -r 1":         "%%rank has no flag -r",
	} {
		c, ok := Parse(text + "\nx\n").Cell(1)
		got := c.Directive().String()
		if p, wrong := c.Fault(); wrong {
			got = p.Message
		}
		if !ok || !strings.Contains(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
}
