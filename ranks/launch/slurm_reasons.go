package launch

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

var (
	jobOfSalloc = regexp.MustCompile(`\b(?:job allocation|job) (\d+)\b`)
	nodeFailed  = regexp.MustCompile(`[Nn]ode failure on ([^\s,]+)`)
)

// limitWarnings are how long before the time limit the user is told.
var limitWarnings = []time.Duration{10 * time.Minute, 3 * time.Minute, 30 * time.Second}

// reason is what Slurm has said of why the agent on a host (-1: on all) went.
type reason struct {
	host int
	text string
}

// begin begins to watch the job.
func (a *slurmJob) begin(tell func(Event)) {
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.mu.Lock()
	a.tell, a.told = tell, make(map[string]bool)
	a.mu.Unlock()
	a.watch.Go(func() { a.watchLimit(a.ctx) })
}

// say tells the user something once.
func (a *slurmJob) say(kind Kind, host int, text string) {
	a.mu.Lock()
	tell := a.tell
	known := tell == nil || a.told[text]
	if !known {
		a.told[text] = true
	}
	a.mu.Unlock()
	if !known {
		tell(Event{kind, host, text})
	}
}

// why notes what Slurm says of why agents go, and tells it.
func (a *slurmJob) why(host int, text string) {
	a.mu.Lock()
	if !slices.Contains(a.gone, reason{host, text}) {
		a.gone = append(a.gone, reason{host, text})
	}
	a.mu.Unlock()
	a.say(Taken, host, text)
}

// forget forgets why agents went that are about to be started again. a.mu is held.
func (a *slurmJob) forget(hosts []int) {
	a.gone = slices.DeleteFunc(a.gone, func(r reason) bool {
		again := r.host < 0 || slices.Contains(hosts, r.host)
		if again {
			delete(a.told, r.text)
		}
		return again
	})
}

// sallocSaid handles a line of salloc's.
func (a *slurmJob) sallocSaid(line string) {
	if m := jobOfSalloc.FindStringSubmatch(line); m != nil {
		a.called(m[1])
	}
	switch {
	case strings.Contains(line, "exceeded its time limit"):
		a.noteEnd(map[string]string{"JobState": "TIMEOUT"})
	case nodeFailed.MatchString(line):
		a.nodeFailed(nodeFailed.FindStringSubmatch(line)[1])
	case strings.Contains(line, "revoked"):
		a.inquire(fmt.Sprintf("Slurm has taken job %s back", a.job()))
	}
}

func (a *slurmJob) nodeFailed(name string) {
	a.why(slices.IndexFunc(a.hosts, func(h Host) bool { return sameHost(h.Name, name) }), fmt.Sprintf("Slurm says that node %s has failed", name))
}

// fieldOfJob is a field of a job as scontrol prints it.
var fieldOfJob = regexp.MustCompile(`(?:^|\s)(JobState|Reason|StartTime|EndTime|PreemptTime)=(\S+)`)

// ask asks the controller for the fields of the job.
func (a *slurmJob) ask(ctx context.Context) (map[string]string, error) {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	out, err := output(ctx, a.env, "scontrol", "show", "job", a.job())
	if err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for _, m := range fieldOfJob.FindAllStringSubmatch(out, -1) {
		if fields[m[1]] == "" {
			fields[m[1]] = m[2]
		}
	}
	return fields, nil
}

// moment is a moment as Slurm writes it; zero if it is none.
func moment(text string) time.Time {
	at, err := time.ParseInLocation("2006-01-02T15:04:05", text, time.Local)
	if err != nil {
		return time.Time{}
	}
	return at
}

// neverStarts are reasons of Slurm's for which a job does not start however long it waits, with what they mean.
var neverStarts = map[string]string{
	"PartitionNodeLimit": "it asks for more hosts than its partition has",
	"PartitionTimeLimit": "it asks for more time than its partition allows",
	"BadConstraints":     "no host can be what it asks for",
	"JobHeldUser":        "it is held: scontrol release",
	"JobHeldAdmin":       "an administrator holds it",
}

// whyPending is why the job waits, for people; "" if it does not, or nobody knows.
func (a *slurmJob) whyPending(ctx context.Context) string {
	fields, err := a.ask(ctx)
	if err != nil {
		a.log.Debug("why the job waits", zap.Error(err))
		return ""
	}
	reason := fields["Reason"]
	switch {
	case fields["JobState"] != "PENDING":
		return ""
	case neverStarts[reason] != "":
		return fmt.Sprintf("job %s waits: %s (%s)", a.job(), reason, neverStarts[reason])
	case reason == "None" || reason == "":
		return fmt.Sprintf("job %s waits", a.job())
	}
	text := fmt.Sprintf("job %s waits: %s", a.job(), reason)
	if at := moment(fields["StartTime"]); time.Until(at) > time.Minute {
		text += ", to start at about " + at.Format("15:04")
		if time.Until(at) > 20*time.Hour {
			text += at.Format(" on 2 January")
		}
	}
	return text
}

// watchLimit tells of the job's end some time before it.
func (a *slurmJob) watchLimit(ctx context.Context) {
	pause := firstQuestion
	last := time.Duration(-1) // how long it was the last time; -1: not known
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = watchPause
		fields, err := a.ask(ctx)
		if err != nil {
			a.log.Debug("when the job ends", zap.Error(err))
			continue
		}
		end := moment(fields["EndTime"])
		if fields["JobState"] != "RUNNING" || end.IsZero() {
			continue
		}
		if a.noteEnd(fields) {
			return
		}
		left := time.Until(end)
		if last < 0 && a.salloc != nil {
			last = left // whoever has asked for so little time knows it
		}
		for _, at := range limitWarnings {
			if left <= at && (last < 0 || last > at) && left > 0 {
				a.say(Warns, -1, fmt.Sprintf("job %s reaches its time limit in %s, at %s", a.job(), inWords(left), end.Format("15:04:05")))
				break
			}
		}
		last = left
		for _, at := range limitWarnings {
			if left > at {
				pause = min(pause, left-at+time.Second)
				break
			}
		}
	}
}

func inWords(d time.Duration) string {
	if d < 90*time.Second {
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	}
	return fmt.Sprintf("%d minutes", int((d + 30*time.Second).Minutes()))
}

// inquire asks the controller why it has taken hosts, and tells that. If the job goes on, the reason is the other one.
func (a *slurmJob) inquire(otherwise string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tell == nil { // it is ours no more
		return
	}
	a.watch.Go(func() {
		fields, err := a.ask(a.ctx)
		switch {
		case a.ctx.Err() != nil:
		case err != nil || fields["JobState"] == "RUNNING" && moment(fields["PreemptTime"]).IsZero():
			a.why(-1, otherwise)
		case !a.noteEnd(fields):
			a.why(-1, fmt.Sprintf("job %s was cancelled", a.job()))
		}
	})
}

// noteEnd notes, and tells, why a job ends that has these fields. It reports whether that is known.
func (a *slurmJob) noteEnd(fields map[string]string) bool {
	state := fields["JobState"]
	switch {
	case !moment(fields["PreemptTime"]).IsZero():
		state = "PREEMPTED"
	case fields["Reason"] == "TimeLimit":
		state = "TIMEOUT"
	}
	why := whyGone[state]
	if why != "" {
		a.why(-1, fmt.Sprintf("job %s %s", a.job(), why))
	}
	return why != ""
}

// whyGone is what states of jobs mean for agents.
var whyGone = map[string]string{
	"PREEMPTED": "was preempted", "TIMEOUT": "has reached its time limit", "NODE_FAIL": "has lost a node", "CANCELLED": "was cancelled",
	"OUT_OF_MEMORY": "has run out of memory", "FAILED": "has failed", "COMPLETED": "has ended", "BOOT_FAIL": "has lost a node",
	"DEADLINE": "has reached its deadline",
}

func (a *slurmJob) Explain(ctx context.Context, host int) string {
	a.mu.Lock()
	for _, r := range a.gone {
		if r.host < 0 || r.host == host {
			a.mu.Unlock()
			return r.text
		}
	}
	a.mu.Unlock()
	fields, err := a.ask(ctx)
	if err != nil {
		return ""
	}
	if a.noteEnd(fields) {
		return a.Explain(ctx, host)
	}
	name := a.hosts[host].Name
	state, err := output(ctx, a.env, "sinfo", "-h", "-N", "-n", name, "-o", "%T")
	if err != nil {
		return ""
	}
	state, _, _ = strings.Cut(strings.TrimSpace(state), "\n") // a line for each partition
	switch bare, silent := strings.CutSuffix(state, "*"); {
	case silent:
		return fmt.Sprintf("Slurm says that node %s does not answer", name)
	case strings.HasPrefix(bare, "down"), strings.HasPrefix(bare, "drain"), strings.HasPrefix(bare, "fail"):
		return fmt.Sprintf("Slurm says that node %s is %s", name, bare)
	}
	return ""
}
