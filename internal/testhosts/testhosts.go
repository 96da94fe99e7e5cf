// Package testhosts makes hosts for tests: network namespaces on this machine, each with an sshd, processes, a clock, an /etc and a /tmp of its own, and with
// Slurm if wanted. hosts.sh says what they are; it can be used by hand, too.
//
// A test that only starts programs on the hosts calls [Up]. Code that must itself be on a host (that listens, or starts ssh) is run there by [On].
package testhosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// required is an environment variable. If it is set, hosts that cannot be made are an error and no reason to skip.
const required = "DIPLS_REQUIRE_HOSTS"

// patience bounds a command of hosts.sh.
const patience = 2 * time.Minute

// Hosts are h0, where the session of a test runs, and h1 … hN.
type Hosts struct {
	t      testing.TB
	dir    string // HOSTS_DIR
	script string // hosts.sh
	slurm  string // slurm.sh
	env    []string
	far    *remote // nil, or how a test that runs on h0 has commands run outside
}

// Address is where a host is reached: "10.77.0.12" is h2's.
func Address(host string) string {
	n, err := strconv.Atoi(strings.TrimPrefix(host, "h"))
	if err != nil {
		panic(fmt.Sprintf("%q is no host of a test", host))
	}
	return fmt.Sprintf("10.77.0.%d", 10+n)
}

// Up makes n hosts and h0. They go when the test ends, with all that runs there. Where hosts cannot be made, the test is skipped.
func Up(t testing.TB, n int) *Hosts {
	t.Helper()
	if testing.Short() {
		t.Skip("makes hosts")
	}
	Need(t, "sshd", "iptables", "ip", "unshare", "nsenter", "setpriv")
	root := repository(t)
	dir := filepath.Join("/var/lib/dipls-hosts", fmt.Sprintf("test-%d-%d", os.Getpid(), sets.Add(1)))
	h := &Hosts{
		t: t, dir: dir,
		script: filepath.Join(root, "internal", "testhosts", "hosts.sh"),
		slurm:  filepath.Join(root, "internal", "testhosts", "slurm.sh"),
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.env = append(os.Environ(), "HOSTS_DIR="+dir, "HOSTS_OWNER="+strconv.Itoa(os.Getpid()),
		"HOSTS_SHARE="+strings.Join(belowPrivate(root, filepath.Dir(self)), ":"))
	t.Cleanup(func() { h.must(h.script, "down") })
	h.must(h.script, "up", strconv.Itoa(n))
	return h
}

// Need skips the test if hosts cannot be made here, or a program is missing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if _, err := os.Stat("/usr/sbin/" + program); err != nil {
			missing = append(missing, program)
		}
	}
	var why string
	switch {
	case runtime.GOOS != "linux":
		why = "hosts for tests are Linux namespaces"
	case os.Geteuid() != 0:
		why = "hosts for tests need root"
	case len(missing) > 0:
		why = fmt.Sprintf("no %s; on Debian scripts/setup-hosts.sh installs what hosts for tests need", strings.Join(missing, ", "))
	default:
		return
	}
	if os.Getenv(required) != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// sets counts those of this process, each of which has a directory of its own.
var sets atomic.Int64

// repository is the root of this module: tests run in the folder of their package.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	t.Fatal("hosts.sh is not found: the test does not run in the module")
	return ""
}

// belowPrivate are the directories that each host would have for itself.
func belowPrivate(dirs ...string) (shared []string) {
	for _, dir := range dirs {
		for _, private := range []string{"/tmp/", "/var/tmp/", "/run/", "/dev/shm/"} {
			if strings.HasPrefix(dir, private) {
				shared = append(shared, dir)
			}
		}
	}
	return shared
}

// Home is the home directory of root on all hosts, which share it.
func (h *Hosts) Home() string { return "/home/root" }

// Outside is the path under which a test that is not on a host finds what is in a home directory: Outside("/home/dip/x").
func (h *Hosts) Outside(path string) string {
	return filepath.Join(h.dir, "home", strings.TrimPrefix(path, "/home/"))
}

// Command is a command on a host, or with "-u", user, host on it as a user. It has this program's environment and working directory, but the host's
// name and home directory; it gets a SIGTERM when this program ends.
func (h *Hosts) Command(ctx context.Context, hostAndWords ...string) *exec.Cmd {
	if h.far != nil {
		panic("a test on h0 reaches other hosts by ssh, or by Exec")
	}
	cmd := exec.CommandContext(ctx, h.script, append([]string{"exec"}, hostAndWords...)...)
	cmd.Env = h.env
	cmd.WaitDelay = patience
	return cmd
}

// Exec runs a command on a host and returns what it prints, both streams together. A failure is the test's.
func (h *Hosts) Exec(hostAndWords ...string) string {
	h.t.Helper()
	out, err := h.Try(hostAndWords...)
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", strings.Join(hostAndWords, " "), err, out)
	}
	return out
}

// Try is Exec for a command that may fail.
func (h *Hosts) Try(hostAndWords ...string) (string, error) {
	return h.run(h.script, append([]string{"exec"}, hostAndWords...)...)
}

// Cut lets nothing pass between a host and others (none: all others); neither end is told. Mend undoes it.
func (h *Hosts) Cut(host string, others ...string) {
	h.t.Helper()
	if len(others) == 0 {
		h.must(h.script, "cut", host)
	}
	for _, other := range others {
		h.must(h.script, "cut", host, other)
	}
}

// Firewall lets no new connection into a host but ssh, and ports such as "7000:7010" ("": none). Open ones go on. Mend undoes it.
func (h *Hosts) Firewall(host, ports string) {
	h.t.Helper()
	h.must(h.script, "firewall", host, ports)
}

// Mend undoes Cut and Firewall.
func (h *Hosts) Mend(host string) { h.t.Helper(); h.must(h.script, "mend", host) }

// Crash kills all processes of a host: others see their connections closed.
func (h *Hosts) Crash(host string) { h.t.Helper(); h.must(h.script, "crash", host) }

// Off takes the power from a host: others see nothing.
func (h *Hosts) Off(host string) { h.t.Helper(); h.must(h.script, "off", host) }

// On boots a host after Crash or Off. Its /tmp and /run are empty.
func (h *Hosts) On(host string) { h.t.Helper(); h.must(h.script, "on", host) }

// Delay delays what a host receives; 0 undoes it. lossPercent of the packets are lost.
func (h *Hosts) Delay(host string, delay time.Duration, lossPercent int) {
	h.t.Helper()
	h.must(h.script, "delay", host, strconv.FormatInt(delay.Milliseconds(), 10), "0", strconv.Itoa(lossPercent))
}

// Rate limits what a host sends, as tc says it: "100mbit"; "off" undoes it.
func (h *Hosts) Rate(host, rate string) { h.t.Helper(); h.must(h.script, "rate", host, rate) }

// Slurm makes a cluster of the hosts: slurmctld on h0, slurmd on the others, with two fake GPUs each. The test is skipped where there is no Slurm.
func (h *Hosts) Slurm() {
	h.t.Helper()
	Need(h.t, "slurmctld", "slurmd", "srun", "munged")
	h.must(h.slurm, "up")
}

// SlurmNode brings a host back into the cluster after On.
func (h *Hosts) SlurmNode(host string) { h.t.Helper(); h.must(h.slurm, "node", host) }

// Processes are the command lines of all processes of a host that have a text in them.
func (h *Hosts) Processes(host, text string) (found []string) {
	h.t.Helper()
	for line := range strings.Lines(h.Exec(host, "ps", "-e", "-o", "pid=,args=")) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func (h *Hosts) must(name string, args ...string) {
	h.t.Helper()
	if out, err := h.run(name, args...); err != nil {
		h.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
}

func (h *Hosts) run(name string, args ...string) (string, error) {
	if h.far != nil {
		return h.far.run(name, args...)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = h.env
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // a daemon that the command has started may hold its output
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return out.String(), err
}
