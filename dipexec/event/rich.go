package event

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"dipls/internal/clean"
)

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
