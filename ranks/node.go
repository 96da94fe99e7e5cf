package ranks

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

const nodeName = "node"

var errTODO = errors.New("ranks: not yet")

// StartMethod is how the processes of a pool come to life.
type StartMethod uint8

const (
	StartAuto  StartMethod = iota // fork from the nursery if that is safe, else spawn
	StartFork                     // fork, or fail
	StartSpawn                    // a fresh interpreter each
)

// Options say how to run a node.
type Options struct {
	Python    string            // path of the interpreter
	Dir       string            // working directory of the processes; "" is the server's
	Script    string            // path of the file whose cells will run, "" if none
	Preload   []string          // modules that the nursery imports besides torch
	Start     StartMethod       // how ranks start
	ExtraPath []string          // directories for the end of sys.path: our private packages
	Env       []string          // environment of the node, as os.Environ gives it; nil is the server's
	Log       *zap.Logger       // nil: none
	OnState   func(StateChange) // told of every change of a process's or pool's state, in order, one at a time
	Ladder    Ladder            // how Close ends what still lives; the zero value is DefaultLadder
	Timeout   time.Duration     // for the node's own start; 0 is 60 s
	Command   []string          // command line instead of PYTHON AGENT_DIR: tests run a fake agent
}

// Info describes the interpreter of a node.
type Info struct {
	Python   string            // path
	Version  string            // "3.11.2"
	Packages map[string]string // distribution name → version; absent if not installed
}

// Node is one running node process.
type Node struct{}

// StartNode starts a node.
func StartNode(ctx context.Context, o Options) (*Node, error) { return nil, errTODO }

// Local returns the local namespace, which the first call starts.
func (n *Node) Local(ctx context.Context) (*Process, error) { return nil, errTODO }

// RestartLocal replaces the local namespace by a fresh one.
func (n *Node) RestartLocal(ctx context.Context) error { return errTODO }

// StartPool starts a pool; either all ranks are ready when it returns, or nothing is left of them.
func (n *Node) StartPool(ctx context.Context, spec PoolSpec) (*Pool, error) { return nil, errTODO }

// Info describes the interpreter.
func (n *Node) Info() Info { return Info{} }

// Close ends the node with everything it runs and removes its runtime directory.
func (n *Node) Close(ctx context.Context) error { return errTODO }

// Done is closed when the node has ended.
func (n *Node) Done() <-chan struct{} { return nil }

// Err says how the node ended; nil while it lives, and after Close.
func (n *Node) Err() error { return nil }

// ParseStartMethod is the inverse of String.
func ParseStartMethod(s string) (StartMethod, error) { return 0, errTODO }

func (m StartMethod) String() string { return "auto" }
