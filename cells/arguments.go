package cells

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dipls/internal/ranklist"
)

// An argument is one word of a magic's arguments, quotes taken off.
type argument struct {
	text   string
	at     Range
	quoted bool // some of it was in quotes
}

// lineBreaks turns backslash continuations into blanks, byte for byte.
var lineBreaks = strings.NewReplacer("\\\r\n", "   ", "\\\n", "  ", "\\\r", "  ", "\n", " ", "\r", " ")

// splitArgs appends the words of s, which stands at offset base, to args: it splits at blanks and continued lines outside of
// quotes. A '#' that begins a word begins a comment.
func splitArgs(args []argument, s string, base int) (_ []argument, openQuote bool) {
	if strings.ContainsAny(s, "\r\n") {
		s = lineBreaks.Replace(s)
	}
	for i := skipBlank(s, 0); i < len(s) && s[i] != '#'; i = skipBlank(s, i) {
		start := i
		for i < len(s) && !isBlank(s[i]) && s[i] != '"' && s[i] != '\'' {
			i++
		}
		w := argument{text: s[start:i]}
		if i < len(s) && !isBlank(s[i]) {
			w.quoted = true
			w.text, i, openQuote = unquote(s, start)
		}
		w.at = Range{base + start, base + i}
		args = append(args, w)
	}
	return args, openQuote
}

// unquote reads the word that begins at s[i], up to end.
func unquote(s string, i int) (word string, end int, openQuote bool) {
	var b strings.Builder
	var quote byte
	for ; i < len(s) && (quote != 0 || !isBlank(s[i])); i++ {
		switch c := s[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), i, quote != 0
}

// quoteArg writes s so that splitArgs reads it as one word, and flags take it as their value. Line breaks become blanks.
func quoteArg(s string) string {
	plain := func(c rune) bool {
		return c < 0x80 && (classes[c] == letter || classes[c] == digit) || strings.ContainsRune(",-", c)
	}
	switch {
	case s != "" && strings.TrimFunc(s, plain) == "" && isValue(argument{text: s}):
		return s
	case !strings.Contains(s, `"`):
		return `"` + s + `"`
	}
	return `"` + strings.ReplaceAll(s, `"`, `"'"'"`) + `"`
}

// An option is a flag of a magic.
type option struct {
	names []string
	takes takes
	set   func(*argumentReader, argument) // takes the value; nil if the flag has no effect
}

type takes int

const (
	nothing   takes = iota
	oneWord         // or a text in quotes
	rankWords       // one word, and the words after it that look like ranks
	truth           // perhaps True or False
	arguments       // a text in quotes, whose words are read in its place; if there is a set, only a text that begins with a flag
)

// An argumentReader reads the arguments of magics and collects what they say about a run in its Directive. The first to say something wins.
type argumentReader struct {
	Directive
	report func(Problem)

	percent  string        // before the magic
	magic    string        // being read
	severity Severity      // of what is wrong with it
	where    Where         // that it names
	ranks    ranklist.List // that it names
	listed   Range         // where those ranks stand
	power    power         // that it names
	taken    bool          // it has a word that it takes
	helps    bool          // it only asks for help
	flawed   bool          // something is wrong with it
	expanded bool          // what is read stands in the quotes of one argument

	flags  []option                        // that it has
	word   func(*argumentReader, argument) // takes what is no flag
	rest   []argument                      // to be read
	buffer []argument                      // for reuse
}

// begin forgets the previous magic, but not the directive.
func (d *argumentReader) begin(percent, magic string, s Severity) {
	*d = argumentReader{Directive: d.Directive, report: d.report, buffer: d.buffer, percent: percent, magic: magic, severity: s}
}

// read reads args, which stand at offset base: flags, and other words, which it gives to word.
func (d *argumentReader) read(args string, base int, flags []option, word func(*argumentReader, argument)) {
	var openQuote bool
	d.buffer, openQuote = splitArgs(d.buffer[:0], args, base)
	if openQuote {
		d.fault(d.buffer[len(d.buffer)-1].at, MissingValue, "the quote is never closed", "")
	}
	d.flags, d.word = flags, word
	d.words(d.buffer)
}

func (d *argumentReader) words(words []argument) {
	for d.rest = words; len(d.rest) > 0; {
		w := d.rest[0]
		d.rest = d.rest[1:]
		if len(w.text) < 2 || w.text[0] != '-' {
			d.word(d, w)
			continue
		}
		d.flag(w)
	}
}

// flag handles the flag w, and takes its value from the words that are left.
func (d *argumentReader) flag(w argument) {
	name, value, attached := strings.Cut(w.text, "=")
	f, ok := d.find(name)
	if !ok && len(w.text) > 2 && w.text[1] != '-' { // -r0-3
		if f, ok = d.find(w.text[:2]); ok && f.takes != nothing {
			name, value, attached = w.text[:2], w.text[2:], true
		} else {
			ok = false
		}
	}
	if !ok {
		d.unknownFlag(name, w)
		return
	}
	arg := argument{value, w.at, w.quoted}
	switch {
	case f.takes == nothing && attached:
		d.fault(w.at, UnknownFlag, fmt.Sprintf("%s takes no value", name), "")
		return
	case f.takes == nothing || attached:
	case f.takes == truth:
		if len(d.rest) == 0 || !isTruth(d.rest[0].text) {
			return
		}
		arg, d.rest = d.rest[0], d.rest[1:]
	case len(d.rest) == 0 || !isValue(d.rest[0]):
		d.fault(w.at, MissingValue, fmt.Sprintf("%s needs a value", name), "")
		return
	default:
		arg, d.rest = d.rest[0], d.rest[1:]
		inBrackets := func() bool { return strings.HasPrefix(arg.text, "[") && !strings.Contains(arg.text, "]") }
		goesOn := func(next string) bool {
			return looksLikeRanks(next) || ranklist.GoesByHosts(next) || strings.HasSuffix(arg.text, ",") || inBrackets()
		}
		for f.takes == rankWords && len(d.rest) > 0 && goesOn(d.rest[0].text) {
			arg.text += " " + d.rest[0].text
			arg.at.End = d.rest[0].at.End
			d.rest = d.rest[1:]
		}
	}
	switch {
	case f.takes == arguments && (f.set == nil || strings.HasPrefix(arg.text, "-")):
		d.expand(arg)
	case f.set != nil:
		f.set(d, arg)
	}
}

// expand reads the words of w in its place.
func (d *argumentReader) expand(w argument) {
	words, _ := splitArgs(nil, w.text, 0)
	for i := range words {
		words[i].at = w.at
	}
	rest := d.rest
	d.expanded = true
	d.words(words)
	d.expanded = false
	d.rest = rest
}

// unknownFlag reports the flag w; name is its part before a value.
func (d *argumentReader) unknownFlag(name string, w argument) {
	var names []string
	for _, f := range d.flags {
		names = append(names, f.names...)
	}
	meant := nearest(name, names)
	hint := didYouMean(meant)
	switch {
	case hint != "":
	case len(names) == 0:
		hint = "it takes none"
	default:
		hint = "known are " + strings.Join(names, " ")
	}
	fix := ""
	if meant != "" && !w.quoted && !d.expanded {
		fix = meant + strings.TrimPrefix(w.text, name)
	}
	d.fixable(w.at, UnknownFlag, fmt.Sprintf("%s%s has no flag %s", d.percent, d.magic, name), hint, fix)
	for name == w.text && len(d.rest) > 0 && isValue(d.rest[0]) {
		d.rest = d.rest[1:] // most likely the flag's own
	}
}

func (d *argumentReader) find(name string) (option, bool) {
	for _, f := range d.flags {
		if slices.Contains(f.names, name) {
			return f, true
		}
	}
	return option{}, false
}

// isValue tells a flag's value, "-1" included, from the next flag and from a target.
func isValue(w argument) bool {
	if w.quoted {
		return true
	}
	if _, err := ParseTarget(w.text); err == nil {
		return false
	}
	return w.text == "" || w.text[0] != '-' || looksLikeRanks(w.text[1:])
}

func looksLikeRanks(s string) bool {
	return s == "all" || s == "," || s != "" && classes[s[0]] == digit
}

func isTruth(s string) bool {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1", "false", "no", "off", "0":
		return true
	}
	return false
}

// list reads ranks of a pool, and reports what are none.
func (d *argumentReader) list(w argument) (ranklist.List, bool) {
	l, err := ranklist.ParseRanks(w.text)
	if err != nil {
		d.fail(err, w.at)
		return ranklist.List{}, false
	}
	return l, true
}

// fail reports an error of ranklist's or of ParseTarget.
func (d *argumentReader) fail(err error, at Range) {
	if rank, ok := errors.AsType[*ranklist.Error](err); ok {
		d.fault(at, BadRanks, (&ranklist.Error{Item: rank.Item, Reason: rank.Reason}).Error(), rank.Hint)
	}
	if target, ok := errors.AsType[*TargetError](err); ok {
		fix := ""
		if at.Len() == len(target.Name) { // without quotes around
			fix = target.Fix
		}
		d.fixable(at, UnknownTarget, fmt.Sprintf("unknown target %q", target.Name), target.Hint, fix)
	}
}

// fault reports something because of which the magic does not do what it says.
func (d *argumentReader) fault(at Range, code Code, message, hint string) {
	d.fixable(at, code, message, hint, "")
}

// fixable is fault where it is known what should stand there instead.
func (d *argumentReader) fixable(at Range, code Code, message, hint, fix string) {
	d.flawed = true
	d.report(Problem{at, d.severity, code, message, hint, fix})
}
