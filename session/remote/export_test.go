package remote

import (
	"testing"
	"time"
)

// SetPatience changes, for a test, how long a peer may read nothing.
func SetPatience(t testing.TB, d time.Duration) {
	before := patience
	patience = d
	t.Cleanup(func() { patience = before })
}

// HurryManners makes calls wait a moment only, for a test, for what a session answers when their context has ended.
func HurryManners(t testing.TB) {
	for _, how := range []*manner{&startsManner, &atOnceManner, &looksManner, &settlesManner} {
		before := *how
		how.grace = time.Millisecond
		t.Cleanup(func() { *how = before })
	}
}

// HurryDoubts makes calls doubt soon, for a test, that a session lives which does not answer.
func HurryDoubts(t testing.TB) {
	before := [...]time.Duration{suspicion, signPatience}
	suspicion, signPatience = 10*time.Millisecond, 100*time.Millisecond
	t.Cleanup(func() { suspicion, signPatience = before[0], before[1] })
}

// SetMaxMessage changes, for a test, how long a message may be.
func SetMaxMessage(t testing.TB, n int) {
	before := maxMessage
	maxMessage = n
	t.Cleanup(func() { maxMessage = before })
}
