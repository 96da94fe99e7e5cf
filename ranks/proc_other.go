//go:build !linux

package ranks

import (
	"errors"
	"syscall"
)

// maxSocketPath is the size of sun_path less its terminating zero, on the BSDs and macOS.
const maxSocketPath = 103

// AdoptOrphans does nothing here: only Linux lets a process adopt its descendants. Ranks watch their parent themselves.
func AdoptOrphans() error { return nil }

// dieWithUs does nothing here: only Linux ends a child with its parent.
func dieWithUs(attr *syscall.SysProcAttr) {}

// hostMemory is unknown here.
func hostMemory(pid int) (int64, bool) { return 0, false }

// sameProcess is unknown here.
func sameProcess(pid int, startTime uint64) bool { return false }

// killProcess cannot tell a process from a later one with its number here, so it leaves it to the node.
func killProcess(pid int, startTime uint64) (gone bool, err error) {
	return pid <= 1 || startTime == 0, errors.ErrUnsupported
}

func reapOrphans(groups map[int]bool) {}
