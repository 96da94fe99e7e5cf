//go:build !linux

package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is the size of sun_path less its terminating zero, on the BSDs and macOS.
const maxSocketPath = 103

// thisProgram is the path of this program.
func thisProgram() (string, error) { return os.Executable() }

func nameProcess(name string) {}

// AdoptOrphans does nothing here: only Linux lets a process adopt its descendants. Ranks watch their parent themselves.
func AdoptOrphans() error { return nil }

// WithoutOrphans runs f. Only Linux lets a process adopt its descendants.
func WithoutOrphans(f func() error) error { return f() }

// dieWithUs does nothing here: only Linux ends a child with its parent.
func dieWithUs(attr *syscall.SysProcAttr) {}

// psTimeout bounds ps.
const psTimeout = 5 * time.Second

// memoryOf is the resident set of a process, in bytes: shared memory is counted for each process.
func memoryOf(ctx context.Context, p Process) (int64, bool) {
	if p.PID <= 1 {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, psTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(p.PID)).Output()
	if err != nil {
		return 0, false
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10, err == nil && kib > 0
}

// architecture is unknown here: what it is needed for is in /proc.
func architecture() string { return "" }

// hasEnded is unknown here: only the node can tell.
func hasEnded(Process) bool { return false }

// killProcess does nothing here: it could not tell the process from a later one with the same pid.
func killProcess(p Process) (gone bool, err error) {
	return p.PID <= 1 || p.Start == 0, errors.ErrUnsupported
}

// descendants is the node alone: nothing more is certain here. The node itself ends its processes.
func (g *guard) descendants() []procStat { return []procStat{{pid: g.node}} }

// kill kills the node, which is the guard's child.
func (g *guard) kill(p procStat) error { return syscall.Kill(p.pid, syscall.SIGKILL) }

func isJanitor(pid int) bool { return false }

func killSession(session string) {}

func reapOrphans(session string, known map[int]bool) {}

// sharedFiles does nothing here: the names of shared memory cannot be listed.
type sharedFiles struct{}

func (*sharedFiles) note([]procStat)  {}
func (*sharedFiles) remove(time.Time) {}
