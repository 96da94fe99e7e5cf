package cells

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"dipls/internal/ranklist"
)

// A lineMagic says which arguments a line magic takes. Python has the last word at run time: whatever is wrong here is a
// warning.
type lineMagic struct {
	flags []option
	word  func(*argumentReader, argument) // takes what is no flag; nil if nothing else is taken
	needs string                          // what must be there besides flags; "" if nothing
	code  bool                            // what follows the flags, which begin with two dashes, is Python
}

var lineMagics = map[string]lineMagic{
	"makedip": {flags: withHelp(
		option{[]string{"-g", "--gpus"}, rankWords, (*argumentReader).checkGPUs},
		option{[]string{"-n", "--ranks"}, oneWord, (*argumentReader).checkCount},
		option{[]string{"-H", "--hosts"}, oneWord, nil},
		option{[]string{"--ranks-per-host"}, oneWord, (*argumentReader).checkCount},
		option{[]string{"-a", "--app"}, oneWord, nil},
		option{[]string{"-r", "--restart"}, nothing, nil},
		option{[]string{"--shrink"}, nothing, nil},
		option{[]string{"--sync"}, nothing, nil},
		option{[]string{"-k", "--kill"}, nothing, nil},
		option{[]string{"-i", "--info"}, nothing, nil},
		option{[]string{"-v", "--verbose"}, truth, (*argumentReader).checkTruth},
		option{[]string{"-t", "--timeout"}, oneWord, (*argumentReader).checkSeconds},
		option{[]string{"--seed"}, oneWord, (*argumentReader).checkSeed},
		option{[]string{"--check"}, nothing, nil},
		option{[]string{"--group-timeout"}, oneWord, (*argumentReader).checkSeconds},
	)},
	"dipush": {flags: withHelp(option{[]string{"-r", "--ranks"}, oneWord, (*argumentReader).checkRanks}),
		word: (*argumentReader).names, needs: "names of variables"},
	"dipull": {flags: withHelp(option{[]string{"-r", "--ranks"}, oneWord, (*argumentReader).checkRanks}),
		word: (*argumentReader).names, needs: "names of variables"},
	"autodip": {flags: withHelp(
		option{[]string{"-S", "--see"}, rankWords, (*argumentReader).see},
		option{[]string{"-q", "--quiet"}, nothing, (*argumentReader).quiet},
		option{[]string{"--args"}, arguments, nil},
		option{[]string{"-a"}, arguments, (*argumentReader).appCommand},
		option{[]string{"--appcmd"}, oneWord, (*argumentReader).appCommand},
		option{[]string{"-r", "--ranks"}, rankWords, (*argumentReader).narrow},
		option{[]string{"--anyway"}, nothing, (*argumentReader).anyway},
	), word: (*argumentReader).powerOrTarget},
	"load_ext": {word: (*argumentReader).names},
	"dipper":   {flags: withHelp(), word: (*argumentReader).names},
	"px": {flags: slices.Concat([]option{
		{[]string{"--targets"}, oneWord, (*argumentReader).checkRanks},
		{[]string{"--block"}, nothing, nil},
		{[]string{"--noblock"}, nothing, nil},
		{[]string{"--verbose"}, nothing, nil},
		{[]string{"--no-verbose"}, nothing, nil},
		{[]string{"--out"}, oneWord, (*argumentReader).names},
		{[]string{"--help"}, nothing, (*argumentReader).help},
	}, pxArrangingFlags), needs: "code to run", code: true},
	"autopx":   {flags: withHelp()},
	"pxresult": {flags: withHelp(append([]option{{[]string{"-o", "--out"}, oneWord, (*argumentReader).names}}, pxArrangingFlags...)...)},
	"pxconfig": {flags: withHelp(append([]option{
		{[]string{"-t", "--targets"}, rankWords, (*argumentReader).checkRanks},
		{[]string{"-a", "--noblock"}, nothing, nil},
		{[]string{"-b", "--block"}, nothing, nil},
		{[]string{"--verbose"}, nothing, nil},
		{[]string{"--no-verbose"}, nothing, nil},
	}, pxArrangingFlags...)...)},
}

func withHelp(flags ...option) []option {
	return append(flags[:len(flags):len(flags)], option{[]string{"-h", "--help"}, nothing, (*argumentReader).help})
}

// line reads and checks a line magic, which stands at offset at. If complete is true, the Directive holds what it says about a run.
func (d *argumentReader) line(m Magic, at int) (complete bool) {
	magic := lineMagics[m.Name]
	whole := m.Range.shift(at)
	d.Directive = Directive{}
	d.begin("%", m.Name, Warning)
	switch {
	case magic.code && m.Args == "-h":
		return false
	case magic.code:
		d.front(m.Args, whole.End-len(m.Args), magic.flags)
	case m.Name == "load_ext" && strings.ContainsAny(m.Args, "{$"):
		return false // IPython puts values there when its magics run; ours take their lines as they are
	case magic.word == nil:
		d.read(m.Args, whole.End-len(m.Args), magic.flags, (*argumentReader).unexpected)
	default:
		d.read(m.Args, whole.End-len(m.Args), magic.flags, magic.word)
	}
	if d.helps {
		return false
	}
	if magic.needs != "" && !d.taken {
		d.fault(whole, MissingValue, d.percent+d.magic+" needs "+magic.needs, "")
	}
	return !d.flawed
}

// front reads the flags before code. Only words that begin with two dashes are flags, since code may begin with one dash.
func (d *argumentReader) front(args string, base int, flags []option) {
	d.buffer, _ = splitArgs(d.buffer[:0], args, base) // quotes are the code's business
	d.flags, d.rest = flags, d.buffer
	end := base
	for len(d.rest) > 0 && strings.HasPrefix(d.rest[0].text, "--") {
		w := d.rest[0]
		d.rest = d.rest[1:]
		d.flag(w)
		end = d.buffer[len(d.buffer)-len(d.rest)-1].at.End
	}
	d.taken = d.flawed || strings.TrimSpace(args[end-base:]) != "" // after an unknown flag nobody knows where the code begins
}

func (d *argumentReader) help(argument) { d.helps = true }

func (d *argumentReader) checkRanks(w argument) { d.list(w) }

func (d *argumentReader) checkGPUs(w argument) {
	if _, err := ranklist.Parse(w.text); err != nil {
		d.fail(err, w.at)
	}
}

func (d *argumentReader) checkCount(w argument) {
	if n, err := strconv.Atoi(w.text); err != nil || n < 1 {
		d.fault(w.at, BadValue, fmt.Sprintf("%q is not a number of ranks", w.text), "write a whole number from 1 on")
	}
}

func (d *argumentReader) checkSeconds(w argument) {
	if s, err := strconv.ParseFloat(w.text, 64); err != nil || !(s > 0) || math.IsInf(s, 0) {
		d.fault(w.at, BadValue, fmt.Sprintf("%q is not a number of seconds", w.text), "write a number above 0")
	}
}

func (d *argumentReader) checkSeed(w argument) {
	if _, err := strconv.ParseUint(w.text, 10, 32); err != nil && w.text != "none" {
		d.fault(w.at, BadValue, fmt.Sprintf("%q is not a seed", w.text), "write a number from 0 to 4294967295, or none")
	}
}

func (d *argumentReader) checkTruth(w argument) {
	if w.text != "" && !isTruth(w.text) {
		d.fault(w.at, BadValue, fmt.Sprintf("%q is neither True nor False", w.text), "")
	}
}

func (d *argumentReader) unexpected(w argument) {
	d.fault(w.at, BadValue, fmt.Sprintf("%s%s does not take %q", d.percent, d.magic, w.text), "")
}

// names takes names of variables, between commas or blanks.
func (d *argumentReader) names(w argument) {
	d.taken = true
	for rest := w.text; rest != ""; {
		var name string
		if name, rest, _ = strings.Cut(rest, ","); name != "" && !isName(name) {
			d.fault(w.at, BadName, fmt.Sprintf("%q is not the name of a variable", name), "")
		}
	}
}

func isName(s string) bool {
	return s != "" && classes[s[0]] == letter && nameLen(s) == len(s)
}

// powerOrTarget takes what %autodip has besides flags.
func (d *argumentReader) powerOrTarget(w argument) {
	p, ok := powers[strings.ToLower(w.text)]
	switch {
	case !ok:
		d.target(w)
	case d.power != unsaid:
		d.fault(w.at, Conflict, "%autodip is told on or off more than once", "say it once")
	default:
		d.power = p
	}
}

var powers = map[string]power{"on": on, "off": off}
