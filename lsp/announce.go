package lsp

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/session"
)

// methodSession is the notification that tells which session a folder has; see docs/language-server.md.
const methodSession = "dip/session"

// sessionState is how a folder is tied to its session.
type sessionState string

// The states.
const (
	sessionOwn        sessionState = "own"        // it belongs to the editor, and ends with it
	sessionAttached   sessionState = "attached"   // it was started for this editor, and outlives it
	sessionReattached sessionState = "reattached" // it was there before
	sessionGone       sessionState = "gone"       // it has ended, or cannot be reached; the next command that needs one starts another
)

// sessionParams tell which session a workspace folder has.
type sessionParams struct {
	Folder  uri.URI      `json:"folder"`
	State   sessionState `json:"state"`
	Past    bool         `json:"past,omitzero" doc:"true: the events that follow have happened before, up to the next of these notifications"`
	Name    string       `json:"name" doc:"empty: it belongs to the editor"`
	Keep    float64      `json:"keep" doc:"how long it lives with nobody attached and nothing running, in seconds; -1: for ever; 0: it ends with the editor"`
	Since   time.Time    `json:"since" doc:"when it was started"`
	Clients []string     `json:"clients" doc:"the programs that are attached, this one included"`
	Ranks   int          `json:"ranks" doc:"of the pool"`
	Devices []string     `json:"devices" doc:"of the ranks"`
	Memory  int64        `json:"memory" doc:"bytes of GPU memory that its processes hold; 0: none, or unknown"`
	Text    string       `json:"text" doc:"all of it, sentences for the user"`
	Journal string       `json:"journal" doc:"the directory with the journals of its runs; empty: none are kept"`
	Log     string       `json:"log" doc:"the file in which it tells who did what; empty: there is none"`
}

// memoryEvery is the least time between two looks at the GPU memory that a session holds: each takes nvidia-smi most of a second.
var memoryEvery = 5 * time.Second

// aboutPatience is how long a session may take to describe itself.
const aboutPatience = 3 * time.Second

// announcer tells the client which session each folder has, and the user what there is to know about that.
type announcer struct {
	s    *server
	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards what follows
	told   map[*workspace]*sessionParams
	stale  map[*workspace]bool          // may be different now
	grown  map[*workspace]bool          // its memory may be
	begun  map[*workspace]bool          // it has said that its ranks are ready, and has not been seen with them
	looked map[*workspace]time.Time     // when its memory was looked at last
	kept   map[*workspace]time.Duration // as the settings had it last
}

func newAnnouncer(s *server) *announcer {
	return &announcer{
		s: s, wake: make(chan struct{}, 1),
		told: map[*workspace]*sessionParams{}, stale: map[*workspace]bool{}, grown: map[*workspace]bool{}, begun: map[*workspace]bool{},
		looked: map[*workspace]time.Time{}, kept: map[*workspace]time.Duration{},
	}
}

// attached tells of a session whose events come from now on; past says that they begin with those from before.
func (a *announcer) attached(w *workspace, past bool) {
	p := &sessionParams{Folder: uri.File(w.dir), State: sessionOwn, Since: time.Now(), Clients: []string{a.s.program}, Devices: []string{}, Past: past}
	if at := w.attachment; at != nil {
		p.State = sessionReattached
		if at.Started {
			p.State = sessionAttached
		}
		p.describe(at.About)
	} else {
		p.Text = "the session of this folder ends with the editor"
	}
	a.mu.Lock()
	a.told[w], a.kept[w] = p, a.s.config.of(w.dir).Keep
	a.notify(p)
	a.mu.Unlock()
	if w.attachment != nil {
		a.remark(w.attachment)
		a.s.goOn("what is different", func() { a.follow(w) })
	}
}

// follow looks at a session whenever it says that it is different.
func (a *announcer) follow(w *workspace) {
	if w.attachment.AwaitChange == nil {
		return
	}
	for seen := uint64(0); ; {
		var err error
		if seen, err = w.attachment.AwaitChange(a.s.ctx, seen); err != nil {
			return
		}
		a.look(w)
	}
}

// remark tells the user what there is to know when a session is attached to.
func (a *announcer) remark(at *session.Attachment) {
	for _, text := range at.Remarks {
		a.s.client.ShowMessage(protocol.MessageTypeWarning, text)
	}
	if at.Ended == nil {
		return
	}
	text := fmt.Sprintf("session %s of %s has ended: %s", at.Ended.Name, at.Ended.Dir, at.Ended.Why)
	if at.Ended.Journal != "" {
		text += "; what its cells have printed is in " + at.Ended.Journal
	}
	if at.Ended.Log == "" || !a.s.wants.Events {
		a.s.client.ShowMessage(protocol.MessageTypeWarning, text)
		return
	}
	a.s.goOn("a question", func() {
		const show = "Show log"
		if a.s.client.Ask(a.s.ctx, protocol.MessageTypeWarning, text, show) == show {
			if _, err := a.s.showFile(a.s.ctx, "the log is", at.Ended.Log); err != nil && a.s.ctx.Err() == nil {
				a.s.client.ShowMessage(protocol.MessageTypeError, err.Error())
			}
		}
	})
}

// pastOver tells that the client has got all events from before.
func (a *announcer) pastOver(w *workspace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.told[w]; p != nil && p.Past {
		now := *p
		now.Past = false
		a.told[w] = &now
		a.notify(&now)
	}
}

// gone tells that a session is gone, and why, unless the client has been told of the folder's next one already.
func (a *announcer) gone(w *workspace, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.told[w]; p != nil && !a.toldOfAnother(w) {
		now := *p
		now.State, now.Past, now.Clients, now.Ranks, now.Devices, now.Memory, now.Text = sessionGone, false, []string{}, 0, []string{}, 0, why
		a.notify(&now)
	}
	a.forget(w)
}

// toldOfAnother reports whether the client has been told of another session of a workspace's folder. mu is held.
func (a *announcer) toldOfAnother(w *workspace) bool {
	for other := range a.told {
		if other != w && other.dir == w.dir {
			return true
		}
	}
	return false
}

// left notes that the folder has another session now.
func (a *announcer) left(w *workspace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(w)
}

// forget drops what is known of a workspace. mu is held.
func (a *announcer) forget(w *workspace) {
	delete(a.told, w)
	delete(a.stale, w)
	delete(a.grown, w)
	delete(a.begun, w)
	delete(a.looked, w)
	delete(a.kept, w)
}

// notify sends what a client that takes events has to know. mu is held, which keeps these in order.
func (a *announcer) notify(p *sessionParams) {
	if a.s.wants.Events {
		a.s.client.Notify(methodSession, p)
	}
}

// event notes events after which a session may be different.
func (a *announcer) event(w *workspace, ev event.Event) {
	switch ev := ev.(type) {
	case *event.PoolState:
		if ev.State == event.StateReady {
			a.mu.Lock()
			a.begun[w] = a.told[w] != nil
			a.mu.Unlock()
		}
		a.lookAtMemory(w)
		if ev.State == event.StateReady && w.attachment != nil && a.s.deps.FirstTime != nil && a.s.deps.FirstTime("a session stays") {
			a.s.client.ShowMessage(protocol.MessageTypeInfo, a.stays(w))
		}
	case *event.RunFinished:
		if a.changesWithRuns(w) {
			a.lookAtMemory(w)
		}
	case *event.Log:
		if session.IsUnattended(ev) {
			a.unattended(w, ev)
		}
	}
}

// unattended tells the user what was asked while nobody was attached. Once the client has got that, nobody else has to be told.
func (a *announcer) unattended(w *workspace, ev *event.Log) {
	a.s.client.ShowMessage(typeOfLevel(ev.Level), ev.Text)
	a.s.goOn("what was shown", func() {
		if a.s.conn.Flush(a.s.ctx) == nil {
			_ = w.Shown(a.s.ctx, ev.Text) // else it is told once more
		}
	})
}

// typeOfLevel returns the editor's type of message for a level.
func typeOfLevel(l event.Level) protocol.MessageType {
	switch l {
	case event.LevelError:
		return protocol.MessageTypeError
	case event.LevelWarning:
		return protocol.MessageTypeWarning
	}
	return protocol.MessageTypeInfo
}

// stays tells how long a session stays when its windows are closed, and how to end it.
func (a *announcer) stays(w *workspace) string {
	about := w.attachment.About
	until := "until it is stopped"
	if about.Keep >= 0 {
		until = "for " + session.FormatKeep(about.Keep)
	}
	return fmt.Sprintf("session %s stays %s when you close the editor, with its ranks and their memory, and what runs goes on; the command %sstopSession or "+
		"`dipls stop` ends it, and the setting %ssession.keep says how long it stays", about.Name, until, commandPrefix, commandPrefix)
}

// changesWithRuns reports whether a session may be different after a run: it has ranks on GPUs, as far as the client was told, or ranks that the client was
// not told of. A session says a little earlier that its ranks are ready than it describes them, and describes them before a run that needs them ends.
func (a *announcer) changesWithRuns(w *workspace) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.told[w]
	return a.begun[w] || p != nil && slices.ContainsFunc(p.Devices, func(device string) bool { return device != "cpu" })
}

// look has a session asked soon how it is.
func (a *announcer) look(w *workspace) { a.want(w, a.stale) }

// lookAtMemory is look, and has it asked how much GPU memory it holds, but not all the time.
func (a *announcer) lookAtMemory(w *workspace) { a.want(w, a.stale, a.grown) }

// want notes a session.
func (a *announcer) want(w *workspace, notes ...map[*workspace]bool) {
	if !a.s.wants.Events {
		return
	}
	a.mu.Lock()
	if a.told[w] != nil {
		for _, note := range notes {
			note[w] = true
		}
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run tells of sessions that are different now, until the connection ends.
func (a *announcer) run() {
	for again := (<-chan time.Time)(nil); ; {
		select {
		case <-a.wake:
		case <-again:
		case <-a.s.ctx.Done():
			return
		}
		due, wait := a.due(time.Now())
		for w, memory := range due {
			a.refresh(w, memory)
		}
		again = nil
		if wait > 0 {
			again = time.After(wait)
		}
	}
}

// due are the sessions to be asked now; true: also for their memory. Wait is when others are; 0: there are none.
func (a *announcer) due(now time.Time) (due map[*workspace]bool, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	due = map[*workspace]bool{}
	for w := range a.stale {
		due[w] = false
	}
	clear(a.stale)
	for w := range a.grown {
		if left := memoryEvery - now.Sub(a.looked[w]); left > 0 {
			wait = cmp.Or(min(wait, left), left)
			continue
		}
		due[w], a.looked[w] = true, now
		delete(a.grown, w)
	}
	return due, wait
}

// refresh asks a session how it is, and tells the client if that is new.
func (a *announcer) refresh(w *workspace, memory bool) {
	ctx, cancel := context.WithTimeout(a.s.ctx, aboutPatience)
	defer cancel()
	about, err := w.About(ctx, memory)
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.told[w]
	if err != nil || before == nil {
		return // it is gone, and that is told elsewhere
	}
	now := *before
	if about.Ranks > 0 {
		delete(a.begun, w)
	}
	if !memory {
		about.Memory = now.Memory
	}
	if w.attachment != nil {
		now.describe(about)
	} else {
		now.Ranks, now.Devices, now.Memory = about.Ranks, append([]string{}, about.Devices...), about.Memory
	}
	if !reflect.DeepEqual(now, *before) {
		a.told[w] = &now
		a.notify(&now)
	}
}

// describe enters what a session that outlives the editor says of itself.
func (p *sessionParams) describe(about session.About) {
	p.Name, p.Keep, p.Since = about.Name, keepSeconds(about.Keep), about.Since
	p.Clients = []string{}
	for _, c := range about.Clients {
		p.Clients = append(p.Clients, c.Program)
	}
	p.Ranks, p.Devices, p.Memory = about.Ranks, append([]string{}, about.Devices...), about.Memory
	p.Journal, p.Log = about.Journal, about.Log
	p.Text = describe(about, nil) // the client knows what runs, and is not told here when it ends
}

// keepSeconds is how long a session is kept, as clients are told: in seconds, -1 for ever.
func keepSeconds(keep time.Duration) float64 {
	if keep < 0 {
		return -1
	}
	return keep.Seconds()
}

// describeSession is a session in a line: "train in /home/u/project: 2 ranks, Train since 9:12, VS Code and Neovim are attached; started 8:00".
func describeSession(about session.About) string {
	work := []string{"idle"}
	if len(about.Runs) > 0 {
		work = nil
	}
	for _, r := range about.Runs {
		if r.Since != nil {
			work = append(work, fmt.Sprintf("%s since %s", nameOfRun(r), clock(*r.Since)))
		}
	}
	return describe(about, work)
}

// describe is describeSession with what is said of the runs.
func describe(about session.About, work []string) string {
	var parts []string
	switch {
	case about.Ranks == 1:
		parts = append(parts, "1 rank")
	case about.Ranks > 1:
		parts = append(parts, fmt.Sprintf("%d ranks", about.Ranks))
	default:
		parts = append(parts, "no ranks")
	}
	parts = append(parts, work...)
	var programs []string
	for _, c := range about.Clients {
		programs = append(programs, c.Program)
	}
	switch {
	case len(programs) == 1:
		parts = append(parts, programs[0]+" is attached")
	case len(programs) > 1:
		parts = append(parts, strings.Join(programs[:len(programs)-1], ", ")+" and "+programs[len(programs)-1]+" are attached")
	case about.Ends != nil:
		parts = append(parts, "ends at "+clock(*about.Ends))
	}
	return fmt.Sprintf("%s in %s: %s; started %s", about.Name, about.Dir, strings.Join(parts, ", "), clock(about.Since))
}

// nameOfRun is what people call a run.
func nameOfRun(r session.AboutRun) string {
	switch {
	case r.Title != "":
		return clean.Brief(r.Title)
	case r.Path != "":
		return fmt.Sprintf("%s:%d", filepath.Base(r.Path), r.Line)
	}
	return "a run"
}

// clock is a moment as people write it, with the day if it is not today's.
func clock(t time.Time) string {
	t = t.Local()
	if y, m, d := time.Now().Date(); t.Year() == y && t.Month() == m && t.Day() == d {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// keep tells sessions how long they live, if the settings have changed.
func (a *announcer) keep(w *workspace) {
	now := a.s.config.of(w.dir).Keep
	a.mu.Lock()
	before, known := a.kept[w]
	if known {
		a.kept[w] = now
	}
	a.mu.Unlock()
	switch {
	case !known || before == now:
	case w.attachment == nil || now == session.KeepNever:
		a.s.client.ShowMessage(protocol.MessageTypeInfo, settingsSection+".session.keep has changed: it counts when the editor is started next")
	default:
		if err := w.KeepFor(a.s.ctx, now); err != nil && a.s.ctx.Err() == nil {
			a.s.client.ShowMessage(protocol.MessageTypeError, err.Error())
		}
		a.look(w)
	}
}
