package cells

import (
	"regexp"
	"slices"
	"strings"
)

// collectives are torch.distributed's functions that wait for every rank of a process group, with the position of their group argument.
// Families have variants, such as all_gather_into_tensor.
var (
	collectives        = map[string]int{"all_reduce": 2, "barrier": 0, "monitored_barrier": 0, "reduce": 3, "new_group": -1}
	collectiveFamilies = map[string]int{"all_gather": 2, "all_to_all": 2, "broadcast": 2, "gather": 3, "reduce_scatter": 3, "scatter": 3}
	// commonNames are those that other modules have, too: alone they mean a collective only if the cell imports it.
	commonNames = []string{"reduce", "gather", "scatter", "broadcast"}
	// wrappers are the classes whose constructors call a collective.
	wrappers = []string{"DistributedDataParallel", "DDP"}
	// groupArguments are the keywords that name the ranks that take part.
	groupArguments = []string{"group", "process_group", "device_mesh", "mesh", "ranks"}
)

var (
	distributedAlias  = regexp.MustCompile(`\b(?:import[ \t]+torch\.distributed|from[ \t]+torch[ \t]+import[ \t]+distributed)[ \t]+as[ \t]+(\w+)`)
	distributedImport = regexp.MustCompile(`\bfrom[ \t]+torch\.distributed[ \t]+import\b`)

	silenced = regexp.MustCompile(`#\s*dipls:\s*ignore\b`)
)

// Collectives returns the names of the collectives over all ranks that code calls, each once, as far as the text tells: those of
// torch.distributed, and functions of the code that call them. Calls with a group of their own are left out, and so are
// functions that are defined but not called.
func Collectives(code string) []string {
	if !mayCollect(code) {
		return nil
	}
	var names []string
	for _, c := range reckon(code).all() {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

// collective is a call of a collective of all ranks.
type collective struct {
	name string // "all_reduce"
	via  string // the function of the cell that calls it; "": the call is here
	at   Range  // of the call's name
}

// text begins a sentence about the call.
func (c collective) text() string {
	if c.via != "" {
		return c.via + " calls " + c.name + ", which waits for every rank"
	}
	return c.name + " waits for every rank"
}

// A reckoning is the collectives of a piece of code, and its statements.
type reckoning struct {
	source    string // as it stands in the file
	code      string // as codeOf has it
	calls     []collective
	functions map[string]*function // that are defined here
	top       []*statement
	byRank    map[string]bool // names whose values tell ranks apart
	problems  []Problem
	told      map[Range]bool // calls that a problem is about
}

// mayCollect is a cheap test that rules out most code: without one of the marks it calls no collective.
func mayCollect(source string) bool {
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(source, mark) })
}

// marks are parts of the names of all collectives and wrappers; a test holds that.
var marks = []string{"all_", "barrier", "reduce", "gather", "scatter", "broadcast", "DDP", "DistributedDataParallel", "new_group"}

// reckon reads code.
func reckon(source string) *reckoning {
	r := &reckoning{source: source, functions: map[string]*function{}, byRank: map[string]bool{}, told: map[Range]bool{}}
	r.code = codeOf(source)
	r.calls = calledCollectives(r.code)
	r.top = r.parse()
	return r
}

// all are the collectives that running the code calls.
func (r *reckoning) all() []collective { return r.reached(r.top) }

// calledCollectives returns the calls of collectives over all ranks in code, which codeOf has made.
func calledCollectives(code string) []collective {
	modules := []string{"dist", "distributed", "torch.distributed"}
	for _, m := range distributedAlias.FindAllStringSubmatch(code, -1) {
		modules = append(modules, m[1])
	}
	imports := distributedImport.MatchString(code)
	var found []collective
	for _, c := range callsIn(code) {
		module, name := "", c.Name
		if i := strings.LastIndexByte(c.Name, '.'); i >= 0 {
			module, name = c.Name[:i], c.Name[i+1:]
		}
		bare := name == c.Name
		position, ok := groupPosition(name)
		switch {
		case !ok:
			continue
		case slices.Contains(wrappers, name):
		case bare && slices.Contains(commonNames, name) && !imports:
			continue
		case !bare && !slices.Contains(modules, module):
			continue
		}
		if !ofOwnGroup(code, c.Range.End, position) {
			found = append(found, collective{name: name, at: c.Range})
		}
	}
	return found
}

// groupPosition is the position of a collective's argument for a group, -1 if that is none; ok is false of other functions.
func groupPosition(name string) (position int, ok bool) {
	if position, ok = collectives[name]; ok {
		return position, true
	}
	for family, position := range collectiveFamilies {
		if name == family || strings.HasPrefix(name, family+"_") {
			return position, true
		}
	}
	return -1, slices.Contains(wrappers, name)
}

// ofOwnGroup reports whether the call whose opening parenthesis comes next names a group. Unpacked arguments (*args, **kwargs) may name one.
func ofOwnGroup(code string, i, position int) bool {
	i = skipBlank(code, i)
	if i >= len(code) || code[i] != '(' {
		return false
	}
	for n, arg := range passedAt(code, i+1) {
		name, _, named := strings.Cut(arg, "=")
		named = named && !strings.HasPrefix(arg[len(name):], "==")
		switch name = strings.TrimSpace(name); {
		case strings.HasPrefix(name, "**"):
			return true
		case named && slices.Contains(groupArguments, name):
			return strings.TrimSpace(arg[strings.IndexByte(arg, '=')+1:]) != "None"
		case !named && n == position && strings.TrimSpace(arg) != "":
			return strings.TrimSpace(arg) != "None"
		}
	}
	return false
}

// passedAt splits what stands between the parenthesis before i and its closing one at the commas.
func passedAt(code string, i int) []string {
	var found []string
	depth, start := 0, i
	for ; i < len(code); i++ {
		switch code[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth < 0 {
				return append(found, code[start:i])
			}
		case ',':
			if depth == 0 {
				found = append(found, code[start:i])
				start = i + 1
			}
		}
	}
	return append(found, code[start:])
}

// A statement is one logical line of Python, or a compound statement: the part before its colon, and its block.
type statement struct {
	keyword string // that it begins with: "if", "for", "return", …; "" for others
	head    Range  // of it in the code, with the keyword; without the block
	body    []*statement
	known   bool         // calls is
	calls   []collective // that running it calls, with its block
}

// A function is one that is defined in the code.
type function struct {
	body  []*statement
	known bool         // calls is, or is being found out
	calls []collective // that calling it calls, the first of them
}

// maxCalls bounds the collectives noted per function: functions that call each other several times would double them at each level.
const maxCalls = 32

// compound are the keywords of statements with blocks.
var compound = []string{"if", "elif", "else", "for", "while", "with", "try", "except", "finally", "def", "class", "match", "case"}

// leaving are the keywords of statements after which a block does not go on.
var leaving = []string{"return", "continue", "break", "raise"}

// parse reads the code's statements, and what its functions and ranks are called.
func (r *reckoning) parse() []*statement {
	type open struct {
		column int
		block  *[]*statement
	}
	var top []*statement
	stack := []open{{0, &top}}
	var last *statement // a compound statement whose block is to come
	first := true
	for i := 0; i < len(r.code); {
		line := i
		start := skipBlank(r.code, line)
		end := lineEnd(r.code, start)
		i = max(end, line) + 1
		if start == end {
			continue
		}
		column := start - line
		if first {
			first, stack[0].column = false, column
		}
		if last != nil && column > stack[len(stack)-1].column {
			stack = append(stack, open{column, &last.body})
		}
		for len(stack) > 1 && column < stack[len(stack)-1].column {
			stack = stack[:len(stack)-1]
		}
		last = r.line(stack[len(stack)-1].block, start, end)
	}
	for _, f := range r.define(top) { // in the order of the text: the answer for functions that call each other depends on it
		r.callsOfFunction(f)
	}
	return top
}

// line adds the statements of one line to a block. It returns the last one if its block is to come in the next lines.
func (r *reckoning) line(block *[]*statement, start, end int) *statement {
	for start < end {
		start = skipBlank(r.code, start)
		word := r.code[start : start+nameLen(r.code[start:])]
		if word == "async" {
			start = skipBlank(r.code, start+len(word))
			word = r.code[start : start+nameLen(r.code[start:])]
		}
		s := &statement{keyword: word}
		if slices.Contains(compound, word) {
			if colon := r.atDepthZero(start, end, ':'); colon < end {
				s.head = Range{start, colon}
				*block = append(*block, s)
				if strings.TrimSpace(r.code[colon+1:end]) == "" {
					return s
				}
				block, start = &s.body, colon+1
				continue
			}
		}
		if !slices.Contains(leaving, word) {
			s.keyword = ""
		}
		stop := r.atDepthZero(start, end, ';')
		if s.head = (Range{start, stop}); s.head.Len() > 0 {
			*block = append(*block, s)
		}
		start = stop + 1
	}
	return nil
}

// atDepthZero is the place of a character outside of brackets, which begins no operator; end if there is none.
func (r *reckoning) atDepthZero(i, end int, c byte) int {
	depth, lambdas := 0, 0
	for ; i < end; i++ {
		switch {
		case strings.IndexByte("([{", r.code[i]) >= 0:
			depth++
		case strings.IndexByte(")]}", r.code[i]) >= 0:
			depth--
		case depth == 0 && strings.HasPrefix(r.code[i:end], "lambda"):
			lambdas++
		case depth > 0 || r.code[i] != c:
		case c == ':' && lambdas > 0:
			lambdas--
		case c == ':' && strings.HasPrefix(r.code[i:end], ":="):
		default:
			return i
		}
	}
	return end
}

var (
	definition = regexp.MustCompile(`^def\s+(\w+)`)
	assignment = regexp.MustCompile(`^(\w+)\s*(?::[^=]*)?=([^=].*)$`)
	identifier = regexp.MustCompile(`[A-Za-z_]\w*`)
	comparison = regexp.MustCompile(`[=!]=|[<>]|\b(?:not|in|is)\b`)
	alias      = regexp.MustCompile(`^(?:int\s*\(\s*)?[\w.]+(?:\s*\[[^\[\]]*\]|\s*\([^()]*\))?\s*\)?$`)

	// rankName matches names of ranks, and of tests that tell one rank from others.
	rankName = regexp.MustCompile(`(?i)` +
		`^(?:(?:local|global|world|node|group|process|proc|my|cur|current|dist|device|worker|dp|tp|pp|ep|cp|mp|ddp|fsdp)_?)?(?:rank|rank_id|rank0)$` +
		`|^get_(?:\w+_)?rank$` +
		`|^is_(?:\w+_)?(?:main_process|process_zero|global_zero|rank_zero|rank0|main_rank|master|chief)$` +
		`|^is_(?:main|master|main_proc)$|^main_process$`)
	// ofEachRank matches tests that name a rank and yet have the same outcome on every rank.
	ofEachRank = regexp.MustCompile(`[\w.]*(?i:rank)(?:\(\))?\s*(?:is\s+(?:not\s+)?None\b|(?:==|!=|>|<=)\s*-\s*1\b|(?:<|>=)\s*0\b)`)
	// rankVariable is a rank in the environment.
	rankVariable = regexp.MustCompile(`env(?:iron)?\b.*["'](?:LOCAL_|GROUP_|GLOBAL_)?RANK["']`)
)

// define notes functions, which it returns in their order, and names whose values tell ranks apart.
func (r *reckoning) define(block []*statement) (defined []*function) {
	for _, s := range block {
		text := r.code[s.head.Start:s.head.End]
		if m := definition.FindStringSubmatch(text); m != nil {
			f := &function{body: s.body}
			r.functions[m[1]] = f
			defined = append(defined, f)
		}
		if m := assignment.FindStringSubmatchIndex(text); s.keyword == "" && m != nil {
			value := Range{s.head.Start + m[4], s.head.End}
			expression := strings.TrimSpace(r.code[value.Start:value.End])
			if r.dependsOnRank(value) && (comparison.MatchString(expression) || r.isRank(expression, value)) {
				r.byRank[text[m[2]:m[3]]] = true
			}
		}
		defined = append(defined, r.define(s.body)...)
	}
	return defined
}

// isRank reports whether an expression is a rank itself: rank, dist.get_rank(), int(os.environ["RANK"]).
func (r *reckoning) isRank(expression string, at Range) bool {
	if !alias.MatchString(expression) {
		return false
	}
	if rankVariable.MatchString(r.source[at.Start:at.End]) {
		return true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.ReplaceAll(expression, " ", ""), "int("), "(")
	if strings.ContainsRune(name, '[') {
		return false
	}
	name = strings.TrimSuffix(name, ")")
	return r.tellsRanks(name[strings.LastIndexByte(name, '.')+1:])
}

func (r *reckoning) tellsRanks(name string) bool { return r.byRank[name] || rankName.MatchString(name) }

// dependsOnRank reports whether an expression may have another value on some ranks than on others, because it asks which rank it is.
func (r *reckoning) dependsOnRank(at Range) bool {
	if rankVariable.MatchString(r.source[at.Start:at.End]) {
		return true
	}
	text := ofEachRank.ReplaceAllString(r.code[at.Start:at.End], "")
	for _, word := range identifier.FindAllString(text, -1) {
		if r.tellsRanks(word) {
			return true
		}
	}
	return false
}

// reached are the collectives that running a block calls, also in functions that are defined here.
func (r *reckoning) reached(block []*statement) []collective {
	var found []collective
	for _, s := range block {
		found = append(found, r.callsOf(s)...)
	}
	return found
}

// callsOf are the collectives that running a statement calls, with its block. The answer is cached: it is needed many times.
func (r *reckoning) callsOf(s *statement) []collective {
	if s.keyword != "def" && !s.known {
		s.calls = append(r.calledIn(s.head), r.reached(s.body)...)
		s.known = true
	}
	return s.calls
}

// callsOfFunction are the collectives that calling a function calls. A function that calls itself adds nothing by that.
func (r *reckoning) callsOfFunction(f *function) []collective {
	if !f.known {
		f.known = true
		found := r.reached(f.body)
		f.calls = found[:min(len(found), maxCalls)]
	}
	return f.calls
}

// calledIn are the collectives that a statement calls, without its block.
func (r *reckoning) calledIn(at Range) []collective {
	var found []collective
	i, _ := slices.BinarySearchFunc(r.calls, at.Start, func(c collective, start int) int { return c.at.Start - start })
	for ; i < len(r.calls) && r.calls[i].at.Start < at.End; i++ {
		found = append(found, r.calls[i])
	}
	if len(r.functions) == 0 {
		return found
	}
	text := r.code[at.Start:at.End]
	for _, m := range identifier.FindAllStringIndex(text, -1) {
		name := text[m[0]:m[1]]
		f, ok := r.functions[name]
		if !ok || m[0] > 0 && text[m[0]-1] == '.' || !strings.HasPrefix(strings.TrimLeft(text[m[1]:], " \t"), "(") {
			continue
		}
		for _, c := range r.callsOfFunction(f) {
			found = append(found, collective{c.name, name, Range{at.Start + m[0], at.Start + m[1]}})
		}
	}
	return found
}
