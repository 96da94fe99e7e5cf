package launch

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"dipls/internal/testhosts"
)

// jobs are the ids and states of all jobs that have not ended.
func jobs(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("squeue", "-h", "-o", "%j %T").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// awaitJobs waits until no job is left but some.
func awaitJobs(t *testing.T, want string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		got := jobs(t)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("jobs %q, want %q", got, want)
		}
	}
}

func closed(t *testing.T, a Allocation) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestSlurm(t *testing.T) {
	testhosts.On(t, 3, true, func(h *testhosts.Hosts) {
		s := newTestSession(t, testhosts.Address("h0")+":0")
		h.Exec("h0", "sbatch", "-Q", "-J", "another", "-t", "10", "-o", "/dev/null", "--wrap", "sleep 600")

		// What is true here is not there.
		t.Setenv("HOSTNAME", "h0")
		t.Setenv("XDG_RUNTIME_DIR", "/run/user/99")
		t.Setenv("TMP", "/tmp/only-here") // slurmd would make TMPDIR
		t.Setenv("VIRTUAL_ENV", "/only/here")
		t.Setenv("OF_THE_USER", "yes")
		a := plan(t, "slurm -N 2 --gpus-per-node=2 -t 10 -w h1,h2", s.tell)
		if hosts := a.Hosts(); len(hosts) != 2 || hosts[0].Name != "h1" || hosts[1].Name != "h2" || a.OwnInput() {
			t.Errorf("hosts %+v", hosts)
		}
		all := []int{0, 1}
		joins, err := a.Start(s.boot(), all, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		come := s.arrive(2, among(a, all), joins)
		for host, name := range []string{"h1", "h2"} {
			f := come[host].facts
			if f.Name != name || f.Environ["HOSTNAME"] != name || f.Environ["CUDA_VISIBLE_DEVICES"] != "0,1" || come[host].token != "token -1" {
				t.Errorf("host %d is %s (%s) with GPUs %s and %s", host, f.Name, f.Environ["HOSTNAME"], f.Environ["CUDA_VISIBLE_DEVICES"], come[host].token)
			}
			for variable, want := range map[string]string{"XDG_RUNTIME_DIR": "", "TMP": "", "VIRTUAL_ENV": "", "OF_THE_USER": "yes"} {
				if got := f.Environ[variable]; got != want {
					t.Errorf("%s has %s=%s, want %q", name, variable, got, want)
				}
			}
		}

		// The allocation from within: our agents are in nobody's way there, and a host of it may be started alone.
		p, err := Parse("slurm")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		env := a.(*slurmJob).env
		within, err := p.Launcher(Options{Environ: env}).Allocate(ctx, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := output(ctx, env, "srun", "-Q", "-N2", "hostname"); err != nil || len(strings.Fields(out)) != 2 {
			t.Errorf("srun of the user's beside ours: %q, %v", out, err)
		}
		prepared := s.boot()
		prepared.Prologue = []string{"if true; then", "  export FROM_PROLOGUE='a b'", "fi", "cat", "echo and it prints"}
		more, err := within.Start(prepared, all[1:], s.tell)
		if err != nil {
			t.Fatal(err)
		}
		second := s.arrive(1, among(within, all[1:]), more)
		if f := second[1].facts; f.Name != "h2" || f.Environ["FROM_PROLOGUE"] != "a b" {
			t.Errorf("%s has come with %q from the prologue, and not h2", f.Name, f.Environ["FROM_PROLOGUE"])
		}
		s.await(Printed, 1, "and it prints")
		// Once all have joined, srun's death changes nothing for agents.
		srun := more.(*group).run
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			children, _ := output(ctx, nil, "ps", "--ppid", strconv.Itoa(srun.cmd.Process.Pid), "-o", "stat=") // an error: there are none
			if strings.Trim(children, "Z+ls\n ") == "" {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("srun has still children: %q", children)
			}
		}
		if err := srun.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		s.await(Ended, 1, "srun: signal: killed")
		if steps, err := output(ctx, env, "squeue", "-s", "-h", "-o", "%j"); err != nil || strings.Count(steps, "dipls-") != 2 {
			t.Errorf("steps %q, %v", steps, err)
		}
		leave(second)
		ends(t, more)
		closed(t, within)
		if got := jobs(t); got != "another RUNNING\ndipls RUNNING" && got != "dipls RUNNING\nanother RUNNING" {
			t.Errorf("jobs %q: the one that we only were in must stay", got)
		}

		// An agent that is killed is told of at once, and so is one that does not come.
		h.Exec("h2", "kill", "-9", strconv.Itoa(come[1].facts.PID))
		s.await(Ended, 1, "Killed")
		missing := s.boot()
		missing.Prologue = []string{`[ "$SLURMD_NODENAME" = h1 ] || { echo not here >&2; exit 4; }`, "true"}
		half, err := a.Start(missing, all, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		// srun may end the other one as well, when it has input for a task that has ended.
		s.await(Failed, 1, "")
		ends(t, half)

		// A wrong token.
		boot := s.boot()
		boot.Token = func(int) string { return "wrong" }
		bad, err := a.Start(boot, all[:1], s.tell)
		if err != nil {
			t.Fatal(err)
		}
		s.await(Failed, 0, "")
		ends(t, bad)

		leave(come)
		ends(t, joins)
		closed(t, a)
		awaitJobs(t, "another RUNNING")
		if left := h.Processes("h0", "salloc"); len(left) > 0 {
			t.Errorf("h0 has still %s", left)
		}
		for _, host := range []string{"h1", "h2"} {
			if left := h.Processes(host, "relay"); len(left) > 0 {
				t.Errorf("%s has still %s", host, left)
			}
		}
	})
}

func TestSlurmQueues(t *testing.T) {
	testhosts.On(t, 2, true, func(h *testhosts.Hosts) {
		h.Exec("h0", "sbatch", "-Q", "-J", "another", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
		awaitJobs(t, "another RUNNING")
		for _, c := range []struct{ hosts, waits, fails string }{
			{"slurm -N 2", "waits: Resources", "was cancelled: it was enough"},
			{"slurm -N 5", "waits: PartitionNodeLimit (it asks for more hosts than its partition has)", "was cancelled: it was enough"},
			{"slurm -p nosuch", "", "invalid partition specified: nosuch"},
			{"slurm --no-such-flag", "", "unrecognized option '--no-such-flag'"},
		} {
			p, err := Parse(c.hosts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(context.Background())
			timer := time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
			_, err = p.Launcher(Options{}).Allocate(ctx, func(e Event) {
				if e.Kind == Waits && strings.Contains(e.Text, c.waits) {
					cancel(enough{})
				}
			})
			timer.Stop()
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v", c.hosts, err)
			}
			awaitJobs(t, "another RUNNING")
			if left := h.Processes("h0", "salloc"); len(left) > 0 {
				t.Errorf("%s leaves %s", c.hosts, left)
			}
		}
	})
}

type enough struct{}

func (enough) Error() string { return "it was enough" }

// What Slurm does to a job is told by name: preemption, a node's failure, scancel. TestRunTaken of dipls has the time limit.
func TestSlurmTakes(t *testing.T) {
	testhosts.On(t, 3, true, func(h *testhosts.Hosts) {
		type job struct {
			*testSession
			Allocation
			come  map[int]arrival
			joins Joins
		}
		begin := func(hosts string, n int) job {
			s := newTestSession(t, testhosts.Address("h0")+":0")
			a := plan(t, hosts, s.tell)
			var all []int
			for i := range n {
				all = append(all, i)
			}
			joins, err := a.Start(s.boot(), all, s.tell)
			if err != nil {
				t.Fatal(err)
			}
			return job{s, a, s.arrive(n, among(a, all), joins), joins}
		}
		told := func(j job, host int, text string) {
			t.Helper()
			j.await(Taken, host, text)
			if got := j.Explain(context.Background(), 0); !strings.Contains(got, text) {
				t.Errorf("the reason is %q, not %q", got, text)
			}
			leave(j.come)
			ends(t, j.joins)
			closed(t, j)
		}
		preempted := begin("slurm -N1 -w h3 --exclusive", 1)
		urgent := exec.Command("salloc", "-Q", "-p", "urgent", "-N1", "-w", "h3", "--exclusive", "true")
		if err := urgent.Start(); err != nil {
			t.Fatal(err)
		}
		told(preempted, -1, "was preempted")
		_ = urgent.Wait()

		taken := begin("slurm -N1 -w h3", 1)
		h.Exec("h0", "scancel", taken.Allocation.(*slurmJob).job())
		told(taken, -1, "cancelled")

		// The other agent of the job goes on when a node fails.
		failed := begin("slurm -N2 -w h1,h2", 2)
		h.Off("h2")
		failed.await(Taken, 1, "node h2 has failed")
		if left := h.Processes("h1", "relay"); len(left) != 1 {
			t.Errorf("h1 has %q", left)
		}
		leave(failed.come)
		ends(t, failed.joins)
		closed(t, failed)
		awaitJobs(t, "")
	})
}
