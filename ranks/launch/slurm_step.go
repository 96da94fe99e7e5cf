package launch

import (
	"context"
	"crypto/rand"
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

var (
	tasksOfSrun = regexp.MustCompile(`^srun: error: \S+: tasks? (\d[-,\d]*): (.*)`)
	lineOfTask  = regexp.MustCompile(`^(\d+): (.*)`)
	cancelled   = regexp.MustCompile(`\*\*\* (?:STEP|JOB) \S+ ON (\S+) CANCELLED AT \S+(?: DUE TO ([A-Z ]+))?`)
)

// agentPatience is how long agents may take to end in order.
const agentPatience = 2 * endPatience

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
