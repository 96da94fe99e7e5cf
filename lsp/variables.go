package lsp

import (
	"context"
	"fmt"
	"slices"

	"go.lsp.dev/jsonrpc2"

	"dipls/cells"
	"dipls/dipexec"
	"dipls/internal/ranklist"
	"dipls/ranks/wire"
)

type variablesArgs struct {
	Rank *int `json:"rank,omitempty" doc:"only those of this rank; -1 is the local namespace; without it, of all processes"`
	whereArgs
}

// variablesReply answers what the namespaces hold.
type variablesReply struct {
	Variables []variable `json:"variables"`      // by name
	Busy      string     `json:"busy,omitempty"` // who has told nothing
	More      int        `json:"more,omitzero"`  // that were left out
}

// variable is what a name is bound to, with a value for all processes that agree on it.
type variable struct {
	Name   string          `json:"name"`
	Values []variableValue `json:"values"`
}

type variableValue struct {
	Local bool   `json:"local,omitzero"`
	Ranks string `json:"ranks,omitempty"` // a list such as 0,2-3
	wire.Object
}

func (s *server) variables(ctx context.Context, a *variablesArgs) (*variablesReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	target := cells.Target{Where: cells.Everywhere}
	if a.Rank != nil {
		switch {
		case *a.Rank < -1:
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "rank: there is no rank %d", *a.Rank)
		case *a.Rank == -1:
			target = cells.Target{Where: cells.Local}
		default:
			target = cells.Target{Where: cells.Remote, Ranks: ranklist.Of(*a.Rank)}
		}
	}
	reply := foldVariables(w.executor.Variables(ctx, target))
	return &reply, nil
}

// foldVariables puts the variables of processes together.
func foldVariables(answers []dipexec.Answer[wire.VariablesReply]) variablesReply {
	reply := variablesReply{Variables: []variable{}}
	var busy variant
	type bound struct {
		ranks   []int
		objects []wire.Object
	}
	byName := map[string]*bound{}
	var names []string
	for _, a := range answers {
		if a.Busy && a.Rank < 0 {
			busy.local = true
		} else if a.Busy {
			busy.ranks = append(busy.ranks, a.Rank)
		}
		if a.Reply == nil {
			continue
		}
		reply.More = max(reply.More, a.Reply.More)
		for _, o := range a.Reply.Variables {
			b := byName[o.Name]
			if b == nil {
				b = new(bound)
				byName[o.Name] = b
				names = append(names, o.Name)
			}
			b.ranks, b.objects = append(b.ranks, a.Rank), append(b.objects, o)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b := byName[name]
		v := variable{Name: name}
		for _, same := range foldObjects(b.ranks, b.objects, func(o wire.Object) string { return fmt.Sprint(o.Type, o.Shape, o.DType, o.Device, "\x00", o.Text) }) {
			same.object.Name = ""
			value := variableValue{Local: same.local, Object: same.object}
			if len(same.ranks) > 0 {
				value.Ranks = ranklist.Of(same.ranks...).String()
			}
			v.Values = append(v.Values, value)
		}
		reply.Variables = append(reply.Variables, v)
	}
	reply.Busy = busy.who()
	return reply
}
