package main

import (
	"encoding/json"
	"slices"
	"strings"

	"dipls/cells"
)

// grammarPath is the TextMate grammar by which VS Code marks magics in comments. There the server's semantic tokens are not used: the editor would take them
// in place of those of the Python extension.
const grammarPath = "vscode-extension/syntaxes/dip.tmLanguage.json"

type grammarRule struct {
	Match    string                       `json:"match"`
	Captures map[string]map[string]string `json:"captures"`
}

// grammar is what it has to be. It goes by names alone, where the server also looks at what follows them.
func grammar() (string, error) {
	names := func(cell bool) string {
		all := append(cells.MagicNames(cell), cells.IPythonMagicNames(cell)...)
		slices.Sort(all)
		return strings.Join(slices.Compact(all), "|")
	}
	rule := func(word, rest string) grammarRule {
		return grammarRule{
			Match: `(?:(?<=^#)|(?<=\s#)|(?<=#\s))(` + word + `)` + rest,
			Captures: map[string]map[string]string{
				"1": {"name": "keyword.control.magic.dip"}, "2": {"name": "variable.parameter.magic.dip"},
			},
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"scopeName":         "dip.magics",
		"injectionSelector": "L:comment.line.number-sign.python",
		"patterns": []grammarRule{
			rule(`%%(?:`+names(true)+`)`, `(?=\s|$)(.*)$`),
			rule(`%(?:`+names(false)+`)`, `(?=\s|$|\?)(.*)$`),
			rule(`dip(?=:)`, `:\s*((?:remote|local|locally|everywhere|ranks?|all ranks)\b.*)$`),
		},
	}, "", "  ")
	return string(text) + "\n", err
}
