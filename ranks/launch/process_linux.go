package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithUs makes the kernel end a child when the thread that starts it ends.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }

// killChildren kills the children of a process that have a name.
func killChildren(parent int, name string) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, list := range lists {
		text, _ := os.ReadFile(list) // it may have ended
		for child := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				continue
			}
			fd, err := unix.PidfdOpen(pid, 0) // what is looked at is what is killed
			if err != nil {
				continue
			}
			if isChild(pid, parent, name) {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			_ = unix.Close(fd)
		}
	}
}

// isChild reports whether a process has this parent and this name.
func isChild(pid, parent int, name string) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // "4711 (srun) S 4710 …"
	_, after, _ := strings.Cut(string(stat), "(")
	end := strings.LastIndexByte(after, ')')
	if end < 0 || after[:end] != name {
		return false
	}
	fields := strings.Fields(after[end+1:])
	return len(fields) > 1 && fields[1] == strconv.Itoa(parent)
}
