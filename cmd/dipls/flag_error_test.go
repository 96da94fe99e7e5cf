package main

import (
	"strings"
	"testing"
)

// What is wrong with a flag is told in words for people, not in those of the parsers of numbers and times.
func TestFlagErrors(t *testing.T) {
	for _, test := range []struct{ args, said string }{
		{"run a.py -n x", "-n x: want a whole number"},
		{"run a.py --ranks=99999999999999999999", "-n 99999999999999999999: that number is too large"},
		{"run a.py --seed 1.5", "--seed 1.5: want a whole number"},
		{"run a.py --timeout 5", `--timeout 5: want a time such as "90s", "5m" or "2h"`},
		{"run a.py --hang-after soon", `--hang-after soon: want a duration such as 30s or 2h, or "off"`},
		{"run a.py --json=perhaps", "--json perhaps: want true or false"},
		{"run a.py --see", "--see: a value is missing"},
		{"run a.py -n", "-n: a value is missing"},
		{"run a.py --nosuch", "unknown flag: --nosuch"},
		{"run nowhere.py", "cannot read nowhere.py: no such file or directory"},
		{"run .", "cannot read .: is a directory"},
	} {
		code, _, errOut := dipls(strings.Fields(test.args)...)
		if told, _, _ := strings.Cut(errOut, "\n"); code != exitUsage || told != "dipls: "+test.said {
			t.Errorf("%s: exit code %d\n%s", test.args, code, errOut)
		}
	}
}
