package session

import (
	"cmp"
	"context"
	"slices"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/ranks/wire"
)

// Complete implements [API].
func (s *Session) Complete(ctx context.Context, l Lookup) (Completion, error) {
	reply, err := s.executor.Complete(ctx, l.Target, wire.CompleteRequest{Code: l.Code, CursorPos: l.Cursor})
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return Completion{}, waited(ctx, err, CodeBusy)
	}
	c := Completion{Start: reply.CursorStart, End: reply.CursorEnd, Matches: make([]Match, len(reply.Matches)), Incomplete: reply.Metadata.Incomplete}
	for i, text := range reply.Matches {
		c.Matches[i].Text = text
		if types := reply.Metadata.Types; i < len(types) {
			c.Matches[i].Kind = types[i].Type
		}
	}
	return c, nil
}

// Inspect implements [API].
func (s *Session) Inspect(ctx context.Context, l Lookup) ([]Inspection, error) {
	answers := s.executor.Inspect(ctx, l.Target, wire.InspectRequest{Code: l.Code, CursorPos: l.Cursor})
	found := make([]Inspection, len(answers))
	for i, a := range answers {
		found[i] = Inspection{Who: a.Who, Silent: a.Reply == nil}
		if a.Reply != nil {
			found[i].Found, found[i].Object = a.Reply.Found, a.Reply.Data.Object
		}
	}
	return found, ctx.Err()
}

// Variables implements [API].
func (s *Session) Variables(ctx context.Context, target cells.Target) ([]Variables, error) {
	return variablesOf(s.executor.Variables(ctx, target)), ctx.Err()
}

// Members implements [API].
func (s *Session) Members(ctx context.Context, m Members) ([]Variables, error) {
	return variablesOf(s.executor.Members(ctx, m.Target, m.Of, m.Digest)), ctx.Err()
}

// variablesOf are the answers of processes, for fronts.
func variablesOf(answers []dipexec.Answer[wire.VariablesReply]) []Variables {
	found := make([]Variables, len(answers))
	for i, a := range answers {
		found[i] = Variables{Who: a.Who, Busy: a.Busy}
		if a.Reply != nil {
			found[i].Variables, found[i].More = a.Reply.Variables, a.Reply.More
		}
	}
	return found
}

// Table implements [API].
func (s *Session) Table(ctx context.Context, q TableQuery) ([]Table, error) {
	answers := s.executor.Table(ctx, q.Target, q.TablePart)
	found := make([]Table, len(answers))
	for i, a := range answers {
		found[i] = Table{Who: a.Who, Busy: a.Busy}
		if a.Reply != nil {
			found[i].Page = &a.Reply.TablePage
		}
	}
	return found, ctx.Err()
}

// Bound implements [API].
func (s *Session) Bound(ctx context.Context, names []string) ([]Binding, error) {
	var found []Binding
	for who, bound := range s.executor.Bound(ctx, names) {
		found = append(found, Binding{who, bound})
	}
	slices.SortFunc(found, func(a, b Binding) int { return a.Who.Compare(b.Who) })
	return found, nil
}
