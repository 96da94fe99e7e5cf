package lsp

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dipls/internal/ranklist"
	"dipls/session"
)

type variablesArgs struct {
	Rank   *ranklist.Who `json:"rank,omitempty" doc:"only those of this rank; -1 is the local namespace; without it, of all processes"`
	Of     string        `json:"of,omitempty" doc:"what this value consists of, such as model.fc or batch['x'][0]; properties and calls are not evaluated"`
	Digest bool          `json:"digest,omitempty" doc:"with of: only that value, with what tells arrays of one shape apart; they are read as a whole"`
	whereArgs
}

// variablesReply has what the namespaces hold.
type variablesReply struct {
	Variables []variable `json:"variables"`      // by name; with of in their own order, each named by the step that leads to it: .weight, [0], ['x']
	Busy      string     `json:"busy,omitempty"` // processes that were busy and so have told nothing
	More      int        `json:"more,omitzero"`  // how many were left out
}

// variable is a name, with one value for all processes that agree on it.
type variable struct {
	Name   string          `json:"name"`
	Values []variableValue `json:"values"`
}

type variableValue struct {
	Local bool          `json:"local,omitzero"`
	Ranks ranklist.List `json:"ranks,omitzero"` // a list such as 0,2-3
	session.Object
}

func (s *server) variables(ctx context.Context, a *variablesArgs) (*variablesReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	target := targetOf(a.Rank)
	ask := func() ([]session.Variables, error) { return w.Variables(ctx, target) }
	if a.Of != "" {
		ask = func() ([]session.Variables, error) {
			return w.Members(ctx, session.Members{Target: target, Of: a.Of, Digest: a.Digest})
		}
	}
	answers, err := ask()
	if err != nil {
		return nil, err
	}
	reply := foldVariables(answers, s.hostsOf(w))
	if a.Of == "" {
		slices.SortFunc(reply.Variables, func(a, b variable) int { return strings.Compare(a.Name, b.Name) })
	}
	return &reply, nil
}

// foldVariables merges the variables of processes. They are in the order in which the processes have named them.
func foldVariables(answers []session.Variables, hostOf func(rank int) string) variablesReply {
	reply := variablesReply{Variables: []variable{}}
	var busy []ranklist.Who
	type bound struct {
		who     []ranklist.Who
		objects []session.Object
	}
	byName := map[string]*bound{}
	var names []string
	for _, a := range answers {
		if a.Busy {
			busy = append(busy, a.Who)
		}
		reply.More = max(reply.More, a.More)
		for _, o := range a.Variables {
			b := byName[o.Name]
			if b == nil {
				b = new(bound)
				byName[o.Name] = b
				names = append(names, o.Name)
			}
			b.who, b.objects = append(b.who, a.Who), append(b.objects, o)
		}
	}
	alike := func(o session.Object) string {
		return fmt.Sprint(o.Type, o.Shape, o.DType, o.Device, "\x00", o.Text, "\x00", o.Digest)
	}
	for _, name := range names {
		b := byName[name]
		v := variable{Name: name}
		for _, same := range foldObjects(b.who, b.objects, alike) {
			same.object.Name = ""
			local, ranks := ranklist.Split(same.who)
			v.Values = append(v.Values, variableValue{Local: local, Ranks: ranks, Object: same.object})
		}
		reply.Variables = append(reply.Variables, v)
	}
	reply.Busy = ranklist.NameEach(busy) + ranklist.OnHost(busy, hostOf)
	return reply
}
