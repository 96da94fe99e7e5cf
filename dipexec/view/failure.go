package view

import (
	"strings"

	"dipls/dipexec/event"
	"dipls/internal/clean"
)

func failureText(f *event.Failure) string {
	if len(f.Traceback) == 0 {
		return clean.Text(f.EName + ": " + f.EValue)
	}
	return clean.Styled(strings.TrimRight(strings.Join(f.Traceback, "\n"), "\n"))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
