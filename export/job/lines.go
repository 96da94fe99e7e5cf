package job

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"dipls/cells"
)

// assigned is what IPython gives to a variable: x = %magic, x = !command.
var assigned = regexp.MustCompile(`^\s*[\w.,\[\]'" ]+=\s*(%[A-Za-z]|!\s*[^=\s])`)

// word finds words in code.
func word(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?:^|[^\w.])` + pattern) }

var (
	asks    = word(`get_ipython\s*\(`)
	shows   = word(`display\s*\(`)
	waits   = word(`(?:await\b|async\s+(?:for|with)\b)`)
	defines = regexp.MustCompile(`^\s*(?:async\s+)?def\b`)
	placed  = regexp.MustCompile(`^#\s*dip:`) // where the file says that its cells run
	futures = regexp.MustCompile(`^from\s+__future__\s+import\b`)
)

// pieces cuts the source of a cell, whose first line is the file's line first, where something happens on all ranks.
func (w *writer) pieces(source string, first int, where cells.Where) (pieces []piece) {
	lines := cells.Lines(source)
	if first == 1 && len(lines) > 0 && strings.HasPrefix(lines[0].Text, "#!") {
		w.shebang, lines[0] = lines[0].Text, cells.Line{Text: "\n", Code: "\n", Starts: true}
	}
	if !w.code {
		lines = w.takeDoc(lines)
	}
	var now piece
	cut := func(p piece) {
		if len(now.lines) > 0 {
			pieces = append(pieces, now)
		}
		pieces, now = append(pieces, p), piece{}
	}
	var inside functions
	for i := 0; i < len(lines); i++ {
		l, at := lines[i], first+i
		inside.take(l)
		switch {
		case l.IPython:
			text := l.Text
			for i+1 < len(lines) && lines[i+1].IPython && !lines[i+1].Starts {
				i++
				text += lines[i].Text
			}
			p, plain := w.magic(strings.TrimRight(text, "\r\n"), at, where)
			if p.call != "" || p.code != "" {
				cut(p)
			} else {
				now.lines = append(now.lines, plain...)
			}
			continue
		case l.Starts && assigned.MatchString(l.Text):
			w.fault(at, "what IPython's line gives to a variable has no meaning in a job", "write it in Python, such as subprocess.run(…)")
		case !w.code && placed.MatchString(l.Text):
			continue
		case l.Starts && futures.MatchString(l.Code):
			text := l.Text
			for l.Text, l.Code = "\n", "\n"; i+1 < len(lines) && !lines[i+1].Starts; i++ {
				text += lines[i+1].Text
				now.lines = append(now.lines, l)
			}
			w.futures = append(w.futures, text)
		case l.Starts && strings.HasSuffix(strings.TrimSpace(l.Code), "?"): // help
			l = comment(l.Text)
		case len(inside) == 0 && waits.MatchString(l.Code) && !strings.Contains(l.Code, "lambda"):
			w.fault(at, "a script cannot await outside of a function", "write asyncio.run(…)")
		case asks.MatchString(l.Code):
			w.fault(at, "there is no IPython in a job, so nothing for get_ipython()", "leave it out, or write it in Python")
		}
		w.displays = w.displays || shows.MatchString(l.Code)
		now.lines = append(now.lines, l)
	}
	if len(now.lines) > 0 {
		pieces = append(pieces, now)
	}
	return pieces
}

// functions are the indentations of the functions around a line, the outermost first.
type functions []int

// take goes on to the next line. That of a def counts as inside: what it awaits, it awaits in its function.
func (f *functions) take(l cells.Line) {
	code := strings.TrimLeft(l.Code, " \t\f")
	if !l.Starts || strings.TrimSpace(code) == "" {
		return
	}
	indent := 0
	for _, c := range l.Code[:len(l.Code)-len(code)] {
		if indent++; c == '\t' {
			indent = (indent + 7) / 8 * 8
		}
	}
	for len(*f) > 0 && (*f)[len(*f)-1] >= indent {
		*f = (*f)[:len(*f)-1]
	}
	if defines.MatchString(l.Code) {
		*f = append(*f, indent)
	}
}

// takeDoc takes the docstring out of the lines of the first cell with code.
func (w *writer) takeDoc(lines []cells.Line) []cells.Line {
	for i, l := range lines {
		if strings.TrimSpace(l.Code) == "" {
			continue
		}
		if !strings.HasPrefix(strings.TrimLeft(l.Code, "rRuU"), `"`) && !strings.HasPrefix(strings.TrimLeft(l.Code, "rRuU"), "'") {
			break
		}
		end := i + 1
		for end < len(lines) && !lines[end].Starts {
			end++
		}
		if strings.Trim(joined(lines[i:end]), "rRuU\"' \n") != "" { // an expression that begins with a string
			break
		}
		for k := i; k < end; k++ {
			w.doc += lines[k].Text
			lines[k] = cells.Line{Text: "\n", Code: "\n", Starts: true}
		}
		break
	}
	return lines
}

// joined is the code of lines.
func joined(lines []cells.Line) (code string) {
	for _, l := range lines {
		code += l.Code
	}
	return code
}

// comment is a line of IPython's as a comment that stands where a statement may have to.
func comment(text string) cells.Line {
	body := strings.TrimLeft(text, " \t")
	indent, body := text[:len(text)-len(body)], strings.Join(strings.Fields(strings.ReplaceAll(body, "\\\n", " ")), " ")
	if indent == "" {
		return cells.Line{Text: "# " + body + "\n", Code: "\n", Starts: true}
	}
	return cells.Line{Text: indent + "pass  # " + body + "\n", Code: indent + "pass\n", Starts: true}
}

const hostsHint = "write the ranks' numbers"

// arguments are ranks as arguments of a call in the script; "" are all.
func arguments(list string) (string, error) {
	if list == "" || list == "all" {
		return "", nil
	}
	var args []string
	for item := range strings.SplitSeq(list, ",") {
		first, last, isSpan := strings.Cut(item, "-")
		switch {
		case strings.Contains(item, "host:") || strings.Contains(item, "each:"):
			return "", errors.New(item + " goes by the hosts of a pool, which a job has not")
		case strings.Contains(item, ":"):
			args = append(args, "*range(job.size)["+item+"]")
		case strings.HasPrefix(item, "-"):
			args = append(args, "job.size - "+item[1:])
		case isSpan:
			from, _ := strconv.Atoi(first)
			to, _ := strconv.Atoi(last)
			args = append(args, "*range("+strconv.Itoa(from)+", "+strconv.Itoa(to+1)+")")
		default:
			args = append(args, item)
		}
	}
	return strings.Join(args, ", "), nil
}
