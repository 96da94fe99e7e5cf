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
