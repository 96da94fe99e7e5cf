package launch

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/testhosts"
)

// TestJoinHere is not a test: it is what `dipls join` does, for tests on hosts.
func TestJoinHere(t *testing.T) {
	file := os.Getenv(StartupVariable)
	if file == "" {
		t.Skip("only other tests start it")
	}
	invited, err := ReadFile(file)
	if err == nil && os.Getenv("AT") != "" {
		err = invited.At(os.Getenv("AT"))
	}
	if err == nil {
		err = invited.Become(invited.Python)
	}
	t.Fatal(err)
}

func TestJoinByHand(t *testing.T) {
	testhosts.On(t, 2, true, func(h *testhosts.Hosts) {
		s := newTestSession(t, testhosts.Address("h0")+":0")
		a := plan(t, "join[2] "+h.Home(), s.tell)
		boot := s.boot()
		address := boot.Addresses[0]
		boot.Addresses = []string{"10.77.0.99:1"} // that is none of ours
		all := []int{0, 1}
		joins, err := a.Start(boot, all, s.tell)
		if err != nil {
			t.Fatal(err)
		}
		said := s.await(Waits, -1, "2 hosts to join: on each run "+StartupVariable+"=").Text
		_, file, _ := strings.Cut(said, "=")
		file, _, _ = strings.Cut(file, " ")
		if !strings.HasPrefix(file, h.Home()) {
			t.Fatalf("%q names the file %q", said, file)
		}

		joins.Joined(1)
		joins.(Reminder).Remind()
		s.await(Waits, -1, "one host to join: on each run "+StartupVariable+"="+file)

		// What sbatch starts, one command on each host, with torchrun's variables for one of them.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		script := "GROUP_RANK=$((1 - SLURM_NODEID)) RANK=7 MASTER_ADDR=h9 TORCHELASTIC_USE_AGENT_STORE=True exec " + self + " -test.run TestJoinHere"
		cmd := exec.Command("srun", "-Q", "-N2", "-n2", "sh", "-c", script)
		cmd.Env = append(os.Environ(), StartupVariable+"="+file, "AT="+address)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		come := s.arrive(2, among(a, all), joins)
		for host, name := range []string{"h1", "h2"} { // SLURM_NODEID counts before torchrun's
			f := come[host].facts
			if f.Name != name || f.Environ["RANK"] != "" || f.Environ["MASTER_ADDR"] != "" || f.Environ["TORCHELASTIC_USE_AGENT_STORE"] != "" {
				t.Errorf("host %d is %s with %v", host, f.Name, f.Environ)
			}
			if f.Launcher["RANK"] != "7" || f.Start.Addresses[0] != address {
				t.Errorf("%s has %v from its launcher, and dials %q", name, f.Launcher, f.Start.Addresses)
			}
		}
		joins.(Reminder).Remind() // nothing, for nobody is left
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("all have joined, and %s is still there: %v", file, err)
		}
		leave(come)
		joins.End(context.Background())
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestReadStartup(t *testing.T) {
	good := `{"addresses": ["10.0.0.1:7000"], "certificate": "PEM", "token": "x", "agent": "0"}`
	path := filepath.Join(t.TempDir(), "start")
	for _, c := range []struct {
		text string
		mode os.FileMode
		says string
	}{
		{"exec(1)\n" + good + "\n", 0o600, ""},
		{good, 0o640, "others can read"},
		{"", 0o600, "no JSON"},
		{"hello\n", 0o600, "no JSON"},
		{"{}", 0o600, "it has no addresses"},
		{strings.Replace(good, "token", "tok", 1), 0o600, "it has no token"},
	} {
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(path)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.text, err, c.says)
		}
	}
	if _, err := ReadFile(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("a directory: %v", err)
	}
	invited, err := Read(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	for address, ok := range map[string]bool{"10.0.0.1:7000": true, "[::1]:7000": true, "gpu1": false, ":7000": false} {
		if err := invited.At(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
