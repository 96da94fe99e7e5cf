package dipexec

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"dipls/diagnose"
	"dipls/dipexec/event"
	"dipls/internal/contain"
	"dipls/internal/ranklist"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

const (
	hangAfter    = 10 * time.Second       // from the start of a run to the first look
	hangEvery    = time.Minute            // between looks, at most, unless the first one comes later
	hangPatience = 600 * time.Millisecond // for a rank's answer
	hangPause    = time.Second            // between the two moments of a look, less the time that the answers took
	minHangPause = 50 * time.Millisecond
	maxMoments   = 3 // of a look, until ranks have answered twice
)

// hangWatch looks for ranks that wait for others. There is one for all runs, since at most one run is on the ranks at a time.
type hangWatch struct {
	timer   *time.Timer // nil: nothing has run on the ranks since it last fired
	due     time.Time   // when it goes off
	current *lookout    // of the run that is on the ranks; nil: none
	living  []hangTold  // the findings about it that are not over
}

// lookout is the state of the looks at a run. Fields without a guard belong to the goroutine that looks: one at a time.
type lookout struct {
	r     *run
	procs []Process // of the pool, in order
	parts []*part
	after time.Duration

	// Guarded by the executor's mu.
	due  time.Time // of the next look
	ctx  context.Context
	stop context.CancelFunc // ends ctx, as the end of the run's part on the ranks does; nil: there was no look yet

	interval time.Duration
	earlier  []moment // of the last look, or of the last one that a rank has answered
	found    bool     // that look found something
	places   map[int]*standingPlace
}

// moment is what is known of a rank at one time.
type moment struct {
	told   *wire.GroupsReply // nil: it has not answered
	vitals host.Vitals
}

// standingPlace is a place where a rank was seen.
type standingPlace struct {
	groups []wire.Group
	frames []wire.StackFrame
	vitals host.Vitals
	since  time.Time
	looks  int // in a row
	idle   int // how many looks in a row found that it had not run since the one before
}

// placeAt is the place of a rank, perhaps the one where it was before.
func placeAt(before *standingPlace, m moment) *standingPlace {
	p := &standingPlace{vitals: m.vitals, since: time.Now()}
	if m.told != nil {
		p.groups = m.told.Groups
		if len(m.told.Threads) > 0 {
			p.frames = m.told.Threads[0].Frames
		}
	}
	if before != nil && slices.Equal(p.frames, before.frames) && reflect.DeepEqual(p.groups, before.groups) {
		p.since, p.looks = before.since, before.looks+1
		if !p.vitals.Ran(before.vitals) {
			p.idle = before.idle + 1
		}
	}
	return p
}

// foundHangs is the result of a look.
type foundHangs struct {
	procs []Process // of the pool, in order
	moved bool      // some rank has made progress since the last one
	found []diagnose.Finding
}

// lookOut lets the ranks be looked at while a run is on them, until the function that it returns is called. A short cell costs nothing.
func (r *run) lookOut(procs []Process, parts []*part) (stop func()) {
	if r.req.HangAfter < 0 || len(procs) < 2 {
		return func() {}
	}
	after := cmp.Or(r.req.HangAfter, hangAfter)
	now := time.Now()
	l := &lookout{r: r, procs: procs, parts: parts, after: after, due: now.Add(after), interval: after}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.e.hang.current = l
	r.e.lookAgain(l)
	return func() {
		r.e.mu.Lock()
		if r.e.hang.current == l {
			r.e.hang.current = nil
		}
		if l.stop != nil {
			l.stop()
		}
		r.e.mu.Unlock()
		r.tellHangs(foundHangs{})
	}
}

// lookAgain makes sure that the next look comes when it is due. The caller holds mu.
func (e *Executor) lookAgain(l *lookout) {
	switch {
	case e.closed:
	case e.hang.timer == nil:
		e.hang.due = l.due
		e.hang.timer = time.AfterFunc(time.Until(l.due), e.lookForHangs)
	case l.due.Before(e.hang.due) && e.hang.timer.Stop(): // otherwise it has fired, and will see when this look is due
		e.hang.due = l.due
		e.hang.timer = time.AfterFunc(time.Until(l.due), e.lookForHangs)
	}
}

// lookForHangs looks at the run on the ranks, if it is time for that.
func (e *Executor) lookForHangs() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hang.timer = nil
	l := e.hang.current
	if l == nil || e.closed {
		return
	}
	if time.Now().Before(l.due) {
		e.lookAgain(l)
		return
	}
	if l.stop == nil {
		l.ctx, l.stop = context.WithCancel(e.watch.ctx)
		l.places = map[int]*standingPlace{}
	}
	e.goOn(func() {
		contain.Do(l.look) // a panic means that nothing is found
		e.mu.Lock()
		defer e.mu.Unlock()
		if l.ctx.Err() == nil {
			l.due = time.Now().Add(l.interval)
			e.lookAgain(l)
		}
	})
}

// look looks at the ranks once.
func (l *lookout) look() {
	before, began := l.earlier, time.Now()
	now := l.ask()
	closely := l.found || mayWait(now)
	if !l.found {
		l.interval = min(2*l.interval, max(hangEvery, l.after))
		switch {
		case closely:
			l.pause(began)
			before, began = lastAnswers(before, now), time.Now()
			now = l.ask()
		case before == nil || silent(now): // ranks that wait outside of collectives are found by two regular looks
			l.note(now)
			return
		}
	}
	c := l.compare(before, now)
	result := foundHangs{procs: l.procs, moved: c.Moved()}
	for moments := 2; moments < maxMoments && closely && c.Moved() && (l.found || silent(before)); moments++ {
		// The old finding is over, but there may be a new one; or a rank has answered late.
		l.pause(began)
		before, began = lastAnswers(before, now), time.Now()
		now = l.ask()
		c = l.compare(before, now)
	}
	if l.ctx.Err() != nil {
		return
	}
	result.found = diagnose.Findings(c)
	told := l.found || len(result.found) > 0
	l.note(now)
	if l.found = len(result.found) > 0; l.found {
		l.interval = l.after
	}
	if !told {
		return
	}
	select {
	case l.r.hangs <- result:
	case <-l.ctx.Done():
	}
}

// mayWait reports whether some rank may wait in a collective.
func mayWait(moments []moment) bool {
	return slices.ContainsFunc(moments, func(m moment) bool { return diagnose.MayWait(m.told) })
}

// lastAnswers are the newer moments, or the older ones for ranks that have not answered since.
func lastAnswers(older, newer []moment) []moment {
	last := slices.Clone(newer)
	for i := range older {
		if last[i].told == nil {
			last[i] = older[i]
		}
	}
	return last
}

// stands reports whether a process has certainly not run since an earlier moment.
func (m moment) stands(before moment) bool {
	return !m.vitals.At.IsZero() && !before.vitals.At.IsZero() && !m.vitals.Ran(before.vitals)
}

// silent reports whether some rank has not answered.
func silent(moments []moment) bool {
	return slices.ContainsFunc(moments, func(m moment) bool { return m.told == nil })
}

// pause waits until some time after the begin of a moment, so that all ranks have time to make progress after their answers.
func (l *lookout) pause(began time.Time) {
	pause := min(hangPause, max(minHangPause, l.after/5))
	timer := time.NewTimer(max(time.Until(began.Add(pause)), pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// ask asks all ranks where they are.
func (l *lookout) ask() []moment {
	ctx, stop := context.WithTimeout(l.ctx, hangPatience)
	defer stop()
	moments := make([]moment, len(l.procs))
	onAll(l.procs, func(i int, p Process) error {
		reply, err := p.Groups(ctx)
		if err == nil {
			moments[i].told = reply
		}
		moments[i].vitals, _ = p.Vitals(l.ctx)
		return err
	})
	return moments
}

// compare puts together what is known of two moments. It completes the later one for ranks that have not answered.
func (l *lookout) compare(before, now []moment) diagnose.Case {
	c := diagnose.Case{Run: l.r.id, Path: wire.Path(l.r.req.Path), Ranks: make([]diagnose.Rank, len(l.procs))}
	ctx, stop := context.WithTimeout(l.ctx, hangPatience)
	defer stop()
	some, hostOf := mayWait(now), l.r.e.hostNamer()
	onAll(l.procs, func(i int, p Process) error {
		told := now[i].told
		condition := p.Condition(ctx, before[i].vitals, now[i].vitals, told != nil)
		if told == nil && condition.State == host.Sound && now[i].stands(before[i]) {
			told = before[i].told // it would have given the same answer
			now[i].told = told
		}
		if told != nil && some && (condition.Moved || !diagnose.MayWait(told)) {
			told = withSource(ctx, p, told)
		}
		c.Ranks[i] = diagnose.Rank{
			Rank: rankOf(p), Host: hostOf(p), Before: before[i].told, Now: told,
			Condition: diagnose.Condition{State: diagnose.State(condition.State), How: condition.How},
			Moved:     condition.Moved, Works: condition.Works, Still: condition.Still, Waits: condition.Waits,
		}
		return nil
	})
	known := make(map[Process]*process, len(l.procs))
	for _, k := range l.r.e.known(l.procs) {
		known[k.p] = k
	}
	parts := make(map[Process]*part, len(l.parts))
	for _, pt := range l.parts {
		parts[pt.proc.p] = pt
	}
	for i, p := range l.procs {
		r := &c.Ranks[i]
		k := known[p]
		if k != nil && k.running.Load() > 0 {
			r.Part.State = diagnose.GivenUp
		}
		if pt := parts[p]; pt != nil {
			r.Part = l.r.partNow(pt, k != nil && k.running.Load() > 1)
		}
		if !isAlive(p) {
			r.Now, r.Condition = nil, diagnose.Condition{State: diagnose.Dead, How: l.r.howDead(p)}
		}
		place := placeAt(l.places[r.Rank], now[i])
		r.Looks, r.Idle, r.Stood = place.looks, place.idle, time.Since(place.since).Round(time.Second)
		if k != nil && r.Condition.How != "" && l.r.e.saidStandstill(k) {
			r.Condition.How, _, _ = strings.Cut(r.Condition.How, ":")
		}
	}
	return c
}

// withSource is a rank's answer, with the text of its lines.
func withSource(ctx context.Context, p Process, told *wire.GroupsReply) *wire.GroupsReply {
	reply, err := p.Stack(ctx)
	if err != nil || len(told.Threads) == 0 || len(reply.Threads) == 0 {
		return told
	}
	frames := slices.Clone(told.Threads[0].Frames)
	for i, f := range reply.Threads[0].Frames {
		if i < len(frames) && f.Frame == frames[i].Frame {
			frames[i].Source = f.Source
		}
	}
	with := *told
	with.Threads = slices.Clone(told.Threads)
	with.Threads[0].Frames = frames
	return &with
}

// note keeps where the ranks were.
func (l *lookout) note(moments []moment) {
	l.earlier = lastAnswers(l.earlier, moments)
	for i, m := range moments {
		rank := rankOf(l.procs[i])
		l.places[rank] = placeAt(l.places[rank], m)
	}
}

// partNow is the state of a part; waits: the process has not come back from an earlier run.
func (r *run) partNow(pt *part, waits bool) diagnose.Part {
	end := pt.sent.Load()
	switch {
	case end == nil && waits:
		return diagnose.Part{State: diagnose.GivenUp}
	case end == nil && pt.asks():
		return diagnose.Part{State: diagnose.Asking}
	case end == nil:
		return diagnose.Part{State: diagnose.Running}
	case end.status == event.StatusInterrupted:
		return diagnose.Part{State: diagnose.Interrupted}
	case end.failure == nil:
		return diagnose.Part{State: diagnose.Finished}
	}
	return diagnose.Part{State: diagnose.Raised, Error: end.failure.EName, Path: end.failure.Path, Line: end.failure.Line}
}

// howDead says how a process has ended, as the rest of a sentence about it; "" if that is not known.
func (r *run) howDead(p Process) string {
	death := r.death.Load()
	if death == nil {
		return ""
	}
	how, is := p.Who().Verb(death.Error())
	if !is {
		return "" // another's
	}
	return how
}

// tellHangs publishes the run's hangs and their changes. For the run's goroutine.
func (r *run) tellHangs(result foundHangs) {
	r.e.mu.Lock()
	old := r.e.hang.living
	r.e.mu.Unlock()
	if len(old) == 0 && len(result.found) == 0 {
		return
	}
	var living, events []hangTold
	rest := slices.Clone(old)
	for _, f := range result.found {
		ev := r.hangOf(f)
		i := slices.IndexFunc(rest, func(h hangTold) bool {
			return h.same(ev) && r.hangCounts[h.told.Hang-1] == f.Count && (f.Count > 0 || !result.moved)
		})
		if i < 0 {
			r.hangCounts = append(r.hangCounts, f.Count)
			ev.told.Hang = len(r.hangCounts)
		} else {
			was := rest[i]
			rest = slices.Delete(rest, i, i+1)
			ev.told.Hang = was.told.Hang
			if reflect.DeepEqual(was, ev) || was.wordsOnly(ev) && time.Now().Before(r.hangWords) || was.stillStands(ev) {
				living = append(living, was)
				continue
			}
		}
		living = append(living, ev)
		events = append(events, ev)
	}
	for _, gone := range rest {
		h := gone.told
		r.emit(&event.Hang{Header: r.head(event.KindHang), Hang: h.Hang, Variant: h.Variant, Level: h.Level, Text: h.Text, Gone: true})
	}
	if len(events) > 0 { // slow ranks that make progress are reported less and less often
		r.hangPace = min(max(2*r.hangPace, cmp.Or(max(r.req.HangAfter, 0), hangAfter)), hangEvery)
		r.hangWords = time.Now().Add(r.hangPace)
	}
	r.e.mu.Lock()
	r.e.hang.living = living
	r.e.mu.Unlock()
	for _, ev := range events {
		r.emit(ev.told)
		r.tellApp(result.procs, ev.told)
	}
}

// tellApp tells the pool's app of an alarm, once. Other threads of a waiting rank can run, so the first of those ranks does it. After an interrupt
// it does nothing: the user knows.
func (r *run) tellApp(procs []Process, ev *event.Hang) {
	stops := !r.interrupted.IsZero()
	ranks := ranksIn(ev.Waiting)
	i := slices.IndexFunc(procs, func(p Process) bool { return len(ranks) > 0 && rankOf(p) == ranks[0] })
	if ev.Level != event.LevelWarning || i < 0 || stops || r.hangApp[ev.Hang] {
		return
	}
	if r.hangApp == nil {
		r.hangApp = map[int]bool{}
	}
	r.hangApp[ev.Hang] = true
	var line bytes.Buffer
	if err := event.WriteJSON(&line, ev); err == nil {
		procs[i].TellHang(line.Bytes())
	}
}

// hangTold is a hang as it was last published.
type hangTold struct {
	told  *event.Hang
	stood time.Duration // for how long the ranks have waited, at least, if that is known
}

// wordsOnly reports whether a later finding about a slow rank only says where the rank is now.
func (h hangTold) wordsOnly(later hangTold) bool {
	was, is := h.told, later.told
	return was.Variant == is.Variant && was.Level == event.LevelInfo && is.Level == event.LevelInfo &&
		slices.Equal(ranksIn(was.Missing), ranksIn(is.Missing)) && slices.Equal(ranksIn(was.Waiting), ranksIn(is.Waiting))
}

// stillStands reports whether a later finding about ranks that wait outside of collectives only says that they still do.
func (h hangTold) stillStands(later hangTold) bool {
	return h.stood > 0 && later.stood < 2*h.stood && reflect.DeepEqual(h.told.Waiting, later.told.Waiting)
}

// same reports whether a later finding is about the same as an earlier one.
func (h hangTold) same(later hangTold) bool {
	was, is := h.told, later.told
	waiting := ranksIn(is.Waiting)
	return was.Group == is.Group && was.Operation == is.Operation &&
		slices.ContainsFunc(ranksIn(was.Waiting), func(rank int) bool { return slices.Contains(waiting, rank) })
}

func ranksIn(places []event.Place) []int {
	found := map[int]bool{}
	for _, p := range places {
		for _, rank := range p.Ranks {
			found[rank] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (r *run) hangOf(f diagnose.Finding) hangTold {
	ev := &event.Hang{
		Header: r.head(event.KindHang), Variant: string(f.Variant), Level: event.LevelInfo, Group: f.Group, GroupRanks: f.GroupRanks,
		Operation: f.Operation, Sequence: f.Sequence, Tensors: f.Tensors, Text: f.Text, Waiting: placesOf(f.Waiting), Missing: placesOf(f.Missing),
	}
	if f.Alarm {
		ev.Level = event.LevelWarning
	}
	return hangTold{ev, f.Stood}
}

func placesOf(found []diagnose.Place) []event.Place {
	var places []event.Place
	for _, p := range found {
		places = append(places, event.Place(p))
	}
	return places
}

// Hangs are the hangs of the run on the ranks that are not over.
func (e *Executor) Hangs() []*event.Hang {
	e.mu.Lock()
	defer e.mu.Unlock()
	var hangs []*event.Hang
	for _, h := range e.hang.living {
		hangs = append(hangs, h.told)
	}
	return hangs
}

// tellsOf reports whether a hang that is not over already says what blocks a process.
func (e *Executor) tellsOf(who ranklist.Who) bool {
	rank, ok := who.Rank()
	return slices.ContainsFunc(e.Hangs(), func(h *event.Hang) bool {
		return slices.ContainsFunc(h.Missing, func(p event.Place) bool {
			held := strings.HasPrefix(p.Why, "is stopped") || strings.HasPrefix(p.Why, "is in native code")
			return held && ok && slices.Contains(p.Ranks, rank)
		})
	})
}

// saidStandstill reports whether the user was told already that a process stands still.
func (e *Executor) saidStandstill(p *process) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.watch.told[p]
}

// hangs tells whether the run on the ranks has a hang that is not over.
func (e *Executor) hangs() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.hang.living, func(h hangTold) bool { return h.told.Level == event.LevelWarning && !h.told.Gone })
}
