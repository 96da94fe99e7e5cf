package diagnose

import (
	"slices"
	"testing"

	"dipls/ranks/wire"
)

// at is a rank that has taken part in so many collectives of the default group, and is in one of them if an operation is named.
func at(rank int, count uint64, operation string) Standing {
	told := &wire.GroupsReply{Groups: []wire.Group{{Name: "default", Ranks: []int{0, 1, 2}, Count: count}}}
	if operation != "" {
		told.Operations = []wire.Operation{{Group: "default", Name: operation, Count: count}}
	}
	return Standing{Rank: rank, Groups: told}
}

// busy is a rank that has not come back.
func busy(s Standing) Standing {
	s.Busy = true
	return s
}

func TestStandings(t *testing.T) {
	failed := at(1, 3, "")
	failed.Failed = "ValueError at train.py:6"
	alone := Standing{Rank: 2, Groups: &wire.GroupsReply{}}
	for name, test := range map[string]struct {
		ranks   []Standing
		outOf   bool // step
		hold    bool
		busy    []int
		clauses []string
	}{
		"in step":   {ranks: []Standing{at(0, 4, ""), at(1, 4, "")}},
		"no groups": {ranks: []Standing{alone, busy(alone)}},
		"one is behind": {
			ranks: []Standing{at(0, 4, ""), failed, at(2, 4, "")}, outOf: true, hold: true,
			clauses: []string{"rank 1 is 1 collective behind (ValueError at train.py:6)"},
		},
		"two are behind": {
			ranks: []Standing{at(0, 2, ""), at(1, 2, ""), at(2, 4, "")}, outOf: true, hold: true,
			clauses: []string{"ranks 0-1 are 2 collectives behind"},
		},
		"one has not told":  {ranks: []Standing{at(0, 4, ""), {Rank: 1}}, hold: true},
		"one is not back":   {ranks: []Standing{at(0, 4, ""), busy(at(1, 4, ""))}, busy: []int{1}},
		"one is in its own": {ranks: []Standing{at(0, 4, ""), at(1, 4, "all_reduce")}, hold: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := OutOfStep(test.ranks); got != test.outOf {
				t.Errorf("out of step: %v", got)
			}
			if got := MayHold(test.ranks); got != test.hold {
				t.Errorf("may hold: %v", got)
			}
			if got := StillBusy(test.ranks); !slices.Equal(got, test.busy) {
				t.Errorf("busy: %v", got)
			}
			if got := DescribeStep(test.ranks); !slices.Equal(got, test.clauses) {
				t.Errorf("clauses %q", got)
			}
		})
	}
}

// Ranks have moved if one has come to another collective, or has told where it had not.
func TestHaveMoved(t *testing.T) {
	before := []Standing{at(0, 4, "all_reduce"), at(1, 3, "")}
	for name, test := range map[string]struct {
		now  []Standing
		want bool
	}{
		"as they were": {[]Standing{at(0, 4, "all_reduce"), at(1, 3, "")}, false},
		"a count":      {[]Standing{at(0, 4, "all_reduce"), at(1, 4, "")}, true},
		"an operation": {[]Standing{at(0, 4, "barrier"), at(1, 3, "")}, true},
		"silence":      {[]Standing{at(0, 4, "all_reduce"), {Rank: 1}}, true},
	} {
		if got := HaveMoved(before, test.now); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Where ranks are on several hosts, it is said on which one those are that are behind.
func TestDescribeStepOnHosts(t *testing.T) {
	ranks := []Standing{at(0, 4, ""), at(1, 4, ""), at(2, 3, "")}
	for i := range ranks {
		ranks[i].Host = []string{"gpu1", "gpu1", "gpu2"}[i]
	}
	if got := DescribeStep(ranks); !slices.Equal(got, []string{"rank 2 (gpu2) is 1 collective behind"}) {
		t.Errorf("clauses %q", got)
	}
}
