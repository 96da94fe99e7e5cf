package registry

import "os"

// Inside reports whether this process was started by code that runs in the session whose process has a pid. Where the system does not tell parents, it may
// be that of another session.
func Inside(pid int) bool {
	if os.Getenv("DIPLS_PROCESS") == "" { // which ranks and the local namespace hand down
		return false
	}
	at, known := os.Getppid(), true
	for known && at > 1 {
		if at == pid {
			return true
		}
		at, known = parent(at)
	}
	return !known
}
