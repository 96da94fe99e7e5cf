package view

import (
	"encoding/json"
	"maps"
	"slices"
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

// RichText is rich output for a reader of text: its text, and the files that hold the rest.
func RichText(data map[string]json.RawMessage, files map[string]string) string {
	var text string
	if json.Unmarshal(data["text/plain"], &text) != nil {
		text = "<" + strings.Join(slices.Sorted(maps.Keys(data)), ", ") + ">"
	}
	for _, mime := range slices.Sorted(maps.Keys(files)) {
		// HTML says the same as the text (a table does), unless that is only a placeholder such as "<… HTML object>".
		if mime != "text/html" || strings.HasPrefix(text, "<") {
			text += " [" + files[mime] + "]"
		}
	}
	return clean.Styled(text)
}
