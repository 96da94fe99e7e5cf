package lsp

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
)

// hangCode is the code of diagnostics of ranks that wait for others.
const hangCode = "hang"

// hangs shows in documents, and in files of the workspace, where ranks wait for others, as long as they do.
type hangs struct {
	s     *server
	layer *layer[*hangMark]
}

func newHangs(s *server) feature {
	h := &hangs{s, newLayer[*hangMark](s.marks, true)}
	s.marks.addSource(source{event: h.event, opened: h.opened})
	return feature{}
}

// hangMark is a place in the user's code where ranks wait, or where the ranks are that others wait for.
type hangMark struct {
	mark
	run     Run
	ev      *event.Hang
	place   event.Place
	missing bool // others wait for them
}

// here describes the place: "ranks 0-1,3 wait here in all_reduce".
func (k *hangMark) here() string {
	who, why := k.name(k.place.Ranks), k.place.Why
	one := len(k.place.Ranks) == 1
	switch {
	case !k.missing:
		return joinWords(who, verb(one, "waits", "wait"), "here", operationOf(k.ev, why))
	case why == "":
		return joinWords(who, verb(one, "is", "are"), "here")
	case strings.HasPrefix(why, "in "), strings.HasPrefix(why, "with "):
		return joinWords(who, verb(one, "is", "are"), "here,", why)
	}
	if first, rest, _ := strings.Cut(why, " "); !one && manyVerbs[first] != "" {
		why = manyVerbs[first] + " " + rest
	}
	return joinWords(who, why)
}

// name names ranks of the run for people.
func (k *hangMark) name(ranks []int) string { return ranklist.NameOn(ranks, k.run.HostOf) }

// manyVerbs are the verbs that begin a reason of one rank, in the plural.
var manyVerbs = map[string]string{"has": "have", "is": "are", "was": "were"}

// message is the text of the diagnostic: what ranks do here, and then the whole finding in a sentence.
func (k *hangMark) message() string {
	text := k.here()
	if others := event.RanksAt(k.ev.Missing); !k.missing && len(others) > 0 {
		text += " for " + k.name(others)
	}
	if others := event.RanksAt(k.ev.Waiting); k.missing && len(others) > 0 {
		them := verb(len(k.place.Ranks) == 1, "it", "them")
		text += ": " + joinWords(k.name(others), verb(len(others) == 1, "waits", "wait"), "for", them, operationOf(k.ev, ""))
	}
	if k.ev.Text != "" {
		text += "\n" + k.ev.Text
	}
	return k.run.excerpt(text)
}

// operationOf names what ranks wait in: "in all_reduce"; "" if that is not known.
func operationOf(ev *event.Hang, why string) string {
	switch {
	case why != "":
		return why
	case ev.Operation != "":
		return "in " + ev.Operation
	}
	return ""
}

// level is the severity of the finding.
func (k *hangMark) level() protocol.DiagnosticSeverity {
	switch k.ev.Level {
	case event.LevelInfo:
		return protocol.DiagnosticSeverityInformation
	case event.LevelError:
		return protocol.DiagnosticSeverityError
	}
	return protocol.DiagnosticSeverityWarning
}

// event enters that ranks wait, or no longer do. It is over with the run at the latest.
func (h *hangs) event(r *followed, ev event.Event, _ time.Time) {
	switch ev := ev.(type) {
	case *event.Hang:
		if !r.ended {
			h.enter(r.Run, ev)
		}
	case *event.RunFinished:
		h.layer.drop(func(k *hangMark) bool { return k.ev.Run == r.ID })
	}
}

// enter enters a finding, in place of its earlier version.
func (h *hangs) enter(r Run, ev *event.Hang) {
	h.layer.drop(func(k *hangMark) bool { return k.ev.Run == ev.Run && k.ev.Hang == ev.Hang })
	if ev.Gone {
		return
	}
	var all []*hangMark
	for i, place := range slices.Concat(ev.Waiting, ev.Missing) {
		k := &hangMark{run: r, ev: ev, place: place, missing: i >= len(ev.Waiting)}
		message := k.message()
		k.mark = mark{
			spot: h.spotOf(k), severity: k.level(), code: hangCode, text: func(Settings) string { return message },
			remedy: func() remedy { return remedy{hung: ev.Run} }, unopened: contains(r.workspace.dir, string(place.Path)),
		}
		all = append(all, k)
	}
	for _, k := range all {
		for _, other := range all {
			if other != k {
				k.related = append(k.related, related{&other.spot, clean.Brief(other.here())})
			}
		}
		h.layer.add(k)
	}
}

// spotOf finds the document of a place, or its file.
func (h *hangs) spotOf(k *hangMark) spot {
	path := string(k.place.Path)
	if path == "" || k.place.Line < 1 {
		return spot{}
	}
	doc := h.s.docs.View().ByName(path)
	if own := h.s.docs.LastKnown(k.run.Doc); doc == nil && own != nil && own.Name() == path {
		doc = own
	}
	switch {
	case doc != nil:
		return h.s.board.spotOf(doc, k.run, event.Frame{File: k.place.Path, Line: k.place.Line, Run: k.place.Run})
	case filepath.IsAbs(path):
		return spot{uri: uri.File(path), line: k.place.Line}
	}
	return spot{}
}

// opened ties the places in a file to its text, now that it is open.
func (h *hangs) opened(doc *docs.Snapshot) {
	var found []*hangMark
	h.layer.drop(func(k *hangMark) bool {
		here := !k.tied && string(k.place.Path) == doc.Name()
		if here {
			found = append(found, k)
		}
		return here
	})
	for _, k := range found {
		k.spot = h.spotOf(k)
		h.layer.add(k)
	}
}

func verb(one bool, singular, plural string) string {
	if one {
		return singular
	}
	return plural
}

// joinWords joins words with blanks and leaves out empty ones.
func joinWords(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
}
