package main

import (
	"errors"
	"io"

	"dipls/dipexec/event"
	"dipls/dipexec/journal"
	"dipls/internal/ranklist"
)

// filling takes the events of a run from its journal, beginning with what was missing among those that came. From then on all of the run's processes comes
// from there, until the end of the run.
type filling struct {
	r      *journal.Reader
	gap    *event.Log         // told what was missing
	skip   counts             // what was shown before the gap, and the reader has not come to
	end    *event.RunFinished // has come; nil: it has not
	rest   bool               // the journal has all that will ever be in it
	whole  bool               // the journal's own end of the run was read
	failed bool               // the gap cannot be filled
}

// counts are how much of a run was shown, by what has an order of its own: in bytes for a stream, else in events.
type counts map[series]int64

// series is what has an order of its own among a run's events.
type series struct {
	kind event.Kind
	who  ranklist.Who
	name string // of a stream
}

// seriesOf is the series of an event, and for how much it counts there. ok is false for one that always comes, or that is about no process.
func seriesOf(ev event.Event) (of series, n int64, ok bool) {
	who, known := ev.Head().Who()
	of, n, ok = series{kind: ev.Head().Kind, who: who}, 1, known
	switch ev := ev.(type) {
	case *event.Stream:
		of.name, n = ev.Name, int64(len(ev.Text))
	case *event.Log, *event.Hang:
		return of, 0, false
	}
	return of, n, ok
}

// add counts what is shown.
func (c counts) add(ev event.Event) {
	if of, n, ok := seriesOf(ev); ok {
		c[of] += n
	}
}

// newFilling begins to fill a gap; nil: there is no journal that could.
func newFilling(dir string, gap *event.Log, shown counts) *filling {
	if dir == "" {
		return nil
	}
	r, err := journal.Follow(dir)
	if err != nil {
		return nil
	}
	return &filling{r: r, gap: gap, skip: shown}
}

// problem tells that not everything could be filled.
func (f *filling) problem() event.Event {
	ev := *f.gap
	ev.Text = "some of what was put out before this is missing here: it came faster than it was read, and the journal does not have it either"
	if ev.Path != "" {
		ev.Text += "; what there is of it is in " + ev.Path
	}
	return &ev
}

// fillPiece is how many events are read from a journal at a time.
const fillPiece = 64

// read returns some of what is there. over is true when nothing else comes: the run has ended, or the gap cannot be filled.
func (f *filling) read() (events []event.Event, over bool) {
	for n := 0; n < fillPiece; n++ {
		ev, _, err := f.r.Next()
		switch {
		case errors.Is(err, io.EOF) && f.end == nil:
			return events, false
		case errors.Is(err, io.EOF) && !f.rest:
			f.rest = true
			f.r.Unfollow()
			continue
		case err != nil:
			f.failed = len(f.skip) > 0 || !f.whole && (f.end == nil || f.end.Status != event.StatusDied)
			return events, true
		}
		log, told := ev.(*event.Log)
		switch {
		case told && log.Missing && len(f.skip) > 0: // where to go on is not known any more
			f.failed = true
			return events, true
		case told && log.Missing: // so much was put out that the journal has not kept it, either
			events = append(events, ev)
			continue
		case ev.Head().Kind == event.KindRunFinished:
			f.whole = true
			continue
		}
		if ev = f.unseen(ev); ev != nil {
			events = append(events, ev)
		}
	}
	return events, false
}

// unseen is what of an event was not shown; nil: nothing.
func (f *filling) unseen(ev event.Event) event.Event {
	of, n, ok := seriesOf(ev)
	if !ok {
		return nil
	}
	seen := f.skip[of]
	switch {
	case seen == 0:
		return ev
	case n < seen:
		f.skip[of] = seen - n
		return nil
	}
	delete(f.skip, of)
	text, isText := ev.(*event.Stream)
	if n == seen || !isText {
		return nil
	}
	rest := *text
	rest.Text = text.Text[seen:]
	return &rest
}
