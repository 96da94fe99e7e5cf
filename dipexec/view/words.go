package view

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
)

// Limits of how many kinds of failures are named: in few words, and in the line that sums a run up.
const (
	maxFaults   = 2
	maxFailures = 3
)

// Verdict is how a run goes or went, as a mark and a few words: "✗" and "rank 2: NameError". If what it has left is gone, that counts more.
func (r *Run) Verdict() (mark, text string) {
	mark, text = r.verdict()
	if gone := r.Gone(); gone != "" {
		return "○", Joined(gone, text)
	}
	return mark, text
}

// verdict is the verdict when it was given.
func (r *Run) verdict() (mark, text string) {
	switch {
	case r.State == Queued:
		return "…", "queued"
	case r.State == Running && r.Failed() != "":
		return "✗", r.Stage()
	case r.State == Running:
		return "…", r.Stage()
	case r.Status == event.StatusOK:
		return "✓", r.went()
	case r.Status == event.StatusInterrupted:
		return "✗", Joined(r.Failed(), "interrupted")
	default:
		return "✗", clean.Brief(r.Fault())
	}
}

// Outcome is the verdict for where there is little room: "✓ 4/4 ranks · 1.2 s". Of a run that failed, why counts, not after how long.
func (r *Run) Outcome() string {
	mark, text := r.Verdict()
	if r.Status == event.StatusOK || r.Status == event.StatusInterrupted {
		text = Joined(text, r.Took())
	}
	return mark + " " + text
}

// Hint is the verdict, and how long the run took, however it ended.
func (r *Run) Hint() string {
	mark, text := r.Verdict()
	return mark + " " + Joined(text, r.Took())
}

// Joined puts facts side by side; "" is none.
func Joined(facts ...string) string {
	return strings.Join(slices.DeleteFunc(facts, func(s string) bool { return s == "" }), " · ")
}

// Took is how long a run took that has ended; "" if it never began.
func (r *Run) Took() string {
	if r.Seconds == 0 {
		return ""
	}
	return FormatDuration(time.Duration(r.Seconds * float64(time.Second)))
}

// Failed says which processes have failed of a run that goes on, or was interrupted then, and how: "rank 1: ValueError"; "" if none has.
func (r *Run) Failed() string {
	if r.Status != event.StatusInterrupted && (r.State != Running || len(r.WithStatus("")) == 0) {
		return ""
	}
	own := Run{Parts: r.Parts} // what is interrupted raises, too, but has not failed by itself
	for _, f := range r.Failures {
		if p := r.PartOf(whoOf(f)); p != nil && p.Status == event.StatusError {
			own.Failures = append(own.Failures, f)
		}
	}
	if len(own.Failures) == 0 {
		return ""
	}
	return clean.Brief(own.Fault())
}

// Stage is how far a run is that goes on: "3/4 done". What has failed of it comes first.
func (r *Run) Stage() string { return Joined(r.Failed(), r.stage()) }

func (r *Run) stage() string {
	ranks := r.Ranks()
	if slices.ContainsFunc(r.Parts, func(p Part) bool { return p.State == event.StateInterrupting }) {
		return "interrupting"
	}
	if asks := r.asks(); asks != "" {
		return asks
	}
	switch waits := r.waits(); {
	case waits != "":
		return waits
	case len(ranks) > 0:
		return fmt.Sprintf("%d/%d done", Done(ranks), len(ranks))
	case r.Local() == nil:
		return "starting"
	case r.Target == cells.Local.String():
		return "running"
	default:
		return "running locally"
	}
}

// asks says in a few words who waits for the user to type: "rank 1 waits for your answer"; "" if nobody does.
func (r *Run) asks() string {
	if len(r.Inputs) == 0 {
		return ""
	}
	switch ranks := r.Inputs[0].Asking(); len(ranks) {
	case 0:
		return "waits for your answer"
	case 1:
		return ranklist.NameOn(ranks, r.HostOf) + " waits for your answer"
	default:
		return ranklist.NameOn(ranks, r.HostOf) + " wait for your answer"
	}
}

// waits says in a few words who waits for whom in a run: "ranks 0-1,3 wait for rank 2"; "" if nobody is known to.
func (r *Run) waits() string {
	for _, h := range r.Hangs {
		waiting, missing := event.RanksAt(h.Waiting), event.RanksAt(h.Missing)
		if h.Level == event.LevelInfo || len(waiting) == 0 {
			continue
		}
		verb := " wait"
		if len(waiting) == 1 {
			verb = " waits"
		}
		text := ranklist.NameOn(waiting, r.HostOf) + verb
		if len(missing) > 0 {
			text += " for " + ranklist.NameOn(missing, r.HostOf)
		}
		return text
	}
	return ""
}

// HangSentences are the findings about a run that stand, a sentence a line.
func (r *Run) HangSentences() string {
	var lines []string
	for _, h := range r.Hangs {
		lines = append(lines, clean.Text(h.Text))
	}
	return strings.Join(lines, "\n")
}

// went says where a run went well; "" if that is the local namespace alone.
func (r *Run) went() string {
	ranks, text := r.Ranks(), ""
	switch len(ranks) {
	case 0:
		return ""
	case 1:
		text = r.Name([]ranklist.Who{ranks[0].Who})
	default:
		text = fmt.Sprintf("%d/%[1]d ranks", len(ranks))
	}
	if r.Local() != nil {
		return "local and " + text
	}
	return text
}

// Fault says in a few words why a run failed: "rank 2: NameError". Ranks that failed alike are named together.
func (r *Run) Fault() string {
	if dead := r.dead(); dead != "" {
		return dead + " died"
	}
	kinds := r.kinds((*event.Failure).Name)
	switch {
	case len(kinds) == 0 && r.Reason != "":
		return r.Reason
	case len(kinds) == 0:
		return "failed"
	case r.Target == cells.Local.String():
		return kinds[0].name
	}
	var faults []string
	for _, k := range kinds[:min(len(kinds), maxFaults)] {
		faults = append(faults, r.Name(k.who)+": "+k.name)
	}
	if len(kinds) > maxFaults {
		faults = append(faults, "…")
	}
	return strings.Join(faults, ", ")
}

// Summary says in a few words how a run ended that did not go well, and where: "NameError on ranks 0-2 (train.py:12)".
func (r *Run) Summary() string {
	if len(r.Parts) == 0 && r.Status != event.StatusInterrupted && r.Status != event.StatusSkipped {
		return "could not start"
	}
	if r.Status == event.StatusInterrupted && r.Failed() != "" && r.Reason != "" {
		return r.Reason
	}
	if len(r.Failures) == 0 || r.Status != event.StatusError {
		return map[event.Status]string{
			event.StatusError: "could not run", event.StatusDied: "ended by a death", event.StatusInterrupted: "interrupted", event.StatusSkipped: "skipped",
		}[r.Status]
	}
	kinds := r.kinds(func(f *event.Failure) string {
		what := clean.Line(f.Name()) + "%s"
		if f.Line > 0 {
			what += fmt.Sprintf(" (%s:%d)", filepath.Base(string(f.Path)), f.Line)
		}
		return what
	})
	var words []string
	for i, k := range kinds {
		if i == maxFailures {
			words = append(words, fmt.Sprintf("%d more kinds of failure", len(kinds)-i))
			break
		}
		on := ""
		if ranks := slices.DeleteFunc(k.who, ranklist.Who.IsLocal); len(ranks) > 0 {
			on = " on " + r.Name(ranks)
		}
		words = append(words, strings.Replace(k.name, "%s", on, 1))
	}
	return strings.Join(words, "; ")
}

// kind is what failures have in common, and whose they are.
type kind struct {
	name string
	who  []ranklist.Who
}

// kinds are the kinds of the run's failures, by what names one, in the order in which they came.
func (r *Run) kinds(name func(*event.Failure) string) []kind {
	var kinds []kind
	for _, f := range r.Failures {
		what := name(f)
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == what })
		if i < 0 {
			i, kinds = len(kinds), append(kinds, kind{name: what})
		}
		kinds[i].who = append(kinds[i].who, whoOf(f))
	}
	return kinds
}

// dead names the processes that died in a run; "" if none did.
func (r *Run) dead() string {
	var dead []ranklist.Who
	for _, p := range r.Parts {
		if p.State == event.StateDead {
			dead = append(dead, p.Who)
		}
	}
	return r.Name(dead)
}

// Name names processes of the run for people: "rank 11 (gpu2)".
func (r *Run) Name(who []ranklist.Who) string { return ranklist.NameOn(who, r.HostOf) }

// HostOf is the host of a rank of the run, "" if the pool is on one.
func (r *Run) HostOf(rank int) string {
	if p := r.PartOf(ranklist.Rank(rank)); p != nil {
		return p.Host
	}
	return ""
}

// Heading names a run: "Cell 3: Train (all ranks)".
func (r *Run) Heading() string {
	title := clean.Line(r.Title)
	if r.Index != 0 {
		title = strings.TrimSuffix(fmt.Sprintf("Cell %d: %s", r.Index, title), ": ")
	}
	title = cmp.Or(title, "Run")
	if r.Target == cells.Local.String() {
		return title
	}
	return title + " (" + cells.NameTarget(r.Target) + ")"
}

// Heading names the run that an event starts.
func Heading(ev *event.RunStarted) string {
	r := Run{ID: ev.Run}
	r.Apply(ev, time.Time{})
	return r.Heading()
}

// Label is "cell 3 Train", for the middle of a line; of a run that is no cell, its title.
func (r *Run) Label() string {
	if r.Index == 0 {
		return cmp.Or(clean.Line(r.Title), "run")
	}
	return strings.TrimSpace(fmt.Sprintf("cell %d %s", r.Index, clean.Line(r.Title)))
}

// Busy names the processes that a run still waits for: "local", "0-2 of 4 running", or where it goes if none has begun. What has failed comes first.
func (r *Run) Busy() string { return Joined(r.Failed(), r.busy()) }

func (r *Run) busy() string {
	busy := r.WithStatus("")
	switch {
	case len(busy) == 0:
		return cells.NameTarget(r.Target)
	case busy[0].IsLocal():
		return ranklist.Local.String()
	}
	_, ranks := ranklist.Split(busy)
	return fmt.Sprintf("%s of %d running", ranks, len(r.Ranks()))
}
