package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"dipls/internal/clean"
)

const (
	// maxLine is how much of a line of an engine is looked at.
	maxLine = 4 << 10

	// firstLines and lastLines are how much of what a command has said is kept for messages: what ssh says comes last, after a banner, and what
	// mpirun says comes before much advice. saidBytes bounds either.
	firstLines = 4
	lastLines  = 6
	saidBytes  = 1 << 10

	// endPatience is how long a process may take to end after a signal.
	endPatience = 3 * time.Second
)

// process is a command of an engine that runs: ssh, srun, mpirun.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	name  string
	done  chan struct{} // closed: it has ended, and all that it printed was read

	mu      sync.Mutex
	first   []string // lines of its standard error
	last    []string // those after that
	omitted bool     // there were more between them
	err     error    // how it ended
}

// command is what to start.
type command struct {
	words []string
	env   []string
	dir   string
	input []byte // of its standard input, which stays open
	// printed gets each line. May be nil.
	printed func(line string)
	// stdout gets its standard output as it is, in place of printed. May be nil.
	stdout io.Writer
	// deadly is whether it gets a SIGTERM when this program ends. srun kills everything without grace at a SIGTERM, and so must not get one.
	deadly bool
}

// start starts a command in a login session of its own: the user's Ctrl-C is not for it, and it cannot ask at the terminal.
func (c command) start() (*process, error) {
	cmd := exec.Command(c.words[0], c.words[1:]...)
	cmd.Env, cmd.Dir = c.env, c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.deadly {
		dieWithUs(cmd.SysProcAttr)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, name: c.words[0], done: make(chan struct{})}
	printed := c.printed
	if printed == nil {
		printed = func(string) {}
	}
	stdout, stderr := &lines{tell: printed}, &lines{tell: func(line string) {
		if strings.Trim(line, "-=* ") != "" { // Open MPI frames what it says
			p.keep(line)
		}
		printed(line)
	}}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	cmd.WaitDelay = endPatience // a descendant may hold the pipes open
	if err := cmd.Start(); err != nil {
		stdin.Close()
		return nil, err
	}
	go func() {
		_, _ = stdin.Write(c.input) // if it has ended, its end says why
	}()
	go func() {
		defer close(p.done)
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		stdout.flush()
		stderr.flush()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	return p, nil
}

// keep keeps a line of its standard error for messages.
func (p *process) keep(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.first) < firstLines {
		p.first = append(p.first, line)
		return
	}
	if p.last = append(p.last, line); len(p.last) > lastLines {
		p.last, p.omitted = p.last[1:], true
	}
}

// words are what it said on its standard error: how that began, and how it ended.
func (p *process) words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, last, between := strings.Join(p.first, "\n"), strings.Join(p.last, "\n"), "\n"
	if len(first) > saidBytes {
		first = strings.ToValidUTF8(first[:saidBytes], "") + "…"
	}
	if len(last) > saidBytes {
		last, between = strings.ToValidUTF8(last[len(last)-saidBytes:], ""), "\n…"
	} else if p.omitted {
		between = "\n…\n"
	}
	if last == "" {
		return first
	}
	return first + between + last
}

// ended tells people how it has ended: in its own words, or else by its status.
func (p *process) ended() string {
	if said := p.words(); said != "" && !p.killed() {
		return said
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return p.name + " has ended"
	}
	return fmt.Sprintf("%s: %v", p.name, p.err) // "ssh: exit status 255"
}

// killed reports whether it has been ended by a signal.
func (p *process) killed() bool { return !p.running() && !p.cmd.ProcessState.Exited() }

// gone tells why an agent may be gone that this process has started: its own end. "" if it runs, or has ended well.
func (p *process) gone() string {
	if p.running() || p.cmd.ProcessState.Success() {
		return ""
	}
	return fmt.Sprintf("%s has ended: %s", p.name, oneLine(p.ended()))
}

// oneLine is a text of lines as one.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// running reports whether it has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end waits until the process has ended. When ctx ends, it gets the signals, with endPatience after each, and at last a SIGKILL.
func (p *process) end(ctx context.Context, signals ...syscall.Signal) {
	select {
	case <-p.done:
		return
	case <-ctx.Done():
	}
	for _, sig := range append(signals, syscall.SIGKILL) {
		_ = p.cmd.Process.Signal(sig) // it may have ended
		select {
		case <-p.done:
			return
		case <-time.After(endPatience):
		}
	}
	<-p.done // after WaitDelay at the latest
}

// lines is a writer that hands on each line, without what controls a terminal.
type lines struct {
	tell func(line string)
	rest []byte
}

func (l *lines) Write(data []byte) (int, error) {
	n := len(data)
	for {
		line, after, found := bytes.Cut(data, []byte("\n"))
		if room := maxLine - len(l.rest); len(line) > room {
			line = line[:max(room, 0)]
		}
		l.rest = append(l.rest, line...)
		if !found {
			return n, nil
		}
		l.flush()
		data = after
	}
}

func (l *lines) flush() {
	if line := strings.TrimSpace(clean.Line(strings.ToValidUTF8(string(l.rest), "\uFFFD"))); line != "" {
		l.tell(line)
	}
	l.rest = l.rest[:0]
}

// output runs a short command and returns what it prints. Its error is what the command says.
func output(ctx context.Context, env []string, words ...string) (string, error) {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = endPatience
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(clean.Text(said.String())); text != "" {
			return "", fmt.Errorf("%s: %s", words[0], text)
		}
		return "", fmt.Errorf("%s: %w", words[0], err)
	}
	return out.String(), nil
}
