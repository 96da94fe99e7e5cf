package launch

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plan is what a user has written for --hosts:
//
//	slurm                                 the hosts of the allocation that this runs in
//	slurm -N 4 -t 2:00:00                 an allocation of its own, with flags of salloc
//	gpu1,gpu2:4,me@gpu3:2222              ssh; ":4" are ranks, and after a user the port: me@gpu3:2222:4 has both
//	gpu[1-4,7]                            the same, in Slurm's spelling of many hosts
//	exec[gpu1,gpu2] mpirun … {join}       any command that runs one program on each host
//	join[gpu1,gpu2] DIR                   nothing is started: a person or a job runs `dipls join` on each host
//
// In brackets a number alone (exec[4], join[4]) is that many hosts; their names come with them.
type Plan struct {
	Engine Engine
	Hosts  []Host // in order; none: the engine tells which there are, once they are there

	text      string
	flags     []string  // Slurm: of salloc
	addresses []address // ssh: of Hosts
	template  []string  // exec: of the command
	dir       string    // join: where the start-up file is written
}

// Engine is what starts agents.
type Engine string

// Engines.
const (
	Slurm Engine = "slurm"
	SSH   Engine = "ssh"
	Exec  Engine = "exec"
	Join  Engine = "join"
)

// address is where ssh finds a host.
type address struct {
	host string
	user string // "": as ssh's config says
	port int    // 0: likewise
}

const (
	maxHosts = 4096 // of a plan: more is a mistake in a range

	// maxRanks is how many ranks on one host are taken for meant. A larger number is a port.
	maxRanks = 1023
)

// SyntaxError tells what is wrong with a text for --hosts, and where.
type SyntaxError struct {
	Text   string
	At     int // in bytes
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("hosts %q, character %d: %s", e.Text, utf8.RuneCountInString(e.Text[:e.At])+1, e.Reason)
}

func syntaxError(text string, at int, format string, args ...any) error {
	return &SyntaxError{text, min(at, len(text)), fmt.Sprintf(format, args...)}
}

// bracketed are the engines whose hosts stand in brackets.
var bracketed = regexp.MustCompile(`^\s*(exec|join)\s*(\[|\s|$)`)

// Parse reads a text for --hosts. Its error is a *[SyntaxError].
func Parse(text string) (Plan, error) {
	p := Plan{text: text}
	first, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch m := bracketed.FindStringSubmatchIndex(text); {
	case first == "":
		return Plan{}, syntaxError(text, 0, "no hosts: write gpu1,gpu2 for ssh, slurm, or exec[gpu1,gpu2] COMMAND")
	case first == string(Slurm):
		return p.parseSlurm(strings.Index(text, first)+len(first), strings.TrimSpace(rest) != "")
	case m != nil:
		p.Engine = Engine(text[m[2]:m[3]])
		return p.parseBracketed(m[4])
	default:
		p.Engine = SSH
		var err error
		p.Hosts, p.addresses, err = parseHosts(text, 0, len(text))
		if err != nil {
			return Plan{}, err
		}
		return p, nil
	}
}

func (p Plan) parseSlurm(from int, flags bool) (Plan, error) {
	p.Engine = Slurm
	words, err := splitWords(p.text, from)
	if err != nil {
		return Plan{}, err
	}
	if flags && !strings.HasPrefix(words[0].text, "-") {
		return Plan{}, syntaxError(p.text, words[0].at, "%q is no flag; slurm takes flags of salloc, such as slurm -N 4 -t 2:00:00", words[0].text)
	}
	for _, w := range words {
		name, _, _ := strings.Cut(w.text, "=")
		if why := notOurs[name]; why != "" {
			return Plan{}, syntaxError(p.text, w.at, "%s cannot be given here: %s", name, why)
		}
		p.flags = append(p.flags, w.text)
	}
	return p, nil
}

// notOurs are flags of salloc that would take from us what we need.
var notOurs = map[string]string{
	"--no-shell": "the allocation could then outlive the session",
	"--help":     "see man salloc",
	"-h":         "see man salloc",
	"--usage":    "see man salloc",
	"--version":  "see salloc --version",
	"-V":         "see salloc --version",
}

// parseBracketed reads what follows the name of an engine whose hosts are in brackets.
func (p Plan) parseBracketed(from int) (Plan, error) {
	if from >= len(p.text) || p.text[from] != '[' {
		return Plan{}, syntaxError(p.text, from, "the hosts come first, in brackets: %s[gpu1,gpu2] …, or their number: %s[4] …", p.Engine, p.Engine)
	}
	end := closing(p.text, from)
	if end < 0 {
		return Plan{}, syntaxError(p.text, from, "this bracket is not closed")
	}
	inside := strings.TrimSpace(p.text[from+1 : end])
	if n, err := strconv.Atoi(inside); err == nil {
		if n < 1 || n > maxHosts {
			return Plan{}, syntaxError(p.text, from+1, "%d hosts: from 1 to %d are possible", n, maxHosts)
		}
		p.Hosts = make([]Host, n)
	} else {
		var addresses []address
		if p.Hosts, addresses, err = parseHosts(p.text, from+1, end); err != nil {
			return Plan{}, err
		}
		for i, a := range addresses {
			if a.user != "" || a.port != 0 {
				return Plan{}, syntaxError(p.text, from+1, "%s: users and ports are for ssh", p.Hosts[i].Name)
			}
		}
	}
	words, err := splitWords(p.text, end+1)
	if err != nil {
		return Plan{}, err
	}
	if p.Engine == Join {
		if len(words) > 1 {
			return Plan{}, syntaxError(p.text, words[1].at, "join takes one folder at most, which all hosts share")
		}
		for _, w := range words {
			p.dir = w.text
		}
		return p, nil
	}
	return p.parseTemplate(words, end+1)
}

// placeholder is a name in braces in a template. Doubled braces stand for one.
var placeholder = regexp.MustCompile(`\{\{|\}\}|\{([a-z]+)(?::([^{}]*))?\}`)

// placeholders are what a template may hold, and what it is for.
var placeholders = map[string]string{
	"join":    "the command that is to run on each host, as words",
	"command": "the same as one word, quoted for a shell",
	"list":    "the names of the hosts, with commas",
	"count":   "how many hosts there are",
	"host":    "the name of one host: the command then runs once for each",
}

func (p Plan) parseTemplate(words []word, end int) (Plan, error) {
	if len(words) == 0 {
		return Plan{}, syntaxError(p.text, end, "the command is missing: exec[gpu1,gpu2] mpirun -np {count} --host {list} {join}")
	}
	used := make(map[string]bool)
	for _, w := range words {
		for _, m := range placeholder.FindAllStringSubmatch(w.text, -1) {
			name := m[1]
			if name == "" {
				continue
			}
			at := w.at + max(0, strings.Index(p.text[w.at:], m[0]))
			if placeholders[name] == "" {
				return Plan{}, syntaxError(p.text, at, "%s: the names in braces are %s; for a brace of your own write {{ and }}",
					m[0], strings.Join(slices.Sorted(maps.Keys(placeholders)), ", "))
			}
			if name == "join" && m[0] != w.text {
				return Plan{}, syntaxError(p.text, at, "%s must be a word of its own; within a word, for a shell, write {command}", m[0])
			}
			if (name == "list" || name == "host") && p.Hosts[0].Name == "" {
				return Plan{}, syntaxError(p.text, at, "%s needs the names of the hosts: exec[gpu1,gpu2] …", m[0])
			}
			used[name] = true
		}
		p.template = append(p.template, w.text)
	}
	joins := slices.ContainsFunc(words, func(w word) bool { return w.text == "--env" }) // dipls join --env
	if !used["join"] && !used["command"] && !joins {
		return Plan{}, syntaxError(p.text, words[0].at, "the command has no {join}, which stands for what is to run on each host, and no dipls join --env")
	}
	return p, nil
}

// closing is where the bracket at a place closes; -1: nowhere.
func closing(text string, open int) int {
	depth := 0
	for i := open; i < len(text); i++ {
		switch text[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// parseHosts reads hosts with commas between them from a part of a text.
func parseHosts(text string, from, to int) ([]Host, []address, error) {
	var hosts []Host
	var addresses []address
	seen := make(map[string]bool)
	for begin := from; begin <= to; {
		end := begin
		for depth := 0; end < to && (text[end] != ',' || depth > 0); end++ {
			switch text[end] {
			case '[':
				depth++
			case ']':
				depth--
			}
		}
		at := begin + len(text[begin:end]) - len(strings.TrimLeftFunc(text[begin:end], unicode.IsSpace))
		item := strings.TrimSpace(text[begin:end])
		if item == "" {
			return nil, nil, syntaxError(text, at, "a host is missing here")
		}
		names, a, ranks, err := parseHost(text, at, item)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			if seen[name] {
				return nil, nil, syntaxError(text, at, "%s is there twice", name)
			}
			if len(hosts) == maxHosts {
				return nil, nil, syntaxError(text, at, "more than %d hosts", maxHosts)
			}
			seen[name] = true
			hosts = append(hosts, Host{name, ranks})
			addresses = append(addresses, address{name, a.user, a.port})
		}
		begin = end + 1
	}
	return hosts, addresses, nil
}

// parseHost reads [USER@]NAME[:PORT][:RANKS], where NAME may be many: gpu[1-4].
func parseHost(text string, at int, item string) (names []string, a address, ranks int, err error) {
	fail := func(i int, format string, args ...any) ([]string, address, int, error) {
		return nil, address{}, 0, syntaxError(text, at+i, format, args...)
	}
	i := 0
	if user := strings.IndexByte(item, '@'); user >= 0 {
		if a.user = item[:user]; a.user == "" || !isName(a.user) {
			return fail(0, "%q is no user's name", a.user)
		}
		i = user + 1
	}
	name := item[i:]
	if strings.HasPrefix(name, "[") { // an IPv6 address
		end := closing(name, 0)
		if end < 0 {
			return fail(i, "this bracket is not closed")
		}
		names = []string{name[1:end]}
		if !strings.Contains(names[0], ":") || names[0][0] == '-' || strings.ContainsFunc(names[0], func(r rune) bool { return r != ':' && !isNameRune(r) }) {
			return fail(i, "brackets alone are for an IPv6 address; a range has a name before it: gpu[1-4]")
		}
		name, i = name[end+1:], i+end+1
	} else {
		end := 0
		for depth := 0; end < len(name) && (name[end] != ':' || depth > 0); end++ {
			switch name[end] {
			case '[':
				depth++
			case ']':
				depth--
			}
		}
		if names, err = expandRange(text, at+i, name[:end]); err != nil {
			return nil, address{}, 0, err
		}
		name, i = name[end:], i+end
	}
	if name == "" {
		return names, a, 0, nil
	}
	if name[0] != ':' {
		return fail(i, "a comma, or a colon and a number, is expected here")
	}
	numbers := strings.Split(name[1:], ":")
	if len(numbers) > 2 {
		return fail(i, "too many colons: it is USER@HOST:PORT:RANKS, and an IPv6 address stands in brackets")
	}
	value := make([]int, len(numbers))
	for k, text := range numbers {
		if text == "" && k == 0 && len(numbers) == 2 && a.user != "" {
			continue // USER@HOST::RANKS
		}
		if value[k], err = strconv.Atoi(text); err != nil || value[k] < 1 || value[k] > 65535 {
			return fail(i, "%q is neither a port nor a number of ranks; an IPv6 address stands in brackets", text)
		}
	}
	switch {
	case len(value) == 2:
		a.port, ranks = value[0], value[1]
	case a.user != "":
		a.port = value[0]
	default:
		ranks = value[0]
	}
	if ranks > maxRanks {
		return fail(i, "%d ranks on one host? A port is written with the user, as me@%s:%d, or stands in ~/.ssh/config", ranks, names[0], ranks)
	}
	return names, a, ranks, nil
}

// expandRange expands Slurm's spelling of many names, gpu[1-4,7]-ib. at is where it stands in text.
func expandRange(text string, at int, spelling string) ([]string, error) {
	open := strings.IndexByte(spelling, '[')
	if open < 0 {
		if !isName(spelling) {
			return nil, syntaxError(text, at+badRune(spelling), "%q is no name of a host%s", spelling, meant(spelling))
		}
		return []string{spelling}, nil
	}
	end := closing(spelling, open)
	if end < 0 {
		return nil, syntaxError(text, at+open, "this bracket is not closed")
	}
	rest := []string{""}
	if end+1 < len(spelling) {
		var err error
		if rest, err = expandTail(text, at+end+1, spelling[end+1:]); err != nil {
			return nil, err
		}
	}
	prefix := spelling[:open]
	if !isName(prefix) {
		return nil, syntaxError(text, at+badRune(prefix), "%q is no name of a host", spelling)
	}
	var names []string
	i := open + 1
	for part := range strings.SplitSeq(spelling[open+1:end], ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, errLow := strconv.Atoi(first)
		high, errHigh := strconv.Atoi(last)
		if errLow != nil || errHigh != nil || low < 0 || high < low {
			return nil, syntaxError(text, at+i, "%q is no range of numbers; a range is written gpu[1-4,7]", part)
		}
		if high-low >= maxHosts || (high-low+1)*len(rest)+len(names) > maxHosts {
			return nil, syntaxError(text, at+i, "more than %d hosts", maxHosts)
		}
		for k := range high - low + 1 {
			for _, tail := range rest {
				names = append(names, fmt.Sprintf("%s%0*d%s", prefix, len(first), low+k, tail)) // gpu[01-16] keeps its zeros
			}
		}
		i += len(part) + 1
	}
	return names, nil
}

// meant is what a text that is no name may have been meant to be.
func meant(spelling string) string {
	switch {
	case spelling == "":
		return "; an IPv6 address stands in brackets"
	case strings.ContainsFunc(spelling, unicode.IsSpace):
		return "; between hosts stand commas"
	}
	return ""
}

// expandTail expands what follows a range, which may hold another one.
func expandTail(text string, at int, tail string) ([]string, error) {
	const stand = "x" // a name may begin with what a tail may not
	names, err := expandRange(text, at-len(stand), stand+tail)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], stand)
	}
	return names, err
}

// isName reports whether a text may be the name of a host or user. One that begins with a dash would be a flag of the command that gets it.
func isName(s string) bool { return s != "" && badRune(s) == len(s) }

// badRune is where the first character is that no name has.
func badRune(s string) int {
	if strings.HasPrefix(s, "-") {
		return 0
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !isNameRune(r) }); i >= 0 {
		return i
	}
	return len(s)
}

func isNameRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./%", r)
}
