package ranks

import (
	"encoding/json"
	"fmt"
	"strconv"

	"dipls/internal/ranklist"
)

// maxSeed is the largest seed that NumPy takes.
const maxSeed = 1<<32 - 1

// Seed is the seed of the random generators of ranks. With the zero value each process takes its seed from the operating system.
type Seed struct {
	given bool
	n     int64
}

// NewSeed checks a seed. -1 is none.
func NewSeed(n int64) (Seed, error) {
	switch {
	case n == -1:
		return Seed{}, nil
	case n < 0 || n > maxSeed:
		return Seed{}, fmt.Errorf("seed %d: want a number from 0 to %d", n, int64(maxSeed))
	}
	return Seed{true, n}, nil
}

// Of is the seed of a process: the seed plus the number of a rank, or the seed itself for the local namespace. Nil if there is none.
func (s Seed) Of(who ranklist.Who) *int64 {
	if !s.given {
		return nil
	}
	rank, _ := who.Rank()
	n := s.n + int64(rank)
	return &n
}

// String is the number; "none" without one.
func (s Seed) String() string {
	if !s.given {
		return "none"
	}
	return fmt.Sprint(s.n)
}

// MarshalJSON writes the number, or null.
func (s Seed) MarshalJSON() ([]byte, error) {
	if !s.given {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, s.n, 10), nil
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Seed) UnmarshalJSON(data []byte) (err error) {
	n := int64(-1)
	if err = json.Unmarshal(data, &n); err == nil {
		*s, err = NewSeed(n)
	}
	return err
}
