package lsp

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.lsp.dev/protocol"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/ranklist"
	"dipls/lsp/docs"
)

// offer is something that may be written where a directive, a magic or a header stands.
type offer struct {
	text  string
	doc   string // in a few words
	kind  protocol.CompletionItemKind
	typed string // what of it is there already, at the end of the line
}

var (
	// magicName is a line that ends in the name of a magic, bare or commented.
	magicName = regexp.MustCompile(`^[ \t]*(#[ \t]*!?[ \t]*)?(%{1,2})([\pL\pN_]*)$`)
	// markerLine is a header up to its end.
	markerLine = regexp.MustCompile(`^[ \t]*#[ \t]*%%+(?:[ \t]|\[)`)
	// fileLine is a line that begins like the one by which a file says where its cells run.
	fileLine = regexp.MustCompile(`^#[ \t]*(d|di|dip|dip:[ \t]*)((?:[a-z]+(?: [\w:,-]*)?)?)$`)
	// headerValue is a header that ends in the value of a key of ours.
	headerValue = regexp.MustCompile(`(?:^|[ \t])(target|see)=(["']?)([^"' \t]*)$`)
)

// magicDocs say what the magics do.
var magicDocs = map[string]string{
	"%%dip":     "where this cell runs, and whose output is shown",
	"%%rank":    "run this cell on some ranks only: 0,2-4, host:gpu2, each:0",
	"%%px":      "run this cell on the ranks, as with ipyparallel",
	"%makedip":  "make, restart, end or describe the pool of ranks",
	"%dipush":   "copy variables to the ranks",
	"%dipull":   "copy variables from a rank",
	"%autodip":  "run the cells that do not say where on the ranks, or not",
	"%dipper":   "an object by which code asks for the ranks",
	"%px":       "run a line on the ranks",
	"%autopx":   "run the cells below on the ranks, or no more",
	"%pxconfig": "how %px, %%px and %autopx run what does not say it itself",
	"%pxresult": "wait for what runs on the ranks; what it returned or how it failed",
}

// flagDocs say what the magics' flags do, by their first names. "%name -f" is for one magic, "-f" for all others.
var flagDocs = map[string]string{
	"-h": "what the magic does",
	"-S": "whose output is shown: all, or ranks such as 0,2-4 or host:gpu2",
	"-q": "show errors at once, and what is printed at the end",
	"-r": "only these ranks: 0,2-4, host:gpu2, each:0",
	"-t": "only these ranks",

	"--anyway":     "also on ranks that are out of step after an earlier run",
	"--targets":    "only these ranks",
	"--block":      "wait for the end",
	"--noblock":    "do not wait for the end; %pxresult does",
	"--verbose":    "tell on which ranks the code runs",
	"--no-verbose": "do not tell on which ranks the code runs",
	"--help":       "what the magic does",

	"%%rank -a":                 "a command of the ranks' app, before the cell",
	"%%dip -a":                  "a command of the ranks' app, before the cell",
	"%autodip -a":               "flags in quotes, or a command of the ranks' app",
	"%autodip --args":           "flags of %%dip, in quotes",
	"%autodip --appcmd":         "a command of the ranks' app, before each cell",
	"%makedip -g":               "GPUs: all, or a list such as 0,2-3",
	"%makedip -n":               "number of ranks, of all hosts",
	"%makedip -H":               "hosts of the ranks: gpu1,gpu2:4 (ssh), slurm, 'slurm -N 2'",
	"%makedip --ranks-per-host": "number of ranks on each host",
	"%makedip --shrink":         "with -r: without the hosts that are lost",
	"%makedip --sync":           "bring the project's Python files to the hosts before each run that changed them",
	"%makedip -a":               "what frames the pool's life: torch, none, fastai, accelerate or a module",
	"%makedip -r":               "end the pool and make it anew",
	"%makedip -k":               "end the pool",
	"%makedip -i":               "describe the pool",
	"%makedip -v":               "have the app tell what it does",
	"%makedip -t":               "seconds that the start may take",
	"%makedip --check":          "have torch compare the collectives of all ranks",
	"%makedip --group-timeout":  "seconds that a collective waits for the other ranks",
	"%makedip --seed":           "where random generators begin: rank r with the seed + r",
	"%dipull -r":                "from this rank; all makes a list",
	"%%px --local":              "run it in the local namespace, too",
	"%%px -a":                   "do not wait for the end; %pxresult does",
	"%%px -b":                   "wait for the end",
	"%pxconfig -t":              "the ranks of %px",
	"%pxconfig -a":              "do not wait for the end",
	"%pxconfig -b":              "wait for the end",
	"-o":                        "a variable for a handle on the run",
	"--out":                     "a variable for a handle on the run",
	"%%px -o":                   "refused: a cell on the ranks binds nothing in the local namespace",
	"%%px -r":                   "without effect",
	"%pxconfig -r":              "without effect",
	"%pxresult -r":              "without effect",
	"-e":                        "without effect",
	"--group-outputs":           "without effect",
	"--stream":                  "without effect",
	"--no-stream":               "without effect",
	"--progress-after":          "without effect",
}

// flagDoc is what a flag of a magic does; magic has its percent signs.
func flagDoc(magic string, f cells.Flag) string {
	if doc, ok := flagDocs[magic+" "+f.Names[0]]; ok {
		return doc
	}
	return flagDocs[f.Names[0]]
}

// ofMagics offers what may stand at the end of a header, a directive or a line magic. sure is false where a namespace may know more: in IPython's
// magics, and on any other line.
func (c *completion) ofMagics(ctx context.Context, d *docs.Snapshot, cell cells.Cell, line string, invoked bool) (offered []offer, sure bool) {
	if m := magicName.FindStringSubmatch(line); m != nil {
		if m[1] != "" && m[2] == "%%" && m[3] == "" && !invoked {
			return nil, true // most likely a plain marker: Enter must not make something else of it
		}
		return magicsFor(m[2], m[3]), m[1] != ""
	}
	if m := fileLine.FindStringSubmatch(line); m != nil && !cell.HasHeader() {
		return c.places(d, m[1], m[2]), true
	}
	if m, ok := cells.ReadMagic(line); ok && strings.ContainsAny(line[m.Range.Start:], " \t") {
		offered = c.arguments(ctx, d, m, line)
		return offered, m.Name != "px" || m.Cell || len(offered) > 0
	}
	if markerLine.MatchString(line) {
		return c.headerWords(d, line), true
	}
	return nil, false
}

// magicsFor returns the magics with this many percent signs.
func magicsFor(percent, typed string) []offer {
	var found []offer
	for _, name := range cells.MagicNames(percent == "%%") {
		if strings.HasPrefix(name, typed) {
			found = append(found, offer{percent + name, magicDocs[percent+name], protocol.CompletionItemKindFunction, percent + typed})
		}
	}
	for _, name := range cells.IPythonMagicNames(percent == "%%") {
		if strings.HasPrefix(name, typed) {
			found = append(found, offer{percent + name, "IPython's", protocol.CompletionItemKindFunction, percent + typed})
		}
	}
	return found
}

// places offers where a file may say that its cells run. before is what stands before the colon and its blank, or some of it.
func (c *completion) places(d *docs.Snapshot, before, typed string) []offer {
	var offered []offer
	add := func(text, doc string) {
		if strings.Contains(before, ":") {
			offered = append(offered, offer{text, doc, protocol.CompletionItemKindEnumMember, typed})
		} else {
			offered = append(offered, offer{"dip: " + text, doc, protocol.CompletionItemKindEnumMember, before + typed})
		}
	}
	for _, t := range targetOffers {
		add(t.text, "the cells of this file run "+t.doc)
	}
	for _, list := range c.rankLists(d)[1:] {
		add("ranks "+list, "the cells of this file run there")
	}
	return startingWith(offered, offered[0].typed)
}

// arguments returns what may stand at the end of a magic's arguments.
func (c *completion) arguments(ctx context.Context, d *docs.Snapshot, m cells.Magic, line string) []offer {
	before, typed := line, ""
	if i := strings.LastIndexAny(line, " \t"); i < len(line)-1 {
		before, typed = line[:i+1], line[i+1:]
	}
	words := strings.Fields(before[min(m.Range.Start, len(before)):])[1:]
	flags := cells.FlagsOf(m.Name, m.Cell)
	magic := strings.Repeat("%", 1+count(m.Cell)) + m.Name
	var offered []offer
	add := func(text, doc string, kind protocol.CompletionItemKind) {
		offered = append(offered, offer{text, doc, kind, typed})
	}
	if magic == "%px" && !amongFlags(flags, words) {
		return nil
	}
	if len(words) > 0 {
		if f, ok := flagNamed(flags, words[len(words)-1]); ok && f.Takes != "" && f.Takes != "truth" {
			for _, v := range c.valuesOf(magic, f, d) {
				add(v, "", protocol.CompletionItemKindValue)
			}
			return startingWith(offered, typed)
		}
	}
	switch magic {
	case "%px":
		if typed == "" {
			return nil // code, most likely
		}
	case "%%rank":
		if len(words) == 0 && !strings.HasPrefix(typed, "-") {
			for _, v := range c.rankLists(d) {
				add(v, "", protocol.CompletionItemKindValue)
			}
			return startingWith(offered, typed)
		}
	case "%%dip", "%autodip":
		if !slices.ContainsFunc(words, func(w string) bool { _, err := cells.ParseTarget(w); return err == nil }) {
			for _, t := range targetOffers {
				add(t.text, t.doc, protocol.CompletionItemKindEnumMember)
			}
		}
	}
	if magic == "%autodip" && !slices.Contains(words, "on") && !slices.Contains(words, "off") {
		add("on", "", protocol.CompletionItemKindEnumMember)
		add("off", "", protocol.CompletionItemKindEnumMember)
	}
	if (magic == "%dipush" || magic == "%dipull") && !strings.HasPrefix(typed, "-") {
		for _, name := range c.variableNames(ctx, d, magic == "%dipull") {
			if !slices.Contains(words, name) {
				add(name, "", protocol.CompletionItemKindVariable)
			}
		}
	}
	for _, f := range flags {
		if !slices.ContainsFunc(f.Names, func(name string) bool { return slices.Contains(words, name) }) {
			name := f.Names[len(f.Names)-1] // the long one explains itself
			if strings.HasPrefix(typed, "-") && !strings.HasPrefix(name, typed) {
				name = f.Names[0]
			}
			add(name, flagDoc(magic, f), protocol.CompletionItemKindProperty)
		}
	}
	return startingWith(offered, typed)
}

// amongFlags reports whether words are only flags and their values.
func amongFlags(flags []cells.Flag, words []string) bool {
	for i := 0; i < len(words); i++ {
		name, _, attached := strings.Cut(words[i], "=")
		f, ok := flagNamed(flags, name)
		if !ok {
			return false
		}
		if f.Takes != "" && !attached {
			i++
		}
	}
	return true
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

var targetOffers = []struct{ text, doc string }{
	{"remote", "on all ranks"}, {"local", "in the local namespace"}, {"everywhere", "in the local namespace, then on the ranks"},
}

func flagNamed(flags []cells.Flag, name string) (cells.Flag, bool) {
	i := slices.IndexFunc(flags, func(f cells.Flag) bool { return slices.Contains(f.Names, name) })
	if i < 0 {
		return cells.Flag{}, false
	}
	return flags[i], true
}

// valuesOf returns values that a flag may have.
func (c *completion) valuesOf(magic string, f cells.Flag, d *docs.Snapshot) []string {
	switch {
	case magic == "%makedip" && slices.Contains(f.Names, "--app"):
		return []string{"torch", "none", "fastai", "accelerate"}
	case magic == "%makedip" && slices.Contains(f.Names, "--gpus"):
		return []string{"all"}
	case f.Takes == "ranks" || slices.Contains(f.Names, "--targets") || slices.Contains(f.Names, "--ranks") && magic != "%makedip":
		return c.rankLists(d)
	}
	return nil
}

// rankLists returns some lists of ranks: all, and if the pool is known the first ones and all of them by number, and where it is on several hosts those
// of each host and the first of each.
func (c *completion) rankLists(d *docs.Snapshot) []string {
	if w := c.s.joined(c.s.folderOf(d.Path), ""); w != nil {
		return rankListsOf(c.s.board.pool(w))
	}
	return rankListsOf(event.PoolState{})
}

func rankListsOf(pool event.PoolState) []string {
	lists := []string{"all"}
	for rank := range min(pool.Size, 16) {
		lists = append(lists, fmt.Sprint(rank))
	}
	if pool.Size > 1 {
		lists = append(lists, fmt.Sprintf("0-%d", pool.Size-1))
	}
	for _, h := range pool.Hosts {
		lists = append(lists, "host:"+h.Host)
	}
	if len(pool.Hosts) > 0 {
		lists = append(lists, "each:0")
	}
	return lists
}

// variableNames returns the variables of the local namespace or of rank 0, if that is idle.
func (c *completion) variableNames(ctx context.Context, d *docs.Snapshot, onRank bool) []string {
	w := c.s.existing(ctx, d)
	if w == nil {
		return nil
	}
	target := cells.Target{Where: cells.Local}
	if onRank {
		target = cells.Target{Where: cells.Remote, Ranks: ranklist.Of(0)}
	}
	var names []string
	answers, _ := w.Variables(ctx, target) // without any nobody knows now
	for _, a := range answers {
		for _, o := range a.Variables {
			if o.Kind != "module" {
				names = append(names, o.Name)
			}
		}
	}
	return names
}

// headerWords returns what may stand at the end of a header: keys of ours, and their values.
func (c *completion) headerWords(d *docs.Snapshot, line string) []offer {
	var offered []offer
	if m := headerValue.FindStringSubmatch(line); m != nil {
		quote := m[2]
		if quote == "" {
			quote = `"`
		}
		var values []string
		if m[1] == "target" {
			values = []string{"remote", "local", "everywhere"}
			for _, list := range c.rankLists(d)[1:] {
				values = append(values, "ranks:"+list)
			}
			if len(values) == 3 {
				values = append(values, "ranks:0")
			}
		} else {
			values = c.rankLists(d)
		}
		for _, v := range values {
			offered = append(offered, offer{quote + v + quote, "", protocol.CompletionItemKindValue, m[2] + m[3]})
		}
		return startingWith(offered, m[2]+m[3])
	}
	typed := line[strings.LastIndexAny(line, " \t")+1:]
	for _, key := range []struct{ text, doc string }{
		{"target=", "where this cell runs"}, {"see=", "whose output is shown"},
		{"[markdown]", "this cell is text"}, {"[raw]", "this cell is nothing to run"},
	} {
		if !strings.Contains(line[:len(line)-len(typed)], key.text) {
			offered = append(offered, offer{key.text, key.doc, protocol.CompletionItemKindProperty, typed})
		}
	}
	return startingWith(offered, typed)
}

// startingWith returns the offers that begin with what has been typed and are longer.
func startingWith(offered []offer, typed string) []offer {
	return slices.DeleteFunc(offered, func(o offer) bool {
		bare := strings.TrimLeft(o.text, `"'`)
		return !strings.HasPrefix(bare, strings.TrimLeft(typed, `"'`)) || o.text == typed
	})
}

// listOf makes the list for a client, at an offset.
func listOf(d *docs.Snapshot, cell cells.Cell, offset int, offered []offer) *protocol.CompletionList {
	list := &protocol.CompletionList{Items: make([]protocol.CompletionItem, 0, len(offered))}
	after := cell.Text()[offset-cell.Range().Start:]
	for i, o := range offered {
		end := offset
		if quote := o.text[len(o.text)-1:]; strings.ContainsAny(quote, `"'`) && strings.HasPrefix(after, quote) {
			end++ // the editor has closed the quotes already
		}
		item := protocol.CompletionItem{
			Label: o.text, Kind: o.kind, SortText: protocol.NewOptional(fmt.Sprintf("%04d", i)),
			TextEdit: &protocol.TextEdit{Range: d.Range(cells.Range{Start: offset - len(o.typed), End: end}), NewText: o.text},
		}
		if o.doc != "" {
			item.Detail = protocol.NewOptional(o.doc)
		}
		if strings.HasPrefix(o.text, `"`) && !strings.HasPrefix(o.typed, `"`) {
			item.FilterText = protocol.NewOptional(strings.Trim(o.text, `"`))
		}
		list.Items = append(list.Items, item)
	}
	return list
}
