package main

import (
	"testing"
	"time"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, time.Local)
	day := func(month time.Month, day, hour, minute int) time.Time {
		return time.Date(2026, month, day, hour, minute, 0, 0, time.Local)
	}
	for text, want := range map[string]time.Time{
		"90m": day(3, 1, 11, 0), "12h": day(3, 1, 0, 30), "3d": day(2, 26, 12, 30), "today": day(3, 1, 0, 0), "yesterday": day(2, 28, 0, 0),
		"09:15": day(3, 1, 9, 15), "2026-01-31": day(1, 31, 0, 0), "2026-01-31T15:04": day(1, 31, 15, 4),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-3d", "-1h", "3", "soon", "2026-13-01"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
