package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// What dipls itself needs at least. Go crashes if it gets no thread or no memory, and its message does not help.
const (
	leastFiles   = 48
	leastThreads = 24
	lowThreads   = 4096
	leastMemory  = 2 << 30 // of address space, most of it only reserved
)

// LimitError tells that a resource limit (ulimit) is too low.
type LimitError struct{ text string }

func (e *LimitError) Error() string { return e.text }

// CheckLimits checks whether the resource limits leave room for this process. The node checks what the ranks need.
func CheckLimits() error {
	if limit, set := limitOf(unix.RLIMIT_AS); set && limit < leastMemory {
		return &LimitError{fmt.Sprintf("the limit on address space (ulimit -v) is %d MiB, and dipls needs at least %d; raise it: ulimit -v unlimited",
			limit>>20, leastMemory>>20)}
	}
	if limit, set := limitOf(unix.RLIMIT_NOFILE); set && limit < leastFiles {
		return &LimitError{fmt.Sprintf("the limit on open files (ulimit -n) is %d, and dipls needs at least %d; raise it: ulimit -n 4096", limit, leastFiles)}
	}
	// It does not apply to root. Counting takes milliseconds, so only a low limit is checked.
	if limit, set := limitOf(unix.RLIMIT_NPROC); set && limit < lowThreads && os.Geteuid() != 0 {
		if have := threadsOfUser(); have+leastThreads > limit {
			return &LimitError{fmt.Sprintf("the limit on processes and threads of this user (ulimit -u) is %d, of which %d are taken, "+
				"and dipls needs at least %d more; raise it, or end something", limit, have, leastThreads)}
		}
	}
	return nil
}

// limitOf is a limit of this process, if there is one.
func limitOf(resource int) (limit uint64, set bool) {
	var r unix.Rlimit
	if err := unix.Getrlimit(resource, &r); err != nil || r.Cur == unix.RLIM_INFINITY {
		return 0, false
	}
	return uint64(r.Cur), true
}

// threadsOfUser counts the user's processes and threads; 0 where the system does not tell.
func threadsOfUser() (n uint64) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+entry.Name(), &st) != nil || int(st.Uid) != os.Getuid() {
			continue
		}
		tasks, _ := os.ReadDir("/proc/" + entry.Name() + "/task")
		n += uint64(len(tasks))
	}
	return n
}

// nameLimit adds to an error the resource limit that it may come from.
func nameLimit(err error) error {
	for _, about := range []struct {
		code     syscall.Errno
		resource int
		words    string
	}{
		{syscall.EMFILE, unix.RLIMIT_NOFILE, "the limit on open files (ulimit -n) is %d"},
		{syscall.EAGAIN, unix.RLIMIT_NPROC, "the limit on processes and threads of this user (ulimit -u) is %d"},
		{syscall.ENOMEM, unix.RLIMIT_AS, "the limit on address space (ulimit -v) is %d bytes"},
		{syscall.EFBIG, unix.RLIMIT_FSIZE, "the limit on files (ulimit -f) is %d bytes"},
	} {
		if limit, set := limitOf(about.resource); errors.Is(err, about.code) && set {
			return fmt.Errorf("%w; "+about.words, err, limit)
		}
	}
	return err
}
