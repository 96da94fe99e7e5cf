package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dipls/cells"
	"dipls/dipexec/view"
	"dipls/internal/bytesize"
	"dipls/internal/clean"
	"dipls/session"
)

const runsHelp = `List runs, the latest last: of editors, of sessions and of 'dipls run', whether they still live or not. It is read from their journals, which
are kept for two weeks. 'dipls logs RUN' shows what one has put out, 'dipls logs last' the latest.

--file takes a file, or a folder with all files below it. --cell takes a cell's number or a part of its title. --status takes one or several of
ok, error, interrupted, died, running and killed. --since takes a time ago (90m, 12h, 3d), a day (2026-01-31, today, yesterday), or a time
(15:04, 2026-01-31T15:04).

PEAK is the GPU memory that torch had allocated at most, on the rank that had most. --json prints an array of objects, [] without runs (docs/events.md, Runs).

Exit codes: 0, also without runs; 1 the journal cannot be read; 2 wrong flags.`

// shownRuns is how many runs are listed by default.
const shownRuns = 20

// runsFlags are the flags of dipls runs.
type runsFlags struct {
	file, cell, status, since string
	limit                     int
	json                      bool
}

func newRuns() *cobra.Command {
	var f runsFlags
	cmd := &cobra.Command{
		Use:     "runs",
		Short:   "list what has run, and how it went",
		Long:    runsHelp,
		Example: "  dipls runs --file train.py --status error,died --since 3d\n  dipls runs --cell Train -n 1 --json",
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			request, err := f.request(now)
			if err != nil {
				return err
			}
			runs, err := session.PastRuns("", request)
			if err != nil {
				return err
			}
			slices.Reverse(runs)
			out := cmd.OutOrStdout()
			if f.json {
				return writeJSON(out, runs)
			}
			lines := []string{"No run is known that these flags take."}
			if len(runs) > 0 {
				lines = runLines(runs, newScreen(out).columns(), now)
			} else if request.Path == "" && request.Cell == "" && request.Status == nil && request.Since.IsZero() {
				lines = []string{"Nothing has run yet."}
			}
			for _, line := range lines {
				if _, err := fmt.Fprintln(out, line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&f.file, "file", "", "only of this `FILE`, or of files below this folder")
	cmd.Flags().StringVar(&f.cell, "cell", "", "only of this `CELL`: its number, or a part of its title")
	cmd.Flags().StringVar(&f.status, "status", "", "only those that ended so: `STATUS[,…]`")
	cmd.Flags().StringVar(&f.since, "since", "", "only those that began at this `TIME` or later")
	cmd.Flags().IntVarP(&f.limit, "limit", "n", shownRuns, "so many of the latest; 0: all")
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON array")
	return cmd
}

// request is what the flags ask for.
func (f *runsFlags) request(now time.Time) (r session.PastRequest, err error) {
	r.Cell, r.Limit = f.cell, f.limit
	if f.limit < 0 {
		return r, usagef("-n %d: a number from 0 on", f.limit)
	}
	for status := range strings.SplitSeq(f.status, ",") {
		switch status = strings.TrimSpace(status); {
		case slices.Contains(session.PastStatuses, session.PastStatus(status)):
			r.Status = append(r.Status, session.PastStatus(status))
		case f.status != "":
			return r, usagef("--status %q: %s", status, listStatuses(session.PastStatuses))
		}
	}
	if f.since != "" {
		if r.Since, err = parseSince(f.since, now); err != nil {
			return r, err
		}
	}
	r.Path, err = runsOfPath(f.file)
	return r, err
}

// listStatuses lists the words that a flag takes.
func listStatuses(words []session.PastStatus) string {
	var list []string
	for _, w := range words {
		list = append(list, string(w))
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " or " + list[last]
}

// runsOfPath is the file or folder whose runs are meant. A name that is no file here is left as it is: the file may have been removed, or be elsewhere.
func runsOfPath(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil && filepath.Base(file) == file {
		return file, nil
	}
	return path, nil
}

// sinceLayouts are how a time may be written besides one that is so long ago.
var sinceLayouts = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", time.RFC3339}

// parseSince reads a time of the past.
func parseSince(text string, now time.Time) (time.Time, error) {
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch text {
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if t, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		return midnight.Add(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute), nil
	}
	for _, layout := range sinceLayouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--since %q: write 90m, 12h or 3d, today, yesterday, 15:04, 2026-01-31 or 2026-01-31T15:04", text)
}

// runLines list runs, in so many columns of a terminal; 0: as many as it takes.
func runLines(runs []session.PastRun, width int, now time.Time) []string {
	t := table{columns: []column{
		{title: "RUN"}, {title: "BEGAN"}, {title: "CELL"}, {title: "FILE", leave: 2}, {title: "WHERE", leave: 3}, {title: "PEAK", right: true, leave: 4},
		{title: "ENDED", leave: 1},
	}}
	for _, r := range runs {
		began := r.Started.Local().Format("15:04:05")
		if now.Sub(r.Started) > 12*time.Hour {
			began = r.Started.Local().Format("2006-01-02 15:04")
		}
		file, peak := "", ""
		if r.Path != "" {
			file = clean.Line(fmt.Sprintf("%s:%d", filepath.Base(r.Path), r.Line))
		}
		if r.PeakMemory > 0 {
			peak = bytesize.Format(r.PeakMemory)
		}
		label := strings.TrimPrefix((&view.Run{Index: r.Cell, Title: r.Title}).Label(), "cell ")
		t.rows = append(t.rows, []string{r.Run, began, label, file, cells.NameTarget(r.Target), peak, howEnded(r)})
	}
	t.fit(width)
	return t.lines()
}

// howEnded is how a run has ended, or that it has not.
func howEnded(r session.PastRun) string {
	switch r.Status {
	case session.PastRunning:
		return "goes on"
	case session.PastKilled:
		return "its process was killed"
	}
	return fmt.Sprintf("%s after %s", r.Status, view.FormatDuration(time.Duration(r.Seconds*float64(time.Second))))
}
