package view

import (
	"fmt"
	"time"
)

// FormatDuration writes a duration as a person would: 30 ms, 1.2 s, 12 s, 3 min 05 s.
func FormatDuration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 0.1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 60:
		return fmt.Sprintf("%.0f s", s)
	default:
		return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
	}
}
