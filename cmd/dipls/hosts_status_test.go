package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"dipls/internal/testhosts"
)

// fakeSMI is an nvidia-smi that knows one GPU, and of the processes that use it that of the rank which has written its pid.
const fakeSMI = `#!/bin/sh
case "$1" in
*compute-apps*) echo "$(cat "$HOME/pid-$(hostname)"), 1$(hostname | tr -d h)0" ;;
*utilization*) echo "gpu-$(hostname), 5$(hostname | tr -d h)" ;;
*) echo "0, gpu-$(hostname), Fake, 1000, 10" ;;
esac
`

// What is told of a rank comes from its own host: hosts use the same numbers for different processes.
func TestFiguresOfHosts(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		h.dir = filepath.Join(h.Home(), "figures")
		if err := os.MkdirAll(filepath.Join(h.dir, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.dir, "bin", "nvidia-smi"), []byte(fakeSMI), 0o700); err != nil {
			t.Fatal(err)
		}
		cells := `# %%dip remote
import os, socket
ballast = b"x" * (int(os.environ["RANK"]) * (300 << 20))
with open(os.path.expanduser("~/pid-" + socket.gethostname()), "w") as file:
    file.write(str(os.getpid()))
# %%
%makedip -i
`
		flags := []string{"--hosts", "h1,h2", "--app", "none", "--hosts-prologue", "export PATH=" + h.dir + "/bin:$PATH", "--session", "figures"}
		defer h.dipls("stop", "figures")
		shown, code := h.run(cells, flags...)
		h.want(shown, code, 0, `^ rank +host +pid`, `^ +0 +h1 +\d+ `, `^ +1 +h2 +\d+ .* [3-9]\d\d MiB`, `^local +h0 `)

		var status sessionStatus
		out := h.dipls("status", "--session", "figures", "--json")
		if err := json.Unmarshal(out, &status); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if len(status.Processes) != 3 || len(status.Hosts) != 2 || status.Hosts[1].State != hostReachable {
			t.Fatalf("status %s", out)
		}
		for rank, host := range []string{"h1", "h2"} {
			p := status.Processes[1+rank]
			pid, err := os.ReadFile(filepath.Join(h.Home(), "pid-"+host))
			if err != nil || p.Host != host || strconv.Itoa(p.PID) != string(pid) {
				t.Errorf("rank %d is %+v, and on %s it is %s, %v", rank, p, host, pid, err)
			}
			if p.HostBytes == nil || (*p.HostBytes > 300<<20) != (rank == 1) {
				t.Errorf("rank %d takes %v bytes", rank, p.HostBytes)
			}
			if p.GPUBytes == nil || *p.GPUBytes != int64(110+10*rank)<<20 || p.GPULoad == nil || *p.GPULoad != 51+rank {
				t.Errorf("rank %d takes %v bytes of its GPU, whose load is %v", rank, p.GPUBytes, p.GPULoad)
			}
		}
		h.want(string(h.dipls("status", "--session", "figures")), 0, 0, `^hosts +h1, h2$`, `^RANK +HOST +STATE`, `^1 +h2 +ready`)
	})
}

// dipls runs another command of dipls on h0.
func (h *onHosts) dipls(args ...string) []byte {
	h.t.Helper()
	cmd := exec.Command("dipls", args...)
	cmd.Env = append(os.Environ(), "HOME="+h.Home(), "XDG_STATE_HOME="+h.Home()+"/state")
	cmd.Dir = h.dir
	out, err := cmd.Output()
	if err != nil {
		h.t.Errorf("dipls %q: %v", args, err)
	}
	return out
}
