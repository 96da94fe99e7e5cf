package testhosts

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHosts(t *testing.T) {
	before := network(t)
	h := Up(t, 2)
	for _, c := range []struct{ what, got, want string }{
		{"its name", h.Exec("h1", "hostname"), "h1"},
		{"ssh as root", h.Exec("h0", "ssh", "h2", "hostname; pwd"), "h2\n/home/root"},
		{"ssh as a user", h.Exec("-u", "dip", "h0", "ssh", "h2", "hostname; id -un; pwd"), "h2\ndip\n/home/dip"},
		{"a status", exitOf(t, h, "h1", "sh", "-c", "exit 5"), "exit status 5"},
		{"its own clock", h.Exec("h2", "sh", "-c", "test $(cut -d. -f1 /proc/uptime) -gt 200000 && echo ahead"), "ahead"},
		{"no way out", h.Exec("h1", "sh", "-c", "ip route | grep -c default || true"), "0"},
		{"a home for all", h.Exec("h1", "touch", "/home/dip/shared") + h.Exec("h2", "ls", "/home/dip/shared"), "/home/dip/shared"},
		{"a /tmp of its own", h.Exec("h1", "touch", "/tmp/mine") + h.Exec("h2", "sh", "-c", "ls /tmp/mine 2>/dev/null | wc -l"), "0"},
		{"an /etc of its own", h.Exec("h1", "touch", "/etc/mine") + h.Exec("h2", "sh", "-c", "ls /etc/mine 2>/dev/null | wc -l"), "0"},
		{"processes of its own", h.Exec("h1", "sh", "-c", "ps -e -o args= | grep -c '[i]nit h2' || true"), "0"},
	} {
		if got := strings.TrimSpace(c.got); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if _, err := os.Stat(h.Outside("/home/dip/shared")); err != nil {
		t.Error(err)
	}
	if now := network(t); now != before {
		t.Errorf("the machine's own network shows it: %s, before: %s", now, before)
	}
}

func exitOf(t *testing.T, h *Hosts, words ...string) string {
	t.Helper()
	_, err := h.Try(words...)
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// network is what anybody on this machine sees of its network.
func network(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Skip(err)
	}
	return string(out)
}

func TestFaults(t *testing.T) {
	On(t, 2, false, func(h *Hosts) {
		ssh := func(from, to string) error {
			_, err := h.Try(from, "ssh", "-o", "ConnectTimeout=1", to, "true")
			return err
		}
		expect := func(what string, err error, fails bool) {
			t.Helper()
			if (err != nil) != fails {
				t.Errorf("%s: %v", what, err)
			}
		}
		h.Cut("h1", "h2")
		expect("h2 to h1, cut", ssh("h2", "h1"), true)
		expect("h0 to h1, cut from h2", ssh("h0", "h1"), false)
		h.Mend("h1")
		expect("h2 to h1, mended", ssh("h2", "h1"), false)

		// A firewall: new connections come by ssh alone, also to us.
		listener, err := net.Listen("tcp", Address("h0")+":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		dial := `import socket; socket.create_connection(("h0", 7000), 1)`
		dials := func() error {
			_, err := h.Try("h1", "python3", "-c", dial)
			return err
		}
		expect("h1 dials us", dials(), false)
		h.Firewall("h0", "")
		expect("h1 dials us through a firewall", dials(), true)
		expect("ssh through a firewall", ssh("h1", "h0"), false)
		h.Mend("h0")
		expect("h1 dials us, mended", dials(), false)

		h.Delay("h1", 100*time.Millisecond, 0)
		began := time.Now()
		expect("h1, far away", ssh("h0", "h1"), false)
		if took := time.Since(began); took < 300*time.Millisecond { // it has many round trips
			t.Errorf("ssh over 100 ms took %v", took)
		}
		h.Delay("h1", 0, 0)

		// A crash is seen, power off is not.
		told := func(fail func(string)) error {
			const listen = `import socket,time; s=socket.create_server(("",7001)); print("up",flush=True); c=s.accept()[0]; time.sleep(600)`
			server := exec.Command("ssh", "h1", "exec python3 -c '"+listen+"'")
			out, err := server.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var errOut bytes.Buffer
			server.Stderr = &errOut
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			defer server.Wait()
			defer server.Process.Kill()
			if _, err := out.Read(make([]byte, 2)); err != nil {
				_ = server.Wait()
				t.Fatal(err, errOut.String())
			}
			conn, err := net.Dial("tcp", Address("h1")+":7001")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fail("h1")
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err = conn.Read(make([]byte, 1))
			return err
		}
		if err := told(h.Crash); err == nil || os.IsTimeout(err) {
			t.Errorf("a crash is not seen: %v", err)
		}
		h.On("h1")
		if err := told(h.Off); !os.IsTimeout(err) {
			t.Errorf("power off is seen: %v", err)
		}
		h.On("h1")
		expect("h1, on again", ssh("h0", "h1"), false)
	})
}

func TestSlurm(t *testing.T) {
	h := Up(t, 2)
	h.Slurm()
	for _, c := range []struct{ what, got, want string }{
		{"srun", h.Exec("h0", "sh", "-c", "srun -Q -N2 -n2 hostname | sort"), "h1\nh2"},
		{"srun as a user", h.Exec("-u", "dip", "h0", "srun", "-Q", "-N1", "-n1", "id", "-un"), "dip"},
		{"GPUs", h.Exec("h0", "srun", "-Q", "-N2", "-n2", "--gpus-per-node=2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"), "0,1\n0,1"},
	} {
		if got := strings.TrimSpace(c.got); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// Hosts must go with the program that has made them, however it ends.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("DIPLS_TEST_DIES") != "" {
		h := Up(t, 1)
		if err := os.WriteFile(os.Getenv("DIPLS_TEST_DIES"), []byte(h.dir), 0o600); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	Need(t, "sshd", "iptables")
	note := filepath.Join(t.TempDir(), "dir")
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestNothingIsLeft$")
	cmd.Env = append(os.Environ(), "DIPLS_TEST_DIES="+note)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir []byte
	for len(dir) == 0 && ctx.Err() == nil {
		dir, _ = os.ReadFile(note)
		time.Sleep(20 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for {
		if _, err := os.Stat(string(dir)); os.IsNotExist(err) {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%s is still there", dir)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
