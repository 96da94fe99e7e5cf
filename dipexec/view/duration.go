package view

import (
	"fmt"
	"time"
)

// FormatDuration writes a duration as a person would: 30 ms, 1.2 s, 12 s, 3 min 05 s, 9 h 05 min, 3 d 04 h.
func FormatDuration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 0.1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 60:
		return fmt.Sprintf("%.0f s", s)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Minutes())/60, int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %02d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}
