package launch

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"dipls/internal/private"
)

const (
	// sshAtATime is how many connections are being made at a time. sshd drops some when too many come at once, and each costs a core 0.1 s.
	sshAtATime = 16

	// asksForward begins the line by which bootstrap.py asks for a Unix socket.
	asksForward = "dipls-forward "

	// readyAgain is what a host says when a connection that carried an agent's is there again.
	readyAgain = "dipls-ready"
)

// The pause before a connection that carries an agent's is made again: the first one, and the longest.
const (
	firstPause   = time.Second
	longestPause = 10 * time.Second
)

// lastTry is the pause before the last of a few tries to get into a host that turns connections away.
const lastTry = 4 * time.Second

// turnedAway is what ssh says when sshd, or a host on the way, has dropped the connection before it knew who comes: too many come at a time.
var turnedAway = regexp.MustCompile(`(?:kex|ssh)_exchange_identification: |Connection (?:closed|reset) by [^\n]* port \d+$`)

// sshOptions are those that a start in the background needs. All else is as the user's config says.
var sshOptions = []string{
	"-o", "BatchMode=yes", // it never asks
	"-o", "ControlPersist=no",
	"-o", "ConnectTimeout=30",
	"-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
	"-T", "-x",
}

// ssh starts agents by the user's ssh, one for each host.
type ssh struct {
	hosts     []Host
	addresses []address
	env       []string
	log       *zap.Logger

	mu      sync.Mutex
	clients map[int]*process // the newest ssh to each host
}

// Allocate is immediate: the hosts are there, or ssh says that they are not.
func (s *ssh) Allocate(context.Context, func(Event)) (Allocation, error) { return s, nil }

func (s *ssh) Hosts() []Host { return s.hosts }

func (s *ssh) OwnInput() bool { return true }

func (s *ssh) Explain(_ context.Context, host int) string {
	s.mu.Lock()
	client := s.clients[host]
	s.mu.Unlock()
	if client == nil {
		return ""
	}
	return client.gone()
}

func (s *ssh) Close(context.Context) error { return nil }

func (s *ssh) Start(b Bootstrap, hosts []int, tell func(Event)) (Joins, error) {
	dir, remove, err := private.Scratch("dipls-ssh-")
	if err != nil {
		return nil, fmt.Errorf("control ssh: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	j := &sshJoins{ssh: s, boot: b, dir: dir, remove: remove, tell: tell, ctx: ctx, stop: stop, joins: make(map[int]*sshJoin)}
	turns := make(chan struct{}, sshAtATime)
	for _, host := range hosts {
		join := &sshJoin{all: j, host: host, joined: make(chan struct{}), log: s.log.With(zap.String("host", s.hosts[host].Name))}
		j.joins[host] = join
		j.work.Go(func() { join.run(turns) })
	}
	return j, nil
}

// sshJoins are the agents of one start.
type sshJoins struct {
	ssh  *ssh
	boot Bootstrap
	dir  string // of the control sockets
	tell func(Event)

	remove func() // removes dir

	ctx   context.Context // ends when no connection is to be made any more
	stop  context.CancelFunc
	work  sync.WaitGroup
	joins map[int]*sshJoin
}

func (j *sshJoins) Joined(host int) {
	if join := j.joins[host]; join != nil {
		join.once.Do(func() { close(join.joined) })
	}
}

func (j *sshJoins) End(ctx context.Context) {
	j.stop()
	var ends sync.WaitGroup
	for _, join := range j.joins {
		ends.Go(func() { join.end(ctx) })
	}
	ends.Wait()
	j.work.Wait()
	j.remove()
}

// sshJoin is the agent of one host.
type sshJoin struct {
	all    *sshJoins
	host   int
	log    *zap.Logger
	once   sync.Once
	joined chan struct{} // closed: it has joined

	mu      sync.Mutex
	client  *process // the newest ssh
	control string   // its control socket
	count   int      // of control sockets so far
	path    string   // of the Unix socket there that leads to the session; "": the agent needs none
}

// run starts the agent and stays until its ssh, and all that carry its connection after it, have ended.
func (s *sshJoin) run(turns chan struct{}) {
	select {
	case turns <- struct{}{}:
	case <-s.all.ctx.Done():
		return
	}
	var client *process
	for pause := firstPause; ; pause *= 2 {
		var err error
		if client, err = s.connect(s.all.boot.command(), s.all.boot.input(s.host, true), s.agentPrinted); err != nil {
			<-turns
			s.all.tell(Event{Failed, s.host, err.Error()})
			return
		}
		select {
		case <-s.joined:
		case <-client.done:
		}
		if client.running() || pause > lastTry || !turnedAway.MatchString(client.words()) {
			break
		}
		select {
		case <-s.all.ctx.Done():
		case <-time.After(pause):
		}
	}
	<-turns
	<-client.done
	select {
	case <-s.joined:
		s.log.Debug("ssh has ended", zap.String("said", client.ended()))
		s.mu.Lock()
		path := s.path
		s.mu.Unlock()
		switch {
		case path != "":
			s.carry(path)
		case agentEnded(client):
			s.all.tell(Event{Ended, s.host, oneLine(client.words())})
		}
	default:
		if s.all.ctx.Err() == nil {
			s.all.tell(Event{Failed, s.host, s.explain(client)})
		}
	}
}

// agentEnded reports whether an ssh that has ended seems to know that the agent has. 255 is its own failure, of which it says why, or a signal that has
// killed the agent, of which it says nothing; nor does it if it was itself told to end.
func agentEnded(client *process) bool {
	code := client.cmd.ProcessState.ExitCode()
	return code >= 0 && code != 255 || code == 255 && client.words() == ""
}

// explain says why an agent has not come.
func (s *sshJoin) explain(client *process) string {
	said := client.words()
	switch code := client.cmd.ProcessState.ExitCode(); {
	case said == "" && client.killed():
		return client.ended() + " before the agent had joined"
	case said == "":
		return fmt.Sprintf("what ssh runs there ended with status %d before the agent had joined, and said nothing: "+
			"the interpreter, or a start-up file of the shell such as .bashrc", code)
	case strings.Contains(said, "Permission denied ("): // (publickey,password): the ways to log in that are left
		return said + "\nssh runs in the background here, and can ask for no password: log in with a key, which an agent holds if it has a passphrase"
	case strings.Contains(said, "Host key verification failed"):
		return said + "\nssh runs in the background here, and can ask nothing: connect once by hand"
	case code == 127 && len(s.all.boot.Prologue) == 0:
		return said + "\nthe interpreter must be there under the same path: say which with --python"
	default:
		return said
	}
}

// connect starts an ssh that runs a command on the host.
func (s *sshJoin) connect(remote []string, input []byte, printed func(string)) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all.ctx.Err() != nil {
		return nil, s.all.ctx.Err()
	}
	s.control = filepath.Join(s.all.dir, fmt.Sprintf("%d-%d", s.host, s.count)) // a dead one leaves its socket, so each has its own
	s.count++
	words := append([]string{"ssh", "-M", "-S", strings.ReplaceAll(s.control, "%", "%%")}, sshOptions...)
	client, err := command{words: append(append(words, s.target()...), quoteForShell(append([]string{"exec"}, remote...))),
		env: s.all.ssh.env, input: input, printed: printed, deadly: true}.start()
	if err == nil {
		s.client = client
		s.all.ssh.mu.Lock()
		s.all.ssh.clients[s.host] = client
		s.all.ssh.mu.Unlock()
	}
	return client, err
}

// target are the words for ssh that name the host.
func (s *sshJoin) target() []string {
	var words []string
	a := s.all.ssh.addresses[s.host]
	if a.user != "" {
		words = append(words, "-l", a.user)
	}
	if a.port != 0 {
		words = append(words, "-p", strconv.Itoa(a.port))
	}
	return append(words, "--", a.host)
}

// agentPrinted handles a line that the agent, or something before it, has printed.
func (s *sshJoin) agentPrinted(line string) {
	request, asks := strings.CutPrefix(line, asksForward)
	if !asks {
		s.all.tell(Event{Printed, s.host, line})
		return
	}
	var wanted struct{ Path, Why string }
	if err := json.Unmarshal([]byte(request), &wanted); err != nil {
		s.all.tell(Event{Printed, s.host, line})
		return
	}
	s.log.Info("host does not reach us; ssh carries its connection", zap.String("why", wanted.Why))
	s.all.work.Go(func() {
		answer := struct {
			Error string `json:"error,omitempty"`
		}{}
		if err := s.forward(wanted.Path); err != nil {
			answer.Error = err.Error()
		}
		line, err := json.Marshal(answer)
		if err != nil {
			panic(err) // a string can be marshalled
		}
		s.mu.Lock()
		client := s.client
		s.mu.Unlock()
		_, _ = client.stdin.Write(append(line, '\n')) // if it has ended, its end says why
	})
}

// forward makes a Unix socket on the host that leads to ours.
func (s *sshJoin) forward(path string) error {
	s.mu.Lock()
	control := s.control
	s.mu.Unlock()
	words := append([]string{"ssh", "-S", strings.ReplaceAll(control, "%", "%%")}, sshOptions...)
	words = append(words, "-O", "forward", "-R", path+":"+s.all.boot.Socket)
	ctx, stop := context.WithTimeout(s.all.ctx, 30*time.Second)
	defer stop()
	if _, err := output(ctx, s.all.ssh.env, append(words, s.target()...)...); err != nil {
		return err
	}
	s.mu.Lock()
	s.path = path
	s.mu.Unlock()
	return nil
}

// carry makes the connection that carries the agent's again, each time that it has ended. The agent dials anew by itself.
func (s *sshJoin) carry(path string) {
	pause := firstPause
	for {
		select {
		case <-s.all.ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		// sshd makes no socket where the dead connection has left one. The command ends with its standard input.
		ready := make(chan struct{})
		var once sync.Once
		client, err := s.connect([]string{"sh", "-c", `rm -f "$0"; echo "$1"; exec cat`, path, readyAgain}, nil, func(line string) {
			if line == readyAgain {
				once.Do(func() { close(ready) })
			} else {
				s.all.tell(Event{Printed, s.host, line})
			}
		})
		if err != nil {
			return
		}
		select {
		case <-client.done:
		case <-ready:
			if err := s.forward(path); err != nil {
				s.log.Warn("ssh does not carry the connection again", zap.Error(err))
				client.stdin.Close()
			} else {
				pause = firstPause
			}
			<-client.done
		}
		s.log.Debug("ssh has ended", zap.String("said", client.ended()))
	}
}

// end ends the ssh of a host. An agent that has joined is waited for until ctx ends: it is about to end by itself.
func (s *sshJoin) end(ctx context.Context) {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client == nil {
		return
	}
	select {
	case <-s.joined:
		client.stdin.Close() // also the end of one that only carries
	default:
		now, stop := context.WithCancel(ctx)
		stop()
		ctx = now
	}
	client.end(ctx, syscall.SIGTERM)
}
