package view

import (
	"strings"

	"dipls/dipexec/event"
	"dipls/internal/clean"
)

// failureText is a failure's traceback, with the frames of libraries folded unless whole is set.
func failureText(f *event.Failure, whole bool) string {
	if len(f.Traceback) == 0 {
		return clean.Text(f.EName + ": " + f.EValue)
	}
	text := clean.Styled(strings.TrimRight(strings.Join(f.Traceback, "\n"), "\n"))
	if whole {
		return text
	}
	all := ""
	if f.Run != "" {
		all = "all: dipls logs " + f.Run
	}
	return foldTraceback(text, all)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
