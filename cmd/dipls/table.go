package main

import (
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// column is one of a table.
type column struct {
	title string
	right bool // aligned to the right
	leave int  // where there is no room for all columns, that with the highest number is left out first; 0: never
}

// table is rows of texts below the titles of their columns.
type table struct {
	columns []column
	rows    [][]string
}

// tableGap is what stands between columns.
const tableGap = "  "

// width is how many columns of a terminal the table takes as a whole.
func (t *table) width() int {
	sum := -len(tableGap)
	for _, w := range t.widths() {
		sum += w + len(tableGap)
	}
	return max(sum, 0)
}

// widths are those of the columns.
func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = ansi.StringWidth(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
	}
	return widths
}

// fit leaves out columns that are empty, and then those for which there is no room. Width 0 is room for all.
func (t *table) fit(width int) {
	for i := len(t.columns) - 1; i >= 0; i-- {
		if t.columns[i].leave > 0 && !slices.ContainsFunc(t.rows, func(row []string) bool { return row[i] != "" }) {
			t.drop(i)
		}
	}
	for width > 0 && t.width() > width {
		last := -1
		for i, c := range t.columns {
			if c.leave > 0 && (last < 0 || c.leave > t.columns[last].leave) {
				last = i
			}
		}
		if last < 0 {
			return
		}
		t.drop(last)
	}
}

// drop leaves a column out.
func (t *table) drop(i int) {
	t.columns = slices.Delete(slices.Clone(t.columns), i, i+1)
	for n, row := range t.rows {
		t.rows[n] = slices.Delete(slices.Clone(row), i, i+1)
	}
}

// lines are the titles and the rows. An empty text of a row is written as "-".
func (t *table) lines() (lines []string) {
	widths := t.widths()
	line := func(text func(i int) string) {
		var b strings.Builder
		for i, c := range t.columns {
			fill := strings.Repeat(" ", max(0, widths[i]-ansi.StringWidth(text(i))))
			if c.right {
				b.WriteString(fill + text(i) + tableGap)
			} else {
				b.WriteString(text(i) + fill + tableGap)
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	line(func(i int) string { return t.columns[i].title })
	for _, row := range t.rows {
		line(func(i int) string { return dash(row[i]) })
	}
	return lines
}
