package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dipls/internal/testhosts"
	"dipls/internal/testpython"
)

// onHosts are hosts for a run, and what their user has.
type onHosts struct {
	*testhosts.Hosts
	t       *testing.T
	python  string
	by      []string    // words of a command that starts dipls; none: it is started as it is
	process *os.Process // of the run
	dir     string      // of the file, and the working directory
}

func newOnHosts(t *testing.T, outer *testhosts.Hosts) *onHosts {
	return &onHosts{Hosts: outer, t: t, python: testpython.Need(t), dir: outer.Home()}
}

// run runs cells on hosts h1 and h2, and returns what was shown and the exit code.
func (h *onHosts) run(cells string, flags ...string) (shown string, code int) {
	h.t.Helper()
	return h.attend(cells, nil, flags...)
}

// attend is run; when says a text, and what is done once that was shown.
func (h *onHosts) attend(cells string, when map[string]func(), flags ...string) (shown string, code int) {
	h.t.Helper()
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(h.dir, "train.py")
	if err := os.WriteFile(file, []byte(cells), 0o600); err != nil {
		h.t.Fatal(err)
	}
	const long = 5 * patience // a run has many conditions that may take their time
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	words := slices.Concat(h.by, []string{"dipls", "run", file, "--python", h.python, "--start-timeout", long.String()}, flags)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+h.Home(), "XDG_STATE_HOME="+h.Home()+"/state")
	cmd.Dir = h.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.process = cmd.Process
	var text strings.Builder
	for buffer := make([]byte, 4096); ; {
		n, err := out.Read(buffer)
		text.Write(buffer[:n])
		for said, act := range when {
			if strings.Contains(text.String(), said) {
				delete(when, said)
				act()
			}
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // its exit code says it
	return text.String(), cmd.ProcessState.ExitCode()
}

// want fails the test if a run did not end with a code, or has not shown what expressions match.
func (h *onHosts) want(shown string, code, wantCode int, expressions ...string) {
	h.t.Helper()
	if code != wantCode {
		h.t.Errorf("exit code %d, want %d", code, wantCode)
	}
	for _, e := range expressions {
		if !regexp.MustCompile("(?m)" + e).MatchString(shown) {
			h.t.Errorf("nothing matches %q", e)
		}
	}
	if h.t.Failed() {
		h.t.Fatalf("shown:\n%s", shown)
	}
}

// wantNothing fails the test if anything stays on hosts. Their agents may end a moment after the session.
func (h *onHosts) wantNothing(hosts ...string) {
	h.t.Helper()
	for _, host := range hosts {
		left := awaitNothing(func() []string { // munged has the path of the hosts' folder
			running := slices.DeleteFunc(h.Processes(host, "dip"), func(line string) bool { return strings.Contains(line, "/munged ") })
			files, _ := h.Try(host, "sh", "-c", "ls -d /run/user/*/dipls/* /tmp/dipls-*/* /dev/shm/* 2>/dev/null")
			return append(running, strings.Fields(files)...)
		})
		if len(left) > 0 {
			h.t.Errorf("left on %s: %q", host, left)
		}
	}
}

// another is a line of a prologue after which h2 has version 98.0 of a package.
func (h *onHosts) another(name string) string {
	h.t.Helper()
	dir := filepath.Join(h.Home(), "another", name)
	about := filepath.Join(dir, name+"-98.0.dist-info")
	if err := os.MkdirAll(about, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(about, "METADATA"), []byte("Metadata-Version: 2.1\nName: "+name+"\nVersion: 98.0\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return `test "$(hostname)" = h1 || export PYTHONPATH=` + dir
}

const trainOnHosts = `# %%dip remote --see all
import os, socket, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
torch.manual_seed(int(os.environ["RANK"]))
model = DistributedDataParallel(torch.nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
mine = torch.cat([p.detach().flatten() for p in model.parameters()])
low, high = mine.clone(), mine.clone()
dist.all_reduce(low, dist.ReduceOp.MIN)
dist.all_reduce(high, dist.ReduceOp.MAX)
print("equal" if torch.equal(low, high) else "different", dist.get_world_size(), "ranks")
print("on", socket.gethostname(), os.environ["MASTER_ADDR"], os.environ["GLOO_SOCKET_IFNAME"], os.environ["NODE_RANK"])
# %%
table = list(range(300000))
%dipush table
shift = 1
%dipush -r host:h2 shift
# %%dip -r each:0 --see all
total = sum(table) + int(os.environ["RANK"])
print("total", total)
# %%
%dipull -r 2 total
print("pulled", total)
%dipull -r each:0 total
print("pulled", total)
%dipull -r host:h9 total
# %%dip -r host:h2 --see all
print("here", socket.gethostname(), shift)
# %%dip --see host:h2
print("seen", socket.gethostname(), "shift" in globals())
# %%dip --see each:-1
print("last", os.environ["LOCAL_RANK"])
`

// A file runs on the ranks of several hosts, which ssh reaches, as on those of one, and nothing is left there.
func TestRunOnHosts(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		shown, code := h.run(trainOnHosts, "--hosts", "h1,h2:2", "--ranks-per-host", "2", "--keep-going")
		h.want(shown, code, 1,
			`^\[0-3\] equal 4 ranks$`,
			`^\[h1: 0-1\] on h1 10\.77\.0\.11 eth0 0$`, `^\[h2: 2-3\] on h2 10\.77\.0\.11 eth0 1$`,
			`^\[h1: 0\] total 44999850000$`, `^\[h2: 2\] total 44999850002$`, `^pulled 44999850002$`, `^pulled \[44999850000, 44999850002\]$`,
			`^ValueError: no host h9; hosts: h1, h2$`, `^\[h2: 2-3\] here h2 1$`, `^\[h2: 2-3\] seen h2 True$`, `^\[1,3\] last 1$`)
		if strings.Contains(shown, "seen h1") || strings.Contains(shown, "last 0") {
			t.Errorf("shown is what nobody wants to see:\n%s", shown)
		}
		h.wantNothing("h1", "h2")

		shown, code = h.run("# %%dip remote\nprint('never')\n", "--hosts", "h1,nowhere")
		h.want(shown, code, 3, `ssh: .* nowhere`)
		h.wantNothing("h1")
		shown, code = h.run("# %%dip -r host:h9\nprint('never')\n", "--hosts", "h1,h2", "-n", "2")
		h.want(shown, code, 1, `no host h9; hosts: h1, h2`)
		h.wantNothing("h1", "h2")
		shown, code = h.run("# %%dip remote\nprint('never')\n", "--hosts", "h1,h2", "-n", "2", "--hosts-prologue", h.another("torch"))
		h.want(shown, code, 3, `ranks of one pool need the same versions: torch .* on h1, 98\.0 on h2`)
		shown, code = h.run("# %%dip remote\nprint('both')\n", "--hosts", "h1,h2", "-n", "2", "--app", "none", "--hosts-prologue", h.another("cloudpickle"))
		h.want(shown, code, 0, `versions differ: cloudpickle .* on h1, 98\.0 on h2`, `^both$`)
		h.wantNothing("h1", "h2")
	})
}

// A host whose agent is killed, or that is switched off, is told of by its name, and so are its ranks.
func TestRunLosesHost(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		cells := "# %%dip remote --see all\nimport time\nprint('begun')\nwhile True:\n    time.sleep(0.1)\n"
		kill := func() {
			for _, agent := range h.Processes("h2", " relay") {
				pid, _, _ := strings.Cut(agent, " ")
				h.Exec("h2", "kill", "-9", pid)
			}
		}
		shown, code := h.attend(cells, map[string]func(){"begun": kill}, "--hosts", "h1,h2", "--ranks-per-host", "1")
		h.want(shown, code, 3, `rank 1 \(h2\) died: host h2 lost: its agent has ended`)
		h.wantNothing("h1", "h2")
		shown, code = h.attend(cells, map[string]func(){"begun": func() { h.Off("h2") }}, "--hosts", "h1,h2", "--ranks-per-host", "1", "--hosts-lease", "3s")
		h.want(shown, code, 3, `h2 does not answer`, `rank 1 \(h2\) died: host h2 lost: no answer for 3 s`)
		h.wantNothing("h1")
	})
}
