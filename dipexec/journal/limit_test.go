package journal

import "testing"

func TestParseLimit(t *testing.T) {
	for s, want := range map[string]int64{
		"2GiB": 2 << 30, "2G": 2 << 30, "2 gib": 2 << 30, "500MB": 500e6, "1.5GB": 15e8, "16MiB": 16 << 20, "20000000": 2e7, "20000000B": 2e7,
		"32768k": 32 << 20, "1TiB": 1 << 40, "0": -1, "0MB": -1,
	} {
		if got, err := ParseLimit(s); got != want || err != nil {
			t.Errorf("%q is %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "much", "-1", "2X", "1MB", "1", "99999999TB", "1e3GB", "1 0GB"} {
		if got, err := ParseLimit(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}
