package ranklist

import (
	"errors"
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
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
		l, err := Parse(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if l.String() != want.canonical || !slices.Equal(l.Of(6), want.of6) || !slices.Equal(slices.Collect(l.Written()), want.written) {
			t.Errorf("%q is %v, of 6: %v, written: %v", s, l, l.Of(6), slices.Collect(l.Written()))
		}
		again, err := Parse(l.String())
		if err != nil || !again.Equal(l) || l.IsZero() {
			t.Errorf("%q: its String %q parses to %v, %v", s, l, again, err)
		}
	}
	l, _ := Parse("0,2-4")
	if !l.Contains(0) || l.Contains(1) || !l.Contains(3) || l.Contains(-1) || l.Max() != 4 || All.Max() != -1 || All.Contains(-1) {
		t.Errorf("Contains or Max of %v", l)
	}
}

func TestParseRanks(t *testing.T) {
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
		l, err := ParseRanks(s)
		if err != nil || l.String() != want.canonical || l.IsZero() {
			t.Errorf("%q is %v, %v; want %s", s, l, err, want.canonical)
			continue
		}
		again, err := ParseRanks(l.String())
		if err != nil || !again.Equal(l) {
			t.Errorf("%q: its String %q parses to %v, %v", s, l, again, err)
		}
		in, err := l.In(make([]string, 4))
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
		"host:":   `"host:" names no host; write host:NAME`,
		"each:x":  `"each:x" names no rank; each takes one number: each:0 is the first rank of each host`,
		"-1,,0":   `",0" has an empty entry; write numbers like 0,2-4`,
		"[0":      `"[0" is not a number or range; write all, or numbers like 0,2-4`,
	} {
		_, err := ParseRanks(s)
		var rankErr *Error
		if !errors.As(err, &rankErr) || err.Error() != want {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func TestOf(t *testing.T) {
	for want, ranks := range map[string][]int{"": nil, "7": {7}, "0,2-4": {4, 2, 3, 0, 3}} {
		l := Of(ranks...)
		if l.String() != want || !slices.Equal(slices.Collect(l.Written()), ranks) || l.IsZero() != (ranks == nil) {
			t.Errorf("%v is %q, written: %v", ranks, l, slices.Collect(l.Written()))
		}
	}
}

func TestParseErrors(t *testing.T) {
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
		_, err := Parse(s)
		var rankErr *Error
		if !errors.As(err, &rankErr) || err.Error() != want {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}
