package dipexec

import (
	"slices"
	"strconv"
	"strings"
)

// FormatRanks writes ranks as a rank list: "0,2-4".
func FormatRanks(ranks []int) string {
	if !slices.IsSorted(ranks) {
		ranks = slices.Sorted(slices.Values(ranks))
	}
	var b strings.Builder
	for i := 0; i < len(ranks); {
		j := i
		for j+1 < len(ranks) && ranks[j+1] == ranks[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(ranks[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(ranks[j]))
		}
		i = j + 1
	}
	return b.String()
}

// nameRanks writes ranks for a sentence: "rank 2", "ranks 0,2-4".
func nameRanks(ranks []int) string {
	if len(ranks) == 1 {
		return "rank " + FormatRanks(ranks)
	}
	return "ranks " + FormatRanks(ranks)
}
