package main

import (
	"strings"
	"testing"
)

func TestCompareAttempts(t *testing.T) {
	cells := attempt{printed: []string{"a\nb\n", "c\n"}}
	if err := cells.compare(attempt{printed: []string{"a\nb\n", "c\n"}}); err != nil {
		t.Error(err)
	}
	err := cells.compare(attempt{printed: []string{"a\nß\n", ""}, failed: true})
	if err == nil {
		t.Fatal("no difference")
	}
	for _, want := range []string{"rank 0 prints other things from line 2 on:\n  by dipls:    \"b\"\n  by torchrun: \"ß\"", "rank 1", "by torchrun only"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}
