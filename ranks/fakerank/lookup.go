package fakerank

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"dipls/ranks/wire"
)

// place is where a rank is in its code; zero: it has nothing to do.
type place struct {
	frame  wire.Frame
	source string
}

// bind binds a variable. r.mu is held.
func (r *rank) bind(v wire.Object) {
	r.unbind(v.Name)
	r.bound = append(r.bound, v)
	slices.SortFunc(r.bound, func(a, b wire.Object) int { return cmp.Compare(a.Name, b.Name) })
}

// unbind removes a variable, if it is bound. r.mu is held.
func (r *rank) unbind(name string) {
	r.bound = slices.DeleteFunc(r.bound, func(v wire.Object) bool { return v.Name == name })
}

// threads are the stacks. r.mu is held.
func (r *rank) threads() []wire.Thread {
	main := wire.Thread{ID: 1, Name: "MainThread", Main: true, Frames: []wire.StackFrame{}}
	if r.at != (place{}) {
		main.Frames = append(main.Frames, wire.StackFrame{Frame: r.at.frame, Source: r.at.source})
	}
	return []wire.Thread{main}
}

// beside answers what a process answers while it is busy, too; nil: the message is no such request.
func (r *rank) beside(m *wire.Message) (replyType string, reply any) {
	ok := wire.Status{Status: "ok"}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m.Header.MsgType {
	case wire.TypeStackRequest:
		return wire.TypeStackReply, wire.StackReply{Status: ok, Threads: r.threads()}
	case wire.TypeNamesRequest:
		var req wire.NamesRequest
		json.Unmarshal(m.Content, &req)
		names := slices.DeleteFunc(req.Names, func(name string) bool {
			return !slices.ContainsFunc(r.bound, func(v wire.Object) bool { return v.Name == name })
		})
		return wire.TypeNamesReply, wire.NamesReply{Status: ok, Names: names}
	case wire.TypeGroupsRequest:
		return wire.TypeGroupsReply, wire.GroupsReply{Status: ok, Threads: r.threads(), Running: r.running}
	case wire.TypeConnectionsRequest:
		return wire.TypeConnectionsReply, wire.ConnectionsReply{Status: ok}
	case wire.TypeBreakRequest:
		return wire.TypeBreakReply, wire.BreakReply{Status: ok}
	}
	return "", nil
}

// variables are those of the namespace, or what one of them consists of: its words, if there are several. r.mu is held.
func (r *rank) variables(req wire.VariablesRequest) []wire.Object {
	found := slices.Clone(r.bound)
	if req.Of == "" {
		return found
	}
	found = slices.DeleteFunc(found, func(v wire.Object) bool { return v.Name != req.Of })
	if req.Digest || len(found) == 0 {
		for i := range found {
			found[i].Digest = "digest of " + found[i].Text
		}
		return found
	}
	words := []wire.Object{}
	for i, word := range strings.Fields(found[0].Text) {
		if word == found[0].Text {
			break
		}
		words = append(words, wire.Object{Name: fmt.Sprintf("[%d]", i), Type: "str", Kind: "instance", Text: word})
	}
	return words
}

// lookup answers what only an idle process answers; nil: the message is no such request.
func (r *rank) lookup(m *wire.Message) (replyType string, reply any) {
	ok := wire.Status{Status: "ok"}
	r.mu.Lock()
	defer r.mu.Unlock()
	var at struct {
		Code   string `json:"code"`
		Cursor int    `json:"cursor_pos"`
	}
	json.Unmarshal(m.Content, &at)
	name, start := nameAt(at.Code, at.Cursor)
	switch m.Header.MsgType {
	case wire.TypeCompleteRequest:
		c := wire.CompleteReply{Status: ok, CursorStart: start, CursorEnd: at.Cursor, Matches: []string{}}
		for _, v := range r.bound {
			if strings.HasPrefix(v.Name, string([]rune(name)[:at.Cursor-start])) {
				c.Matches = append(c.Matches, v.Name)
				c.Metadata.Types = append(c.Metadata.Types, wire.MatchType{Text: v.Name, Type: v.Kind})
			}
		}
		replyType, reply = wire.TypeCompleteReply, c
	case wire.TypeInspectRequest:
		c := wire.InspectReply{Status: ok}
		if i := slices.IndexFunc(r.bound, func(v wire.Object) bool { return v.Name == name }); i >= 0 {
			c.Found, c.Data = true, wire.InspectData{Text: r.bound[i].Text, Object: &r.bound[i]}
		}
		replyType, reply = wire.TypeInspectReply, c
	case wire.TypeVariablesRequest:
		var req wire.VariablesRequest
		json.Unmarshal(m.Content, &req)
		replyType, reply = wire.TypeVariablesReply, wire.VariablesReply{Status: ok, Variables: r.variables(req)}
	case wire.TypeTableRequest:
		var asked wire.TableRequest
		json.Unmarshal(m.Content, &asked)
		page := wire.TablePage{Reason: "it is not defined"}
		if i := slices.IndexFunc(r.bound, func(v wire.Object) bool { return v.Name == asked.Name }); i >= 0 {
			v := r.bound[i]
			page = wire.TablePage{
				Found: true, Type: v.Type, Shape: []int{1, 1}, Total: 1, Columns: 1,
				Names: []wire.TableColumn{{Name: "0", DType: v.Type}}, Labels: []string{"0"}, Cells: [][]string{{v.Text}},
			}
		}
		replyType, reply = wire.TypeTableReply, wire.TableReply{Status: ok, TablePage: page}
	default:
		return "", nil
	}
	if r.running != "" || len(r.queued) > 0 {
		reply = wire.Status{Status: "aborted"}
	}
	return replyType, reply
}

// nameAt is the name at a place in code, and where it starts. The name goes on after the place.
func nameAt(code string, cursor int) (name string, start int) {
	text := []rune(code)
	cursor = max(0, min(cursor, len(text)))
	start = cursor
	end := cursor
	part := func(c rune) bool { return c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c) }
	for start > 0 && part(text[start-1]) {
		start--
	}
	for end < len(text) && part(text[end]) {
		end++
	}
	return string(text[start:end]), start
}
