package cells

import "strings"

// A call is a place in Python source where something is called by name.
type call struct {
	Name  string // without blanks: "dist.barrier", or ".barrier" if what the dot follows is no name, as in f().barrier()
	Range Range  // of the name in the source, from its first letter
}

// callsIn returns the calls in a cell's source. code is what codeOf makes of the source that Rewrite gives. A call is a name, dotted or not,
// followed by an opening parenthesis, outside of strings and comments; replacement fields of f-strings count as code.
// Definitions are no calls; class patterns of a match statement are taken as calls. IPython's lines are left out, and so is
// the body of a cell magic for another language. Broken source is read as well as it can be.
func callsIn(code string) []call {
	var calls []call
	var parts []string // of the name so far
	var at Range
	dot, defines := false, false // what came last: a dot; def or class
	for i := skipBlank(code, 0); i < len(code); i = skipBlank(code, i) {
		start := i
		switch c := code[i]; classes[c] {
		case letter:
			i += nameLen(code[i:])
			word := code[start:i]
			switch {
			case defines || keywords[word]:
				parts = parts[:0]
			case !dot:
				parts, at.Start = append(parts[:0], word), start
			case len(parts) == 0:
				parts, at.Start = append(parts, "", word), start
			default:
				parts = append(parts, word)
			}
			at.End = i
			dot, defines = false, word == "def" || word == "class"
			continue
		case digit:
			for i < len(code) && (code[i] == '.' || classes[code[i]] == digit || classes[code[i]] == letter) {
				i++
			}
		case opening:
			i++
			if c == '(' && !dot && len(parts) > 0 {
				calls = append(calls, call{strings.Join(parts, "."), at})
			}
		default:
			i++
			if dot = c == '.'; dot {
				continue
			}
		}
		parts, dot, defines = parts[:0], false, false
	}
	return calls
}

// keywords are the words before a parenthesis that make no call.
var keywords = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields("and as assert async await class def del elif else except for from global if import in " +
		"is lambda nonlocal not or raise return while with yield") {
		words[w] = true
	}
	return words
}()

// codeOf returns source byte for byte, but blanks for comments, for IPython's lines and for line breaks that end no statement, and
// quotes for what is in strings.
func codeOf(source string) string {
	code := []byte(source)
	fill := func(start, end int, with byte) {
		for i := start; i < end; i++ {
			code[i] = with
		}
	}
	s := scanner{src: source, eof: true, onComment: func(r Range) { fill(r.Start, r.End, ' ') }}
	first := true // nothing but blank lines so far
	for s.pos < len(source) {
		at := skipBlank(source, s.pos)
		if s.clean() && at < len(source) && strings.IndexByte("%!?", source[at]) >= 0 {
			s.pos = escapedEnd(source, at)
			if first && isForeign(source[at:s.pos]) {
				s.pos = len(source)
			}
			fill(at, s.pos, ' ')
		}
		first = first && at == lineEnd(source, at)
		s.continued = false
		for ended := false; !ended && s.pos < len(source); {
			start := s.pos
			if s.inText() {
				ended = s.text()
				fill(start, s.pos, '"')
				continue
			}
			ended = s.code()
			if ended && !s.clean() {
				end := strings.TrimRight(source[start:s.pos], "\r\n")
				if s.continued {
					end = strings.TrimSuffix(end, `\`)
				}
				fill(start+len(end), s.pos, ' ')
			}
		}
	}
	return string(code)
}
