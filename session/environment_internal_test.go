package session

import (
	"strings"
	"testing"
	"time"
)

// The line that is wrong is found below values of several lines, and soon in a large file.
func TestWrongLine(t *testing.T) {
	const key = "# keys\n\nKEY=\"first\nsecond's\nthird\"\nexport B='x'\n"
	for text, want := range map[string]int{
		"wrong\n":                                1,
		"A=1\nwrong\nB=2\n":                      2,
		key + "wrong\nC=1\n":                     7,
		key + "C=\"open\nD=1\n":                  7,
		strings.Repeat(key, 50) + "wrong line\n": 301,
	} {
		if _, err := readVariables(text); err == nil {
			t.Errorf("%.40q can be read", text)
		}
		if got := wrongLine(text); got != want {
			t.Errorf("%.40q: line %d, not %d", text, got, want)
		}
	}
	began := time.Now()
	rest := strings.Repeat("NAME=a value of some bytes, of which there are enough\n", maxEnvFile/60)
	for text, want := range map[string]int{"wrong\n" + rest: 1, "A='open\n" + rest: 1, rest + "wrong\n": maxEnvFile/60 + 1} {
		if got := wrongLine(text); got != want {
			t.Errorf("line %d, not %d", got, want)
		}
	}
	if took := time.Since(began); took > 20*time.Second { // it took minutes
		t.Errorf("took %v", took)
	}
}
