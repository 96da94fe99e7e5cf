package job

import (
	"slices"
	"strings"

	"dipls/cells"
	"dipls/internal/ranklist"
)

// harmless are the magics of IPython's that only make work at a prompt nicer.
var harmless = strings.Fields("matplotlib load_ext reload_ext unload_ext autoreload aimport config colors pylab precision pwd xmode pdb pprint " +
	"automagic autocall autoawait autoindent who whos who_ls lsmagic quickref timeit history hist dhist notebook logon logoff logstate")

// magic is what becomes of a line of IPython's: a statement of all ranks, or lines in its place.
func (w *writer) magic(text string, at int, where cells.Where) (piece, []cells.Line) {
	trimmed := strings.TrimSpace(text)
	indented := text[0] == ' ' || text[0] == '\t'
	if strings.HasPrefix(trimmed, "?") || strings.HasSuffix(trimmed, "?") {
		return piece{}, []cells.Line{comment(text)}
	}
	if m, ok := cells.ReadMagic(text); ok {
		return w.own(m, text, at, indented, where)
	}
	if strings.HasPrefix(trimmed, "!") {
		w.fault(at, trimmed+" is a command of a shell", "run it before the job, or write subprocess.run(…)")
		return piece{}, nil
	}
	head, _, _ := strings.Cut(trimmed, "\n") // the lines below a cell magic are its own
	name, rest, _ := strings.Cut(strings.TrimLeft(head, "%"), " ")
	whole := strings.HasPrefix(trimmed, "%%")
	switch {
	case !whole && slices.Contains(harmless, name), whole && name == "time":
		return piece{}, []cells.Line{comment(text)}
	case !whole && name == "time":
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		return piece{}, cells.Lines(indent + strings.TrimSpace(rest) + "\n")
	case !whole && (name == "env" || name == "set_env"):
		w.fault(at, trimmed+" is IPython's", `write os.environ["NAME"] = "VALUE"`)
	case !whole && name == "cd":
		w.fault(at, trimmed+" is IPython's", `write os.chdir("DIRECTORY")`)
	case whole:
		w.fault(at, "%%"+name+" has no meaning in a job", "write the cell in Python, or take it out of the file")
	default:
		w.fault(at, trimmed+" has no meaning in a job", "write it in Python, or take it out of the file")
	}
	return piece{}, nil
}

// own is what becomes of a line magic of the project's own.
func (w *writer) own(m cells.Magic, text string, at int, indented bool, where cells.Where) (piece, []cells.Line) {
	none := []cells.Line{comment(text)}
	if m.Help {
		return piece{}, none
	}
	switch m.Name {
	case "dipush", "dipull", "px":
		switch {
		case indented:
			w.fault(at, "%"+m.Name+" stands inside of a block, and all ranks take part in it", "write it as a line of its own, without indentation")
			return piece{}, none
		case where == cells.Remote || where == cells.Everywhere:
			w.fault(at, "%"+m.Name+" is for local cells", "write it in a cell of its own")
			return piece{}, none
		}
	}
	switch m.Name {
	case "dipush", "dipull":
		call, err := transfer(m)
		if err != nil {
			w.fault(at, err.Error(), hostsHint)
		}
		return piece{call: call}, none
	case "px":
		if strings.HasPrefix(strings.TrimSpace(m.Args), "-") {
			w.fault(at, "%px with flags has no meaning in a job", "write a cell with %%dip")
		}
		return piece{code: m.Args}, none
	case "makedip":
		if w.joined && flagged(m.Args, "-r", "--restart", "-k", "--kill") {
			w.ended = at
		}
	case "dipper", "pxresult", "pxconfig":
		w.fault(at, "%"+m.Name+" has no meaning in a job", "use %dipush, %dipull and %%dip")
	}
	return piece{}, none
}

// flagged reports whether one of some flags is among arguments.
func flagged(args string, flags ...string) bool {
	return slices.ContainsFunc(strings.Fields(args), func(word string) bool { return slices.Contains(flags, word) })
}

// transfer is the call for a %dipush or %dipull.
func transfer(m cells.Magic) (string, error) {
	var names []string
	ranks := ""
	words := strings.Fields(strings.ReplaceAll(m.Args, "\\\n", " "))
	for i := 0; i < len(words); i++ {
		w := words[i]
		flag, value, has := strings.Cut(w, "=")
		switch {
		case (flag == "-r" || flag == "--ranks") && !has && i+1 < len(words):
			i++
			ranks = words[i]
		case flag == "--ranks":
			ranks = value
		case strings.HasPrefix(w, "-r"):
			ranks = strings.TrimPrefix(w, "-r")
		default:
			for name := range strings.SplitSeq(w, ",") {
				if name != "" {
					names = append(names, `"`+name+`"`)
				}
			}
		}
	}
	list, err := ranklist.ParseRanks(ranks)
	if err != nil && ranks != "" {
		return "", err
	}
	args, err := arguments(list.String())
	if err != nil {
		return "", err
	}
	call := "job.push("
	single := len(slices.Collect(list.Written())) == 1 || strings.HasPrefix(args, "job.size")
	switch {
	case m.Name == "dipull" && ranks != "" && !single:
		call = "job.pull_lists("
	case m.Name == "dipull":
		call = "job.pull("
	}
	call += strings.Join(names, ", ")
	switch {
	case args == "" || m.Name == "dipull" && args == "0":
	case m.Name == "dipull" && single:
		call += ", rank=" + args
	default:
		call += ", ranks=(" + args + ",)"
	}
	return call + ")", nil
}
