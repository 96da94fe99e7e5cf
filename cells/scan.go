package cells

import (
	"slices"
	"strings"
)

// A scanner walks Python source line by line and knows, at every line start, what the line is inside of: a string, an open
// bracket, a replacement field of an f-string, a backslash continuation. It follows the tokenizer of CPython 3.12 and later,
// where a replacement field is code again: it may hold the quotes of the string around it, newlines and comments. Source that
// older versions accept means the same under these rules.
//
// The scanner needs no valid source. Where text is broken it takes the reading that disturbs the following lines least.
type scanner struct {
	src       string
	pos       int
	stack     []open // what pos is inside of, outermost first
	continued bool   // the previous line ended in a backslash

	eof     bool // src ends where the file ends
	starved bool // a decision needed the text after src
	reach   int  // end of the text that the decisions so far have looked at

	markers *Markers // besides those that everybody has

	probing bool // this scanner looks ahead for another one
	floor   int  // probing: what is at this place of the stack and above it is meant by:
	closed  bool // probing: everything that was open has been closed
	broken  bool // probing: before that came something that Python would refuse

	colon bool // the last thing that was neither blank nor a comment was a colon
	torn  bool // a string has ended with its line, or what follows its end is no operator

	onComment  func(Range) // for tests: told of each comment token
	onUnclosed func(Range) // told of the opener of each string that ends with its line
}

// An open is a bracket, string or replacement field that has begun and not ended.
type open struct {
	opener Range
	kind   kind
	str    str  // the string itself, or the one that a field belongs to
	closes bool // looked up before: its end does come
	line   bool // it is, or is inside of, a string that must end on its line
}

type kind byte

const (
	paren      kind = '('
	square     kind = '['
	brace      kind = '{'
	field      kind = 'f' // {…} of an f-string, the expression
	formatSpec kind = ':' // {…:…} of an f-string, after the colon: text again
	text       kind = '"'
)

type str struct {
	quote   byte
	triple  bool
	raw     bool
	formats bool // f-string or t-string: has replacement fields
}

const (
	// CPython refuses deeper nesting, so nothing deeper needs an answer.
	maxDepth = 200
	// How far a look-ahead goes before it gives an unclosed thing up: in column-0 markers for a bracket, in lines for a
	// replacement field of a single-quoted string. Both keep the work linear in the size of the file.
	maxMarkersInBracket = 16
	maxLinesInField     = 50
	// How many markers strings may run over, one after the other without any code between that has one.
	maxMarkersInStrings = 64
)

// A class says what a byte can begin in code.
type class byte

const (
	plain class = iota
	letter
	digit
	quote
	opening
	closing
	colon
	hash
	backslash
	newline
)

var classes = func() (t [256]class) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80:
			t[c] = letter
		case c >= '0' && c <= '9':
			t[c] = digit
		}
	}
	for s, k := range map[string]class{
		`"'`: quote, "([{": opening, ")]}": closing, ":": colon, "#": hash, `\`: backslash, "\r\n": newline,
	} {
		for _, c := range []byte(s) {
			t[c] = k
		}
	}
	return t
}()

// statementWords can stand in no expression: found inside a bracket, they prove that the bracket was never closed.
var statementWords = map[string]bool{
	"assert": true, "break": true, "class": true, "continue": true, "def": true, "del": true, "elif": true, "except": true,
	"finally": true, "global": true, "import": true, "nonlocal": true, "pass": true, "raise": true, "return": true,
	"try": true, "while": true, "with": true,
}

// line consumes the rest of the physical line, its terminator included.
func (s *scanner) line() {
	s.continued = false
	for s.pos < len(s.src) {
		var ended bool
		if s.inText() {
			ended = s.text()
		} else {
			ended = s.code()
		}
		if ended {
			return
		}
	}
}

func (s *scanner) clean() bool { return len(s.stack) == 0 && !s.continued }

func (s *scanner) inText() bool {
	n := len(s.stack)
	return n > 0 && (s.stack[n-1].kind == text || s.stack[n-1].kind == formatSpec)
}

// code consumes code up to the end of the line (true) or to where text begins or src ends (false).
func (s *scanner) code() (ended bool) {
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		k := classes[c]
		s.colon = k == colon || s.colon && (k == hash || k == newline || isBlank(c))
		switch k {
		case letter:
			if s.word() {
				return false
			}
		case quote:
			s.openString(s.pos, "")
			return false
		case opening:
			s.push(open{opener: Range{s.pos, s.pos + 1}, kind: kind(c)})
			s.pos++
		case closing:
			s.pos++
			if s.close(c) {
				return false
			}
		case colon:
			s.pos++
			if n := len(s.stack); n > 0 && s.stack[n-1].kind == field {
				s.stack[n-1].kind = formatSpec
				return false
			}
		case hash:
			start := s.pos
			s.pos = lineEnd(s.src, start)
			if s.onComment != nil {
				s.onComment(Range{start, s.pos})
			}
		case backslash:
			s.pos++
			if s.newline() {
				s.continued = true
				return true
			}
			// Python refuses any other character here. Taking it as escaped keeps code and text in step.
			s.pos = min(s.pos+1, len(s.src))
		case newline:
			s.newline()
			s.endLineStrings()
			return true
		default:
			s.pos++
		}
	}
	return false
}

// text consumes the text of the innermost string up to the end of the line (true), or to where the string ends, a replacement
// field begins or ends, or src ends (false).
func (s *scanner) text() (ended bool) {
	top := &s.stack[len(s.stack)-1]
	in := top.str
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		switch {
		case c == '\\':
			s.pos++
			if s.newline() {
				return true
			}
			s.escape(in)
		case c == '\n' || c == '\r':
			if !in.triple {
				s.fail()
				s.tear(s.stack[s.enclosing()].opener)
				s.closeString()
				return false // the newline is for the code around the string
			}
			s.newline()
			return true
		case c == in.quote:
			if in.triple && !tripled(s.src, s.pos) {
				s.pos++
				break
			}
			s.pos++
			if in.triple {
				s.pos += 2
				s.torn = s.torn || s.probing && !s.mayFollow()
			}
			s.closeString()
			return false
		case c == '{' && in.formats:
			s.pos++
			if top.kind == text && s.at('{') {
				s.pos++
				break
			}
			s.push(open{opener: Range{s.pos - 1, s.pos}, kind: field, str: in})
			return false
		case c == '}' && in.formats && top.kind == formatSpec:
			s.pos++
			s.cut(len(s.stack) - 1)
			return false
		default:
			s.pos++
		}
	}
	return false
}

// escape consumes what a backslash in text protects.
func (s *scanner) escape(in str) {
	if s.pos == len(s.src) {
		return
	}
	if in.formats {
		switch rest := s.src[s.pos:]; {
		case rest[0] == '{' || rest[0] == '}':
			return // begins or ends a replacement field all the same
		case !in.raw && strings.HasPrefix(rest, "N{"):
			name := strings.TrimLeft(rest[2:], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -")
			s.pos = len(s.src) - len(name)
			if s.at('}') {
				s.pos++
			}
			return
		}
	}
	s.pos++
}

// word consumes a name or keyword; true if it was the prefix of a string, which is then open.
func (s *scanner) word() (opened bool) {
	start := s.pos
	for s.pos < len(s.src) && (classes[s.src[s.pos]] == letter || classes[s.src[s.pos]] == digit) {
		s.pos++
	}
	word := s.src[start:s.pos]
	if s.pos < len(s.src) && classes[s.src[s.pos]] == quote && len(word) <= 2 && isStringPrefix(word) {
		s.openString(start, word)
		return true
	}
	if s.probing && statementWords[word] {
		s.fail()
	}
	return false
}

func isStringPrefix(word string) bool {
	switch strings.ToLower(word) {
	case "r", "b", "u", "f", "t", "br", "rb", "fr", "rf", "tr", "rt":
		return true
	}
	return false
}

// openString consumes the opening quotes at pos, of a string whose prefix began at start.
func (s *scanner) openString(start int, prefix string) {
	in := str{
		quote:   s.src[s.pos],
		triple:  tripled(s.src, s.pos),
		raw:     strings.ContainsAny(prefix, "rR"),
		formats: strings.ContainsAny(prefix, "fFtT"),
	}
	s.pos++
	if in.triple {
		s.pos += 2
	}
	s.push(open{opener: Range{start, s.pos}, kind: text, str: in, line: !in.triple})
}

// closeString leaves the innermost string and its format specs.
func (s *scanner) closeString() {
	s.cut(s.enclosing())
}

// close handles a closing bracket; true if it ended a replacement field, so that text goes on. A bracket that does not match is
// forgiven: it closes the nearest one that it matches, or nothing.
func (s *scanner) close(c byte) (fieldEnded bool) {
	var want kind
	switch c {
	case ')':
		want = paren
	case ']':
		want = square
	case '}':
		want = brace
	}
	n := len(s.stack)
	for i := n - 1; i >= max(0, n-maxDepth); i-- {
		k := s.stack[i].kind
		isField := k == field
		if k == want || isField && c == '}' {
			s.cut(i)
			return isField
		}
		s.fail()
		if isField {
			break
		}
	}
	return false
}

// endLineStrings is called after a newline in code. Inside a replacement field of a single-quoted string that newline is fine
// if the field and the string do end later on; more often the string is just being typed, and then it ends here.
func (s *scanner) endLineStrings() {
	n := len(s.stack)
	if s.probing || n == 0 || !s.stack[n-1].line {
		return
	}
	i := n - 1
	for i > 0 && s.stack[i-1].line {
		i--
	}
	if s.stack[i].closes {
		return
	}
	if s.stack[i].closes = s.closes(i, maxLinesInField); !s.stack[i].closes {
		s.tear(s.stack[i].opener)
		s.cut(i)
	}
}

// enclosing is the index of the innermost thing in the stack that ends on its own: a bracket, or a string with its fields.
func (s *scanner) enclosing() int {
	i := len(s.stack) - 1
	for s.stack[i].kind == field || s.stack[i].kind == formatSpec {
		i--
	}
	return i
}

// closes looks ahead from pos, a line start, for the end of stack[i] within maxLines lines (0: any number). It is false if something
// comes first that Python would refuse there.
func (s *scanner) closes(i, maxLines int) bool {
	p := scanner{src: s.src, pos: s.pos, stack: slices.Clone(s.stack[i:]), probing: true}
	markers := 0
	for n := 0; p.pos < len(p.src); n++ {
		if maxLines > 0 && n == maxLines {
			return false
		}
		if !p.inText() && p.at('#') && s.markers.has(p.src[p.pos:lineEnd(p.src, p.pos)]) {
			if markers++; markers > maxMarkersInBracket {
				s.reach = max(s.reach, lineEnd(p.src, p.pos)+1)
				return false
			}
		}
		p.line()
		s.reach = max(s.reach, p.pos)
		if p.broken || p.closed {
			return !p.broken
		}
	}
	s.starved = !s.eof
	s.reach = len(s.src) + 1
	return false
}

// stringCloses looks ahead from a marker inside of stack[i], a triple-quoted string, or inside of a field of it. The next quotes of its
// kind are taken to close it, unless they more likely begin the next string, because somebody has just typed the opening ones. That is so
// if Python would refuse what follows the quotes, or if unlikely many strings would run over markers, up to the end of the file.
func (s *scanner) stringCloses(i, _ int) bool {
	p := scanner{src: s.src, pos: s.pos, stack: slices.Clone(s.stack), floor: i, probing: true}
	run := 0 // markers that strings have run over since
	for p.pos < len(p.src) {
		at := skipBlank(p.src, p.pos)
		if p.closed && p.at('#') && s.markers.has(p.src[p.pos:lineEnd(p.src, p.pos)]) {
			s.reach = max(s.reach, lineEnd(p.src, p.pos)+1)
			if !p.inText() {
				return true
			}
			if run++; run > maxMarkersInStrings {
				return false
			}
		}
		if p.clean() && at < len(p.src) && strings.IndexByte("%!?", p.src[at]) >= 0 {
			p.pos = skipNewline(p.src, escapedEnd(p.src, at))
		} else {
			p.line()
		}
		s.reach = max(s.reach, p.pos+1)
		if p.torn || p.broken {
			return false
		}
	}
	s.starved = s.starved || !s.eof
	s.reach = len(s.src) + 1
	return p.closed && !p.inText()
}

// mayFollow reports whether what follows on the line may stand behind a string.
func (s *scanner) mayFollow() bool {
	i := skipBlank(s.src, s.pos)
	if i == len(s.src) || classes[s.src[i]] != letter && classes[s.src[i]] != digit {
		return true
	}
	word := s.src[i : i+nameLen(s.src[i:])]
	after := s.src[i+len(word):]
	return joiningWords[word] || after != "" && classes[after[0]] == quote && isStringPrefix(word)
}

// tear notes that a string has ended with its line.
func (s *scanner) tear(opener Range) {
	s.torn = true
	if s.onUnclosed != nil {
		s.onUnclosed(opener)
	}
}

func (s *scanner) push(o open) {
	n := len(s.stack)
	o.line = o.line || n > 0 && s.stack[n-1].line
	s.stack = append(s.stack, o)
	if n >= maxDepth {
		s.fail()
	}
}

// cut leaves everything from stack[n] inwards.
func (s *scanner) cut(n int) {
	s.stack = s.stack[:n]
	s.closed = s.closed || n <= s.floor
}

// fail notes that Python would refuse the source here.
func (s *scanner) fail() {
	s.broken = s.broken || !s.closed
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.src) && s.src[s.pos] == c }

// newline consumes a line terminator, if there is one at pos.
func (s *scanner) newline() bool {
	end := skipNewline(s.src, s.pos)
	ok := end > s.pos
	s.pos = end
	return ok
}

func tripled(src string, i int) bool {
	return i+2 < len(src) && src[i+1] == src[i] && src[i+2] == src[i]
}

// lineEnd is the offset of the first line terminator at or after i, or of the end of src.
func lineEnd(src string, i int) int {
	for i < len(src) && src[i] != '\n' && src[i] != '\r' {
		i++
	}
	return i
}

// skipNewline is the offset after the line terminator at i, or i if there is none.
func skipNewline(src string, i int) int {
	switch {
	case i < len(src) && src[i] == '\n':
		return i + 1
	case i+1 < len(src) && src[i] == '\r' && src[i+1] == '\n':
		return i + 2
	case i < len(src) && src[i] == '\r':
		return i + 1
	}
	return i
}

// skipBlank is the offset of the first byte at or after i that is not a space, tab or form feed.
func skipBlank(src string, i int) int {
	for i < len(src) && isBlank(src[i]) {
		i++
	}
	return i
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\f' }
