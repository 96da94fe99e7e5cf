package launch

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bootstrapped runs here what is to run on a host, by some command. done is closed at its end; what it says is to be read after that.
func bootstrapped(t *testing.T, cache string, input []byte, by ...string) (cmd *exec.Cmd, said *bytes.Buffer, done <-chan struct{}) {
	t.Helper()
	words := Bootstrap{}.command()
	if _, err := exec.LookPath(words[0]); err != nil {
		t.Skip(err)
	}
	words = append(by, words...)
	cmd, said = exec.Command(words[0], words[1:]...), &bytes.Buffer{}
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its state tells
	}()
	return cmd, said, ended
}

func TestBootstrapRefuses(t *testing.T) {
	s, other := newTestSession(t, "127.0.0.1:0"), newTestSession(t, "127.0.0.1:0")
	for _, c := range []struct {
		what, says string
		input      func(b Bootstrap) []byte
		by         []string
	}{
		{"nothing", "nothing came on standard input", func(Bootstrap) []byte { return nil }, nil},
		{"no start-up", "standard input has ended before the start-up", func(Bootstrap) []byte { return []byte(secondStage()) }, nil},
		{"half of a start-up", "is damaged", func(Bootstrap) []byte { return []byte(secondStage() + "{\"addresses\": [\n") }, nil},
		{"another session", "another program listens there", func(b Bootstrap) []byte {
			b.Certificate = other.pem
			return b.input(0, false)
		}, nil},
		{"nobody", "Connection refused", func(b Bootstrap) []byte {
			b.Addresses = []string{"127.0.0.1:1"}
			return b.input(0, false)
		}, nil},
		{"a wrong token", "the session refuses", func(b Bootstrap) []byte {
			b.Token = func(int) string { return "wrong" }
			return b.input(0, false)
		}, nil},
		{"other code", "damaged on its way", func(b Bootstrap) []byte {
			b.Agent = strings.Repeat("0", 64)
			return b.input(0, false)
		}, nil},
		{"no file gets a byte", "has no room for the agent's code", func(b Bootstrap) []byte { return b.input(0, false) },
			[]string{"sh", "-c", `ulimit -f 0; exec "$@"`, ""}},
	} {
		t.Run(c.what, func(t *testing.T) {
			cmd, said, done := bootstrapped(t, t.TempDir(), c.input(s.boot()), c.by...)
			select {
			case <-done:
			case <-time.After(patience):
				_ = cmd.Process.Kill()
				<-done
				t.Fatal("it does not end")
			}
			if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), c.says) || strings.Contains(said.String(), "Traceback") {
				t.Errorf("status %d: %s; want %q", code, said, c.says)
			}
		})
	}
}

// The agent's code is fetched only if the cache does not have it as it is, and is not kept where others could change it.
func TestBootstrapKeepsCode(t *testing.T) {
	s := newTestSession(t, "127.0.0.1:0")
	boot := s.boot()
	another, err := net.Listen("tcp", "127.0.0.1:0") // a program of the host's own, at an address that the session's machine has, too
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	boot.Addresses = append([]string{"127.0.0.1:1", another.Addr().String()}, boot.Addresses...)
	base, err := os.MkdirTemp("/var/tmp", "dipls-test-") // nobody else can change what is above it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(base, "dipls", "hosts", boot.Agent, "__main__.py")
	damage := func(do func(text []byte) []byte) func() {
		return func() {
			text, err := os.ReadFile(kept)
			if err == nil {
				err = os.WriteFile(kept, do(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		what, cache string
		before      func()
		fetches     int
		scratch     bool
	}{
		{"the first time", base, func() {}, 1, false},
		{"again", base, func() {}, 0, false},
		{"half", base, damage(func(text []byte) []byte { return text[:len(text)/2] }), 1, false},
		{"zeros, as after a power cut", base, damage(func(text []byte) []byte { clear(text); return text }), 1, false},
		{"mended", base, func() {}, 0, false},
		{"a cache that others can change", open, func() {}, 1, true},
		{"a cache in the working directory, as where nobody knows the home directory", "~/.cache", func() {}, 1, true},
	} {
		c.before()
		fetched := s.fetched
		_, said, done := bootstrapped(t, c.cache, boot.input(0, false))
		a := s.next()
		if s.fetched-fetched != c.fetches || (a.facts.Start.Scratch != "") != c.scratch {
			t.Errorf("%s: fetched %d times, a folder of its own: %q", c.what, s.fetched-fetched, a.facts.Start.Scratch)
		}
		if first := a.facts.Start.Addresses[0]; first != s.address {
			t.Errorf("%s: it dials %s first, which is not ours", c.what, first)
		}
		leave(map[int]arrival{0: a})
		if <-done; said.Len() > 0 {
			t.Errorf("%s: it says %s", c.what, said)
		}
		if c.scratch {
			os.RemoveAll(a.facts.Start.Scratch) // the agent's work
		}
	}
}
