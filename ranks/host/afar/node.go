package afar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"dipls/ranks/host"
	"dipls/ranks/host/mux"
	"dipls/ranks/link"
	"dipls/ranks/wire"
)

const (
	// killPatience is how long a supervisor may take to end everything before it is itself killed.
	killPatience = 6 * time.Second

	// survivorPatience is how long processes that have outlived their node may take to die.
	survivorPatience = 5 * time.Second
)

// node is a node on a host: its supervisor there.
type node struct {
	*service
	host   *Host
	name   string // of the node, for people
	output host.NodeOutput

	id host.Process // set before StartNode returns

	mu      sync.Mutex
	started started

	ended chan struct{} // everything but janitors has ended; exit is set
	exit  host.NodeExit
	once  sync.Once // sets exit
}

var _ host.NodeProcess = (*node)(nil)

// started is what a supervisor tells when it has started a node.
type started struct {
	Session    string    `json:"session"`
	Directory  string    `json:"directory"`
	Instead    wire.Path `json:"instead"` // the working directory, if the wanted one is not there
	Supervisor processID `json:"supervisor"`
}

// startRequest is a [host.NodeSpec] on its way.
type startRequest struct {
	Command  []wire.Path    `json:"command"`  // null: the agent, run by python
	Python   wire.Path      `json:"python"`   // "": the interpreter that runs the supervisor
	Dir      wire.Path      `json:"dir"`      // "": that of the supervisor
	Squatter int            `json:"squatter"` // of this folder here
	Env      []wire.Path    `json:"env"`
	Line     wire.StartLine `json:"line"`
}

// startAnswer is how a start went. One field is set.
type startAnswer struct {
	Ready  string     `json:"ready"`  // the node's ready line
	Failed *startFail `json:"failed"` // there is no node
	Ended  bool       `json:"ended"`  // without a ready line
}

// startFail says why a node was not started. The number of the error means the same on the systems where a server runs as far as it is looked at.
type startFail struct {
	Text  string        `json:"text"`
	Errno syscall.Errno `json:"errno"`
}

func (e *startFail) Error() string { return e.Text }

func (e *startFail) Unwrap() error { return e.Errno }

// StartNode has a supervisor start a node. It knows how to find the agent's code, and an interpreter if spec names none. A working directory that is not
// there is replaced, of which the user gets a notice.
func (h *Host) StartNode(ctx context.Context, spec host.NodeSpec) (_ host.NodeProcess, err error) {
	log := spec.Log
	if log == nil {
		log = h.log
	}
	n := &node{host: h, name: spec.Line.Name, output: host.NodeOutput{Log: log}, ended: make(chan struct{})}
	if n.service, err = serve(h.conn, "supervisor", n.told); err != nil {
		return nil, fmt.Errorf("start the node on %s: %w", h.name, err)
	}
	go n.watch()
	defer func() {
		if err != nil {
			n.Kill()
			n.awaitEnd(killPatience)
			n.close()
			err = fmt.Errorf("%s: %w", h.name, err)
		}
	}()

	if spec.Env == nil {
		spec.Env = h.environ
	}
	spec.Line.Host = h.name
	req := startRequest{
		Command: asPaths(spec.Command), Python: wire.Path(spec.Python), Dir: wire.Path(spec.Dir), Squatter: squatter(spec.Dir), Env: asPaths(spec.Env),
		Line: spec.Line,
	}
	var answer startAnswer
	switch err := n.call(ctx, "start", req, &answer); {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("node is not ready: %w", context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("start the node: %w", err)
	case answer.Failed != nil:
		return nil, fmt.Errorf("start the node: %w", answer.Failed)
	case answer.Ended:
		return nil, host.EndedEarly(n.name, n.Wait(), &n.output)
	}
	python := spec.Python
	if python == "" {
		python = h.facts.Python
	}
	n.id, err = host.ReadReady([]byte(answer.Ready), python, &n.output)
	var missing *host.MissingPackagesError
	if errors.As(err, &missing) { // the packages of this machine's interpreter would be no help
		return nil, fmt.Errorf("%s lacks %s; install them there", python, strings.Join(missing.Missing, ", "))
	}
	if err != nil {
		return nil, err
	}
	if instead := n.facts().Instead; instead != "" {
		h.astray(spec.Dir, string(instead))
	}
	return n, nil
}

// squatter is the uid of who else has made a step of the path of a folder where anybody may, as in /tmp; -1: nobody has. It is as in
// dip_agent/hosts/places.py: a host that shares the folder finds the same one, and elsewhere somebody has made it for us to use.
func squatter(dir string) int {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return -1
	}
	for _, path := range []string{dir, real} {
		anybody := false
		for i, r := range path + "/" {
			if r != '/' || i == 0 {
				continue
			}
			info, err := os.Lstat(path[:i])
			if err != nil {
				return -1
			}
			owner, ok := info.Sys().(*syscall.Stat_t)
			if anybody && ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
				return int(owner.Uid)
			}
			anybody = info.IsDir() && info.Mode()&0o002 != 0
		}
	}
	return -1
}

func asPaths(texts []string) []wire.Path {
	if texts == nil {
		return nil
	}
	paths := make([]wire.Path, len(texts))
	for i, text := range texts {
		paths[i] = wire.Path(text)
	}
	return paths
}

// told is called with the supervisor's notifications, one at a time, and before the answer to a request that was sent after them.
func (n *node) told(method string, params []byte) {
	var err error
	switch method {
	case "started":
		n.mu.Lock()
		err = json.Unmarshal(params, &n.started)
		n.mu.Unlock()
	case "printed":
		var p struct {
			Text string `json:"text"`
		}
		err = json.Unmarshal(params, &p)
		_, _ = n.output.Write([]byte(p.Text)) // never fails
	case "ended":
		var end struct {
			Code   *int   `json:"code"`
			Signal string `json:"signal"`
			Why    string `json:"why"` // the host had to end
		}
		err = json.Unmarshal(params, &end)
		switch {
		case err != nil:
		case end.Why != "":
			n.endWith(host.NodeExit{Failed: n.mux.Explained(fmt.Errorf("host %s has ended: %s", n.host.name, end.Why))})
		default:
			n.endWith(host.NodeExit{Exit: host.Exit{Code: end.Code, Signal: end.Signal}})
		}
	}
	if err != nil {
		n.output.Log.Warn("a supervisor's notification", zap.String("method", method), zap.Error(err))
	}
}

// facts are what the supervisor has told of the start.
func (n *node) facts() started {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.started
}

func (n *node) endWith(exit host.NodeExit) {
	n.once.Do(func() {
		n.exit = exit
		n.output.End()
		close(n.ended)
	})
}

// watch waits for the end of the channel. If the supervisor has not told how the node ended, it is gone, or the whole host is.
func (n *node) watch() {
	<-n.done()
	if err := n.mux.Err(); err != nil {
		n.endWith(host.NodeExit{Failed: err})
		return
	}
	n.endWith(host.NodeExit{Guard: true, PID: n.facts().Supervisor.PID, Exit: guardExit(n.rpc.Err())})
}

// guardExit is how a supervisor ended, by the relay's words: "signal SIGKILL" or "code 1".
func guardExit(err error) host.Exit {
	code := 1
	if err != nil {
		var signal string
		if _, text, ok := strings.Cut(err.Error(), "signal "); ok {
			if _, err := fmt.Sscan(text, &signal); err == nil {
				return host.Exit{Signal: signal}
			}
		}
		if _, text, ok := strings.Cut(err.Error(), "code "); ok {
			_, _ = fmt.Sscan(text, &code)
		}
	}
	return host.Exit{Code: &code}
}

// awaitEnd waits for the end, but not for ever.
func (n *node) awaitEnd(patience time.Duration) {
	select {
	case <-n.ended:
	case <-time.After(patience):
	}
}

func (n *node) Process() host.Process { return n.id }

func (n *node) Session() string { return n.facts().Session }

// Renew has the supervisor do it.
func (n *node) Renew(ctx context.Context) error {
	err := n.call(ctx, "renew", nil, nil)
	if err != nil && ctx.Err() == nil && n.ends(err) {
		return host.ErrEnded
	}
	return err
}

// Dial opens a channel. If nobody listens at the socket, that is the error of the first read.
func (n *node) Dial(_ context.Context, socket string) (net.Conn, error) {
	channel, err := n.mux.Open(map[string]string{"socket": path.Join(n.facts().Directory, socket)})
	if err != nil {
		return nil, err
	}
	return conversation{channel}, nil
}

// conversation is a channel to the socket of a process.
type conversation struct{ *mux.Channel }

var _ link.Carried = conversation{}

// EndsForCertain implements [link.Certain]: the relay sees to it.
func (conversation) EndsForCertain() {}

func (n *node) Resume() { n.tell("resume") }

func (n *node) HangUp() { n.tell("hangup") }

// Kill has the supervisor do it. If that does not react, it is killed, and the relay does the rest. A host that does not answer is given up: nobody has
// to wait for the end of its lease, until which it has ended all by itself.
func (n *node) Kill() {
	n.tell("kill")
	time.AfterFunc(killPatience, n.insist)
}

// insist is what follows until the node has ended.
func (n *node) insist() {
	select {
	case <-n.ended:
		return
	default:
	}
	if n.host.conn.State() == mux.Unreachable {
		n.host.conn.Fail(fmt.Errorf("host %s lost: it did not answer when it was told to end its processes", n.host.name))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), survivorPatience)
	defer cancel()
	guard := n.facts().Supervisor
	n.host.Kill(ctx, host.Process{PID: guard.PID, Start: guard.Start})
	time.AfterFunc(killPatience, n.insist)
}

func (n *node) Wait() host.NodeExit {
	<-n.ended
	exit := n.exit
	if !exit.Guard {
		exit.PID = n.id.PID
	}
	return exit
}

func (n *node) Output() string { return n.output.Tail() }

// CleanUp has something to kill only if the supervisor was killed. The relay kills it, too, but may not know all.
func (n *node) CleanUp(processes []host.Process) {
	ctx, stop := context.WithTimeout(context.Background(), survivorPatience)
	defer stop()
	if n.exit.Guard {
		var work sync.WaitGroup
		for _, p := range append([]host.Process{n.id}, processes...) {
			work.Go(func() {
				if p.PID > 1 && !n.host.Kill(ctx, p) {
					n.output.Log.Warn("cannot end a process", zap.String("host", n.host.name), zap.Int("pid", p.PID))
				}
			})
		}
		work.Wait()
	}
	n.close()
}
