package main

import (
	"io"
	"strings"
	"testing"

	"dipls/dipexec/event"
	"dipls/internal/ranklist"
)

// A cell may make a larger pool than the check: what its further ranks print is not compared.
func TestTakeOfFurtherRanks(t *testing.T) {
	printed := make([]strings.Builder, 2)
	for rank := range 4 {
		take(&event.Stream{Header: event.HeaderOf(event.KindStream, "", nil, ranklist.Rank(rank)), Name: event.Stdout, Text: "x"}, printed, io.Discard)
	}
	if got := printed[0].String() + printed[1].String(); got != "xx" {
		t.Error(got)
	}
}
