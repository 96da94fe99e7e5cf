package view

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// tqdmTimes is how tqdm writes for how long something has gone on, and how much time is left: "[00:10<01:05, 4.50it/s]".
var tqdmTimes = regexp.MustCompile(`\[(?:\d+:)?\d+:\d\d<((?:\d+:)?\d+:\d\d)[,\]]`)

// TimeLeft reads from a progress bar how much time is left; ok is false if it does not say.
func TimeLeft(bar string) (left time.Duration, ok bool) {
	found := tqdmTimes.FindStringSubmatch(bar)
	if found == nil {
		return 0, false
	}
	for part := range strings.SplitSeq(found[1], ":") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return 0, false // nobody waits that long
		}
		left = left*60 + time.Duration(n)*time.Second
	}
	return left, true
}
