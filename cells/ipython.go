package cells

import (
	"slices"
	"strings"
)

// An ipythonMagic says what one of IPython's magics takes as %name and as %%name; notThere where it has no such form.
type ipythonMagic struct {
	line, cell shape
	python     bool // the body below %%name is Python
}

// A shape is what the arguments of one of IPython's magics look like. It tells a magic from prose: a comment may well begin with
// "%time is …".
type shape int

const (
	notThere shape = iota
	flagged        // flags only
	oneArg         // at most one word besides
	manyArgs       // words
	setting        // name = value, or one or two words
	pythonCode
	command  // of a shell
	fileName // one word, which must be there
	pathName // one that cannot be a word of a text
	program  // one to run, which must be there
)

// ipythonMagics are the magics of every IPython from 8.0 on, with those of its extensions autoreload and storemagic, which most people load. A test
// asks IPython itself.
var ipythonMagics = func() map[string]ipythonMagic {
	all := map[string]ipythonMagic{}
	for s, names := range map[shape]string{
		flagged: "dirs doctest_mode killbgscripts logoff logon logstate logstop lsmagic popd pwd quickref rehashx",
		oneArg: "autoawait autocall automagic autoreload colors gui load_ext matplotlib notebook pdb pdef pdoc pfile pinfo pinfo2 pprint " +
			"precision psource pushd pycat pylab reload_ext reset_selective tb unalias unload_ext xdel xmode",
		manyArgs: "aimport alias alias_magic bookmark cd code_wrap dhist ed edit hist history load loadpy logstart macro magic page " +
			"pastebin psearch recall rep rerun reset run save store who who_ls whos",
		setting:    "config env sc set_env",
		pythonCode: "debug prun time timeit",
		command:    "cat conda cp ldir lf lk ll ls lx mamba micromamba mkdir mv pip rm rmdir sx system uv",
	} {
		for _, name := range strings.Fields(names) {
			all[name] = ipythonMagic{line: s}
		}
	}
	for s, names := range map[shape]string{
		flagged:    "HTML SVG bash html javascript js latex markdown perl pypy python python2 python3 ruby sh svg",
		oneArg:     "capture",
		manyArgs:   "code_wrap",
		command:    "! sx system",
		fileName:   "writefile",
		pathName:   "file",
		program:    "script",
		pythonCode: "debug prun time timeit",
	} {
		for _, name := range strings.Fields(names) {
			magic := all[name]
			magic.cell = s
			all[name] = magic
		}
	}
	for _, name := range strings.Fields("capture code_wrap debug prun pypy python python2 python3 time timeit") {
		magic := all[name]
		magic.python = true
		all[name] = magic
	}
	return all
}()

// fits reports whether args can be the arguments of a magic, and do not rather read like the rest of a sentence.
func (s shape) fits(args string) bool {
	words := strings.Fields(args)
	if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
		words = words[:i]
	}
	if len(words) == 0 {
		return s != fileName && s != pathName && s != program
	}
	if words[0][0] == '-' && len(words[0]) > 1 {
		return true
	}
	plainWords := 0
	for _, w := range words {
		if w[0] != '-' {
			plainWords++
		}
	}
	switch s {
	case flagged:
		return plainWords == 0
	case oneArg:
		return plainWords == 1
	case manyArgs:
		return !reads(words)
	case setting:
		first := words[0]
		return len(words) == 1 || strings.Contains(first, "=") || strings.HasPrefix(words[1], "=") || len(words) == 2 && !reads(words)
	case pythonCode:
		return isPython(args)
	case command:
		return !reads(words)
	case fileName:
		return plainWords == 1
	case pathName:
		return plainWords == 1 && !isWord(words[0])
	case program:
		return programs[words[0]] || strings.ContainsAny(words[0], "./~$0123456789{")
	}
	return false
}

func wordSet(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}

// functionWords are words that English sentences have, and commands hardly.
var functionWords = wordSet("about also although an and are as at be because been before but by can could did do does for from had has have he here how if " +
	"in instead into is it its may might must needs no not of only or our shall she should so some than that the their them then " +
	"there these they this those to too under until very was we were what when where whether which while who why will with without " +
	"would you your isn't doesn't don't can't won't")

// reads reports whether words look like part of a sentence: one of them is a function word, and the first one is a word of a text.
func reads(words []string) bool {
	if !isWord(words[0]) {
		return false
	}
	for _, w := range words {
		if functionWords[strings.ToLower(strings.TrimRight(w, ".,:;!?"))] {
			return true
		}
	}
	last := words[len(words)-1]
	return len(words) > 1 && isWord(last) && strings.TrimRight(last, ".,:;!?") != last
}

// isWord reports whether s is a word of a text: letters, an apostrophe, punctuation behind.
func isWord(s string) bool {
	s = strings.TrimRight(s, ".,:;!?")
	for i := range len(s) {
		if classes[s[i]] != letter && s[i] != '\'' || s[i] == '_' {
			return false
		}
	}
	return s != ""
}

// programs are commands that notebooks run.
var programs = wordSet("" +
	"R Rscript accelerate apt apt-get aws awk bash bunzip2 cargo cat cd chmod clear cmake conda convert cp curl cut date dd deepspeed df diff dir " +
	"docker dot du dvc echo env export false ffmpeg file find free gcc gcloud gdown git go grep gsutil gunzip gzip head hf hostname htop id " +
	"ipython jupyter jupytext kaggle kill kubectl less ln ls lsb_release lscpu lspci ln make mamba man micromamba mkdir mv nbdev_export node " +
	"nohup npm npx nproc nvcc nvidia-smi perl pip ping printenv printf ps pwd pytest python rm rmdir rsync ruby sbatch scp sed seq set sh sinfo " +
	"sleep sort source squeue srun ssh stat sudo systemctl tail tar tee tensorboard test time top touch tr tree true type ulimit umask uname " +
	"uniq unzip uptime uv uvx wandb watch wc wget which who whoami xargs xz yes zip zsh")

// exclamations are words that comments begin with, and that are no names of programs.
var exclamations = wordSet("attention beware careful caution danger deprecated fixme hack important info nb note notice obsolete tip todo unused warning")

// isCommand reports whether the text of "# !…" is a command, and not a comment that begins with an exclamation mark.
func isCommand(s string) bool {
	words := strings.Fields(s)
	if len(words) == 0 || isBlank(s[0]) {
		return false
	}
	head, rest := words[0], words[1:]
	switch c := head[0]; {
	case classes[c] != letter && classes[c] != digit && strings.IndexByte(`./~$"'{`, c) < 0,
		strings.HasPrefix(head, "/bin/"), strings.HasPrefix(head, "/usr/bin/"), // what was a "#!" line
		slices.ContainsFunc(rest, func(w string) bool { return w[0] == '!' || w == "->" || w == "==" || w == "=" }): // logic
		return false
	}
	if !isWord(head) {
		return true
	}
	technical := false
	for _, w := range rest {
		technical = technical || !isWord(w)
	}
	switch {
	case strings.TrimRight(head, ".,:;!?") != head:
		return false
	case head == "echo" || head == "printf":
		return true
	case programs[head]:
		return technical || len(rest) == 0 || !reads(words)
	case strings.ToLower(head) != head || exclamations[head] || reads(words):
		return false
	}
	return technical || len(rest) < 2
}

// joiningWords stand between two expressions of Python.
var joiningWords = wordSet("and as else for from if import in is not or")

// openingWords may begin a statement of Python or stand before an expression.
var openingWords = wordSet("assert async await break class continue def del for from global if import lambda match nonlocal not pass raise return try " +
	"while with yield")

// isPython reports whether s can be Python. It cannot if two names stand side by side. Words with nothing but "in", "is" and the like
// between them are taken as prose, too.
func isPython(s string) bool {
	if s = strings.TrimLeft(s, " \t\f"); strings.HasPrefix(s, "%") || strings.HasPrefix(s, "!") {
		return true
	}
	operand, joined, wordsOnly := false, false, true
	for i := skipBlank(s, 0); i < len(s); i = skipBlank(s, i) {
		start := i
		switch c := s[i]; {
		case classes[c] == letter || classes[c] == digit:
			for i < len(s) && (classes[s[i]] == letter || classes[s[i]] == digit || classes[c] == digit && s[i] == '.') {
				i++
			}
			word := s[start:i]
			switch {
			case i < len(s) && classes[s[i]] == quote && isStringPrefix(word):
				if operand {
					return false
				}
			case joiningWords[word] && (operand || start > 0 && !openingWords[word]):
				joined = joined || word != "import"
				operand = false
			case openingWords[word] && !operand:
			case operand || joiningWords[word]:
				return false
			default:
				operand = true
				wordsOnly = wordsOnly && classes[c] == letter
			}
			continue
		case classes[c] == quote:
			if operand {
				return false
			}
			for i = stringEnd(s, i); i >= 0 && i < len(s) && classes[s[i]] == quote; {
				i = stringEnd(s, i) // '' '', """…"""
			}
			if i < 0 {
				return false
			}
			wordsOnly = false // and another string may follow
			continue
		case classes[c] == hash:
			i = len(s)
			continue
		case classes[c] == closing:
			operand = true
		case c == '?', c == '!' && !strings.HasPrefix(s[i:], "!="):
			return false
		default:
			operand = false
		}
		wordsOnly = false
		i++
	}
	return !(wordsOnly && joined) && !strings.HasSuffix(s, ".")
}

// An ipythonLine is a comment that names a magic of IPython's, or a command of the shell.
type ipythonLine struct {
	name  string // "" of a command
	cell  bool   // %%name
	help  bool   // a line that asks for help
	fits  bool   // it is the magic, and not prose that begins so
	start int    // of the percent sign or exclamation mark
}

// readIPython reads a comment as one of IPython's magics or as a command. ok is false if it is neither, whatever follows.
func readIPython(comment string) (m ipythonLine, ok bool) {
	m.start = skipBlank(comment, len("#"))
	if strings.HasPrefix(comment, "#!") {
		m.start = skipBlank(comment, len("#!"))
	}
	rest := comment[m.start:]
	if text, command := strings.CutPrefix(rest, "!"); command && comment[1] != '!' {
		m.fits = m.start > len("#") && isCommand(text)
		return m, true
	}
	text, ok := strings.CutPrefix(rest, "%")
	if !ok {
		return m, false
	}
	if strings.HasPrefix(text, "%") {
		m.cell, text = true, text[1:]
	}
	m.name = text[:nameLen(text)]
	if strings.HasPrefix(text, "!") {
		m.name = "!"
	}
	magic := ipythonMagics[m.name]
	takes := magic.line
	if m.cell {
		takes = magic.cell
	}
	args := text[len(m.name):]
	if asked := strings.TrimRight(args, " \t\f"); asked == "?" || asked == "??" {
		m.help = true
	}
	m.fits = m.help || (args == "" || isBlank(args[0])) && takes.fits(args)
	return m, takes != notThere
}
