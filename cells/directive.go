package cells

import (
	"fmt"
	"slices"
	"strings"

	"dipls/internal/ranklist"
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
	Ranks ranklist.List // of Remote and Everywhere, the only ranks meant; zero means every rank
}

// targetNames are the spellings that a person may be told of.
var targetNames = []string{"remote", "local", "locally", "everywhere", "ranks:"}

// A TargetError says which target is unknown, and which one may have been meant.
type TargetError struct {
	Name string
	Hint string
	Fix  string // the target that was most likely meant; empty if nobody knows
}

func (e *TargetError) Error() string {
	return fmt.Sprintf("unknown target %q; %s", e.Name, e.Hint)
}

// ParseTarget parses remote, local (or locally), everywhere, ranks:LIST, or everywhere:LIST, which is the local namespace and
// those ranks. Its error is a *TargetError or, for the list, a *ranklist.Error.
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
		err := &TargetError{Name: s, Hint: "write remote, local, everywhere, or ranks:LIST like ranks:0-3"}
		if meant := nearest(name, targetNames); meant != "" && !hasList && name != "ranks" {
			err.Hint = didYouMean(meant)
			if !strings.HasSuffix(meant, ":") {
				err.Fix = meant
			}
		}
		return Target{}, err
	}
	if hasList {
		ranks, err := ranklist.ParseRanks(list)
		if err != nil {
			return Target{}, err
		}
		t = t.only(ranks)
	}
	return t, nil
}

// only is t on some ranks only.
func (t Target) only(ranks ranklist.List) Target {
	t.Ranks = ranks
	if ranks.All() {
		t.Ranks = ranklist.List{}
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

// MarshalText writes the target as String does, and the zero Target as nothing.
func (t Target) MarshalText() ([]byte, error) {
	if t.Where == None {
		return nil, nil
	}
	return []byte(t.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (t *Target) UnmarshalText(text []byte) (err error) {
	*t = Target{}
	if len(text) > 0 {
		*t, err = ParseTarget(string(text))
	}
	return err
}

// NameTarget names for people what ParseTarget reads; text that it does not read is left as it is.
func NameTarget(s string) string {
	if t, err := ParseTarget(s); err == nil {
		return t.Name()
	}
	return s
}

// Name names the place for people: "local", "everywhere", "all ranks", "ranks 0-3", "local and ranks 0-3".
func (t Target) Name() string {
	switch {
	case t.Where == Remote && t.Ranks.IsZero():
		return ranklist.All.Name()
	case t.Ranks.IsZero():
		return t.Where.String()
	case t.Where == Everywhere:
		return ranklist.Local.String() + " and " + t.Ranks.Name()
	}
	return t.Ranks.Name()
}

// A Directive is what a cell says about its own run, in its header's metadata and in its directive magic together.
type Directive struct {
	Target     Target        `json:"target,omitzero"`      // zero: the cell does not say
	See        ranklist.List `json:"see,omitzero"`         // whose output to show; zero: the cell does not say
	Quiet      bool          `json:"quiet,omitzero"`       // -q: show errors at once, and other output at the end
	AppCommand string        `json:"app_command,omitzero"` // -a: a command for the pool's app; "" for none
	Anyway     bool          `json:"anyway,omitzero"`      // --anyway: run also on ranks that are out of step
	Px         bool          `json:"px,omitzero"`          // it is a %%px: what it leaves unsaid, %pxconfig says
	NoBlock    Answer        `json:"no_block,omitzero"`    // --noblock of %%px: nothing waits for the run
	Verbose    Answer        `json:"verbose,omitzero"`     // --verbose of %%px: a view is told which ranks run it
}

// An Answer is yes, no, or nothing.
type Answer int

const (
	Unsaid Answer = iota
	Yes
	No
)

// Or is a, or other if a says nothing.
func (a Answer) Or(other Answer) Answer {
	if a == Unsaid {
		return other
	}
	return a
}

// PxConfig is what %pxconfig sets: how a %%px runs where it does not say so itself.
type PxConfig struct {
	Targets          ranklist.List // zero: every rank
	NoBlock, Verbose bool
}

// Under fills in what a %%px has left unsaid by what %pxconfig says.
func (d Directive) Under(c PxConfig) Directive {
	if !d.Px {
		return d
	}
	if d.Target.Ranks.IsZero() {
		d.Target = d.Target.only(c.Targets)
	}
	d.NoBlock, d.Verbose = d.NoBlock.Or(answer(c.NoBlock)), d.Verbose.Or(answer(c.Verbose))
	return d
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// ParseDirective parses the arguments of %%dip, such as "everywhere --see all". The target is remote if text does not say
// another one. The problems' ranges count from the start of text; after one of severity Error the directive is not what was
// asked for.
func ParseDirective(text string) (Directive, []Problem) {
	var problems []Problem
	d := argumentReader{report: func(p Problem) { problems = append(problems, p) }}
	if d.directive("dip", text, 0, Range{0, len(text)}) {
		d.fault(Range{0, len(text)}, UnknownFlag, "help is nothing to run", "leave --help out")
		d.Target.Where = Remote
	}
	return d.Directive, problems
}

// String is the directive as a magic, such as "%%dip everywhere --see all"; "" for the zero Directive. ParseDirective reads what
// follows %%dip. A %%px is written as %%px, which shows the output of every rank, whatever See is.
func (d Directive) String() string {
	ranks := d.Target.Ranks.String()
	switch {
	case d.Px:
		s := "%%px" + [...]string{"", " --noblock", " --block"}[d.NoBlock] + [...]string{"", " --verbose", " --no-verbose"}[d.Verbose]
		if d.Target.Where == Everywhere {
			s += " --local"
		}
		return s + flagText("--targets", ranks)
	case d.Target.Where == None && d.See.IsZero() && !d.Quiet && d.AppCommand == "" && !d.Anyway:
		return ""
	}
	s := "%%dip"
	if d.Target.Where == Local || d.Target.Where == Everywhere {
		s += " " + d.Target.Where.String()
	}
	s += flagText("--ranks", ranks) + flagText("--see", d.See.String())
	if d.Quiet {
		s += " --quiet"
	}
	if d.Anyway {
		s += " --anyway"
	}
	return s + flagText("--appcmd", d.AppCommand)
}

// flagText is a flag with its value as it follows other arguments; "" if there is no value.
func flagText(name, value string) string {
	if value == "" {
		return ""
	}
	return " " + name + " " + quoteArg(value)
}

var (
	dipFlags = withHelp([]option{
		{[]string{"-S", "--see"}, rankWords, (*argumentReader).see},
		{[]string{"-q", "--quiet"}, nothing, (*argumentReader).quiet},
		{[]string{"-a", "--appcmd"}, oneWord, (*argumentReader).appCommand},
		{[]string{"-r", "--ranks"}, rankWords, (*argumentReader).narrow},
		{[]string{"--anyway"}, nothing, (*argumentReader).anyway},
	}...)
	// rankFlags are those of %%rank, which is %%dip with ranks.
	rankFlags = slices.DeleteFunc(slices.Clone(dipFlags), func(o option) bool { return o.names[0] == "-r" })
	pxFlags   = withHelp(slices.Concat([]option{
		{[]string{"--local"}, nothing, (*argumentReader).local},
		{[]string{"-t", "--targets"}, rankWords, (*argumentReader).narrow},
		{[]string{"-a", "--noblock"}, nothing, (*argumentReader).noBlock},
		{[]string{"-b", "--block"}, nothing, (*argumentReader).block},
		{[]string{"--verbose"}, nothing, (*argumentReader).verbose},
		{[]string{"--no-verbose"}, nothing, (*argumentReader).notVerbose},
		{[]string{"-o", "--out"}, oneWord, (*argumentReader).noOut},
	}, pxArrangingFlags)...)
	// pxArrangingFlags arrange ipyparallel's output. Ours has an order already.
	pxArrangingFlags = []option{
		{[]string{"-e"}, nothing, withoutEffect("-e")},
		{[]string{"-r"}, nothing, withoutEffect("-r")},
		{[]string{"--group-outputs"}, oneWord, withoutEffect("--group-outputs")},
		{[]string{"--stream"}, nothing, withoutEffect("--stream")},
		{[]string{"--no-stream"}, nothing, withoutEffect("--no-stream")},
		{[]string{"--progress-after"}, oneWord, withoutEffect("--progress-after")},
	}
)

// metadatum takes target= or see= from a header.
func (d *argumentReader) metadatum(m Metadatum) {
	d.severity = Error
	if m.Key == "see" {
		d.see(argument{text: strings.Trim(m.Value, "[]"), at: m.Range})
		return
	}
	t, err := ParseTarget(m.Value)
	if err != nil {
		d.fail(err, m.Range)
		return
	}
	d.setTarget(t, m.Range)
}

// directive takes the arguments of %%dip, %%rank or %%px, which stand at offset base; at is the whole magic. If it reports that they ask for help,
// nothing else that they say counts.
func (d *argumentReader) directive(name, args string, base int, at Range) (helps bool) {
	before := d.Directive
	flags, word := dipFlags, (*argumentReader).target
	switch name {
	case "px":
		flags = pxFlags
	case "rank":
		flags, word = rankFlags, (*argumentReader).rank
	}
	d.begin("%%", name, Error)
	d.read(args, base, flags, word)
	if name == "rank" && d.ranks.IsZero() && !d.flawed && !d.helps {
		d.fault(at, MissingValue, "%%rank needs ranks", "write %%rank 0,2")
	}
	if d.helps {
		d.Directive = before
		return true
	}
	d.finish(at)
	if name == "px" {
		d.Px = true
		if d.See.IsZero() {
			d.See = ranklist.All // ipyparallel shows every engine's output
		}
	}
	return false
}

// finish puts target and ranks of a magic together, when all of its arguments have been read.
func (d *argumentReader) finish(at Range) {
	t := Target{Where: d.where}
	if !d.ranks.IsZero() {
		switch t.Where {
		case Local:
			d.fault(d.listed, Conflict, "a cell that runs locally has no ranks", "write everywhere, or leave the ranks out")
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
}

// target takes a word that is no flag.
func (d *argumentReader) target(w argument) {
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
		d.narrow(argument{text: t.Ranks.String(), at: w.at})
	}
}

// rank takes a word of %%rank: ranks, or some more of them.
func (d *argumentReader) rank(w argument) {
	if w.text = joinRanks([]string{w.text}); !d.ranks.IsZero() {
		w.text = joinRanks([]string{d.ranks.String(), w.text})
	}
	d.narrow(w)
}

func (d *argumentReader) narrow(w argument) {
	if l, ok := d.list(w); ok {
		d.ranks, d.listed = l, w.at
	}
}

func (d *argumentReader) local(argument)        { d.where = Everywhere }
func (d *argumentReader) quiet(argument)        { d.Quiet = true }
func (d *argumentReader) anyway(argument)       { d.Anyway = true }
func (d *argumentReader) appCommand(w argument) { d.AppCommand = w.text }
func (d *argumentReader) noBlock(argument)      { d.NoBlock = Yes }
func (d *argumentReader) block(argument)        { d.NoBlock = No }
func (d *argumentReader) verbose(argument)      { d.Verbose = Yes }
func (d *argumentReader) notVerbose(argument)   { d.Verbose = No }

// noOut refuses a variable for the outcome: a cell on the ranks leaves nothing in the local namespace.
func (d *argumentReader) noOut(w argument) {
	d.fault(w.at, UnknownFlag, "a cell with %%px binds no variable of the local namespace", "write %pxresult --out NAME in a cell below")
}

// withoutEffect tells of a flag that is accepted for ipyparallel's sake.
func withoutEffect(flag string) func(*argumentReader, argument) {
	return func(d *argumentReader, w argument) {
		d.report(Problem{w.at, Warning, NoEffect, flag + " has no effect: output is shown in its own order, as it comes", "leave it out", ""})
	}
}

func (d *argumentReader) see(w argument) {
	l, ok := d.list(w)
	switch {
	case !ok:
	case d.See.IsZero():
		d.See = l
	case !d.See.Equal(l):
		d.conflict(w.at, "see", d.See.String(), l.String())
	}
}

func (d *argumentReader) setTarget(t Target, at Range) {
	switch {
	case d.Target.Where == None:
		d.Target = t
	case !d.Target.Equal(t):
		d.conflict(at, "target", d.Target.String(), t.String())
	}
}

func (d *argumentReader) conflict(at Range, what, first, second string) {
	d.report(Problem{at, Warning, Conflict,
		fmt.Sprintf("the cell's %s is %s already, %s is ignored", what, first, second), "say it once", ""})
}
