package session

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"dipls/diagnose"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

// FoldedStack is a thread's stack, and which processes have the same.
type FoldedStack struct {
	Who    []ranklist.Who    // ascending
	Thread string            // its name, without the number in it; "": the main thread
	Frames []wire.StackFrame // outermost first; none: it waits for a cell
	Err    string            // why nothing is known of these processes; "": something is
	Host   string            // that all of them are on, of a pool that is on several; else ""
}

// FoldStacks puts equal stacks together: first those of main threads, then those of other threads in the user's code, then the
// rest; in each group by the lowest rank.
func FoldStacks(stacks []Stack) []FoldedStack {
	var folded []FoldedStack
	index := map[string]int{}
	add := func(key string, who ranklist.Who, s FoldedStack) {
		i, known := index[key]
		if !known {
			i = len(folded)
			index[key] = i
			folded = append(folded, s)
		}
		if on := folded[i].Who; !slices.Contains(on, who) {
			folded[i].Who = append(on, who)
		}
	}
	for _, s := range stacks {
		if s.Error != "" {
			text := describeSilence(s)
			add("error\x00"+text, s.Who, FoldedStack{Err: text})
		}
		for _, thread := range s.Threads {
			f := FoldedStack{Thread: numbered.ReplaceAllString(thread.Name, "$1"), Frames: thread.Frames}
			if thread.Main {
				f.Thread = ""
			} else if len(f.Frames) == 0 {
				continue // one of ours, or of native code
			}
			key := fmt.Sprintf("%t\x00%s", thread.Main, f.Thread)
			for _, frame := range f.Frames {
				key += fmt.Sprintf("\x00%s\x00%d\x00%s\x00%s", frame.File, frame.Line, frame.Name, frame.Source)
			}
			add(key, s.Who, f)
		}
	}
	hosts := map[int]string{}
	for _, s := range stacks {
		if rank, ok := s.Who.Rank(); ok {
			hosts[rank] = s.Host
		}
	}
	for i := range folded {
		slices.SortFunc(folded[i].Who, ranklist.Who.Compare)
		if local, ranks := ranklist.Split(folded[i].Who); !local {
			folded[i].Host = ranklist.Together(ranks.Of(ranklist.Max), func(rank int) string { return hosts[rank] })
		}
	}
	slices.SortStableFunc(folded, func(a, b FoldedStack) int {
		if d := a.place() - b.place(); d != 0 {
			return d
		}
		return a.Who[0].Compare(b.Who[0])
	})
	return folded
}

// numbered matches names that Python gives to threads: "Thread-7 (work)", "ThreadPoolExecutor-0_3".
var numbered = regexp.MustCompile(`^(.*?[^\d_-])[-_][\d_]+\b`)

// place is a stack's place in the order of FoldStacks.
func (s FoldedStack) place() int {
	switch {
	case s.Thread == "":
		return 0
	case slices.ContainsFunc(s.Frames, isUsers):
		return 1
	default:
		return 2
	}
}

// describeSilence says why a process has no stack.
func describeSilence(s Stack) string {
	if s.Silent {
		return "no answer: stopped, or in native code that keeps Python's lock"
	}
	text, _ := s.Who.Verb(s.Error)
	return text
}

// Title names the processes, and the thread if it is no main thread: "ranks 0-1,3", `rank 2 (gpu2), thread "loader"`.
func (s FoldedStack) Title() string {
	text := ranklist.NameEach(s.Who)
	if s.Host != "" {
		text += " (" + s.Host + ")"
	}
	if s.Thread != "" {
		text += fmt.Sprintf(", thread %q", clean.Line(s.Thread))
	}
	return text
}

// Widths of the lines that describe a stack, in characters.
const (
	maxPlace  = 40 // of what stands before the source
	maxSource = 80
)

// Lines describes the stack for a person: the user's frames, outermost first; the frames between and below them are summed up. If there are
// more than limit lines, the outermost are left out; 0: there is no limit.
func (s FoldedStack) Lines(limit int) []string {
	switch {
	case s.Err != "":
		return []string{clean.Line(s.Err)}
	case len(s.Frames) == 0 && len(s.Who) > 1:
		return []string{"wait for a cell"}
	case len(s.Frames) == 0:
		return []string{"waits for a cell"}
	}
	type row struct{ place, source string }
	var rows []row
	for i := 0; i < len(s.Frames); {
		if frame := s.Frames[i]; isUsers(frame) {
			rows = append(rows, row{describePlace(frame), shorten(clean.Line(frame.Source), maxSource)})
			i++
			continue
		}
		end := i
		for end < len(s.Frames) && !isUsers(s.Frames[end]) {
			end++
		}
		rows = append(rows, row{place: describeOthers(s.Frames[i:end], end == len(s.Frames))})
		i = end
	}
	left := 0
	if limit > 0 && len(rows) > limit {
		left = len(rows) - max(limit-1, 1)
	}
	rows = rows[left:]
	width := 0
	for _, r := range rows {
		if r.source != "" {
			width = max(width, min(utf8.RuneCountInString(r.place), maxPlace))
		}
	}
	var lines []string
	if left > 0 && limit > 1 {
		lines = append(lines, fmt.Sprintf("… %d more above", left))
	}
	for _, r := range rows {
		text := r.place
		if r.source != "" {
			text += strings.Repeat(" ", max(width-utf8.RuneCountInString(r.place), 0)+2) + r.source
		}
		lines = append(lines, text)
	}
	return lines
}

// describePlace is "train.py:41 in step".
func describePlace(f wire.StackFrame) string {
	text := fmt.Sprintf("%s:%d", clean.Line(path.Base(string(f.File))), f.Line)
	if f.Name != "" && f.Name != "<module>" {
		text += " in " + clean.Line(f.Name)
	}
	return text
}

// maxNatives bounds how many native frames are named.
const maxNatives = 4

// describeOthers sums up frames that are not the user's in a line; last: there are none below them.
func describeOthers(frames []wire.StackFrame, last bool) string {
	var natives []string
	for len(frames) > 0 && isNative(frames[len(frames)-1]) {
		if len(natives) < maxNatives {
			natives = append(natives, shorten(clean.Line(frames[len(frames)-1].Name), maxPlace))
		}
		frames = frames[:len(frames)-1]
	}
	var text string
	if len(frames) > 0 {
		var of []string
		for _, f := range frames {
			if name, _ := diagnose.LibraryOf(f); name != "" && !slices.Contains(of, clean.Line(name)) {
				of = append(of, clean.Line(name))
			}
		}
		text = "… " + count(len(frames), "frame")
		if len(of) > 0 {
			text += " in " + strings.Join(of[:min(len(of), 3)], ", ")
		}
		if last {
			text += fmt.Sprintf(", at last in %s", clean.Line(frames[len(frames)-1].Name))
		}
	}
	if len(natives) == 0 {
		return text
	}
	native := "native: " + strings.Join(natives, " < ")
	if text == "" {
		return "… " + native
	}
	return text + "; " + native
}

// isNative reports whether a frame is native code, as added by [processes.addNative].
func isNative(f wire.StackFrame) bool { return f.Line == 0 }

// isUsers reports whether a frame is the user's code: in a cell, or in a file that is not installed.
func isUsers(f wire.StackFrame) bool {
	_, library := diagnose.LibraryOf(f)
	return !isNative(f) && !library
}

// Place is where the process is in the user's code: the innermost such frame of its main thread. ok is false if it is not in the user's code, or if that
// is not known.
func (s Stack) Place() (frame StackFrame, ok bool) {
	for _, thread := range s.Threads {
		if !thread.Main {
			continue
		}
		for _, f := range slices.Backward(thread.Frames) {
			if isUsers(f) {
				return f, true
			}
		}
	}
	return StackFrame{}, false
}

// shorten cuts a text to so many characters.
func shorten(s string, limit int) string {
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return s
}

// DescribeStacks is folded stacks as text, each below the names of its processes. If limit is not 0, there are at most about that many lines:
// the innermost of each, without threads that are not in the user's code.
func DescribeStacks(folded []FoldedStack, limit int) string {
	each := 0
	if limit > 0 {
		folded = slices.DeleteFunc(slices.Clone(folded), func(s FoldedStack) bool { return s.place() == 2 })
		each = max(2, limit/max(len(folded), 1)-1)
	}
	var b strings.Builder
	written := 0
	for i, s := range folded {
		lines := s.Lines(each)
		if limit > 0 && i > 0 && written+1+len(lines) > limit {
			fmt.Fprintf(&b, "… %d more\n", len(folded)-i)
			break
		}
		written += 1 + len(lines)
		fmt.Fprintf(&b, "%s\n", s.Title())
		for _, line := range lines {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}
