package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMeasureLimits is what the process of TestCheckLimits does.
func TestMeasureLimits(t *testing.T) {
	if os.Getenv("DIPLS_TEST_LIMITS") == "" {
		t.Skip("for another test")
	}
	fmt.Printf("told %v\n", CheckLimits())
}

func TestCheckLimits(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "test")
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(binary, data, 0o755)
	}
	if err == nil {
		err = errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)) // another user runs it
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ limit, want string }{
		{"-n 20", "told the limit on open files (ulimit -n) is 20, and dipls needs at least 48"},
		{"-v 2000000", "told the limit on address space (ulimit -v) is 1953 MiB, and dipls needs at least 2048"},
		{"-u 20", "told the limit on processes and threads of this user (ulimit -u) is 20, of which "},
		{"-u 4000", "told <nil>"},
	} {
		cmd := exec.Command("bash", "-c", `ulimit $1; exec "$2" -test.run TestMeasureLimits -test.v`, "bash", test.limit, binary)
		cmd.Dir, cmd.Env = "/", append(os.Environ(), "DIPLS_TEST_LIMITS=1")
		if strings.HasPrefix(test.limit, "-u") {
			if os.Geteuid() != 0 {
				continue // the limit is of a user, and only root may be another one
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), test.want) {
			t.Errorf("ulimit %s: %v\n%s\nwant %s", test.limit, err, out, test.want)
		}
	}
}

func TestNameLimit(t *testing.T) {
	err := nameLimit(&os.PathError{Op: "fork/exec", Path: "/python", Err: syscall.EMFILE})
	if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "; the limit on open files (ulimit -n) is ") {
		t.Error(err)
	}
	if other := errors.New("other"); nameLimit(other) != other {
		t.Error(nameLimit(other))
	}
}
