// Package stress says how long tests of random moments, orders and deaths run: seconds in `make test`, minutes in `make stress`.
//
// Such a test is called TestStress…, so that `make stress` finds it.
package stress

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Rounds returns short in `make test` and long under `make stress`, which sets DIPLS_STRESS.
func Rounds(short, long int) int {
	if os.Getenv("DIPLS_STRESS") != "" {
		return long
	}
	return short
}

// Rand returns a source of random choices. A failed test tells its seed; DIPLS_STRESS_SEED makes the same choices again.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("DIPLS_STRESS_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("DIPLS_STRESS_SEED=%d makes the same choices again", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
