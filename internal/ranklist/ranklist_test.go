package ranklist

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// examples are what the Go code, the agent and the extension agree on.
type examples struct {
	Lists []struct {
		Text, List, Name string
		Ranks            []int // nil: all
	}
	FromTheEnd []struct {
		Text, List, Name string
		Of4              *string // what it is of 4 ranks; nil: none of them
	} `json:"from_the_end"`
	ByHost []struct {
		Text, List, Name string
		Of               *string // what it is on gpu1, gpu1, gpu2, gpu2, gpu3; nil: none of them
	} `json:"by_host"`
	NoLists   []string `json:"no_lists"`
	NoRanks   []string `json:"no_ranks"`
	Processes []struct {
		Local      bool
		Ranks      []int
		Name, Each string
	}
	OnHosts []struct { // on gpu1, gpu1, gpu2, gpu2, gpu3
		Local      bool
		Ranks      []int
		Name, List string
	} `json:"on_hosts"`
}

// hostsOfExamples are the hosts of the examples' ranks.
var hostsOfExamples = []string{"gpu1", "gpu1", "gpu2", "gpu2", "gpu3"}

func readExamples(t *testing.T) (e examples) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/ranklist.json")
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExamplesOfLists(t *testing.T) {
	e := readExamples(t)
	for _, c := range e.Lists {
		l, err := Parse(c.Text)
		if err != nil || l.String() != c.List || l.Name() != c.Name || l.All() != (c.Ranks == nil) || c.Ranks != nil && !slices.Equal(l.Of(Max), c.Ranks) {
			t.Errorf("%q: got %q, %q, %v, want %+v", c.Text, l, l.Name(), err, c)
		}
	}
	for _, c := range e.FromTheEnd {
		l, err := ParseRanks(c.Text)
		if err != nil || l.String() != c.List || l.Name() != c.Name {
			t.Errorf("%q: got %q, %q, %v, want %+v", c.Text, l, l.Name(), err, c)
		}
		if in, err := l.In(make([]string, 4)); (err == nil) != (c.Of4 != nil) || err == nil && in.String() != *c.Of4 {
			t.Errorf("%q of 4 ranks: got %q, %v", c.Text, in, err)
		}
	}
	for _, c := range e.ByHost {
		l, err := ParseRanks(c.Text)
		if err != nil || l.String() != c.List || l.Name() != c.Name || !l.NeedsPool() {
			t.Errorf("%q: got %q, %q, %v, want %+v", c.Text, l, l.Name(), err, c)
		}
		if again, err := ParseRanks(l.String()); err != nil || !again.Equal(l) {
			t.Errorf("%q: its String parses to %q, %v", c.Text, again, err)
		}
		in, err := l.In(hostsOfExamples)
		if (err == nil) != (c.Of != nil) || err == nil && in.String() != *c.Of {
			t.Errorf("%q on hosts: got %q, %v", c.Text, in, err)
		}
	}
	for _, text := range e.NoLists {
		if l, err := Parse(text); err == nil {
			t.Errorf("%q: got %q", text, l)
		}
	}
	for _, text := range e.NoRanks {
		if l, err := ParseRanks(text); err == nil {
			t.Errorf("%q: got %q", text, l)
		}
	}
}

func TestExamplesOfNamesOnHosts(t *testing.T) {
	of := func(rank int) string { return hostsOfExamples[rank] }
	for _, c := range readExamples(t).OnHosts {
		var who []Who
		if c.Local {
			who = append(who, Local)
		}
		for _, n := range c.Ranks {
			who = append(who, Rank(n))
		}
		if got := NameOn(who, of); got != c.Name {
			t.Errorf("%v: got %q, want %q", who, got, c.Name)
		}
		if got := ListOn(c.Ranks, of); !c.Local && got != c.List {
			t.Errorf("%v: got %q, want %q", who, got, c.List)
		}
	}
}

func TestExamplesOfNames(t *testing.T) {
	for _, c := range readExamples(t).Processes {
		var who []Who
		for _, n := range c.Ranks {
			who = append(who, Rank(n))
		}
		if !c.Local {
			if got, each := Name(c.Ranks), NameEach(c.Ranks); got != c.Name || each != c.Each {
				t.Errorf("ranks %v: got %q and %q", c.Ranks, got, each)
			}
		} else {
			who = append(who, Local)
		}
		if got, each := Name(who), NameEach(who); got != c.Name || each != c.Each {
			t.Errorf("%v, local %t: got %q and %q", c.Ranks, c.Local, got, each)
		}
	}
	if got := InSentence([]Who{Rank(1), Local, Rank(0)}); got != "the local namespace and ranks 0-1" {
		t.Errorf("got %q", got)
	}
}

func TestListJSON(t *testing.T) {
	for _, text := range []string{"", "all", "3", "0,2-4", "0,-1", "::2"} {
		l := struct{ See List }{}
		in := `{"See":"` + text + `"}`
		if err := json.Unmarshal([]byte(in), &l); err != nil || l.See.String() != text || l.See.IsZero() != (text == "") {
			t.Errorf("%s: got %q, %v", in, l.See, err)
		}
		if out, err := json.Marshal(l); err != nil || string(out) != in {
			t.Errorf("%s: written as %s, %v", in, out, err)
		}
	}
	for _, text := range []string{`"0,a"`, "3", "[1]"} {
		if err := json.Unmarshal([]byte(text), new(List)); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}

func TestWho(t *testing.T) {
	var zero Who
	if n, ok := zero.Rank(); zero != Local || !zero.IsLocal() || ok || n != 0 || zero.String() != "local" {
		t.Errorf("the local namespace is %v, rank %d, %t", zero, n, ok)
	}
	if n, ok := Rank(3).Rank(); Rank(3).IsLocal() || !ok || n != 3 || Rank(3).String() != "rank 3" {
		t.Errorf("rank 3 is %v, rank %d, %t", Rank(3), n, ok)
	}
	who := []Who{Rank(1), Local, Rank(0)}
	if slices.SortFunc(who, Who.Compare); !slices.Equal(who, []Who{Local, Rank(0), Rank(1)}) {
		t.Errorf("sorted: %v", who)
	}
	for text, want := range map[string]Who{"-1": Local, "0": Rank(0), "3": Rank(3)} {
		var got Who
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
		if out, err := json.Marshal(want); err != nil || string(out) != text {
			t.Errorf("%v: written as %s, %v", want, out, err)
		}
	}
	kept := Rank(3)
	if err := json.Unmarshal([]byte("null"), &kept); err != nil || kept != Rank(3) {
		t.Errorf("null: got %v, %v", kept, err)
	}
	for _, text := range []string{"-2", "1048576", "1.5", `"0"`} {
		if err := json.Unmarshal([]byte(text), new(Who)); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}
