package lsp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/ranklist"
)

// bars are the progress bars that runs draw at the moment. It is a store: what enters it comes from the events of all workspaces.
type bars struct {
	mu   sync.Mutex         // guards what follows
	runs map[string]*barsOf // that go on
}

// barsOf are the bars of a run, with those of the runs that its cell has asked for.
type barsOf struct {
	run  view.Run
	see  ranklist.List
	bars map[barKey]*bar
}

func newBars() *bars { return &bars{runs: map[string]*barsOf{}} }

// event enters an event.
func (b *bars) event(ev event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := ev.Head().Run
	of := b.runs[id]
	switch ev := ev.(type) {
	case *event.RunStarted:
		if parent := b.runs[ev.Parent]; parent != nil {
			b.runs[id] = parent
			return
		}
		of = &barsOf{run: view.Run{ID: id}, bars: map[barKey]*bar{}}
		of.see, _ = ranklist.ParseRanks(ev.See) // it was made by the same package
		of.run.Apply(ev, time.Now())
		b.runs[id] = of
	case *event.RankState:
		if of == nil {
			return
		}
		who, _ := ev.Who()
		of.run.Apply(ev, time.Now())
		if ev.Status != "" {
			maps.DeleteFunc(of.bars, func(k barKey, _ *bar) bool { return k.who == who })
		}
	case *event.Stream:
		if of != nil {
			who, _ := ev.Who()
			of.stream(who, ev)
		}
	case *event.RunFinished:
		delete(b.runs, id)
	}
}

// of is the progress bar of a run that goes on, without colours; "" if it draws none.
func (b *bars) of(run string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if of := b.runs[run]; of != nil {
		return of.shown()
	}
	return ""
}

// going says for how long a run has been going on, and how much time is left as far as it says so itself: "12 s · 45 s left". "": it does not, or it has only
// just begun.
func (s *server) going(r *Run) string {
	since := time.Since(r.Started)
	if r.State != view.Running || since < time.Second {
		return ""
	}
	left := ""
	if d, told := view.TimeLeft(s.bars.of(r.ID)); told {
		left = lasted(d) + " left"
	}
	return view.Joined(lasted(since), left)
}

// lasted writes a duration in whole seconds: "7 s", "2 min 5 s", "3 h 20 min".
func lasted(d time.Duration) string {
	s := int(d.Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
}

// barKey names a stream of a process.
type barKey struct {
	who    ranklist.Who
	stream string
}

// stream enters what a process has printed.
func (b *barsOf) stream(who ranklist.Who, ev *event.Stream) {
	rank, ok := who.Rank()
	part := b.run.PartOf(who)
	if b.run.Quiet || ok && !b.see.Contains(rank) && (part == nil || !part.Seen) {
		return
	}
	key := barKey{who, ev.Name}
	if b.bars[key] == nil {
		b.bars[key] = new(bar)
	}
	b.bars[key].write(ev.Text)
}

// shown is the progress bar to show: that of the local namespace or the lowest rank that has one.
func (b *barsOf) shown() string {
	compare := func(j, k barKey) int { return cmp.Or(j.who.Compare(k.who), cmp.Compare(j.stream, k.stream)) }
	for _, key := range slices.SortedFunc(maps.Keys(b.bars), compare) {
		if text := b.bars[key].String(); text != "" {
			return text
		}
	}
	return ""
}

// bar is a line that a process prints again and again with carriage returns, as tqdm does.
type bar struct {
	line  string
	home  bool // the next text takes the place of the line
	drawn bool // there was a carriage return in the line
}

// maxBarBytes bounds a line.
const maxBarBytes = 2048

// write takes output.
func (b *bar) write(text string) {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		*b = bar{}
		text = text[i+1:]
	}
	for more := true; more; {
		var piece string
		piece, text, more = strings.Cut(text, "\r")
		if piece != "" {
			if b.home {
				b.line, b.home = "", false
			}
			if len(b.line) < maxBarBytes {
				b.line += piece
			}
		}
		if more {
			b.home, b.drawn = true, true
		}
	}
}

// String returns the bar without colours, or "" if the last line is no bar.
func (b *bar) String() string {
	if !b.drawn {
		return ""
	}
	return strings.TrimSpace(ansi.Strip(b.line))
}
