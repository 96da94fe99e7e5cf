package view

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// TracebackPart is a piece of a traceback: lines that are shown, or frames of libraries, which one line stands for.
type TracebackPart struct {
	Text string // whole lines, without the last line feed
	Fold string // the line that stands for Text, such as "… 7 frames in torch"; "" if the text is shown
}

// frameHeads match the first line of a frame; the first group is its file. IPython's frames end with an empty line, Python's with the indentation.
var (
	ipythonFrame = regexp.MustCompile(`^File (.+?):\d+(?:, in .*)?$`)
	pythonFrame  = regexp.MustCompile(`^  File "(.+?)", line \d+(?:, in .*)?$`)
)

// libraries match the files that are no code of the user's; the first group, if it has matched, names the package.
var libraries = []*regexp.Regexp{
	regexp.MustCompile(`/(?:site|dist)-packages/([^/]+?)(?:\.\w+)?(?:/|$)`),
	regexp.MustCompile(`/(dip_agent)/`),
	regexp.MustCompile(`/lib(?:64)?/python3\.\d+[a-z]?/|/python3\d+\.zip/|^<frozen `),
}

// maxPackages is how many packages a folded line names.
const maxPackages = 3

// tracebackBlock is one frame of a traceback.
type tracebackBlock struct {
	from, to int    // its lines
	library  string // the package that it is in; "" if it is the user's
	indent   string
}

// TracebackParts cuts a traceback, which may have colours, into what is shown and what is folded: frames of libraries, of Python itself and of our agent.
// The last frame before each exception, which raised it, is always shown, and so is every frame of the user's. The parts, joined by line feeds, give
// back the text.
//
// The extension's traceback.ts does the same; testdata/tracebacks.json holds both.
func TracebackParts(text string) []TracebackPart {
	var parts []TracebackPart
	lines := strings.Split(text, "\n")
	shown := 0 // the first line that is in no part
	show := func(end int) {
		if shown < end {
			parts = append(parts, TracebackPart{Text: strings.Join(lines[shown:end], "\n")})
		}
		shown = end
	}
	for at := 0; at < len(lines); {
		blocks := framesAt(lines, at)
		if len(blocks) == 0 {
			at++
			continue
		}
		at = blocks[len(blocks)-1].to
		for i := 0; i < len(blocks)-1; {
			end := i
			for end < len(blocks)-1 && blocks[end].library != "" {
				end++
			}
			if end == i {
				i++
				continue
			}
			show(blocks[i].from)
			shown = blocks[end-1].to
			parts = append(parts, TracebackPart{
				Text: strings.Join(lines[blocks[i].from:shown], "\n"),
				Fold: blocks[i].indent + foldedFrames(blocks[i:end]),
			})
			i = end
		}
	}
	show(len(lines))
	return parts
}

// framesAt returns the frames that follow one another from a line on.
func framesAt(lines []string, at int) []tracebackBlock {
	var blocks []tracebackBlock
	for at < len(lines) {
		line := ansi.Strip(lines[at])
		b := tracebackBlock{from: at, to: at + 1}
		if m := ipythonFrame.FindStringSubmatch(line); m != nil {
			b.library = libraryOf(m[1])
			b.to = paragraphEnd(lines, b.to)
		} else if m := pythonFrame.FindStringSubmatch(line); m != nil {
			b.library, b.indent = libraryOf(m[1]), "  "
			for b.to < len(lines) && isFrameDetail(ansi.Strip(lines[b.to])) {
				b.to++
			}
		} else if len(blocks) > 0 && strings.HasPrefix(line, "[... skipping ") {
			blocks[len(blocks)-1].to = paragraphEnd(lines, b.to)
			at = blocks[len(blocks)-1].to
			continue
		} else {
			break
		}
		blocks = append(blocks, b)
		at = b.to
	}
	return blocks
}

// paragraphEnd is the line behind the next empty one.
func paragraphEnd(lines []string, at int) int {
	for at < len(lines) {
		at++
		if ansi.Strip(lines[at-1]) == "" {
			break
		}
	}
	return at
}

// isFrameDetail reports whether a line belongs to the frame of Python's above it.
func isFrameDetail(line string) bool {
	return strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "  [Previous line repeated")
}

// libraryOf names the package that a file is in; "" if it is the user's.
func libraryOf(file string) string {
	file = strings.ReplaceAll(file, `\`, "/")
	for _, form := range libraries {
		switch m := form.FindStringSubmatch(file); {
		case m == nil:
		case len(m) == 1:
			return "the standard library"
		case m[1] == "dip_agent":
			return "dipls"
		default:
			return m[1]
		}
	}
	return ""
}

// foldedFrames is the line that stands for frames.
func foldedFrames(blocks []tracebackBlock) string {
	var names []string
	for _, b := range blocks {
		if !slices.Contains(names, b.library) {
			names = append(names, b.library)
		}
	}
	if len(names) > maxPackages {
		names = append(names[:maxPackages], "…")
	}
	s := "s"
	if len(blocks) == 1 {
		s = ""
	}
	return fmt.Sprintf("… %d frame%s in %s", len(blocks), s, strings.Join(names, ", "))
}

// foldTraceback is a traceback with its folded lines; the first of them says what shows all of it.
func foldTraceback(text, all string) string {
	parts := TracebackParts(text)
	shown := make([]string, len(parts))
	for i, p := range parts {
		if p.Fold == "" {
			shown[i] = p.Text
			continue
		}
		shown[i] = p.Fold
		if all != "" {
			shown[i] += " (" + all + ")"
			all = ""
		}
		if strings.HasSuffix(p.Text, "\n") {
			shown[i] += "\n"
		}
	}
	return strings.Join(shown, "\n")
}
