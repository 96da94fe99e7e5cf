package testhosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// within is an environment variable: this process runs a test on h0, and finds the one outside by this socket.
const within = "DIPLS_TEST_ON_HOST"

// On makes n hosts and h0, and runs the rest of a test on h0, in another process with the same program. The hosts are the same for it. If slurm, they
// are a cluster.
func On(t *testing.T, n int, slurm bool, test func(h *Hosts)) {
	t.Helper()
	if socket := os.Getenv(within); socket != "" {
		far, err := dialOutside(socket)
		if err != nil {
			t.Fatal(err)
		}
		defer far.client.Close()
		root := repository(t)
		test(&Hosts{
			t: t, far: far,
			script: filepath.Join(root, "internal", "testhosts", "hosts.sh"),
			slurm:  filepath.Join(root, "internal", "testhosts", "slurm.sh"),
		})
		return
	}
	t.Parallel() // it waits most of the time
	h := Up(t, n)
	if slurm {
		h.Slurm()
	}
	socket := filepath.Join(h.dir, "outside")
	stop := h.serveOutside(socket)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	cmd := h.Command(ctx, "h0", "env", within+"="+socket, self, "-test.v", "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err != nil:
		t.Fatalf("on h0: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP"):
		t.Skip(text)
	case testing.Verbose():
		t.Log(text)
	}
}

// Outside runs commands for a test that is on h0, where the other hosts' processes are not to be seen.
type outside struct{ h *Hosts }

// Command is a command line.
type Command struct {
	Name string
	Args []string
}

// Result is what came of a command.
type Result struct {
	Output string
	Failed string // "": it has not
}

// Run runs a command.
func (o outside) Run(c Command, r *Result) error {
	out, err := o.h.run(c.Name, c.Args...)
	r.Output = out
	if err != nil {
		r.Failed = err.Error()
	}
	return nil
}

func (h *Hosts) serveOutside(socket string) (stop func()) {
	h.t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		h.t.Fatal(err)
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Outside", outside{h}); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		server.ServeCodec(jsonrpc.NewServerCodec(conn))
	}()
	return func() {
		listener.Close()
		<-done // the process on h0 has ended, and its connection with it
	}
}

// remote is a connection with the process outside.
type remote struct{ client *rpc.Client }

func dialOutside(socket string) (*remote, error) {
	client, err := jsonrpc.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("the test outside is not there: %w", err)
	}
	return &remote{client}, nil
}

func (r *remote) run(name string, args ...string) (string, error) {
	var result Result
	if err := r.client.Call("Outside.Run", Command{name, args}, &result); err != nil {
		return "", err
	}
	if result.Failed != "" {
		return result.Output, errors.New(result.Failed)
	}
	return result.Output, nil
}
