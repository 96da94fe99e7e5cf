package launch

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/testhosts"
)

func TestExec(t *testing.T) {
	testhosts.On(t, 2, false, func(h *testhosts.Hosts) {
		testhosts.Need(t, "mpirun")
		for name, value := range map[string]string{"HOME": h.Home(), "XDG_CACHE_HOME": "", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} {
			t.Setenv(name, value)
		}
		all := []int{0, 1}
		for _, c := range []struct {
			hosts, fails string
			own          bool
			prologue     []string
		}{
			// mpirun gives its standard input to one task only; the others read the file.
			{"exec[h1,h2:4] mpirun -np {count} --host {list} {join}", "", false, nil},
			{"exec[h1,h2] mpirun --stdin all -np {count} --host {list} {join:/tmp}", "", false, []string{"export FROM_PROLOGUE=yes", "echo and it prints"}},
			// A launcher that loses standard input altogether, as Open MPI 5 may: all read the file.
			{`exec[h1,h2] sh -c 'exec mpirun -np {count} --host {list} "$@" </dev/null' sh {join}`, "", false, []string{"export FROM_PROLOGUE=yes"}},
			{"exec[h1,h2] ssh {host} {command}", "", true, []string{"export FROM_PROLOGUE=yes"}},
			{"exec[2] mpirun -np {count} --host h1,h2 {join:~/}", "", false, nil},
			{"exec[h1,h2] mpirun --no-such-flag -np {count} {join}", "no-such-flag", false, nil},
			{"exec[h1,h2] sh -c 'seq 20 >&2; exit 1' {join}", "1\n2\n3\n4\n…\n15\n16\n17\n18\n19\n20", false, nil},
			{"exec[h1,h2] no-such-launcher {join}", "no-such-launcher", false, nil},
		} {
			s := newTestSession(t, testhosts.Address("h0")+":0")
			a := plan(t, c.hosts, s.tell)
			if a.OwnInput() != c.own {
				t.Errorf("%s: own input: %v", c.hosts, a.OwnInput())
			}
			boot := s.boot()
			boot.Prologue = c.prologue
			joins, err := a.Start(boot, all, s.tell)
			if c.fails != "" && err != nil && strings.Contains(err.Error(), c.fails) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.fails != "" {
				s.await(Failed, 0, c.fails)
				ends(t, joins)
				continue
			}
			come := s.arrive(2, among(a, all), joins)
			for host, name := range []string{"h1", "h2"} {
				f := come[host].facts
				if f.Name != name || f.Environ["HOSTNAME"] != name && f.Environ["HOSTNAME"] != "" || c.prologue != nil && f.Environ["FROM_PROLOGUE"] != "yes" {
					t.Errorf("%s: host %d is %s (%s), prologue: %q", c.hosts, host, f.Name, f.Environ["HOSTNAME"], f.Environ["FROM_PROLOGUE"])
				}
			}
			if left := startups(h); len(left) > 0 {
				t.Errorf("%s: all have joined, and the token is still in %s", c.hosts, left)
			}
			leave(come)
			s.await(Ended, 0, "")
			ends(t, joins)
		}
		if left := startups(h); len(left) > 0 {
			t.Errorf("still there: %s", left)
		}
	})
}

// What lies on a host where the start-up would be is read only if it is the user's own: it is run.
func TestFromFile(t *testing.T) {
	file, link := filepath.Join(t.TempDir(), "start-1"), filepath.Join(t.TempDir(), "start-2")
	if err := errors.Join(os.WriteFile(file, []byte("the file"), 0o644), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	want := func(path, text string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", fromFile, path, "cat")
		cmd.Stdin = strings.NewReader("standard input")
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != text {
			t.Errorf("%s: %q, %v; want %s", path, out, err, text)
		}
	}
	want(file, "the file")
	want(link, "standard input")
	want(file+"0", "standard input")
	if os.Getuid() == 0 {
		if err := os.Chown(file, 12345, -1); err != nil {
			t.Fatal(err)
		}
		want(file, "standard input")
	}
}

// startups are the files with start-ups in all places where the tests have them.
func startups(h *testhosts.Hosts) (left []string) {
	for _, dir := range []string{h.Home(), h.Home() + "/.cache/dipls/hosts", os.TempDir()} {
		found, _ := filepath.Glob(dir + "/start-*")
		left = append(left, found...)
	}
	return left
}
