package launch

import (
	"strings"
	"unicode"
)

// word is a word of a text, and where it begins there, in bytes.
type word struct {
	text string
	at   int
}

// splitWords splits a text from a byte on into words as sh does: blanks part them, single and double quotes and backslashes keep blanks. It
// expands nothing.
func splitWords(text string, from int) ([]word, error) {
	var words []word
	var current strings.Builder
	begun := -1 // where the current word begins; -1: there is none
	var quote rune
	quoted := 0
	escaped := false
	begin := func(at int) {
		if begun < 0 {
			begun = at
		}
	}
	for i, r := range text[from:] {
		at := from + i
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune(`"\$`+"`", r) {
				current.WriteByte('\\') // as sh: a backslash in double quotes stands for itself before most characters
			}
			current.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			begin(at)
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				current.WriteRune(r)
			}
		case r == '\'' || r == '"':
			begin(at)
			quote, quoted = r, at
		case unicode.IsSpace(r):
			if begun >= 0 {
				words = append(words, word{current.String(), begun})
				current.Reset()
				begun = -1
			}
		default:
			begin(at)
			current.WriteRune(r)
		}
	}
	switch {
	case quote != 0:
		return nil, syntaxError(text, quoted, "this quote is not closed")
	case escaped:
		return nil, syntaxError(text, len(text)-1, "nothing follows the backslash")
	case begun >= 0:
		words = append(words, word{current.String(), begun})
	}
	return words, nil
}

// special is what is not itself between single quotes, in any shell: csh knows "!" there, and fish the backslash.
var special = strings.NewReplacer("'", `'\''`, "!", `'\!'`, `\`, `'\\'`)

// quoteForShell makes words one command line for the login shell of a user, which may be sh, csh or fish.
func quoteForShell(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return !plain(r) }) {
			quoted[i] = "'" + special.Replace(w) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// plain reports whether a character means itself in every shell.
func plain(r rune) bool {
	return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./,:+@", r))
}
