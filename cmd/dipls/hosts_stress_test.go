package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dipls/internal/stress"
	"dipls/internal/testhosts"
)

// faultLease is the lease of hosts that faults happen to.
const faultLease = 3 * time.Second

// pooled are the hosts of the pool in which faults happen, each with a rank.
var pooled = []string{"h1", "h2", "h3"}

// fault is what happens to a host of a session.
type fault struct {
	name string
	// happen does it.
	happen func(s *faulty, host string)
	// told must be what the user is told of it: an expression, in which HOST stands for the host. "": nothing may be told as dead, and the session goes on.
	told string
	// mend makes the host usable again, after its loss was told and nothing is left there. May be nil.
	mend func(s *faulty, host string)
	// goesOn is whether the host itself goes on, and so must end by itself what runs there.
	goesOn bool
	once   bool // it can happen once in a session
	severs bool // it keeps a host from joining that has not joined yet
	ends   bool // it ends the session
	job    bool // it ends all hosts
	// swept is whether it kills everything at once: what files that leaves is removed when the next session comes.
	swept bool
	// gone is whether the engine takes the host away, so that the pool comes back without it.
	gone bool
}

// faults are what happens to hosts that ssh reaches.
var faults = []fault{
	{name: "the relay is killed", happen: killed(" relay"), told: `host HOST lost: its agent has ended`},
	{name: "the supervisor is killed", happen: killed(" supervisor"), told: `rank \d \(HOST\) (died|ended with its node): the node's guard was killed by SIGKILL`},
	{name: "the node is killed", happen: (*faulty).killNode, told: `rank \d \(HOST\) (died|ended with its node): node was killed by SIGKILL`},
	{name: "a rank is killed", happen: (*faulty).killRank, told: `rank \d \(HOST\) was killed by SIGKILL`},
	{name: "the observer is killed", happen: (*faulty).killObserver},
	{name: "ssh is killed", happen: (*faulty).killSSH, once: true, severs: true},
	{name: "sshd is killed", happen: (*faulty).killSSHD, once: true, severs: true},
	{name: "the host crashes", happen: onHost((*testhosts.Hosts).Crash), told: `host HOST lost: `, mend: onHost((*testhosts.Hosts).On)},
	{name: "the power goes", happen: onHost((*testhosts.Hosts).Off), told: noAnswer, mend: onHost((*testhosts.Hosts).On)},
	{name: "the network is cut", happen: cut, told: noAnswer, goesOn: true, mend: onHost((*testhosts.Hosts).Mend)},
	{name: "the network is cut for a moment", happen: (*faulty).cutShortly},
	{name: "the session is killed", happen: (*faulty).killSession, ends: true},
	{name: "the network is cut, and the session is killed", happen: (*faulty).killSessionOfCut, ends: true, mend: onHost((*testhosts.Hosts).Mend)},
}

// noAnswer is what is told of a host that does not answer any more.
const noAnswer = `host HOST lost: no answer for 3 s`

func onHost(do func(h *testhosts.Hosts, host string)) func(s *faulty, host string) {
	return func(s *faulty, host string) { do(s.Hosts, host) }
}

func cut(s *faulty, host string) { s.Cut(host) }

// moments are when faults happen.
var moments = []string{"idle", "lines", "collective", "push"}

// Whatever happens to a host of a session, and whenever it does: it is told by name, others keep their variables, nothing is printed twice or lost, and nothing
// is left anywhere.
func TestStressFaultsOfHosts(t *testing.T) {
	testhosts.On(t, len(pooled), false, func(outer *testhosts.Hosts) {
		s := newFaulty(t, outer, strings.Join(pooled, ","))
		s.tryAll(faults, append(slices.Clone(moments), "start"), 3)
	})
}

// faultsOfSlurm are what else happens to hosts that Slurm has allotted, in a job that is the session's own.
var faultsOfSlurm = []fault{
	{name: "the relay is killed", happen: killed(" relay"), told: `host HOST lost: its agent has ended`},
	{name: "the power goes", happen: onHost((*testhosts.Hosts).Off), told: noAnswer, mend: (*faulty).nodeOn, gone: true},
	{name: "srun is killed", happen: (*faulty).killSrun, once: true},
	{name: "salloc is killed", happen: (*faulty).killSalloc, once: true},
	{name: "the job is cancelled", happen: (*faulty).cancelJob, told: `HOST\) died: host HOST [^\n]*job \d+ was cancelled`, job: true},
	{name: "the job is preempted", happen: (*faulty).preempt, told: `HOST\) died: host HOST [^\n]*job \d+ was preempted`, job: true},
	{name: "the step is cancelled", happen: (*faulty).cancelStep, told: `the step of job \d+ was cancelled`, job: true, swept: true},
	{name: "the network is cut for a moment", happen: (*faulty).cutShortly},
	{name: "the session is killed", happen: (*faulty).killSession, ends: true},
}

// The same for hosts of a job of Slurm's, which must not be left either.
func TestStressFaultsOfSlurm(t *testing.T) {
	testhosts.On(t, len(pooled), true, func(outer *testhosts.Hosts) {
		s := newFaulty(t, outer, fmt.Sprintf("slurm -N %d", len(pooled)))
		s.slurm = true
		s.tryAll(faultsOfSlurm, moments, 2)
	})
}

// tryAll tries faults at random moments: a few of them in make test, each thirty times in make stress.
func (s *faulty) tryAll(faults []fault, moments []string, few int) {
	s.t.Helper()
	var order []int
	for range stress.Rounds(1, 30) {
		order = append(order, s.rng.Perm(len(faults))...)
	}
	for i, n := range order[:stress.Rounds(few, len(order))] {
		s.try(i, faults[n], moments[s.rng.IntN(len(moments))])
	}
	s.stop()
}

// faulty is a session whose hosts have faults.
type faulty struct {
	*onHosts
	rng   *rand.Rand
	hosts string // for --hosts
	slurm bool   // they are a cluster
	lives bool
	what  string // the trial, for messages
	on    []string
}

func newFaulty(t *testing.T, outer *testhosts.Hosts, hosts string) *faulty {
	return &faulty{onHosts: newOnHosts(t, outer), rng: stress.Rand(t), hosts: hosts}
}

// attendant is a dipls that runs.
type attendant struct {
	s    *faulty
	cmd  *exec.Cmd
	done chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

// Write notes what is shown.
func (a *attendant) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.more <- struct{}{}:
	default:
	}
	return a.text.Write(p)
}

func (a *attendant) shown() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.String()
}

// await waits until a text was shown, or the program has ended.
func (a *attendant) await(text string) {
	a.s.t.Helper()
	late := time.After(patience)
	for !strings.Contains(a.shown(), text) {
		select {
		case <-a.more:
		case <-a.done:
			return
		case <-late:
			a.s.t.Fatalf("%s: %q is not shown:\n%s", a.s.what, text, a.shown())
		}
	}
}

// end waits for its end.
func (a *attendant) end() (shown string, code int) {
	a.s.t.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		_ = a.cmd.Process.Signal(syscall.SIGUSR1)
		time.Sleep(2 * time.Second)
		_ = a.cmd.Process.Kill()
		<-a.done
		a.s.t.Fatalf("%s: %q does not end:\n%s", a.s.what, a.cmd.Args, a.shown())
	}
	return a.shown(), a.cmd.ProcessState.ExitCode()
}

// dipls starts dipls.
func (s *faulty) dipls(words ...string) *attendant {
	s.t.Helper()
	a := &attendant{s: s, cmd: exec.CommandContext(context.Background(), "dipls", words...), done: make(chan struct{}), more: make(chan struct{}, 1)}
	a.cmd.Env = append(os.Environ(), "HOME="+s.Home(), "XDG_STATE_HOME="+s.Home()+"/state")
	a.cmd.Dir = s.Home()
	a.cmd.Stdout, a.cmd.Stderr = a, a
	if err := a.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(a.done)
		_ = a.cmd.Wait() // its exit code says it
	}()
	return a
}

// exec runs a cell in the session.
func (s *faulty) exec(on, code string) *attendant {
	s.t.Helper()
	return s.dipls("exec", "-s", "trial", "--on", on, "--see", "all", "-c", code)
}

// must runs a cell in the session that must succeed.
func (s *faulty) must(on, code string) string {
	s.t.Helper()
	shown, code0 := s.exec(on, code).end()
	if code0 != 0 {
		s.t.Fatalf("%s: %q ends with code %d:\n%s", s.what, code, code0, shown)
	}
	return shown
}

// prepared is what ranks have before a fault.
const prepared = `# %%dip remote
import os, time, torch, torch.distributed as dist
rank, count, payload = int(os.environ["RANK"]), 0, b"old"
mine = [rank] * 3
`

// start starts the session, unless it lives.
func (s *faulty) start() {
	s.t.Helper()
	if s.lives {
		return
	}
	shown, code := s.starting().end()
	if code != 0 {
		s.t.Fatalf("%s: the session does not start: code %d:\n%s", s.what, code, shown)
	}
	s.lives, s.on = true, slices.Clone(pooled)
}

func (s *faulty) starting() *attendant {
	s.t.Helper()
	file := filepath.Join(s.Home(), "trial.py")
	if err := os.WriteFile(file, []byte(prepared), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.dipls("run", file, "--session", "trial", "--python", s.python, "--hosts", s.hosts, "--ranks-per-host", "1", "--hosts-lease", faultLease.String())
}

// stop ends the session, of which nothing may be left anywhere.
func (s *faulty) stop() {
	s.t.Helper()
	s.quit()
	s.wantNothingOn(append([]string{"h0"}, pooled...)...)
	if s.slurm {
		if left := awaitNothing(func() []string { return strings.Fields(s.Exec("h0", "squeue", "-h", "-o", "%i")) }); len(left) > 0 {
			s.t.Fatalf("%s: left in the queue: %q", s.what, left)
		}
	}
}

// quit ends the session, if it lives.
func (s *faulty) quit() {
	s.t.Helper()
	if !s.lives { // what a killed one has left in the registry goes when somebody looks there after its end, which takes a moment
		awaitNothing(func() []string {
			s.dipls("sessions").end()
			return slices.DeleteFunc(s.left("h0"), func(line string) bool { return !strings.Contains(line, "/sessions/") })
		})
		return
	}
	if shown, code := s.dipls("stop", "trial", "--yes").end(); code != 0 {
		s.t.Errorf("%s: the session does not stop: code %d:\n%s", s.what, code, shown)
	}
	s.lives = false
}

// try has a fault happen to a host at a moment, and compares what follows with what must.
func (s *faulty) try(round int, f fault, moment string) {
	s.t.Helper()
	victim := s.rng.IntN(len(pooled))
	s.what = fmt.Sprintf("round %d: %s of %s (%s)", round, f.name, pooled[victim], moment)
	began := time.Now()
	defer func() { s.t.Logf("%s: %.1f s", s.what, time.Since(began).Seconds()) }()
	if moment == "start" {
		s.tryStart(f, pooled[victim])
		return
	}
	s.start()
	s.must("remote", strings.TrimPrefix(prepared, "# %%dip remote\n"))
	host := pooled[victim]
	ranks := len(s.on)
	dies := f.told != ""
	shown, code := s.during(moment, dies || f.ends, func() { f.happen(s, host) })
	if f.ends {
		s.wantEnd(f, shown, code, host, moment)
		return
	}
	if dies && code == 0 || moment == "idle" || f.job && code == exitFailed {
		// It came between two cells, or after the last one, or a push has failed before why was known: the next cell meets it.
		for range 100 {
			if shown, code = s.exec("remote", "pass").end(); code != 0 || !dies {
				break
			}
		}
	}
	if f.job {
		s.wantNoHosts(f, shown, host)
		return
	}
	if !dies {
		s.wantLife(shown, code, moment, ranks)
	} else {
		s.wantDeath(f, shown, code, host, victim, moment)
	}
	if f.once {
		s.stop()
	}
}

// tryStart has a fault happen to a host while the session starts.
func (s *faulty) tryStart(f fault, host string) {
	s.t.Helper()
	s.stop()
	run := s.starting()
	time.Sleep(time.Duration(s.rng.Int64N(int64(3 * time.Second))))
	f.happen(s, host)
	shown, code := run.end()
	dies := f.told != "" || f.ends || f.severs && code != 0
	switch {
	case !dies && code != 0:
		s.t.Fatalf("%s: the session does not start: code %d:\n%s", s.what, code, shown)
	case f.ends && code == 0:
		s.t.Logf("%s: it had started", s.what)
	case code != 0 && !f.ends && !strings.Contains(shown, host):
		s.t.Fatalf("%s: code %d, and %s is not named:\n%s", s.what, code, host, shown)
	case f.told != "" && code == 0: // it had started before
		for range 100 {
			if shown, code = s.exec("remote", "pass").end(); code != 0 {
				break
			}
		}
		if told := strings.ReplaceAll(f.told, "HOST", host); !regexp.MustCompile(told).MatchString(shown) {
			s.t.Fatalf("%s: %q was not told:\n%s", s.what, told, shown)
		}
	}
	if s.lives = !f.ends; dies {
		s.endOn(f, host)
	} else {
		s.on = slices.Clone(pooled)
		s.must("remote", "ones = torch.ones(1); dist.all_reduce(ones)")
	}
}

// endOn ends the session, and mends the host.
func (s *faulty) endOn(f fault, host string) {
	s.t.Helper()
	if f.swept {
		s.quit()
		s.start()
	}
	if f.mend == nil {
		s.stop()
		return
	}
	if f.goesOn || f.ends {
		s.wantNothingOn(host)
	}
	f.mend(s, host)
	s.stop()
}

// wantNoHosts fails the test unless the end of all hosts was told, and nothing of them is left.
func (s *faulty) wantNoHosts(f fault, shown, host string) {
	s.t.Helper()
	if told := strings.ReplaceAll(f.told, "HOST", `h\d`); !regexp.MustCompile(told).MatchString(shown) {
		s.t.Fatalf("%s: %q was not told:\n%s", s.what, told, shown)
	}
	s.endOn(f, host)
}

// wantEnd fails the test unless a session was told as ended that was killed, and nothing of it is left.
func (s *faulty) wantEnd(f fault, shown string, code int, host, moment string) {
	s.t.Helper()
	if moment != "idle" && code == 0 && !strings.Contains(shown, "✓") {
		s.t.Fatalf("%s: the cell ends with code 0:\n%s", s.what, shown)
	}
	s.lives = false
	s.endOn(f, host)
}

// during has something happen while the session is at something, and returns what was shown of that.
func (s *faulty) during(moment string, dies bool, happen func()) (shown string, code int) {
	s.t.Helper()
	pause := func(longest time.Duration) { time.Sleep(time.Duration(s.rng.Int64N(int64(longest)))) }
	often := "range(400)" // for some seconds
	if dies {
		often = "iter(int, 1)" // for ever
	}
	var run *attendant
	switch moment {
	case "idle":
		happen()
		return "", 0
	case "lines":
		run = s.exec("remote", "for _ in "+often+":\n    print(f'line {rank} {count + 1}', flush=True)\n    count += 1\n    time.sleep(0.01)")
		run.await("line ")
	case "collective":
		run = s.exec("remote", "for _ in "+often+":\n    dist.all_reduce(torch.ones(1000))\n"+
			"    print(f'line {rank} {count + 1}', flush=True)\n    count += 1\n    time.sleep(0.01)")
		run.await("line ")
	case "push":
		run = s.exec("local", "payload = b'new!' * (8 << 20)\nprint('pushing', flush=True)\n%dipush payload")
		run.await("pushing")
	}
	pause(time.Second)
	happen()
	return run.end()
}

// wantLife fails the test unless a cell has run as if nothing had happened.
func (s *faulty) wantLife(shown string, code int, moment string, ranks int) {
	s.t.Helper()
	if code != 0 || regexp.MustCompile(`(?i)lost|died|dead`).MatchString(shown) {
		s.t.Fatalf("%s: something was lost: code %d\n%s", s.what, code, shown)
	}
	for rank := range ranks {
		if moment == "lines" || moment == "collective" {
			s.wantLines(shown, rank, 400)
		}
		s.must("local", fmt.Sprintf("%%dipull -r %d mine\nassert mine == [%[1]d] * 3", rank))
		if moment == "push" {
			s.must("local", fmt.Sprintf("%%dipull -r %d payload\nassert payload == b'new!' * (8 << 20)", rank))
		}
	}
}

// wantDeath fails the test unless the end of what runs on a host was told, others can be read, cells are refused, and the pool comes back.
func (s *faulty) wantDeath(f fault, shown string, code int, host string, victim int, moment string) {
	s.t.Helper()
	told := strings.ReplaceAll(f.told, "HOST", host)
	if code != exitPool && !(moment == "push" && code == exitFailed) {
		s.t.Errorf("%s: the cell ends with code %d, want %d", s.what, code, exitPool)
	}
	if !regexp.MustCompile(told).MatchString(shown) {
		s.t.Errorf("%s: %q was not told", s.what, told)
	}
	for i, other := range s.on {
		if i != victim && regexp.MustCompile(`host `+other+` lost|\(`+other+`\) died`).MatchString(shown) {
			s.t.Errorf("%s: %s was told as dead", s.what, other)
		}
	}
	if s.t.Failed() {
		s.t.Fatalf("shown:\n%s", shown)
	}
	// The others.
	payloads := map[string]bool{}
	for rank := range s.on {
		if rank == victim {
			continue
		}
		out := s.must("local", fmt.Sprintf("%%dipull -r %d mine count payload\nassert mine == [%[1]d] * 3\nprint('counted', count, len(payload))", rank))
		counted := regexp.MustCompile(`counted (\d+) (\d+)`).FindStringSubmatch(out)
		if counted == nil {
			s.t.Fatalf("%s: pulled:\n%s", s.what, out)
		}
		payloads[counted[2]] = true
		if count, _ := strconv.Atoi(counted[1]); moment == "lines" || moment == "collective" {
			s.wantLines(shown, rank, count)
		}
	}
	if len(payloads) > 1 {
		s.t.Errorf("%s: some ranks got what was pushed, others did not: lengths %v", s.what, payloads)
	}
	refusal, code := s.exec("remote", "print('never')").end()
	if code == 0 || !strings.Contains(refusal, "%makedip -r") || strings.Contains(refusal, "never\n") {
		s.t.Fatalf("%s: a cell after it ends with code %d:\n%s", s.what, code, refusal)
	}
	if f.goesOn {
		s.wantNothingOn(host)
	}
	s.comeBack(f, host, victim)
}

// comeBack makes the pool anew, with the host or without it.
func (s *faulty) comeBack(f fault, host string, victim int) {
	s.t.Helper()
	lost := strings.Contains(f.told, "host HOST lost")
	shrinks := f.gone || lost && s.rng.IntN(3) == 0
	if shrinks {
		s.must("local", "%makedip -r --shrink")
		s.on = slices.Delete(slices.Clone(s.on), victim, victim+1)
	} else {
		if f.mend != nil {
			f.mend(s, host)
		}
		s.must("local", "%makedip -r")
	}
	shown := s.must("remote", "import os, socket, torch, torch.distributed as dist\n"+
		"ones = torch.ones(1); dist.all_reduce(ones); print('here', socket.gethostname(), int(ones))")
	for _, on := range s.on {
		if !strings.Contains(shown, fmt.Sprintf("here %s %d\n", on, len(s.on))) {
			s.t.Fatalf("%s: the pool is not back on %v:\n%s", s.what, s.on, shown)
		}
	}
	if shrinks {
		s.quit() // the next one has all hosts again
		if f.mend != nil {
			f.mend(s, host)
		}
		s.stop()
	}
}

// wantLines fails the test unless a rank has printed its lines from 1 on, each once, and as many as it has counted, or the one more that it was at.
func (s *faulty) wantLines(shown string, rank, counted int) {
	s.t.Helper()
	lines := regexp.MustCompile(fmt.Sprintf(`(?m)^.*line %d (\d+)$`, rank)).FindAllStringSubmatch(shown, -1)
	for i, line := range lines {
		if line[1] != strconv.Itoa(i+1) {
			s.t.Fatalf("%s: line %d of rank %d is %q", s.what, i+1, rank, line[0])
		}
	}
	if len(lines) != counted && len(lines) != counted+1 {
		s.t.Fatalf("%s: rank %d has counted %d lines, and %d were shown:\n%s", s.what, rank, counted, len(lines), shown)
	}
}

// wantNothingOn fails the test if something of a session stays on hosts.
func (s *faulty) wantNothingOn(hosts ...string) {
	s.t.Helper()
	for _, host := range hosts {
		if left := awaitNothing(func() []string { return s.left(host) }); len(left) > 0 {
			s.t.Fatalf("%s: left on %s:\n%s", s.what, host, strings.Join(left, "\n"))
		}
	}
}

// left is what there is of sessions on a host: processes, files, shared memory, and who listens besides sshd and Slurm.
func (s *faulty) left(host string) []string {
	s.t.Helper()
	const look = `ps -e -o pid=,args= | grep -E 'dipls/hosts|dip_agent|ssh -M' | grep -v grep
find /run/user/*/dipls /tmp/dipls-* /dev/shm ~/.cache/dipls/hosts/new-* -mindepth 1 2>/dev/null
ss -Hltnp | grep -vE 'sshd|slurm|munge'
true`
	out, err := s.Try(host, "sh", "-c", look)
	if err != nil {
		s.t.Fatalf("%s: %v: %s", host, err, out)
	}
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(out), "\n"), func(line string) bool { return line == "" })
}

// Faults.

// killed kills the processes of the agent on a host whose command line has a text at its end.
func killed(ending string) func(s *faulty, host string) {
	return func(s *faulty, host string) {
		s.kill(host, func(p, _, _ running) bool { return strings.HasSuffix(p.args, ending) })
	}
}

// running is a process on a host.
type running struct {
	pid, parent int
	args        string
}

// processes are those of a host, by pid.
func (s *faulty) processes(host string) map[int]running {
	s.t.Helper()
	all := make(map[int]running)
	for line := range strings.Lines(s.Exec(host, "ps", "-e", "-ww", "-o", "pid=,ppid=,args=")) {
		var p running
		if n, _ := fmt.Sscan(line, &p.pid, &p.parent, &p.args); n == 3 {
			p.args = strings.TrimSpace(line)
			all[p.pid] = p
		}
	}
	return all
}

// kill kills processes as soon as there are some. which is given a process, its parent, and the parent's parent.
func (s *faulty) kill(host string, which func(p, parent, grandparent running) bool) {
	s.t.Helper()
	for due := time.Now().Add(patience); time.Now().Before(due); time.Sleep(20 * time.Millisecond) {
		words := []string{host, "kill", "-9"}
		all := s.processes(host)
		for _, p := range all {
			if which(p, all[p.parent], all[all[p.parent].parent]) {
				words = append(words, strconv.Itoa(p.pid))
			}
		}
		if len(words) > 3 {
			_, _ = s.Try(words...) // some may end as others do
			return
		}
	}
	s.t.Fatalf("%s: no such process on %s", s.what, host)
}

// killObserver has the agent be asked something before: only then it is certain that the process is there.
func (s *faulty) killObserver(host string) {
	s.t.Helper()
	if shown, code := s.dipls("status", "-s", "trial").end(); code != 0 && s.lives {
		s.t.Fatalf("%s: the session's state cannot be asked: code %d:\n%s", s.what, code, shown)
	}
	killed(" machine")(s, host)
}

// supervises reports whether a process is the supervisor of a node.
func supervises(p running) bool { return strings.HasSuffix(p.args, " supervisor") }

func (s *faulty) killNode(host string) {
	s.kill(host, func(_, parent, _ running) bool { return supervises(parent) })
}

func (s *faulty) killRank(host string) {
	s.kill(host, func(_, _, grandparent running) bool { return supervises(grandparent) })
}

func (s *faulty) killSession(string) {
	s.kill("h0", func(p, _, _ running) bool {
		return strings.Contains(p.args, " session ") && strings.Contains(p.args, " --name trial ")
	})
}

func (s *faulty) killSessionOfCut(host string) {
	s.Cut(host)
	s.killSession(host)
}

func (s *faulty) killSSH(host string) {
	s.kill("h0", func(p, _, _ running) bool {
		return strings.Contains(p.args, "ssh -M") && strings.Contains(p.args, "-- "+host+" ")
	})
}

func (s *faulty) killSSHD(host string) {
	s.kill(host, func(p, _, _ running) bool { return strings.Contains(p.args, "sshd: root") })
}

func (s *faulty) cutShortly(host string) {
	s.Cut(host)
	time.Sleep(time.Duration(s.rng.Int64N(int64(faultLease / 2))))
	s.Mend(host)
}

func (s *faulty) killSrun(string) {
	s.kill("h0", func(p, _, _ running) bool { return strings.Contains(p.args, " srun ") })
}

func (s *faulty) killSalloc(string) {
	s.kill("h0", func(p, _, _ running) bool { return strings.Contains(p.args, " salloc ") })
}

func (s *faulty) cancelJob(string) { s.cancel("squeue", "-h", "-o", "%i") }

func (s *faulty) cancelStep(string) { s.cancel("squeue", "-s", "-h", "-o", "%i|%j") }

// cancel has Slurm cancel what a question to it names, as soon as there is something. Of steps, only that of the agents counts.
func (s *faulty) cancel(question ...string) {
	s.t.Helper()
	for due := time.Now().Add(patience); time.Now().Before(due); time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(s.Exec(append([]string{"h0"}, question...)...)) {
			id, name, step := strings.Cut(strings.TrimSpace(line), "|")
			if id != "" && (!step || strings.HasPrefix(name, "dipls-")) {
				s.Exec("h0", "scancel", id)
				return
			}
		}
	}
	s.t.Fatalf("%s: there is nothing to cancel", s.what)
}

// preempt submits a short job to a partition that comes first.
func (s *faulty) preempt(string) {
	s.Exec("h0", "sbatch", "-p", "urgent", "-N", strconv.Itoa(len(pooled)), "--exclusive", "-o", "/dev/null", "--wrap", "true")
}

// nodeOn brings a host back into the cluster.
func (s *faulty) nodeOn(host string) {
	s.On(host)
	s.SlurmNode(host)
}
