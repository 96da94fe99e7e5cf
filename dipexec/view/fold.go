package view

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
)

// FoldOptions configure a Folder.
type FoldOptions struct {
	Window time.Duration // how long a line waits for the same line of the other ranks; 0 is 100 ms
	Whole  bool          // show tracebacks with all frames, also those of libraries
}

// ItemKind says what an Item is.
type ItemKind uint8

// The kinds of items.
const (
	ItemLine    ItemKind = iota // a line of output
	ItemResult                  // Out[RANK:COUNT]: …
	ItemDisplay                 // rich output, as text and as the files that hold it
	ItemFailure                 // a traceback, or one line that says that more ranks failed in the same way
	ItemNotice                  // a sentence of ours: a log event, a death, why a run ended as it did
)

// Item is something to show.
type Item struct {
	Kind   ItemKind
	Run    string
	Cell   *int        // nil: no cell's
	Local  bool        // of the local namespace
	Ranks  []int       // of these ranks, ascending; nil with Local, and for a notice of no rank
	Stream string      // "stdout" or "stderr", of a line
	Prefix string      // what its lines begin with: "[0-3] ", or "" if there is only one process
	Text   string      // one or more lines, without prefixes and the last line feed
	Event  event.Event // its event, of the lowest rank; in a quiet run without the data of rich output; nil for a line
}

// String gives the text with the prefix before every line.
func (it Item) String() string {
	if it.Prefix == "" {
		return it.Text
	}
	return it.Prefix + strings.ReplaceAll(it.Text, "\n", "\n"+it.Prefix)
}

// LiveLine is a line that is not finished: a progress bar, a prompt.
type LiveLine struct {
	Run    string
	Prefix string
	Text   string
}

// Limits of what a Folder holds.
const (
	foldBytes   = 64 << 20 // of waiting lines in a run, about
	maxWaiting  = 1 << 20  // of a rank's waiting lines, at most
	minWaiting  = 64 << 10 // of a rank's waiting lines, at least
	entryBytes  = 64       // what a waiting line takes beside its text
	lookahead   = 32       // how far down a rank's queue a line is worth waiting for
	scan        = 64       // how many ranks are asked for it
	keptRuns    = 32       // finished runs whose late output is still shown as their own
	maxDisplays = 64       // updated displays that a process may have at a time
	heldBytes   = 4 << 20  // of what a quiet run shows at its end, about
)

// Folder turns the events of runs into what a person reads: the same line from several ranks once, as "[0-3] epoch 1", lines that
// differ one by one, only the ranks that the run wants seen, a failure once for all the ranks that had it. The order of
// one rank's output is always kept.
//
// A rank's lines wait in a queue until the other ranks that still run have printed the same, or until the window is over.
// If only one rank is seen, and for the local namespace, nothing waits. If ranks are a few lines apart, lines are put out
// in the order that lets most of them fold.
//
// A Folder has no clock: it is told the time, which must not go backwards. It is not safe for concurrent use.
type Folder struct {
	window    time.Duration
	whole     bool
	runs      []*foldRun             // in the order in which they came
	unsettled map[*foldProc]struct{} // processes whose screens have lines that become final with time
	pool      string                 // its state
	ends      map[string]bool        // reasons that were shown since a run or pool began
	deaths    []*death               // that may not be all: a host takes all its ranks along
	out       []Item
}

// NewFolder returns a folder.
func NewFolder(o FoldOptions) *Folder {
	return &Folder{window: cmp.Or(o.Window, 100*time.Millisecond), whole: o.Whole, unsettled: map[*foldProc]struct{}{}, ends: map[string]bool{}}
}

// foldRun is what a Folder knows of a run.
type foldRun struct {
	Run     // as far as starts and ends go
	f       *Folder
	cell    *int
	see     ranklist.List // of Run.See
	procs   map[ranklist.Who]*foldProc
	ranks   int  // how many of procs are ranks
	seen    int  // how many of those are seen
	taking  int  // how many ranks take part: they run, or something of theirs waits
	showing int  // how many of those are seen
	fewer   bool // taking or showing has decreased: more lines may be complete
	classes map[classKey]*class
	heads   headHeap                // the ranks that have something waiting
	full    []*class                // may be complete
	shown   map[string]shownFailure // by signature
	hangs   map[int]*shownHang      // by number
	slow    map[string]bool         // texts shown of findings that are no alarms
	stops   bool                    // somebody has interrupted it
	held    []Item                  // what a quiet run shows at its end
	holds   int                     // bytes of held
	dropped int                     // lines left out because a quiet run holds no more
}

// death is why ranks have died, alike and at about the same time.
type death struct {
	r    *foldRun
	e    event.Event // of the first
	at   time.Time
	who  []ranklist.Who
	rest string // of the reason, behind the names
}

// shownFailure is a failure whose traceback was shown: the lowest rank that had it at that moment, and its text.
type shownFailure struct {
	who   ranklist.Who
	value string
}

// shownHang is a finding of which something was shown.
type shownHang struct {
	texts     []string // without measures
	operation string   // "all_reduce #17"; "": not known
}

// foldProc is what a Folder knows of a process in a run.
type foldProc struct {
	r       *foldRun
	who     ranklist.Who
	host    string // of a rank of a pool that is on several hosts; else ""
	seen    bool
	busy    bool
	taking  bool // counted in r.taking
	screens [len(event.StreamNames)]screen
	written time.Time // when the screens were last written to

	queue []entry // what waits
	first uint64  // number of queue[0], counted from the beginning
	bytes int     // that the queue takes
	index int     // in r.heads; -1: the queue is empty

	displays map[string]*event.Display // updates of displays that have not been shown, by display_id
}

// entry is something that waits.
type entry struct {
	c    *class
	at   time.Time
	ev   event.Event // nil for a line
	text string
}

// class is all entries of a run that fold into one.
type class struct {
	key   classKey
	n     int         // entries
	heads []*foldProc // whose first entry it is
	deep  []deepEntry // entries that were not first when they came; some may be first by now, or gone
}

type classKey struct {
	kind   ItemKind
	stream int
	text   string
}

type deepEntry struct {
	p      *foldProc
	number uint64
}

// Add takes an event and returns what is ready to be shown.
func (f *Folder) Add(e event.Event, now time.Time) []Item {
	f.settle(now)
	h := e.Head()
	switch e := e.(type) {
	case *event.RunStarted:
		clear(f.ends)
		r := f.run(h)
		r.Apply(e, now)
		r.see, _ = ranklist.ParseRanks(e.See)
	case *event.RankState:
		f.rankState(e, now)
	case *event.Stream:
		if p := f.proc(h); p.seen {
			i := event.StreamIndex(e.Name)
			p.settle(1-i, now) // a finished bar of the other stream comes before this text
			p.written = now
			p.screens[i].write(e.Text, func(line string) { p.line(i, line, now) })
			if p.unsettled() {
				f.unsettled[p] = struct{}{}
			}
		}
	case *event.Display:
		f.display(e, now)
	case *event.Result:
		if p := f.proc(h); p.seen {
			p.finishScreens(now)
			p.add(classKey{ItemResult, 0, ""}, entry{at: now, ev: e, text: event.RichText(e.Data, e.Files)})
		}
	case *event.Failure:
		p := f.proc(h)
		p.finishScreens(now)
		p.add(classKey{ItemFailure, 0, e.Signature()}, entry{at: now, ev: e, text: failureText(e, f.whole)})
	case *event.RunFinished:
		if e.Status != event.StatusSkipped { // else there is nothing of it to show
			f.runFinished(e, now)
		}
	case *event.Log:
		if !f.ends[e.Text] { // else it is known already
			f.notice(e, e.Text)
		}
	case *event.Hang:
		f.hang(e)
	case *event.PoolState:
		if e.State == f.pool {
			break // only autodip has changed
		}
		f.pool = e.State
		if e.State == event.StateStarting {
			clear(f.ends)
		}
		f.end(e, e.Reason)
	}
	return f.take(now)
}

// Flush returns what has become due.
func (f *Folder) Flush(now time.Time) []Item {
	f.settle(now)
	return f.take(now)
}

// Deadline is when Flush is needed next; ok is false if nothing waits.
func (f *Folder) Deadline() (t time.Time, ok bool) {
	for _, r := range f.runs {
		if len(r.heads) > 0 {
			t, ok = earlier(t, ok, r.heads[0].queue[0].at.Add(f.window))
		}
	}
	for p := range f.unsettled {
		t, ok = earlier(t, ok, p.written.Add(f.window))
	}
	for _, d := range f.deaths {
		t, ok = earlier(t, ok, d.at.Add(f.window))
	}
	return t, ok
}

func earlier(t time.Time, ok bool, u time.Time) (time.Time, bool) {
	if !ok || u.Before(t) {
		t = u
	}
	return t, true
}

// Live returns the unfinished lines as they stand.
func (f *Folder) Live() []LiveLine {
	var live []LiveLine
	for _, r := range f.runs {
		live = append(live, r.live()...)
	}
	return live
}

func (r *foldRun) live() []LiveLine {
	if r.Quiet && r.State != Ended {
		return nil
	}
	var lines []LiveLine
	where := map[string]int{}
	var ranks [][]int // of each line; nil: the local namespace
	for _, who := range slices.SortedFunc(maps.Keys(r.procs), ranklist.Who.Compare) {
		p := r.procs[who]
		rank, isRank := who.Rank()
		var parts []string
		for i := range p.screens {
			for j := range p.screens[i].rows {
				if row := &p.screens[i].rows[j]; strings.TrimSpace(row.text) != "" {
					parts = append(parts, row.line())
				}
			}
		}
		for _, id := range slices.Sorted(maps.Keys(p.displays)) {
			parts = append(parts, event.RichText(p.displays[id].Data, p.displays[id].Files))
		}
		for _, text := range parts {
			if i, ok := where[text]; ok && isRank && ranks[i] != nil {
				ranks[i] = append(ranks[i], rank)
				continue
			}
			where[text] = len(lines)
			lines = append(lines, LiveLine{Run: r.ID, Text: text})
			ranks = append(ranks, nil)
			if isRank {
				ranks[len(ranks)-1] = []int{rank}
			}
		}
	}
	for i := range lines {
		if ranks[i] != nil {
			lines[i].Prefix = r.prefix(slices.Compact(ranks[i]), false)
		}
	}
	return lines
}

// settle makes lines final that were not redrawn for the length of the window.
func (f *Folder) settle(now time.Time) {
	var due []*foldProc
	for p := range f.unsettled {
		if now.Sub(p.written) >= f.window || !p.unsettled() {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b *foldProc) int { return cmp.Or(a.written.Compare(b.written), a.who.Compare(b.who)) })
	for _, p := range due {
		delete(f.unsettled, p)
		for i := range p.screens {
			p.settle(i, p.written)
		}
	}
}

// take returns what is ready at the time.
func (f *Folder) take(now time.Time) []Item {
	f.emitDeaths(func(d *death) bool { return now.Sub(d.at) >= f.window })
	for _, r := range f.runs {
		r.emitFull()
		for len(r.heads) > 0 && now.Sub(r.heads[0].queue[0].at) >= f.window {
			r.emit(r.choose(r.next()))
			r.emitFull()
		}
	}
	out := f.out
	f.out = nil
	return out
}

// run returns the run that an event belongs to.
func (f *Folder) run(h *event.Header) *foldRun {
	for _, r := range slices.Backward(f.runs) {
		if r.ID == h.Run {
			return r
		}
	}
	r := &foldRun{
		Run: Run{ID: h.Run}, f: f, cell: h.Cell, see: ranklist.All, procs: map[ranklist.Who]*foldProc{},
		classes: map[classKey]*class{}, shown: map[string]shownFailure{},
	}
	f.runs = append(f.runs, r)
	return r
}

// proc returns the process that an event is of.
func (f *Folder) proc(h *event.Header) *foldProc {
	r := f.run(h)
	who, _ := h.Who()
	p := r.procs[who]
	if p == nil {
		rank, isRank := who.Rank()
		p = &foldProc{r: r, who: who, seen: !isRank || r.see.Contains(rank), index: -1}
		r.procs[who] = p
		if isRank {
			r.ranks++
			if p.seen {
				r.seen++
			}
		}
	}
	return p
}

func (f *Folder) rankState(e *event.RankState, now time.Time) {
	switch p := f.proc(&e.Header); e.State {
	case event.StateBusy:
		p.busy, p.host = true, e.Host
		if e.Seen && !p.seen {
			p.seen = true
			p.r.seen++
		}
		p.recount()
	case event.StateInterrupting:
		p.r.stops = true
	case event.StateReady, event.StateDead, event.StateStopped:
		p.finishScreens(now)
		for _, id := range slices.Sorted(maps.Keys(p.displays)) {
			p.addDisplay(p.displays[id], now)
		}
		p.displays = nil
		p.busy = false
		p.recount()
		if e.State != event.StateReady {
			p.drain(0)
			f.died(p, e, now)
		}
	}
}

// died shows why a rank has died, or has that wait for others that die alike.
func (f *Folder) died(p *foldProc, e *event.RankState, now time.Time) {
	rest, named := strings.CutPrefix(e.Reason, p.r.nameOn([]ranklist.Who{p.who})+" died: ")
	if !named || f.ends[e.Reason] {
		f.end(e, e.Reason)
		return
	}
	f.ends[e.Reason] = true
	i := slices.IndexFunc(f.deaths, func(d *death) bool { return d.r == p.r && d.rest == rest })
	if i < 0 {
		i = len(f.deaths)
		f.deaths = append(f.deaths, &death{r: p.r, e: e, at: now, rest: rest})
	}
	f.deaths[i].who = append(f.deaths[i].who, p.who)
}

// emitDeaths shows the deaths that others have had the time to join; all of them at the end of a run.
func (f *Folder) emitDeaths(due func(*death) bool) {
	f.deaths = slices.DeleteFunc(f.deaths, func(d *death) bool {
		if !due(d) {
			return false
		}
		f.notice(d.e, d.r.nameOn(d.who)+" died: "+d.rest)
		return true
	})
}

func (f *Folder) display(e *event.Display, now time.Time) {
	p := f.proc(&e.Header)
	switch {
	case !p.seen:
	case e.Clear:
		p.displays = nil
	case e.Update && (p.displays[e.DisplayID] != nil || len(p.displays) < maxDisplays):
		if p.displays == nil {
			p.displays = map[string]*event.Display{}
		}
		p.displays[e.DisplayID] = e // only the last one is shown
	default:
		for i := range p.screens {
			p.settle(i, now)
		}
		p.addDisplay(e, now)
	}
}

func (f *Folder) runFinished(e *event.RunFinished, now time.Time) {
	r := f.run(&e.Header)
	for _, who := range slices.SortedFunc(maps.Keys(r.procs), ranklist.Who.Compare) {
		p := r.procs[who]
		p.finishScreens(p.written)
		p.busy = false
		p.recount()
	}
	for len(r.heads) > 0 {
		r.next().drain(0)
	}
	r.release(e)
	f.emitDeaths(func(d *death) bool { return d.r == r })
	f.end(e, e.Reason)
	r.Apply(e, now)
	over := 0
	for _, r := range f.runs {
		if r.State == Ended {
			over++
		}
	}
	if over > keptRuns {
		i := slices.IndexFunc(f.runs, func(r *foldRun) bool { return r.State == Ended })
		maps.DeleteFunc(f.unsettled, func(p *foldProc, _ struct{}) bool { return p.r == f.runs[i] })
		f.runs = slices.Delete(f.runs, i, i+1)
	}
}

// maxHangTexts bounds how many texts are shown of a finding, until it becomes an alarm.
const maxHangTexts = 5

// alarmPrefix begins the text of a finding that may not end by itself.
const alarmPrefix = "hang? "

// measures matches figures in a finding's text that change from look to look.
var measures = regexp.MustCompile(`\d[\d.]* (?:%|[KMG]iB|pages a second)`)

// hang shows who waits for whom, corrections of that, and that it is over, each sentence once.
func (f *Folder) hang(e *event.Hang) {
	r := f.run(&e.Header)
	shown, text := r.hangs[e.Hang], e.Text
	switch {
	case e.Gone && (shown == nil || r.stops): // the user, who has interrupted it, knows why it is over
		return
	case e.Gone:
		delete(r.hangs, e.Hang)
		text = "the ranks go on"
		if shown.operation != "" {
			text += " (" + shown.operation + ")"
		}
		f.notice(e, text)
		return
	case e.Level != event.LevelInfo:
		text = alarmPrefix + text
	case r.slow[text]: // a loop may be slow at the same line each time
		return
	}
	if shown == nil {
		shown = new(shownHang)
		if r.hangs == nil {
			r.hangs = map[int]*shownHang{}
		}
		r.hangs[e.Hang] = shown
	}
	isAlarm := func(text string) bool { return strings.HasPrefix(text, alarmPrefix) }
	// A user who has interrupted because of an alarm does not need to read it in other words.
	enough := r.stops || len(shown.texts) >= maxHangTexts
	key := measures.ReplaceAllString(text, "")
	if slices.Contains(shown.texts, key) || enough && len(shown.texts) > 0 && (!isAlarm(text) || slices.ContainsFunc(shown.texts, isAlarm)) {
		return
	}
	shown.texts, shown.operation = append(shown.texts, key), e.Operation
	if e.Operation != "" && e.Sequence > 0 {
		shown.operation = fmt.Sprintf("%s #%d", e.Operation, e.Sequence)
	}
	if e.Level == event.LevelInfo {
		if r.slow == nil {
			r.slow = map[string]bool{}
		}
		r.slow[text] = true
	}
	f.notice(e, text)
}

// end shows why something ended. A death ends a process, a run and a pool, but is shown once.
func (f *Folder) end(e event.Event, reason string) {
	if reason != "" && !f.ends[reason] {
		f.ends[reason] = true
		f.notice(e, reason)
	}
}

// notice shows a sentence at once.
func (f *Folder) notice(e event.Event, text string) {
	h := e.Head()
	it := Item{Kind: ItemNotice, Run: h.Run, Cell: h.Cell, Local: h.Local, Text: clean.Text(text), Event: e}
	if h.Rank != nil {
		it.Ranks = []int{*h.Rank}
	}
	f.out = append(f.out, it)
}

func (p *foldProc) unsettled() bool {
	return p.screens[0].unsettled() || p.screens[1].unsettled()
}

// settle makes the lines of a stream final that the cursor has left.
func (p *foldProc) settle(stream int, now time.Time) {
	if p.screens[stream].unsettled() {
		p.screens[stream].settle(func(line string) { p.line(stream, line, now) })
	}
}

// finishScreens makes every line of the process final.
func (p *foldProc) finishScreens(now time.Time) {
	for i := range p.screens {
		p.screens[i].finish(func(line string) { p.line(i, line, now) })
	}
}

func (p *foldProc) line(stream int, line string, now time.Time) {
	p.add(classKey{ItemLine, stream, line}, entry{at: now, text: line})
}

func (p *foldProc) addDisplay(e *event.Display, now time.Time) {
	text := event.RichText(e.Data, e.Files)
	p.add(classKey{ItemDisplay, 0, text}, entry{at: now, ev: e, text: text})
}

// alone reports whether nothing can fold with the process's output.
func (p *foldProc) alone(k ItemKind) bool {
	switch {
	case p.who.IsLocal() || p.r.State == Ended:
		return true
	case k == ItemFailure:
		return p.r.ranks == 1
	default:
		return p.r.seen == 1 && len(p.queue) == 0
	}
}

// add puts something into the process's queue, or shows it if it need not wait.
func (p *foldProc) add(key classKey, e entry) {
	r := p.r
	if p.alone(key.kind) {
		r.show(key, []*foldProc{p}, []entry{e})
		return
	}
	c := r.classes[key]
	if c == nil {
		c = &class{key: key}
		r.classes[key] = c
	}
	e.c = c
	c.n++
	p.queue = append(p.queue, e)
	p.bytes += len(e.text) + entryBytes
	if len(p.queue) == 1 {
		p.recount()
		r.arrive(p)
	} else {
		c.deepen(deepEntry{p, p.first + uint64(len(p.queue)) - 1})
	}
	if limit := min(max(foldBytes/max(r.ranks, 1), minWaiting), maxWaiting); p.bytes > limit {
		p.drain(limit)
	}
}

// drain shows entries of the process's queue until the rest takes no more than so many bytes.
func (p *foldProc) drain(bytes int) {
	for p.r.emitFull(); p.bytes > bytes; p.r.emitFull() {
		p.r.emit(p.r.choose(p))
	}
}

// next is the rank whose entry is shown next if nothing folds: the lowest of those whose first entries came
// at about the same time. A person looks for rank 0 before rank 1, whichever was a millisecond faster.
func (r *foldRun) next() *foldProc {
	lowest := r.heads[0]
	together := lowest.queue[0].at.Add(r.f.window / 2)
	for _, p := range r.heads {
		if p.who.Compare(lowest.who) < 0 && !p.queue[0].at.After(together) {
			lowest = p
		}
	}
	return lowest
}

// recount counts the process again, after busy or the queue has changed.
func (p *foldProc) recount() {
	taking := p.busy || len(p.queue) > 0
	if p.who.IsLocal() || taking == p.taking {
		return
	}
	p.taking = taking
	d := 1
	if !taking {
		d = -1
		p.r.fewer = true
	}
	p.r.taking += d
	if p.seen {
		p.r.showing += d
	}
}

// arrive handles a new first entry in p's queue. p is not in the heap.
func (r *foldRun) arrive(p *foldProc) {
	c := p.queue[0].c
	c.heads = append(c.heads, p)
	heap.Push(&r.heads, p)
	if r.complete(c) {
		r.full = append(r.full, c)
	}
}

// complete reports whether every rank that takes part has reached the class.
func (r *foldRun) complete(c *class) bool {
	if r.ID == "" {
		return false // it is not known who else will print it
	}
	want := r.showing
	if c.key.kind == ItemFailure {
		want = r.taking
	}
	return len(c.heads) >= max(want, 1)
}

// emitFull shows the classes that are complete.
func (r *foldRun) emitFull() {
	for r.fewer || len(r.full) > 0 {
		if r.fewer {
			r.fewer = false
			for _, p := range r.heads {
				if c := p.queue[0].c; r.complete(c) {
					r.full = append(r.full, c)
				}
			}
			continue
		}
		c := r.full[0]
		r.full = r.full[1:]
		if r.complete(c) {
			r.emit(c)
		}
	}
}

// choose picks the class to show next so that p's queue gets shorter in the end. It is that of p's first entry, unless another rank has
// the same a little further down in its queue, behind something else. Then it is that something, by the same rule.
func (r *foldRun) choose(p *foldProc) *class {
	c := p.queue[0].c
	for tried := []*class{c}; ; tried = append(tried, c) {
		q := c.behind()
		if q == nil {
			return c
		}
		c = q.queue[0].c
		if slices.Contains(tried, c) { // each of them waits for the next
			return tried[0]
		}
	}
}

// deepen adds an entry that is not the first of its queue.
func (c *class) deepen(d deepEntry) {
	if len(c.deep) > 2*c.n+scan {
		c.deep = slices.DeleteFunc(c.deep, deepEntry.past)
	}
	c.deep = append(c.deep, d)
}

// past reports whether the entry is the first one now, or was shown.
func (d deepEntry) past() bool { return d.number <= d.p.first }

// behind finds the lowest rank that reaches the class soon, but has something else first.
func (c *class) behind() *foldProc {
	for len(c.deep) > 0 && c.deep[0].past() {
		c.deep = c.deep[1:]
	}
	var found *foldProc
	for _, d := range c.deep[:min(len(c.deep), scan)] {
		if !d.past() && d.number-d.p.first <= lookahead && d.p.queue[0].c != c && (found == nil || d.p.who.Compare(found.who) < 0) {
			found = d.p
		}
	}
	return found
}

// emit shows the first entries of all ranks that have the class there.
func (r *foldRun) emit(c *class) {
	procs := c.heads
	c.heads = nil
	slices.SortFunc(procs, func(a, b *foldProc) int { return a.who.Compare(b.who) })
	entries := make([]entry, len(procs))
	for _, p := range procs {
		heap.Remove(&r.heads, p.index)
	}
	for i, p := range procs {
		entries[i] = p.queue[0]
		p.queue[0] = entry{}
		p.queue = p.queue[1:]
		p.first++
		p.bytes -= len(entries[i].text) + entryBytes
	}
	if c.n -= len(procs); c.n == 0 {
		delete(r.classes, c.key)
	}
	r.show(c.key, procs, entries)
	for _, p := range procs {
		if len(p.queue) == 0 {
			p.queue = nil
			p.recount()
		} else {
			r.arrive(p)
		}
	}
}

// show puts out entries that folded into one, of ranks in ascending order or of the local namespace.
func (r *foldRun) show(key classKey, procs []*foldProc, entries []entry) {
	it := Item{Kind: key.kind, Run: r.ID, Cell: r.cell, Text: entries[0].text, Event: entries[0].ev}
	if key.kind == ItemLine {
		it.Stream = event.StreamNames[key.stream]
	}
	it.Local = procs[0].who.IsLocal()
	if !it.Local {
		for _, p := range procs {
			rank, _ := p.who.Rank()
			it.Ranks = append(it.Ranks, rank)
		}
		it.Prefix = r.prefix(it.Ranks, key.kind == ItemFailure)
	}
	switch key.kind {
	case ItemResult: // each rank's value is its own
		all := it.Ranks
		for i, e := range entries {
			it.Event, it.Prefix = e.ev, ""
			count := e.ev.(*event.Result).ExecutionCount
			if it.Local {
				it.Text = prompted(fmt.Sprintf("Out[%d]:", count), e.text)
			} else {
				it.Ranks = all[i : i+1 : i+1]
				it.Text = prompted(fmt.Sprintf("Out[%d:%d]:", all[i], count), e.text)
			}
			r.put(it)
		}
		return
	case ItemFailure:
		var apart Apart
		if first, ok := r.shown[key.text]; ok && !it.Local {
			f := it.Event.(*event.Failure)
			it.Text = fmt.Sprintf("%s: %s (as on %s)", clean.Line(f.EName), clean.Line(firstLine(f.EValue)), r.nameOn([]ranklist.Who{first.who}))
			apart.Add(first.who, first.value)
		} else {
			r.shown[key.text] = shownFailure{procs[0].who, it.Event.(*event.Failure).EValue}
		}
		who := make([]ranklist.Who, len(procs))
		for i, e := range entries {
			who[i] = procs[i].who
			apart.Add(who[i], e.ev.(*event.Failure).EValue)
		}
		for _, line := range apart.Lines(who, r.nameOn) {
			it.Text += "\n" + line
		}
	}
	r.put(it)
}

// prompted is a value behind its prompt; one of several lines begins on a line of its own, as in IPython, so that its rows line up. The extension's
// screen.ts has the same.
func prompted(prompt, value string) string {
	if strings.Contains(value, "\n") {
		return prompt + "\n" + value
	}
	return prompt + " " + value
}

// put shows an item. In a quiet run only failures are shown at once, everything else at its end.
func (r *foldRun) put(it Item) {
	if !r.Quiet || r.State == Ended || it.Kind == ItemFailure {
		r.f.out = append(r.f.out, it)
		return
	}
	it.Event = withoutData(it.Event)
	r.held = append(r.held, it)
	r.holds += len(it.Text) + entryBytes
	for r.holds > heldBytes && len(r.held) > 1 {
		lines := strings.Count(r.held[0].Text, "\n")
		r.holds -= len(r.held[0].Text) + entryBytes
		r.held[0] = Item{}
		r.held = r.held[1:]
		r.dropped += 1 + lines
	}
}

// withoutData is an event of rich output without its data: a cell may make hundreds of pictures, and the text names their files.
func withoutData(e event.Event) event.Event {
	switch e := e.(type) {
	case *event.Display:
		c := *e
		c.Data, c.Metadata = nil, nil
		return &c
	case *event.Result:
		c := *e
		c.Data, c.Metadata = nil, nil
		return &c
	}
	return e
}

// release shows what a quiet run has held.
func (r *foldRun) release(e event.Event) {
	if r.dropped > 0 {
		r.f.notice(e, fmt.Sprintf("the first %d lines of this quiet cell are left out here; its journal has them", r.dropped))
	}
	r.f.out = append(r.f.out, r.held...)
	r.held, r.holds, r.dropped = nil, 0, 0
}

// prefix is what lines of these ranks begin with.
func (r *foldRun) prefix(ranks []int, failure bool) string {
	if r.ID != "" && (r.ranks == 1 || !failure && r.seen == 1) {
		return ""
	}
	return "[" + ranklist.ListOn(ranks, r.hostOf) + "] "
}

// nameOn names processes for people, with their host where the pool is on several.
func (r *foldRun) nameOn(who []ranklist.Who) string { return ranklist.NameOn(who, r.hostOf) }

// hostOf is the host of a rank, "" if the pool is on one.
func (r *foldRun) hostOf(rank int) string {
	if p := r.procs[ranklist.Rank(rank)]; p != nil {
		return p.host
	}
	return ""
}

// headHeap orders ranks by when their first entry came.
type headHeap []*foldProc

func (h headHeap) Len() int { return len(h) }
func (h headHeap) Less(i, j int) bool {
	a, b := h[i].queue[0].at, h[j].queue[0].at
	return a.Before(b) || a.Equal(b) && h[i].who.Compare(h[j].who) < 0
}
func (h headHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *headHeap) Push(x any) {
	p := x.(*foldProc)
	p.index = len(*h)
	*h = append(*h, p)
}
func (h *headHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.index = -1
	return p
}
