package view

import (
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		2 * time.Millisecond: "2 ms", 1234 * time.Millisecond: "1.2 s", 12 * time.Second: "12 s", 185 * time.Second: "3 min 05 s",
		time.Hour: "1 h 00 min", 47*time.Hour + 5*time.Minute: "47 h 05 min", 76 * time.Hour: "3 d 04 h",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
