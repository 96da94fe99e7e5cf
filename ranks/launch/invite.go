package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartupVariable is the environment variable that names the file with the start-up for `dipls join --env`.
const StartupVariable = "DIPLS_STARTUP"

// invitation starts nothing: a person, or a job of the user's, runs `dipls join` on each host.
type invitation struct {
	hosts []Host
	dir   string
}

// Allocate is immediate.
func (i *invitation) Allocate(context.Context, func(Event)) (Allocation, error) { return i, nil }

func (i *invitation) Hosts() []Host { return i.hosts }

func (i *invitation) OwnInput() bool { return false }

func (i *invitation) Explain(context.Context, int) string { return "" }

func (i *invitation) Close(context.Context) error { return nil }

// Start writes the start-up to a file and tells where it is.
func (i *invitation) Start(b Bootstrap, hosts []int, tell func(Event)) (Joins, error) {
	addresses := b.dialled()
	if len(addresses) == 0 {
		return nil, errors.New("hosts that join by themselves must be able to dial, and the session listens on no port")
	}
	file, err := writeStartup(i.dir, b.input(-1, false))
	if err != nil {
		return nil, err
	}
	v := &invited{file: file, left: len(hosts), told: len(hosts), joined: make(map[int]bool), tell: func(left int) {
		who := "one host"
		if left > 1 {
			who = fmt.Sprintf("%d hosts", left)
		}
		tell(Event{Waits, -1, fmt.Sprintf("%s to join: on each run %s=%s dipls join --env, or dipls join %s --token-file %s",
			who, StartupVariable, file.path, addresses[0], file.path)})
	}}
	v.tell(v.left)
	return v, nil
}

// invited are hosts that may come.
type invited struct {
	file   *startupFile
	tell   func(left int)
	mu     sync.Mutex
	left   int
	told   int // how many were left when that was told
	joined map[int]bool
}

func (i *invited) Joined(host int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.joined[host] {
		i.joined[host] = true
		if i.left--; i.left == 0 {
			i.file.remove()
		}
	}
}

// Remind implements [Reminder].
func (i *invited) Remind() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left > 0 && i.left < i.told {
		i.told = i.left
		i.tell(i.left)
	}
}

func (i *invited) End(context.Context) { i.file.remove() }

// Invited is how a host joins by itself, from a start-up that [Read] or [ReadFile] has read.
type Invited struct {
	Python  string // the session's interpreter; it may not be here
	startup map[string]any
}

// ReadFile reads a start-up from a file, which must be the user's alone: whoever has it may join.
func ReadFile(path string) (*Invited, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the start-up: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("the start-up %s: %w", path, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("the start-up %s is no file", path)
	case int(st.Uid) != os.Getuid():
		return nil, fmt.Errorf("the start-up %s belongs to another user", path)
	case st.Mode&0o077 != 0:
		return nil, fmt.Errorf("others can read the start-up %s (mode %04o), and so could join in your place: chmod 600 it, and start anew", path, st.Mode&0o777)
	}
	return Read(f)
}

// maxStartup bounds what is read of a start-up.
const maxStartup = 1 << 20

// Read reads a start-up: its last line is JSON.
func Read(r io.Reader) (*Invited, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxStartup))
	if err != nil {
		return nil, fmt.Errorf("the start-up: %w", err)
	}
	data = bytes.TrimSpace(data)
	i := &Invited{}
	if err := json.Unmarshal(data[bytes.LastIndexByte(data, '\n')+1:], &i.startup); err != nil {
		return nil, fmt.Errorf("this is no start-up of dipls: its last line is no JSON")
	}
	for _, needed := range []string{"addresses", "certificate", "token", "agent"} {
		if i.startup[needed] == nil {
			return nil, fmt.Errorf("this is no start-up of dipls: it has no %s", needed)
		}
	}
	i.Python, _ = i.startup["python"].(string)
	return i, nil
}

// At has the host dial one address, and no other.
func (i *Invited) At(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("%q is no address of a session; one is 10.0.0.1:7000", address)
	}
	i.startup["addresses"] = []string{address}
	return nil
}

// Become replaces this program by the host's agent. It returns only if that fails.
func (i *Invited) Become(python string) error {
	path, err := exec.LookPath(python)
	if err != nil {
		return fmt.Errorf("the interpreter: %w", err)
	}
	line, err := json.Marshal(i.startup)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	// A pipe holds 64 KiB, and this is much less.
	if _, err := io.Copy(w, io.MultiReader(strings.NewReader(secondStage()), bytes.NewReader(append(line, '\n')))); err != nil {
		return err
	}
	w.Close()
	if err := unix.Dup2(int(r.Fd()), 0); err != nil {
		return err
	}
	return syscall.Exec(path, Bootstrap{Python: path}.python(), os.Environ())
}
