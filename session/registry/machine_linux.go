package registry

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bootID says which start of the machine this is.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" is unknown
	return strings.TrimSpace(string(id))
}

// kills is how many processes the kernel has killed for lack of memory.
type kills struct {
	Group   string `json:"group,omitempty"` // the control group whose kills are counted; "": unknown
	InGroup int    `json:"in_group"`        // since that was made
	All     int    `json:"all"`             // on the machine, since its start
}

// killsNow counts them, for this process's control group, or that of another process which has counted them before.
func killsNow(before kills) kills {
	k := kills{}
	if data, err := os.ReadFile("/proc/vmstat"); err == nil {
		k.All = counter(string(data), "oom_kill")
	}
	files := []string{before.Group}
	if before.Group == "" {
		files = memoryFiles()
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			k.Group, k.InGroup = file, counter(string(data), "oom_kill")
			break
		}
	}
	return k
}

// memoryFiles are the files in which the kernel may count what it has killed in this process's control group.
func memoryFiles() (files []string) {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		switch {
		case len(fields) < 3:
		case fields[1] == "":
			files = append(files, filepath.Join("/sys/fs/cgroup", fields[2], "memory.events"))
		case fields[1] == "memory":
			files = append(files, filepath.Join("/sys/fs/cgroup/memory", fields[2], "memory.oom_control"))
		}
	}
	return files
}

// counter is a number in lines of "NAME NUMBER"; 0 if it is not there.
func counter(lines, name string) int {
	for line := range strings.Lines(lines) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, _ := strconv.Atoi(value)
			return n
		}
	}
	return 0
}

// suspended reports whether a process was stopped by a signal, and goes on by another one.
func suspended(pid int) bool {
	return strings.HasPrefix(afterName(pid), " T")
}

// parent is the parent of a process; 0 if it has ended.
func parent(pid int) (parent int, known bool) {
	fields := strings.Fields(afterName(pid))
	if len(fields) < 2 {
		return 0, true
	}
	parent, _ = strconv.Atoi(fields[1])
	return parent, true
}

// afterName is what the kernel tells of a process after its name: its state, its parent, and so on; "" if it has ended.
func afterName(pid int) string {
	stat, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return string(stat[strings.LastIndexByte(string(stat), ')')+1:])
}
