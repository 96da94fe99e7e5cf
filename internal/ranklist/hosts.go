package ranklist

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An onHosts is ranks that are meant by their hosts: "host:gpu2", all of that host, or "each:0", the first one of each.
type onHosts struct {
	text string
	host string // "": each
	nth  int    // of each; negative: counted from the last
}

// GoesByHosts reports whether an item of a list names ranks by their hosts, right or wrong.
func GoesByHosts(item string) bool {
	_, is, _ := parseOnHosts(item)
	return is
}

// parseOnHosts parses an item that goes by hosts; is tells whether it means to be one.
func parseOnHosts(item string) (on onHosts, is bool, err error) {
	what, which, _ := strings.Cut(item, ":")
	fail := func(reason, hint string) (onHosts, bool, error) {
		return onHosts{}, true, &Error{Item: item, Reason: reason, Hint: hint}
	}
	switch strings.ToLower(what) {
	case "host":
		if which == "" {
			return fail("names no host", "write host:NAME")
		}
		return onHosts{text: "host:" + which, host: which}, true, nil
	case "each":
		n, err := strconv.Atoi(which)
		if err != nil || !allDigits(strings.TrimPrefix(which, "-")) || n > Max || n < -Max {
			return fail("names no rank", "each takes one number: each:0 is the first rank of each host")
		}
		return onHosts{text: "each:" + strconv.Itoa(n), nth: n}, true, nil
	}
	return onHosts{}, false, nil
}

// of are the ranks that are meant of a pool. on is the name of the host of each rank.
func (h onHosts) of(on []string) (ranks []int, err error) {
	var names []string
	byHost := map[string][]int{}
	for rank, name := range on {
		if byHost[name] == nil {
			names = append(names, name)
		}
		byHost[name] = append(byHost[name], rank)
	}
	if h.host != "" {
		if ranks = byHost[h.host]; ranks == nil {
			hint := "hosts: " + enumerate(names)
			if len(names) == 1 {
				hint = "the pool has one host only, " + cmp.Or(names[0], "this machine")
			}
			return nil, &Error{Reason: "no host " + h.host, Hint: hint}
		}
		return ranks, nil
	}
	for _, name := range names {
		n := h.nth
		if n < 0 {
			n += len(byHost[name])
		}
		if n < 0 || n >= len(byHost[name]) {
			return nil, &Error{Item: h.text, Reason: fmt.Sprintf("is not there on %s, which has %d", cmp.Or(name, "this machine"), len(byHost[name]))}
		}
		ranks = append(ranks, byHost[name][n])
	}
	return ranks, nil
}

// enumerate names hosts, the first of them if there are many.
func enumerate(names []string) string {
	if len(names) > maxPieces {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxPieces], ", "), len(names)-maxPieces)
	}
	return strings.Join(names, ", ")
}

// NameOn is [Name], and behind ranks the host that all of them are on, where the pool has several: "rank 11 (gpu2)". of is as for [Together].
func NameOn[P int | Who](who []P, of func(rank int) string) string {
	return Name(who) + OnHost(who, of)
}

// OnHost is what [NameOn] has behind the name: " (gpu2)"; "" where there is nothing to tell.
func OnHost[P int | Who](who []P, of func(rank int) string) string {
	local, ranks := split(who)
	if local {
		return ""
	}
	host := Together(ranks.Of(Max), of)
	if host == "" {
		return ""
	}
	return " (" + host + ")"
}

// ListOn is ranks as they are written, with the host that all of them are on, where the pool has several: "gpu2: 8-15". of is as for [Together].
func ListOn(ranks []int, of func(rank int) string) string {
	list := Of(ranks...).String()
	if host := Together(ranks, of); host != "" {
		return host + ": " + list
	}
	return list
}

// Together is the host that all of some ranks are on, where the pool has several; "" otherwise. of is the host of a rank, "" for one of a pool on one host.
func Together(ranks []int, of func(rank int) string) string {
	if len(ranks) == 0 {
		return ""
	}
	host := of(ranks[0])
	if slices.ContainsFunc(ranks[1:], func(r int) bool { return of(r) != host }) {
		return ""
	}
	return host
}
