package cells

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRankList(t *testing.T) {
	tests := map[string]struct {
		canonical string
		of6       []int // of a pool of 6
		written   []int
	}{
		"0":         {"0", []int{0}, []int{0}},
		"0,2-4":     {"0,2-4", []int{0, 2, 3, 4}, []int{0, 2, 3, 4}},
		" 3 , 1 ":   {"1,3", []int{1, 3}, []int{3, 1}},
		"3 1":       {"1,3", []int{1, 3}, []int{3, 1}},
		"4,2-3,3,0": {"0,2-4", []int{0, 2, 3, 4}, []int{4, 2, 3, 3, 0}},
		"0-3,1-2,4": {"0-4", []int{0, 1, 2, 3, 4}, []int{0, 1, 2, 3, 1, 2, 4}},
		"5-7":       {"5-7", []int{5}, []int{5, 6, 7}},
		"007":       {"7", nil, []int{7}},
		"all":       {"all", []int{0, 1, 2, 3, 4, 5}, nil},
		" ALL ":     {"all", []int{0, 1, 2, 3, 4, 5}, nil},
		"1048575":   {"1048575", nil, []int{1048575}},
	}
	for s, want := range tests {
		l, err := ParseRankList(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if l.String() != want.canonical || !slices.Equal(l.Of(6), want.of6) || !slices.Equal(slices.Collect(l.Written()), want.written) {
			t.Errorf("%q is %v, of 6: %v, written: %v", s, l, l.Of(6), slices.Collect(l.Written()))
		}
		again, err := ParseRankList(l.String())
		if err != nil || !again.Equal(l) || l.IsZero() {
			t.Errorf("%q: its String %q parses to %v, %v", s, l, again, err)
		}
	}
	l, _ := ParseRankList("0,2-4")
	if !l.Contains(0) || l.Contains(1) || !l.Contains(3) || l.Contains(-1) || l.Max() != 4 || AllRanks.Max() != -1 || AllRanks.Contains(-1) {
		t.Errorf("Contains or Max of %v", l)
	}
}

func TestParseTargets(t *testing.T) {
	for s, want := range map[string]struct {
		canonical string
		in4       string // "" if a pool of 4 has none of it
	}{
		"0,2-3":    {"0,2-3", "0,2-3"},
		"all":      {"all", "all"},
		"-1":       {"-1", "3"},
		"[0, -1]":  {"0,-1", "0,3"},
		"[0,2]":    {"0,2", "0,2"},
		"::2":      {"::2", "0,2"},
		":":        {":", "0-3"},
		"1:3":      {"1:3", "1-2"},
		":-1":      {":-1", "0-2"},
		"-2:":      {"-2:", "2-3"},
		"[1::2]":   {"1::2", "1,3"},
		"0 1:9":    {"0,1:9", "0-3"},
		"-9:2":     {"-9:2", "0-1"},
		"-5":       {"-5", ""},
		"4:":       {"4:", ""},
		"2:1":      {"2:1", ""},
		"-4,::3,1": {"1,-4,::3", "0-1,3"},
	} {
		l, err := ParseTargets(s)
		if err != nil || l.String() != want.canonical || l.IsZero() {
			t.Errorf("%q is %v, %v; want %s", s, l, err, want.canonical)
			continue
		}
		again, err := ParseTargets(l.String())
		if err != nil || !again.Equal(l) {
			t.Errorf("%q: its String %q parses to %v, %v", s, l, again, err)
		}
		in, err := l.In(4)
		if (err == nil) != (want.in4 != "") || err == nil && in.String() != want.in4 {
			t.Errorf("%q in a pool of 4: %v, %v; want %s", s, in, err, want.in4)
		}
	}
	for s, want := range map[string]string{
		"":        "empty list; write all, or numbers like 0,2-4",
		"[]":      "empty list; write all, or numbers like 0,2-4",
		"all,-1":  `"all" stands alone; write just all, or numbers like 0,2-4`,
		"-x":      `"-x" is not a number, range or slice; write ranks like 0,2-4, -1 for the last, or a slice like ::2`,
		"1:2:3:4": `"1:2:3:4" is no slice; write ranks like 0,2-4, -1 for the last, or a slice like ::2`,
		"::-1":    `"::-1" has a step below 1; write ranks like 0,2-4, -1 for the last, or a slice like ::2`,
		"-1,,0":   `",0" has an empty entry; write numbers like 0,2-4`,
		"[0":      `"[0" is not a number or range; write all, or numbers like 0,2-4`,
	} {
		_, err := ParseTargets(s)
		var rankErr *RankError
		if !errors.As(err, &rankErr) || err.Error() != want {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func TestRankListOf(t *testing.T) {
	for want, ranks := range map[string][]int{"": nil, "7": {7}, "0,2-4": {4, 2, 3, 0, 3}} {
		l := RankListOf(ranks...)
		if l.String() != want || !slices.Equal(slices.Collect(l.Written()), ranks) || l.IsZero() != (ranks == nil) {
			t.Errorf("%v is %q, written: %v", ranks, l, slices.Collect(l.Written()))
		}
	}
}

func TestParseRankListErrors(t *testing.T) {
	for s, want := range map[string]string{
		"":                     "empty list; write all, or numbers like 0,2-4",
		"  ":                   "empty list; write all, or numbers like 0,2-4",
		"3-1":                  `"3-1" runs backwards; write 1-3`,
		"0,a":                  `"a" is not a number or range; write all, or numbers like 0,2-4`,
		"1-":                   `"1-" is not a number or range; write all, or numbers like 0,2-4`,
		"1-2-3":                `"1-2-3" is not a number or range; write all, or numbers like 0,2-4`,
		"+1":                   `"+1" is not a number or range; write all, or numbers like 0,2-4`,
		"-1":                   `"-1" is negative; ranks count from 0`,
		"0,,1":                 `"0,,1" has an empty entry; write numbers like 0,2-4`,
		"0,all":                `"all" stands alone; write just all, or numbers like 0,2-4`,
		"1048576":              `"1048576" goes beyond 1048575`,
		"0-99999999999":        `"0-99999999999" goes beyond 1048575`,
		"99999999999999999999": `"99999999999999999999" goes beyond 1048575`,
	} {
		_, err := ParseRankList(s)
		var rankErr *RankError
		if !errors.As(err, &rankErr) || err.Error() != want {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for s, want := range map[string]string{
		"remote": "remote", "local": "local", "locally": "local", "everywhere": "everywhere",
		"ranks:0-3": "ranks:0-3", "ranks:3,1": "ranks:1,3", "ranks:all": "remote", "everywhere:0 1": "everywhere:0-1",
		"everywhere:all": "everywhere",
	} {
		target, err := ParseTarget(s)
		if err != nil || target.String() != want {
			t.Errorf("%q is %v, %v; want %s", s, target, err, want)
		}
		if again, err := ParseTarget(target.String()); err != nil || !again.Equal(target) {
			t.Errorf("%q: its String %q parses to %v, %v", s, target, again, err)
		}
	}
	for s, want := range map[string]string{
		"":          `unknown target ""; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"none":      `unknown target "none"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"ranks":     `unknown target "ranks"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"remote:1":  `unknown target "remote:1"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"local:1":   `unknown target "local:1"; write remote, local, everywhere, or ranks:LIST like ranks:0-3`,
		"lcoal":     `unknown target "lcoal"; did you mean local?`,
		"ranks:":    "empty list; write all, or numbers like 0,2-4",
		"ranks:3-1": `"3-1" runs backwards; write 1-3`,
	} {
		if target, err := ParseTarget(s); err == nil || err.Error() != want {
			t.Errorf("%q is %v, %v; want %s", s, target, err, want)
		}
	}
	if s := (Target{}).String(); s != "none" {
		t.Errorf("the zero target is %s", s)
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
