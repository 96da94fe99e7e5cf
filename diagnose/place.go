package diagnose

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"dipls/ranks/wire"
)

// maxSource bounds what is shown of a line's text, in characters.
const maxSource = 60

// stack is where a thread is.
type stack []wire.StackFrame

// document is the innermost frame in a run's code; nil: there is none.
func (s stack) document() *wire.StackFrame {
	return s.last(func(f *wire.StackFrame) bool { return f.Run != "" })
}

// users is the innermost frame in the user's code; nil: there is none.
func (s stack) users() *wire.StackFrame {
	return s.last(func(f *wire.StackFrame) bool {
		_, library := LibraryOf(*f)
		return !library
	})
}

func (s stack) last(f func(*wire.StackFrame) bool) *wire.StackFrame {
	for i := range slices.Backward(s) {
		if f(&s[i]) {
			return &s[i]
		}
	}
	return nil
}

// at is the place of the thread, without why it is there.
func (s stack) at() Place {
	f := s.document()
	if f == nil {
		f = s.users()
	}
	if f == nil {
		return Place{}
	}
	return Place{Path: f.File, Line: f.Line, Run: f.Run, Name: f.Name}
}

// doing is what the thread does, such as "next(loader)" or "save()"; "" if nobody knows. beyond is where that happens, such as "data.py:88",
// if it is further in than the thread's place in the document.
func (s stack) doing() (what, beyond string) {
	f := s.users()
	if f == nil {
		return "", ""
	}
	if doc := s.document(); doc != nil && doc.Frame != f.Frame {
		beyond = describeLine(f.File, f.Line)
	}
	return s.of(f), beyond
}

// within is what the document's frame does.
func (s stack) within() string { return s.of(s.document()) }

// of is what a frame does: the text of its line, or what it has called.
func (s stack) of(f *wire.StackFrame) string {
	if f.Source != "" {
		return shorten(f.Source)
	}
	for i := range s {
		if &s[i] == f && i+1 < len(s) {
			return s[i+1].Name + "()"
		}
	}
	if strings.HasPrefix(f.Name, "<") || f.Name == "" {
		return ""
	}
	return f.Name + "()"
}

// inDocument reports whether the innermost frame is a run's own code.
func (s stack) inDocument() bool { return len(s) > 0 && s[len(s)-1].Run != "" }

// same reports whether a thread has not moved.
func (s stack) same(before stack) bool {
	return slices.EqualFunc(s, before, func(a, b wire.StackFrame) bool { return a.Frame == b.Frame })
}

// Wait is what a rank waits in, "all_reduce at train.py:6": its main thread, or else another. "" if none does.
func Wait(told *wire.GroupsReply) string {
	waits := waitsOf(told)
	if len(waits) == 0 {
		return ""
	}
	return cmp.Or(waits[0].Name, "a collective") + atLine(stackOf(told, waits[0].Thread).at())
}

// At is the user's line at which the main thread of a rank is, "train.py:6"; "" if nobody knows.
func At(told *wire.GroupsReply) string {
	p := mainStack(told).at()
	if p.Line == 0 {
		return ""
	}
	return describeLine(p.Path, p.Line)
}

// main is where the main thread is; nil: it waits for a cell, or nobody knows.
func mainStack(told *wire.GroupsReply) stack { return stackOf(told, 0) }

// stackOf is where a thread is; 0 is the main one.
func stackOf(told *wire.GroupsReply, thread uint64) stack {
	if told == nil {
		return nil
	}
	for _, t := range told.Threads {
		if t.ID == thread || thread == 0 && t.Main {
			return t.Frames
		}
	}
	return nil
}

// describeLine is "train.py:6".
func describeLine(path wire.Path, line int) string {
	if path == "" || strings.HasPrefix(string(path), "<") {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", filepath.Base(string(path)), line)
}

// shorten makes an excerpt of a line, without the comment at its end.
func shorten(text string) string {
	if i := strings.LastIndex(text, " #"); i > 0 && strings.Count(text[i:], `"`)%2 == 0 && strings.Count(text[i:], "'")%2 == 0 {
		text = strings.TrimRight(text[:i], " ")
	}
	if utf8.RuneCountInString(text) <= maxSource {
		return text
	}
	return string([]rune(text)[:maxSource-1]) + "…"
}
