package session

import (
	"context"

	"dipls/ranks/host"
)

// What of this machine a front looks at before there is a session, and doctor examines.
type (
	// Interpreter is a Python interpreter, and why it was chosen.
	Interpreter = host.Interpreter
	// PythonInfo is what an interpreter has.
	PythonInfo = host.PythonInfo
)

// FindPython finds the interpreter that value, of a flag or setting called name, means in a folder; without a value by the usual search.
func FindPython(name, value, dir string) (Interpreter, error) {
	return host.FindPython(name, value, dir)
}

// Probe asks an interpreter, given by its path, for its version and the packages that matter here, those of dipls' own directory for it included. One that is
// too old is an error; packages that are missing or too old are not.
func Probe(ctx context.Context, python string) (PythonInfo, error) {
	return host.Probe(ctx, python, ownPackages(python)...)
}

// ownPackages is where packages of our own for an interpreter lie. Without a home directory there are none, which is no reason not to run.
func ownPackages(python string) []string {
	dir, err := host.PrivatePackages(python)
	if err != nil {
		return nil
	}
	return []string{dir}
}

// CheckSockets makes a private directory as a session does, binds a socket in it, and removes both. It returns where such directories lie.
func CheckSockets() (root string, err error) { return host.CheckSockets() }

// CacheNotice says that the cache is passed over, and why; "" if it is not.
func CacheNotice() string { return host.CacheNotice() }

// ListGPUs lists the GPUs that processes see which are started now.
func ListGPUs(ctx context.Context) ([]GPU, error) { return host.ListGPUs(ctx, host.Local{}) }

// CheckLimits tells why the limits of this process do not allow what a session needs.
func CheckLimits() error { return host.CheckLimits() }

// AdoptOrphans has this process inherit, and so end, what a killed node leaves behind.
func AdoptOrphans() error { return host.AdoptOrphans() }

// GPUMemory is how many bytes of GPU memory processes take, by pid.
func GPUMemory(ctx context.Context) (map[int]int64, error) { return host.Local{}.GPUMemory(ctx) }
