package session

import (
	"context"
	"path/filepath"
	"strings"

	"dipls/ranks/host"
)

// What fronts, and doctor, need to know of this machine before there is a session.
type (
	// Interpreter is a Python interpreter, and why it was chosen.
	Interpreter = host.Interpreter
	// PythonInfo is what an interpreter has.
	PythonInfo = host.PythonInfo
	// Environment is an interpreter as its files describe it.
	Environment = host.Environment
)

// FindPython finds the interpreter that the value of a flag or setting called name means in a folder; without a value, by the usual search.
func FindPython(name, value, dir string) (Interpreter, error) {
	return host.FindPython(name, value, dir)
}

// ChosenPython finds the interpreter that the value of a setting called name means in a folder: a path is relative to that.
func ChosenPython(name, value, dir string) (Interpreter, error) {
	if strings.Contains(value, "/") && !filepath.IsAbs(value) {
		value = filepath.Join(dir, value)
	}
	return host.FindPython(name, value, dir)
}

// Environments lists the interpreters that a user may mean in a folder, those that are nearest first, and the one that is chosen, if that is known. It runs
// nothing.
func Environments(dir, chosen string) []Environment { return host.Environments(dir, chosen) }

// Probe asks an interpreter, given by its path, for its version and the packages that matter here, including those in dipls' own directory for it. An
// interpreter that is too old is an error; packages that are missing or too old are not.
func Probe(ctx context.Context, python string) (PythonInfo, error) {
	return host.Probe(ctx, python, ownPackages(python)...)
}

// ownPackages is our own directory of packages for an interpreter. Without a home directory there is none, and things run all the same.
func ownPackages(python string) []string {
	dir, err := host.PrivatePackages(python)
	if err != nil {
		return nil
	}
	return []string{dir}
}

// CheckSockets makes a private directory as a session does, binds a socket in it, and removes both. It returns where such directories are.
func CheckSockets() (root string, err error) { return host.CheckSockets() }

// CacheNotice says that the cache is not used, and why; "" if it is used.
func CacheNotice() string { return host.CacheNotice() }

// ListGPUs lists the GPUs that processes started now would see.
func ListGPUs(ctx context.Context) ([]GPU, error) { return host.ListGPUs(ctx, host.Local{}) }

// WithoutGPUs is this machine as if it had no GPU.
func WithoutGPUs() host.Host { return withoutGPUs{} }

type withoutGPUs struct{ host.Local }

// Environ implements [host.Host].
func (w withoutGPUs) Environ() []string { return append(w.Local.Environ(), host.GPUMaskName+"=") }

// GPUs implements [host.Host].
func (withoutGPUs) GPUs(context.Context, *string) ([]host.GPU, error) { return nil, nil }

// CheckLimits checks that the limits of this process allow what a session needs.
func CheckLimits() error { return host.CheckLimits() }

// AdoptOrphans makes this process inherit, and so end, what a killed node leaves behind.
func AdoptOrphans() error { return host.AdoptOrphans() }

// KeepAgent keeps what Python runs of this program from being removed by other versions, in a process that lives long.
func KeepAgent() { host.KeepAgent() }

// GPUMemory is how many bytes of GPU memory processes take, by pid.
func GPUMemory(ctx context.Context) (map[int]int64, error) { return host.Local{}.GPUMemory(ctx) }
