package launch

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// slurm gets hosts from Slurm: those of the allocation that this program runs in, or those of an allocation of its own. It uses only what srun, salloc,
// squeue, scontrol and scancel have printed and taken in the same way for many years.
type slurm struct {
	flags []string // of salloc; none: the allocation that we are in
	env   []string
	log   *zap.Logger
}

// allocated is what the command in an allocation of our own prints after its environment.
const allocated = "dipls-allocated"

// heldAllocation runs salloc as long as the standard input is open, which ends with us. Then the command in the allocation ends, and salloc gives it back. Only
// a salloc that still waits for hosts gets a signal: one that has some would never end.
const heldAllocation = `exec 3<&0
"$0" "$@" <&3 & salloc=$!
{ read -r _; sleep 1; kill "$salloc"; } <&3 >/dev/null 2>&1 & watch=$!
exec 3<&-
wait "$salloc"; status=$?
kill "$watch" 2>/dev/null
exit "$status"`

// The pause between two questions to the controller for a job that waits or runs: the first one, and the longest.
const (
	firstQuestion   = time.Second
	longestQuestion = 15 * time.Second
	watchPause      = time.Minute
)

// agentPatience is how long agents may take to end in order.
const agentPatience = 2 * endPatience

// limitWarnings are how long before the time limit the user is told.
var limitWarnings = []time.Duration{10 * time.Minute, 3 * time.Minute, 30 * time.Second}

var (
	jobOfSalloc = regexp.MustCompile(`\b(?:job allocation|job) (\d+)\b`)
	tasksOfSrun = regexp.MustCompile(`^srun: error: \S+: tasks? (\d[-,\d]*): (.*)`)
	lineOfTask  = regexp.MustCompile(`^(\d+): (.*)`)
	nodeFailed  = regexp.MustCompile(`[Nn]ode failure on ([^\s,]+)`)
	cancelled   = regexp.MustCompile(`\*\*\* (?:STEP|JOB) \S+ ON (\S+) CANCELLED AT \S+(?: DUE TO ([A-Z ]+))?`)
)

func (s *slurm) Allocate(ctx context.Context, tell func(Event)) (Allocation, error) {
	if len(s.flags) > 0 {
		return s.allocate(ctx, tell)
	}
	job := valueOf(s.env, "SLURM_JOB_ID")
	if job == "" {
		return nil, errors.New("this is no allocation of Slurm's (SLURM_JOB_ID is not set): " +
			"ask for one with flags of salloc, such as --hosts 'slurm -N 4 -t 2:00:00', or start dipls within one")
	}
	a := &slurmJob{slurm: s, id: job, env: s.env}
	if err := a.findHosts(ctx); err != nil {
		return nil, err
	}
	a.begin(tell)
	return a, nil
}

// allocate has salloc make an allocation and waits for it. salloc runs as long as the allocation: it gives it back at its end, and ends with us.
func (s *slurm) allocate(ctx context.Context, tell func(Event)) (_ Allocation, err error) {
	// An allocation that we are in is not asked for hosts, and says nothing about the new one.
	env := slices.DeleteFunc(slices.Clone(s.env), func(v string) bool { return strings.HasPrefix(v, "SLURM_") && !strings.HasPrefix(v, "SLURM_CONF=") })
	a := &slurmJob{slurm: s, env: env, queued: make(chan struct{})}
	granted := make(chan []string, 1)
	words := append([]string{"sh", "-c", heldAllocation, "salloc", "-J", "dipls", "--no-kill"}, s.flags...)
	words = append(words, "sh", "-c", `env -0; printf '%s\0' "$0"; exec cat >/dev/null`, allocated)
	a.salloc, err = command{words: words, env: env, stdout: &environment{granted: granted}, printed: a.sallocSaid}.start()
	if err != nil {
		return nil, fmt.Errorf("no allocation: %w", err)
	}
	defer func() {
		if err != nil {
			late, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer stop()
			_ = a.giveBack(late)
		}
	}()
	queued, pause := a.queued, time.Duration(0)
	var ask <-chan time.Time
	for {
		select {
		case <-queued:
			queued, ask = nil, time.After(0)
		case <-ask:
			pause = min(max(firstQuestion, 2*pause), longestQuestion)
			ask = time.After(pause)
			if text := a.whyPending(ctx); text != "" {
				tell(Event{Waits, -1, text})
			}
		case vars := <-granted:
			a.env = merge(env, vars)
			a.called(valueOf(vars, "SLURM_JOB_ID"))
			if err := a.findHosts(ctx); err != nil {
				return nil, err
			}
			a.begin(tell)
			return a, nil
		case <-a.salloc.done:
			return nil, fmt.Errorf("no allocation: %s", a.salloc.ended())
		case <-ctx.Done():
			if job := a.job(); job != "" {
				return nil, fmt.Errorf("job %s was cancelled: %w", job, context.Cause(ctx))
			}
			return nil, fmt.Errorf("no allocation: %w", context.Cause(ctx))
		}
	}
}

// environment reads the environment that the command in an allocation prints.
type environment struct {
	granted chan []string
	got     bytes.Buffer
}

func (e *environment) Write(data []byte) (int, error) {
	e.got.Write(data)
	if vars, _, whole := strings.Cut(e.got.String(), allocated+"\x00"); whole {
		select {
		case e.granted <- strings.Split(strings.TrimSuffix(vars, "\x00"), "\x00"):
		default:
		}
	}
	return len(data), nil
}

// merge is an environment with what Slurm sets in an allocation.
func merge(env, vars []string) []string {
	merged := slices.Clone(env)
	for _, v := range vars {
		if strings.HasPrefix(v, "SLURM") {
			merged = append(merged, v)
		}
	}
	return merged
}

// valueOf is the value of a variable in an environment; "" if it is not set.
func valueOf(env []string, name string) (value string) {
	for _, v := range env {
		if rest, found := strings.CutPrefix(v, name+"="); found {
			value = rest // the last one counts
		}
	}
	return value
}

// slurmJob is an allocation.
type slurmJob struct {
	*slurm
	env    []string
	hosts  []Host
	salloc *process // nil: the allocation is not ours

	ctx   context.Context // of watch
	stop  context.CancelFunc
	watch sync.WaitGroup

	queued chan struct{} // closed: the id is known. nil: it always was

	mu   sync.Mutex
	id   string // "": salloc has not told it yet
	tell func(Event)
	told map[string]bool // what was told already
	gone []reason        // why agents went
}

// reason is what Slurm has said of why the agent on a host (-1: on all) went.
type reason struct {
	host int
	text string
}

// job is the id.
func (a *slurmJob) job() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.id
}

// called notes the id.
func (a *slurmJob) called(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.id == "" && id != "" {
		a.id = id
		close(a.queued)
	}
}

func (a *slurmJob) Hosts() []Host { return a.hosts }

func (a *slurmJob) OwnInput() bool { return false }

func (a *slurmJob) findHosts(ctx context.Context) error {
	list := valueOf(a.env, "SLURM_JOB_NODELIST")
	if list == "" {
		list = valueOf(a.env, "SLURM_NODELIST")
	}
	out, err := output(ctx, a.env, "scontrol", "show", "hostnames", list)
	if err != nil {
		return fmt.Errorf("which hosts job %s has: %w", a.job(), err)
	}
	for _, name := range strings.Fields(out) {
		a.hosts = append(a.hosts, Host{Name: name})
	}
	if len(a.hosts) == 0 {
		return fmt.Errorf("job %s has no hosts", a.job())
	}
	return nil
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

// notForStep are variables that salloc and sbatch leave, and by which srun would start other tasks than one on each host.
var notForStep = []string{"SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_NTASKS_PER_CORE", "SLURM_NTASKS_PER_SOCKET", "SLURM_NTASKS_PER_GPU",
	"SLURM_TASKS_PER_NODE", "SLURM_DISTRIBUTION", "SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK", "SLURM_CPU_BIND", "SLURM_EXACT", "SLURM_EXCLUSIVE"}

func (a *slurmJob) Start(b Bootstrap, hosts []int, tell func(Event)) (Joins, error) {
	a.mu.Lock()
	a.forget(hosts)
	a.tell = tell
	a.mu.Unlock()
	step := "dipls-" + rand.Text() // nobody else's has this name
	env := slices.DeleteFunc(slices.Clone(a.env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(notForStep, name)
	})
	count := strconv.Itoa(len(hosts))
	words := []string{
		"srun", "--jobid=" + a.job(), "-J", step,
		"-u", "--overlap", "--no-kill", "--kill-on-bad-exit=0",
		"-l", "-N", count, "-n", count, "--ntasks-per-node=1", "-w", namesOf(a.hosts, hosts),
		"--export=ALL", "--mpi=none", "--cpu-bind=none",
	}
	said := &tasksSaid{last: make(map[int]string)}
	var ending atomic.Bool // we have it cancelled
	// Slurm numbers the tasks by the hosts' order in its own list.
	ordered := slices.Sorted(slices.Values(hosts))
	host := func(task string) int {
		if n, err := strconv.Atoi(task); err == nil && n < len(ordered) {
			return ordered[n]
		}
		return -1
	}
	g := newGroup(hosts, tell)
	run, err := command{words: append(words, b.command()...), env: env, input: b.input(-1, false), printed: func(line string) {
		switch {
		case cancelled.MatchString(line):
			if !ending.Load() {
				a.stepCancelled(cancelled.FindStringSubmatch(line))
			}
		case nodeFailed.MatchString(line):
			a.nodeFailed(nodeFailed.FindStringSubmatch(line)[1])
		case tasksOfSrun.MatchString(line):
			m := tasksOfSrun.FindStringSubmatch(line)
			for _, task := range expandTasks(m[1]) {
				said.end(host(task), m[2])
				tell(Event{Printed, host(task), m[2]})
				g.hostEnded(host(task), m[2], said.of(host(task)))
			}
		case lineOfTask.MatchString(line):
			m := lineOfTask.FindStringSubmatch(line)
			said.note(host(m[1]), m[2])
			tell(Event{Printed, host(m[1]), m[2]})
		default:
			tell(Event{Printed, -1, line})
		}
	}}.start()
	if err != nil {
		return nil, err
	}
	g.run, g.explain = run, said.of
	// srun has a second process, which has Slurm kill everything at once when srun is gone. Agents end by themselves, in order, or stay for the session.
	g.all = func() {
		if run.running() {
			killChildren(run.cmd.Process.Pid, "srun")
		}
	}
	g.stop = func(ctx context.Context) {
		ending.Store(true)
		a.cancelStep(ctx, step, run)
	}
	g.begin()
	return g, nil
}

// expandTasks expands srun's spelling of tasks: "0-2,5".
func expandTasks(text string) (tasks []string) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		for n := low; err == nil && err2 == nil && n <= high && n < low+maxHosts; n++ {
			tasks = append(tasks, strconv.Itoa(n))
		}
	}
	return tasks
}

// tasksSaid is what tasks have printed last.
type tasksSaid struct {
	mu   sync.Mutex
	last map[int]string
}

func (s *tasksSaid) note(host int, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[host] = line
}

// end notes how a task has ended, unless it has said so itself.
func (s *tasksSaid) end(host int, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[host] == "" {
		s.last[host] = how
	}
}

func (s *tasksSaid) of(host int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[host]
}

// stepCancelled handles Slurm's word that it ends agents. It does not always give the reason.
func (a *slurmJob) stepCancelled(m []string) {
	switch reason := strings.TrimSpace(m[2]); {
	case strings.HasPrefix(reason, "PREEMPTION"):
		a.noteEnd(map[string]string{"JobState": "PREEMPTED"})
	case strings.HasPrefix(reason, "TIME LIMIT"):
		a.noteEnd(map[string]string{"JobState": "TIMEOUT"})
	case strings.HasPrefix(reason, "NODE FAILURE"):
		a.nodeFailed(m[1])
	default:
		a.inquire(fmt.Sprintf("the step of job %s was cancelled", a.job()))
	}
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

// cancelStep has Slurm end a step of ours. A SIGTERM to srun would kill its tasks at once, without the time to end in order.
func (a *slurmJob) cancelStep(ctx context.Context, name string, run *process) {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	steps, err := output(ctx, a.env, "squeue", "-s", "-h", "-j", a.job(), "-o", "%i|%j")
	if err != nil {
		a.log.Warn("which step is ours", zap.Error(err))
		return
	}
	for line := range strings.Lines(steps) {
		id, of, _ := strings.Cut(strings.TrimSpace(line), "|")
		if of != name {
			continue
		}
		// Without a signal, scancel kills the tasks of a step at once, though not those of a job.
		if _, err := output(ctx, a.env, "scancel", "-s", "TERM", id); err == nil {
			select {
			case <-run.done:
				return
			case <-time.After(agentPatience):
			}
		}
		if _, err := output(ctx, a.env, "scancel", id); err != nil && run.running() {
			a.log.Warn("cancel a step", zap.Error(err))
		}
		return
	}
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

func (a *slurmJob) Close(ctx context.Context) error {
	a.mu.Lock()
	a.tell = nil // that it is revoked is no news
	a.mu.Unlock()
	a.stop()
	a.watch.Wait()
	return a.giveBack(ctx)
}

// giveBack ends an allocation of our own, or the wait for it.
func (a *slurmJob) giveBack(ctx context.Context) error {
	if a.salloc == nil {
		return nil
	}
	a.salloc.stdin.Close()
	a.salloc.end(ctx)
	if a.job() == "" {
		return nil
	}
	// salloc has given it back. If it was killed, this does; a job that is gone is no error.
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer stop()
	if fields, err := a.ask(late); err == nil && slices.Contains([]string{"PENDING", "RUNNING", "CONFIGURING"}, fields["JobState"]) {
		if _, err := output(late, a.env, "scancel", a.job()); err != nil {
			return fmt.Errorf("give back job %s: %w", a.job(), err)
		}
	}
	return nil
}
