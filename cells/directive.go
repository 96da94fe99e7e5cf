package cells

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Where is the kind of place that a cell runs in.
type Where int

const (
	None       Where = iota // nothing was said
	Remote                  // the ranks
	Local                   // the local namespace
	Everywhere              // the local namespace first, then the ranks
)

func (w Where) String() string {
	switch w {
	case None:
		return "none"
	case Remote:
		return "remote"
	case Local:
		return "local"
	case Everywhere:
		return "everywhere"
	}
	return fmt.Sprintf("where %d", int(w))
}

// A Target says where a cell runs. The zero Target says nothing.
type Target struct {
	Where Where
	Ranks RankList // of Remote and Everywhere, the only ranks meant; zero means every rank
}

// targetNames are the spellings that a person may be told of.
var targetNames = []string{"remote", "local", "locally", "everywhere", "ranks:"}

// A TargetError says which target is unknown, and which one may have been meant.
type TargetError struct{ Name, Hint string }

func (e *TargetError) Error() string {
	return fmt.Sprintf("unknown target %q; %s", e.Name, e.Hint)
}

// ParseTarget parses remote, local (or locally), everywhere, ranks:LIST, or everywhere:LIST, which is the local namespace and
// those ranks. Its error is a *TargetError or, for the list, a *RankError.
func ParseTarget(s string) (Target, error) {
	name, list, hasList := strings.Cut(s, ":")
	var t Target
	switch name {
	case "remote", "ranks":
		t.Where = Remote
	case "local", "locally":
		t.Where = Local
	case "everywhere":
		t.Where = Everywhere
	}
	if t.Where == None || hasList != (name == "ranks") && !(hasList && t.Where == Everywhere) {
		hint := didYouMean(name, targetNames)
		if hint == "" || hasList || name == "ranks" {
			hint = "write remote, local, everywhere, or ranks:LIST like ranks:0-3"
		}
		return Target{}, &TargetError{Name: s, Hint: hint}
	}
	if hasList {
		ranks, err := ParseRankList(list)
		if err != nil {
			return Target{}, err
		}
		t = t.only(ranks)
	}
	return t, nil
}

// only narrows t to some ranks.
func (t Target) only(ranks RankList) Target {
	t.Ranks = ranks
	if ranks.All() {
		t.Ranks = RankList{}
	}
	return t
}

// Equal reports whether both targets are the same place.
func (t Target) Equal(u Target) bool { return t.Where == u.Where && t.Ranks.Equal(u.Ranks) }

// String is the spelling that ParseTarget reads, or "none".
func (t Target) String() string {
	switch {
	case t.Ranks.IsZero():
		return t.Where.String()
	case t.Where == Remote:
		return "ranks:" + t.Ranks.String()
	}
	return t.Where.String() + ":" + t.Ranks.String()
}

// A Directive is what a cell says about its own run, in its header's metadata and in its directive magic together.
type Directive struct {
	Target     Target   // zero: the cell does not say
	See        RankList // whose output to show; zero: the cell does not say
	Quiet      bool     // -q: show no output but errors
	AppCommand string   // -a: a command for the pool's app; "" for none
}

// An argument is one word of a magic's arguments, quotes taken off.
type argument struct {
	text string
	at   Range
}

// splitArgs splits s, which stands at offset base, at blanks outside of quotes. A '#' that begins a word begins a comment.
func splitArgs(s string, base int) (args []argument, openQuote bool) {
	for i := skipBlank(s, 0); i < len(s) && s[i] != '#'; i = skipBlank(s, i) {
		var b strings.Builder
		var quote byte
		start := i
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
		args = append(args, argument{b.String(), Range{base + start, base + i}})
		openQuote = quote != 0
	}
	return args, openQuote
}

// An option is a flag of a directive magic.
type option struct {
	names []string
	takes takes
	set   func(*directiveReader, argument)
}

type takes int

const (
	nothing takes = iota
	oneWord
	ranks // one word, and the words after it that look like ranks
)

// Flags of ipyparallel's %%px that have no meaning here are accepted and do nothing.
var (
	dipFlags = []option{
		{[]string{"-S", "--see"}, ranks, (*directiveReader).see},
		{[]string{"-q", "--quiet"}, nothing, (*directiveReader).quiet},
		{[]string{"-a", "--appcmd"}, oneWord, (*directiveReader).appCommand},
		{[]string{"-r", "--ranks"}, ranks, (*directiveReader).narrow},
	}
	pxFlags = []option{
		{[]string{"-t", "--targets"}, ranks, (*directiveReader).narrow},
		{[]string{"--local"}, nothing, (*directiveReader).local},
		{[]string{"-a", "--noblock"}, nothing, nil},
		{[]string{"-b", "--block"}, nothing, nil},
		{[]string{"-e", "-r"}, nothing, nil},
		{[]string{"--group-outputs"}, oneWord, nil},
		{[]string{"-o", "--out"}, oneWord, nil},
		{[]string{"--verbose"}, nothing, nil},
		{[]string{"--no-verbose"}, nothing, nil},
		{[]string{"--stream"}, nothing, nil},
		{[]string{"--no-stream"}, nothing, nil},
		{[]string{"--progress-after"}, oneWord, nil},
		{[]string{"--signal-on-interrupt"}, oneWord, nil},
	}
)

// A directiveReader gathers a cell's directive from all its spellings. What is said first holds.
type directiveReader struct {
	Directive
	report func(Problem)

	where  Where    // of the magic being read
	ranks  RankList // of the magic being read
	listed Range    // where those ranks stand
}

// metadatum takes target= or see= from a header.
func (d *directiveReader) metadatum(m Metadatum) {
	if m.Key == "see" {
		d.see(argument{strings.Trim(m.Value, "[]"), m.Range})
		return
	}
	t, err := ParseTarget(m.Value)
	if err != nil {
		d.fail(err, m.Range)
		return
	}
	d.setTarget(t, m.Range)
}

// magic takes the arguments of %%dip or %%px, which stand at offset base; at is the whole magic.
func (d *directiveReader) magic(name, args string, base int, at Range) {
	d.where, d.ranks = None, RankList{}
	flags := dipFlags
	if name == "px" {
		flags = pxFlags
	}
	words, openQuote := splitArgs(args, base)
	if openQuote {
		d.report(Problem{words[len(words)-1].at, Error, MissingValue, "the quote is never closed", ""})
	}
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if len(w.text) < 2 || w.text[0] != '-' {
			d.positional(w)
			continue
		}
		words = d.flag(name, flags, w, words)
	}

	t := Target{Where: d.where}
	if !d.ranks.IsZero() {
		switch t.Where {
		case Local:
			d.report(Problem{d.listed, Error, Conflict, "a cell that runs locally has no ranks", "write everywhere, or leave the ranks out"})
		case None:
			t.Where = Remote
			fallthrough
		default:
			t = t.only(d.ranks)
		}
	}
	if t.Where == None && d.Target.Where == None {
		t.Where = Remote
	}
	if t.Where != None {
		d.setTarget(t, at)
	}
	if name == "px" && d.See.IsZero() {
		d.See = AllRanks // ipyparallel shows every engine's output
	}
}

// flag handles w, and returns what of rest it did not use.
func (d *directiveReader) flag(magic string, flags []option, w argument, rest []argument) []argument {
	name, value, attached := strings.Cut(w.text, "=")
	f, ok := findFlag(flags, name)
	if !ok && len(w.text) > 2 && w.text[1] != '-' { // -r0-3
		if f, ok = findFlag(flags, w.text[:2]); ok && f.takes != nothing {
			name, value, attached = w.text[:2], w.text[2:], true
		} else {
			ok = false
		}
	}
	if !ok {
		var names []string
		for _, f := range flags {
			names = append(names, f.names...)
		}
		hint := didYouMean(name, names)
		if hint == "" {
			hint = "known are " + strings.Join(names, " ")
		}
		d.report(Problem{w.at, Error, UnknownFlag, fmt.Sprintf("%%%%%s has no flag %s", magic, name), hint})
		for len(rest) > 0 && isValue(rest[0].text) {
			rest = rest[1:] // most likely the flag's own
		}
		return rest
	}
	arg := argument{value, w.at}
	switch {
	case f.takes == nothing && attached:
		d.report(Problem{w.at, Error, UnknownFlag, fmt.Sprintf("%s takes no value", name), ""})
		return rest
	case f.takes == nothing || attached:
	case len(rest) == 0 || !isValue(rest[0].text):
		d.report(Problem{w.at, Error, MissingValue, fmt.Sprintf("%s needs a value", name), ""})
		return rest
	default:
		arg, rest = rest[0], rest[1:]
		for f.takes == ranks && len(rest) > 0 && looksLikeRanks(rest[0].text) {
			arg.text += " " + rest[0].text
			arg.at.End = rest[0].at.End
			rest = rest[1:]
		}
	}
	if f.set != nil {
		f.set(d, arg)
	}
	return rest
}

func findFlag(flags []option, name string) (option, bool) {
	for _, f := range flags {
		if slices.Contains(f.names, name) {
			return f, true
		}
	}
	return option{}, false
}

// isValue tells a flag's value, "-1" included, from the next flag and from a target.
func isValue(s string) bool {
	if _, err := ParseTarget(s); err == nil {
		return false
	}
	return s == "" || s[0] != '-' || looksLikeRanks(s[1:])
}

func looksLikeRanks(s string) bool {
	return s == "all" || s == "," || s != "" && classes[s[0]] == digit
}

func (d *directiveReader) positional(w argument) {
	t, err := ParseTarget(w.text)
	if err != nil {
		d.fail(err, w.at)
		return
	}
	if d.where != None && d.where != t.Where {
		d.conflict(w.at, "target", d.where.String(), t.Where.String())
		return
	}
	d.where = t.Where
	if !t.Ranks.IsZero() {
		d.narrow(argument{t.Ranks.String(), w.at})
	}
}

func (d *directiveReader) narrow(w argument) {
	if l, ok := d.list(w); ok {
		d.ranks, d.listed = l, w.at
	}
}

func (d *directiveReader) local(argument)        { d.where = Everywhere }
func (d *directiveReader) quiet(argument)        { d.Quiet = true }
func (d *directiveReader) appCommand(w argument) { d.AppCommand = w.text }

func (d *directiveReader) see(w argument) {
	l, ok := d.list(w)
	switch {
	case !ok:
	case d.See.IsZero():
		d.See = l
	case !d.See.Equal(l):
		d.conflict(w.at, "see", d.See.String(), l.String())
	}
}

func (d *directiveReader) setTarget(t Target, at Range) {
	switch {
	case d.Target.Where == None:
		d.Target = t
	case !d.Target.Equal(t):
		d.conflict(at, "target", d.Target.String(), t.String())
	}
}

func (d *directiveReader) list(w argument) (RankList, bool) {
	l, err := ParseRankList(w.text)
	if err != nil {
		d.fail(err, w.at)
		return RankList{}, false
	}
	return l, true
}

func (d *directiveReader) fail(err error, at Range) {
	p := Problem{Range: at, Severity: Error}
	if rank, ok := errors.AsType[*RankError](err); ok {
		p.Code, p.Message, p.Hint = BadRanks, (&RankError{Item: rank.Item, Reason: rank.Reason}).Error(), rank.Hint
	}
	if target, ok := errors.AsType[*TargetError](err); ok {
		p.Code, p.Message, p.Hint = UnknownTarget, fmt.Sprintf("unknown target %q", target.Name), target.Hint
	}
	d.report(p)
}

func (d *directiveReader) conflict(at Range, what, first, second string) {
	d.report(Problem{at, Warning, Conflict,
		fmt.Sprintf("the cell's %s is %s already, %s is ignored", what, first, second), "say it once"})
}
