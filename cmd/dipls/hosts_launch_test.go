package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"dipls/internal/testhosts"
)

// equalOnHosts are cells that train a model on the ranks of h1 and h2.
var equalOnHosts, _, _ = strings.Cut(trainOnHosts, "# %%\n")

// The same cells run on hosts that anything may have started, and nothing is left of it.
func TestRunByEachLauncher(t *testing.T) {
	testhosts.On(t, 2, true, func(outer *testhosts.Hosts) {
		testhosts.Need(t, "mpirun")
		t.Setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
		t.Setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
		h := newOnHosts(t, outer)
		binary := h.everywhere("dipls")
		batch, err := filepath.Abs("../../examples/clusters/batch_hosts.sh")
		if err != nil {
			t.Fatal(err)
		}
		// An old torch on a new Python starts nothing unless it is told what to do with the output.
		torchrun := shellQuote(h.python) + " -m torch.distributed.run --nnodes 2 --nproc_per_node 1 --redirects 0:1 --tee 0:2 " +
			"--rdzv_backend c10d --rdzv_endpoint h1:29400 --rdzv_id a --no_python "
		for _, c := range []struct {
			name, hosts string
			by          []string
			batch       string // what a job runs on each host once the session waits for them
		}{
			{"an allocation of its own", "slurm -N 2 --gpus-per-node=2 -t 10", nil, ""},
			{"the allocation that it runs in", "slurm", []string{"salloc", "-Q", "-N2"}, ""},
			{"mpirun", "exec[h1,h2] mpirun -np {count} --host {list} {join}", nil, ""},
			{"sbatch", "join[2] " + h.Home(), nil, binary + " join --env"},
			{"sbatch of the session's", "exec[2] " + shellQuote(batch) + " -N2 -t 10 -o /dev/null -- " + binary + " join --env", nil, ""},
			{"torchrun", "join[2] " + h.Home(), nil, torchrun + binary + " join --env"},
		} {
			t.Log(c.name)
			h.by = c.by
			shown, code := h.attend(equalOnHosts, map[string]func(){"2 hosts to join": func() { h.submit(c.batch) }}, "--hosts", c.hosts, "--ranks-per-host", "2")
			h.want(shown, code, 0, `^\[0-3\] equal 4 ranks$`, `^\[h1: 0-1\] on h1 10\.77\.0\.11 eth0 0$`, `^\[h2: 2-3\] on h2 10\.77\.0\.11 eth0 1$`)
			for left := "x"; left != ""; { // a job of the user's ends with its agents
				left = strings.TrimSpace(h.Exec("h0", "squeue", "-h", "-o", "%j %T"))
				if strings.HasPrefix(left, "dipls") && !strings.HasSuffix(left, "COMPLETING") {
					t.Fatalf("left of Slurm's: %s", left)
				}
			}
			h.wantNothing("h1", "h2")
			if left, _ := filepath.Glob(h.Home() + "/start-*"); len(left) > 0 {
				t.Errorf("left in the home directory: %s", left)
			}
		}
	})
}

// everywhere puts a program of the tests where all hosts find it.
func (h *onHosts) everywhere(name string) (path string) {
	h.t.Helper()
	found, err := exec.LookPath(name)
	if err != nil {
		h.t.Fatal(err)
	}
	program, err := os.ReadFile(found)
	if err == nil {
		path = filepath.Join(h.Home(), name)
		err = os.WriteFile(path, program, 0o700)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return path
}

// submit submits a job that runs a command on two hosts, with the start-up that a session has written into the home directory.
func (h *onHosts) submit(command string) {
	h.t.Helper()
	files, err := filepath.Glob(h.Home() + "/start-*")
	if err != nil || len(files) != 1 {
		h.t.Fatalf("start-ups %v, %v", files, err)
	}
	cmd := exec.Command("sbatch", "-Q", "-N2", "--ntasks-per-node=1", "-o", h.Home()+"/job.log", "--wrap", "srun "+command)
	cmd.Env = append(os.Environ(), "DIPLS_STARTUP="+files[0])
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
}

// Where the session's host lets nothing in but ssh, or no port is wanted, ssh carries all, and nothing listens on TCP.
func TestRunThroughFirewall(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		run := func(more ...string) {
			t.Helper()
			listens := "not looked"
			look := func() { listens = h.Exec("h0", "sh", "-c", "ss -Hltnp | grep -v sshd; true") }
			shown, code := h.attend(equalOnHosts, map[string]func(){"equal": look}, append(more, "--hosts", "h1,h2", "--ranks-per-host", "2")...)
			h.want(shown, code, 0, `^\[0-3\] equal 4 ranks$`)
			if listens != "" {
				t.Errorf("%q: on h0 listens: %s", more, listens)
			}
			h.wantNothing("h1", "h2")
		}
		run("--hosts-ports", "none")
		h.Firewall("h0", "")
		run()
	})
}

// While a job queues, the user sees why, and Ctrl-C cancels it.
func TestRunQueues(t *testing.T) {
	testhosts.On(t, 2, true, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		h.Exec("h0", "sbatch", "-Q", "-J", "another", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
		for _, more := range [][]string{nil, {"--session", "lives"}} {
			shown, code := h.attend("# %%dip\nprint('never')\n", map[string]func(){"waits: Resources": func() {
				if more != nil {
					h.want(string(h.dipls("status", "-s", "lives")), 0, 0, `^ranks +starting · job \d+ waits: Resources`)
				}
				if err := h.process.Signal(syscall.SIGINT); err != nil {
					t.Error(err)
				}
			}}, append(more, "--hosts", "slurm -N 2")...)
			h.want(shown, code, exitInterrupted, `job \d+ waits: Resources`)
			left := func() []string {
				jobs := strings.Fields(h.Exec("h0", "squeue", "-h", "-o", "%j"))
				return slices.DeleteFunc(jobs, func(job string) bool { return job == "another" })
			}
			if more == nil && len(left()) > 0 || len(awaitNothing(left)) > 0 { // a session that lives gives it back meanwhile
				t.Errorf("%q: jobs left: %q", more, left())
			}
		}
		h.dipls("stop", "lives", "--yes")
	})
}

// What Slurm does to the job of a session is told in words, before where Slurm tells, and is the reason of the ranks' death.
func TestRunTaken(t *testing.T) {
	testhosts.On(t, 4, true, func(outer *testhosts.Hosts) {
		cells := "# %%dip remote --see all\nimport time\nprint('begun')\nwhile True:\n    time.sleep(0.1)\n"
		var runs sync.WaitGroup
		var mu sync.Mutex
		var checks []func()
		try := func(name, hosts, when string, happen func(), told ...string) {
			h := newOnHosts(t, outer)
			h.dir = filepath.Join(outer.Home(), name)
			if hosts == "slurm" {
				h.by = []string{"salloc", "-Q", "-N1", "-w", "h4", "-t", "5", "-J", "another"}
			}
			runs.Go(func() {
				shown, code := h.attend(cells, map[string]func(){when: happen}, "--hosts", hosts, "--ranks-per-host", "1", "--hosts-lease", "45s")
				mu.Lock()
				defer mu.Unlock()
				checks = append(checks, func() { h.want(shown, code, 3, told...) })
			})
		}
		limit := func() { // five minutes are told, and are over at once
			outer.Exec("h0", "sh", "-c", "scontrol update JobId=$(squeue -h -n another -o %i) EndTime=now")
		}
		try("limited", "slurm", "begun", limit,
			`^job \d+ reaches its time limit in 5 minutes, at `, `^rank 0 died: host h4 has ended: .*; job \d+ has reached its time limit$`)
		preempt := func() {
			outer.Exec("h0", "sbatch", "-p", "urgent", "-w", "h3", "--exclusive", "-o", "/dev/null", "--wrap", "true")
		}
		try("preempted", "slurm -N1 -w h3 --exclusive", "begun", preempt,
			`^job \d+ was preempted$`, `^rank 0 died: host h3 has ended: .*; job \d+ was preempted$`)
		try("failed", "slurm -N2 -w h1,h2", "begun", func() { outer.Off("h2") },
			`^Slurm says that node h2 has failed$`, `^rank 1 \(h2\) died: host h2 lost: no answer for 45 s; Slurm says that node h2 has failed$`)
		runs.Wait()
		for _, check := range checks {
			check()
		}
		newOnHosts(t, outer).wantNothing("h1", "h3", "h4")
	})
}
