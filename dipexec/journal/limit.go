package journal

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"dipls/internal/bytesize"
)

// DefaultLimit is how much one run's journal takes at most by default; MinLimit is the least that may be asked for.
const (
	DefaultLimit = 2 << 30
	MinLimit     = 16 << 20
)

var limitPattern = regexp.MustCompile(`(?i)^(\d+(?:\.\d+)?) ?(?:([kmgt])(i?)b?|b)?$`)

// ParseLimit reads a limit such as "2GiB", "500 MB" or "4G" (the same as 4GiB). "0" means no limit, and gives -1.
func ParseLimit(s string) (int64, error) {
	m := limitPattern.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("%q is no size; want one such as 500MB or 2GiB, or 0 for no limit", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if n == 0 && err == nil {
		return -1, nil
	}
	if unit := strings.ToLower(m[2]); unit != "" {
		base := 1024.0
		if m[3] == "" && strings.HasSuffix(strings.ToLower(s), "b") {
			base = 1000
		}
		n *= math.Pow(base, float64(1+strings.Index("kmgt", unit)))
	}
	switch {
	case err != nil || n > 1<<60:
		return 0, fmt.Errorf("%q is too much", s)
	case n < MinLimit:
		return 0, fmt.Errorf("%q is too little for a journal; want at least %s, or 0 for no limit", s, FormatLimit(MinLimit))
	}
	return int64(n), nil
}

// FormatLimit writes a limit for people: "2 GiB".
func FormatLimit(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := int64(1) << (30 - 10*i); n >= one && n%one == 0 {
			return fmt.Sprintf("%d %s", n/one, unit)
		}
	}
	return bytesize.Format(n)
}
