package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/bytesize"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

// shortPath is a path with "~" for the home directory, on one line.
func shortPath(path string) string {
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		if rest, ok := strings.CutPrefix(path, home); ok && (rest == "" || rest[0] == '/') {
			path = "~" + rest
		}
	}
	return clean.Line(path)
}

// sizeOrNothing is a number of bytes for people; "" for none.
func sizeOrNothing(n int64) string {
	if n == 0 {
		return ""
	}
	return bytesize.Format(n)
}

// poolInWords is "4 ranks on cuda:0-3"; "" without a pool.
func poolInWords(ranks int, devices []string) string {
	switch {
	case ranks == 0:
		return ""
	case len(devices) == 0:
		return plural(ranks, "rank")
	}
	return plural(ranks, "rank") + " on " + devicesInWords(devices)
}

// devicesInWords folds the names of devices: "cuda:0-3", "cpu".
func devicesInWords(devices []string) string {
	var kinds []string
	numbers := map[string][]int{}
	for _, d := range devices {
		kind, number, _ := strings.Cut(d, ":")
		if _, known := numbers[kind]; !known {
			kinds = append(kinds, kind)
			numbers[kind] = nil
		}
		if n, err := strconv.Atoi(number); err == nil {
			numbers[kind] = append(numbers[kind], n)
		}
	}
	for i, kind := range kinds {
		kinds[i] = clean.Line(kind)
		if len(numbers[kind]) > 0 {
			kinds[i] += ":" + ranklist.Of(numbers[kind]...).String()
		}
	}
	return strings.Join(kinds, ", ")
}

// stateInWords is what a session does: "busy", or in which state its ranks are.
func stateInWords(a session.About) string {
	switch {
	case a.State == event.StateStarting || a.State == event.StateDead:
		return a.State
	case len(a.Runs) > 0:
		return event.StateBusy
	case a.State == event.StateNone || a.State == event.StateStopped || a.State == "":
		return "no ranks"
	}
	return a.State
}

// runName names a run in the middle of a sentence: its title, or where its cell begins.
func runName(r session.AboutRun) string {
	place := ""
	if r.Path != "" {
		place = clean.Line(fmt.Sprintf("%s:%d", filepath.Base(r.Path), r.Line))
	}
	switch title := clean.Line(r.Title); {
	case title != "" && place != "":
		return fmt.Sprintf("%s (%s)", title, place)
	case title != "":
		return title
	case place != "":
		return place
	}
	return "run " + clean.Line(r.ID)
}

// runsInWords is what runs, for how long, and how much waits: "Train (train.py:41) for 12 min 05 s, 2 wait"; "" if nothing does.
func runsInWords(a session.About, now time.Time) string {
	var parts []string
	waiting := 0
	for _, r := range a.Runs {
		if r.Since == nil {
			waiting++
			continue
		}
		parts = append(parts, runName(r)+" for "+view.FormatDuration(max(0, now.Sub(*r.Since))))
	}
	if waiting > 0 {
		verb := " wait"
		if waiting == 1 {
			verb = " waits"
		}
		parts = append(parts, strconv.Itoa(waiting)+verb)
	}
	return strings.Join(parts, ", ")
}

// clientsInWords names who is attached: "VS Code, dipls attach (2)"; "" if nobody is.
func clientsInWords(clients []session.Client) string {
	var names []string
	count := map[string]int{}
	for _, c := range clients {
		name := clean.Line(c.Program)
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	for i, name := range names {
		if n := count[name]; n > 1 {
			names[i] = fmt.Sprintf("%s (%d)", name, n)
		}
	}
	return strings.Join(names, ", ")
}

// endInWords is when a session ends: "in 3 h 12 min", "4h after its last use", "never".
func endInWords(a session.About, now time.Time) string {
	switch {
	case a.Ends != nil:
		return "in " + view.FormatDuration(max(0, a.Ends.Sub(now).Round(time.Second)))
	case a.Keep < 0:
		return "never"
	}
	return shortDuration(a.Keep) + " after its last use"
}
