package launch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/testhosts"
)

func TestSSH(t *testing.T) {
	testhosts.On(t, 3, false, func(h *testhosts.Hosts) {
		// What a shell prints before the agent, and each login shell's own ideas of quotes, must not matter.
		if err := os.WriteFile(h.Home()+"/.bashrc", []byte("echo welcome to $HOSTNAME\necho and mind the gap >&2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.Exec("h2", "sed", "-i", "s,^\\(root:.*:\\)[^:]*$,\\1/usr/bin/fish,", "/etc/passwd")
		h.Exec("h3", "sed", "-i", "s,^\\(root:.*:\\)[^:]*$,\\1/bin/csh,", "/etc/passwd")

		s := newTestSession(t, testhosts.Address("h0")+":0")
		a := plan(t, "h[1-2],root@h3:22:4", s.tell)
		if hosts := a.Hosts(); len(hosts) != 3 || hosts[2] != (Host{"h3", 4}) || !a.OwnInput() {
			t.Errorf("hosts %+v", hosts)
		}
		all := []int{0, 1, 2}
		boot := s.boot()
		boot.Python = `/home/dip/a python's "ü"/python3`
		if err := os.MkdirAll(filepath.Dir(boot.Python), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/usr/bin/python3", boot.Python); err != nil {
			t.Fatal(err)
		}
		joins, err := a.Start(boot, all, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		come := s.arrive(3, among(a, all), joins)
		for host, name := range []string{"h1", "h2", "h3"} {
			if got := come[host]; got.facts.Name != name || got.token != "token "+string(rune('0'+host)) {
				t.Errorf("host %d is %s with %s", host, got.facts.Name, got.token)
			}
		}
		s.await(Printed, 0, "welcome to h1")
		if secret := h.Processes("h0", "token"); len(secret) > 0 {
			t.Errorf("a token is on a command line: %s", secret)
		}
		leave(come)
		ends(t, joins)
		for _, host := range []string{"h1", "h2", "h3"} {
			if left := h.Processes(host, "relay"); len(left) > 0 {
				t.Errorf("%s has still %s", host, left)
			}
		}
		if left, _ := filepath.Glob(os.TempDir() + "/dipls-ssh-*"); len(left) > 0 {
			t.Errorf("still there: %s", left)
		}

		// Again, on one of them; the agent's code is there.
		fetched := s.fetched
		joins, err = a.Start(boot, all[1:2], s.tell)
		if err != nil {
			t.Fatal(err)
		}
		come = s.arrive(1, among(a, all[1:2]), joins)
		if come[1].facts.Name != "h2" || s.fetched != fetched {
			t.Errorf("%s has come, and the code was fetched %d times more", come[1].facts.Name, s.fetched-fetched)
		}
		leave(come)
		ends(t, joins)
	})
}

// sshd as it comes drops connections when many are being made. Each host is tried again.
func TestSSHTurnedAway(t *testing.T) {
	testhosts.On(t, 1, false, func(h *testhosts.Hosts) {
		h.Exec("h1", "sh", "-c", `pkill -o -x sshd; while pgrep -x sshd >/dev/null; do sleep 0.05; done
			sed 's/^MaxStartups.*/MaxStartups 2:100:4/' /etc/ssh/sshd_config >/run/sshd_config
			exec /usr/sbin/sshd -E /run/sshd.log -f /run/sshd_config`)
		names := make([]string, 8)
		var config strings.Builder
		for i := range names {
			names[i] = fmt.Sprintf("alias%d", i)
			fmt.Fprintf(&config, "Host %s\n HostName h1\n HostKeyAlias h1\n", names[i])
		}
		if err := os.MkdirAll(h.Home()+"/.ssh", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.Home()+"/.ssh/config", []byte(config.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newTestSession(t, testhosts.Address("h0")+":0")
		a := plan(t, strings.Join(names, ","), s.tell)
		all := make([]int, len(names))
		for i := range all {
			all[i] = i
		}
		joins, err := a.Start(s.boot(), all, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		own := func(raw json.RawMessage, _ func(int) bool) (int, error) { // all are h1: the token tells which one
			var f struct{ Start struct{ Token string } }
			var host int
			if err := json.Unmarshal(raw, &f); err != nil {
				return 0, err
			}
			_, err := fmt.Sscanf(f.Start.Token, "token %d", &host)
			return host, err
		}
		come := s.arrive(len(names), own, joins)
		leave(come)
		ends(t, joins)
		if log := h.Exec("h1", "cat", "/run/sshd.log"); !strings.Contains(log, "MaxStartups") {
			t.Error("sshd has turned nobody away")
		}
	})
}

// Where hosts cannot dial us, ssh carries their connections; one that is lost is made again.
func TestSSHCarries(t *testing.T) {
	testhosts.On(t, 2, false, func(h *testhosts.Hosts) {
		h.Firewall("h0", "")
		s := newTestSession(t, testhosts.Address("h0")+":0")
		a := plan(t, "h1,h2", s.tell)
		all := []int{0, 1}
		joins, err := a.Start(s.boot(), all, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		come := s.arrive(2, among(a, all), joins)
		start := come[0].facts.Start
		if len(start.Addresses) != 1 || !strings.HasPrefix(start.Addresses[0], "unix:"+start.Scratch) {
			t.Errorf("h1 comes by %q", start.Addresses)
		}
		if got := strings.TrimSpace(h.Exec("h1", "stat", "-c", "%a", start.Scratch)); got != "700" {
			t.Errorf("the socket's folder has mode %s", got)
		}
		h.Exec("h0", "sh", "-c", `kill $(ps -e -o pid=,args= | awk '/[s]sh -M -S .* h1 /{print $1}')`)
		back := s.next()
		if back.facts.Name != "h1" || !back.facts.Again {
			t.Errorf("%+v has come, instead of h1 again", back.facts)
		}
		come[0] = back
		leave(come)
		ends(t, joins)
	})
}

func TestSSHErrors(t *testing.T) {
	testhosts.On(t, 2, false, func(h *testhosts.Hosts) {
		h.Firewall("h0", "")
		s := newTestSession(t, testhosts.Address("h0")+":0")
		h.Exec("h0", "sh", "-c", `ssh-keygen -q -t ed25519 -N '' -f /tmp/another && echo "h2 $(cut -d' ' -f1,2 /tmp/another.pub)" >/home/root/known`)
		if err := os.MkdirAll(h.Home()+"/.ssh", 0o700); err != nil {
			t.Fatal(err)
		}
		config := "Host changed\n HostName h2\n HostKeyAlias h2\n GlobalKnownHostsFile /home/root/known\n" +
			"Host closed\n HostName h1\n HostKeyAlias h1\n PubkeyAuthentication no\n"
		// ssh reads the config of the home directory in the passwd file.
		if err := os.WriteFile(h.Home()+"/.ssh/config", []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			hosts, python, says string
			prologue            []string
		}{
			{"nowhere", "", "Could not resolve hostname nowhere", nil},
			{"me@h1:99", "", "port 99: Connection refused", nil},
			{"stranger@h1", "", "Permission denied", nil},
			{"closed", "", "can ask for no password", nil},
			{"changed", "", "Host key verification failed.\nssh runs in the background here, and can ask nothing: connect once by hand", nil},
			{"h1", "/no/such/python", "say which with --python", nil},
			{"h1", "", "module: command not found\ndipls: the prologue has failed", []string{"module load cuda"}},
			{"h2", "/bin/false", "status 1 before the agent had joined", nil},
		} {
			a := plan(t, c.hosts, s.tell)
			s.mu.Lock()
			s.events = nil
			s.mu.Unlock()
			boot := s.boot()
			if boot.Prologue = c.prologue; c.python != "" {
				boot.Python = c.python
			}
			joins, err := a.Start(boot, []int{0}, s.tell)
			if err != nil {
				t.Fatal(err)
			}
			s.await(Failed, 0, c.says)
			ends(t, joins)
		}

		// A host that neither dials nor may have sockets forwarded says both.
		h.Exec("h2", "sh", "-c", `pkill -o -x sshd; while pgrep -x sshd >/dev/null; do sleep 0.05; done
			exec /usr/sbin/sshd -E /run/sshd.log -o AllowStreamLocalForwarding=no`)
		s.mu.Lock()
		s.events = nil
		s.mu.Unlock()
		a := plan(t, "h2", s.tell)
		joins, err := a.Start(s.boot(), []int{0}, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		e := s.await(Failed, 0, "neither through ssh")
		for _, part := range []string{"h2 does not reach the session (10.77.0.10:", "timed out", "forward"} {
			if !strings.Contains(e.Text, part) {
				t.Errorf("%q says nothing of %q", e.Text, part)
			}
		}
		ends(t, joins)
		if left := strings.TrimSpace(h.Exec("h2", "sh", "-c", "ls -d /tmp/dipls-* 2>/dev/null || true")); left != "" {
			t.Errorf("left there: %s", left)
		}
	})
}
