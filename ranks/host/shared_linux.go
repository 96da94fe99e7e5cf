package host

import (
	"bufio"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sharedDir is the directory of named shared memory.
const sharedDir = "/dev/shm/"

// libraryName matches names that libraries make up for shared memory: multiprocessing's SharedMemory and semaphores, joblib, torch, nccl and CUDA.
// Memory that a user has named may be meant to stay.
var libraryName = regexp.MustCompile(`^(psm_[0-9a-f]{8}|sem\.(mp|loky)-[0-9A-Za-z_-]+|torch_\d+_\d+_\d+|nccl-[0-9A-Za-z]{6}|cuda\.shm\.[0-9a-f.]+)$`)

// sharedFiles are the files in /dev/shm that processes of a session used just before they were ended.
type sharedFiles struct {
	mu     sync.Mutex
	inodes map[uint64]bool // by inode, for the maps of a process may give another name than a file has now
}

// note adds the files that processes have mapped or opened.
func (s *sharedFiles) note(processes []procStat) {
	for _, p := range processes {
		found := sharedBy(p.pid)
		s.mu.Lock()
		if s.inodes == nil {
			s.inodes = make(map[uint64]bool)
		}
		maps.Copy(s.inodes, found)
		s.mu.Unlock()
	}
}

// remove removes the files that are left. A file is the session's, and nobody else's, if it has a library's name, is ours, is not older than the
// session, and no process uses it any more.
func (s *sharedFiles) remove(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inodes) == 0 {
		return
	}
	files := make(map[uint64]string)
	entries, _ := os.ReadDir(sharedDir)
	for _, e := range entries {
		var st syscall.Stat_t
		name := sharedDir + e.Name()
		if syscall.Lstat(name, &st) == nil && s.inodes[st.Ino] && madeSince(name, began) {
			files[st.Ino] = name
		}
	}
	if len(files) == 0 {
		return
	}
	for _, p := range allProcesses() {
		for inode := range sharedBy(p.pid) {
			delete(files, inode)
		}
	}
	for _, name := range files {
		_ = os.Remove(name) // fails if somebody was quicker
	}
}

// madeSince reports whether a file has a library's name, is ours and is not older than began.
func madeSince(name string, began time.Time) bool {
	if !libraryName.MatchString(path.Base(name)) {
		return false
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG || int(st.Uid) != os.Geteuid() {
		return false
	}
	made := st.Btime
	if st.Mask&unix.STATX_BTIME == 0 {
		made = st.Mtime // this file system keeps no time of birth
	}
	// The clock that the kernel uses for files is up to a tick late.
	return time.Unix(made.Sec, int64(made.Nsec)).After(began.Add(-20 * time.Millisecond))
}

// sharedBy is the inodes of files in /dev/shm that a process has mapped or opened.
func sharedBy(pid int) map[uint64]bool {
	found := make(map[uint64]bool)
	dir := "/proc/" + strconv.Itoa(pid)
	if maps, err := os.Open(dir + "/maps"); err == nil {
		defer maps.Close()
		lines := bufio.NewScanner(maps)
		for lines.Scan() {
			// 7f…-7f… rw-s 00000000 00:17 63 /dev/shm/psm_0f3a9c21
			fields := strings.Fields(lines.Text())
			if len(fields) > 5 && strings.HasPrefix(fields[5], sharedDir) {
				if inode, err := strconv.ParseUint(fields[4], 10, 64); err == nil {
					found[inode] = true
				}
			}
		}
	}
	links, _ := filepath.Glob(dir + "/fd/*")
	for _, link := range links {
		var st syscall.Stat_t
		if name, err := os.Readlink(link); err == nil && strings.HasPrefix(name, sharedDir) && syscall.Stat(link, &st) == nil {
			found[st.Ino] = true
		}
	}
	return found
}
