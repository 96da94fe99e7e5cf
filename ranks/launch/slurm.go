package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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
