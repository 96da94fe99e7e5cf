package ranks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"dipls/internal/leaktest"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// serverArg makes the test binary a server of its own, which a test can kill.
const serverArg = "test-server"

// serverSpec is what such a server does; serverReport is what it prints when it has.
type serverSpec struct {
	Python string // the real agent; "" is a fake one
	Adopt  bool   // call host.AdoptOrphans
	Code   string // run on every rank
	Ranks  int    // 0: the local namespace alone

	Dir     string
	Preload []string
}

type serverReport struct {
	Dir       string
	Node      int
	Processes map[string]serverProcess
}

type serverProcess struct {
	host.Process
	Output string // of Code, up to the end of its first line
}

// serverMain plays a server if this process was started as one.
func serverMain() {
	if len(os.Args) < 3 || os.Args[1] != serverArg {
		return
	}
	var spec serverSpec
	if err := json.Unmarshal([]byte(os.Args[2]), &spec); err != nil {
		panic(err)
	}
	if err := serve(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(spec serverSpec) error {
	if spec.Adopt {
		if err := host.AdoptOrphans(); err != nil {
			return err
		}
	}
	ctx := context.Background()
	o := Options{Python: spec.Python, Dir: spec.Dir, Preload: spec.Preload}
	if spec.Python == "" {
		o.Command = fakerank.Command(fakerank.Config{Processes: true})
	}
	n, err := StartNode(ctx, o)
	if err != nil {
		return err
	}
	local, err := n.Local(ctx)
	if err != nil {
		return err
	}
	procs := []*Process{local}
	if spec.Ranks > 0 {
		p, err := n.StartPool(ctx, PoolSpec{Ranks: spec.Ranks})
		if err != nil {
			return err
		}
		procs = append(procs, p.Ranks()...)
	}
	report := serverReport{Dir: directory(n), Node: n.PID(), Processes: map[string]serverProcess{}}
	for _, proc := range procs {
		output := ""
		if spec.Code != "" {
			r := newRun()
			proc.Execute(wire.ExecuteRequest{Code: spec.Code}, r)
			for output = r.output(); !strings.Contains(output, "\n"); output = r.output() {
				r.mu.Lock()
				err := r.err
				r.mu.Unlock()
				if err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
		}
		report.Processes[proc.Name()] = serverProcess{proc.ID(), output}
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		return err
	}
	// The test ends the node, or us.
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	select {
	case <-n.Done():
	case <-term:
		return n.Close(ctx)
	}
	fmt.Println(strings.Join(leaktest.Children(), " "))
	return nil
}

// runServer starts a server.
func runServer(t *testing.T, spec serverSpec) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	arg, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], serverArg, string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewReader(out)
}

// startServer starts a server and waits for its report.
func startServer(t *testing.T, spec serverSpec) (*exec.Cmd, *bufio.Reader, serverReport) {
	t.Helper()
	cmd, r := runServer(t, spec)
	line, err := r.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var report serverReport
	if err := json.Unmarshal(line, &report); err != nil {
		t.Fatal(err)
	}
	return cmd, r, report
}

// awaitNothing waits until nothing is left of a session.
func awaitNothing(t *testing.T, report serverReport) {
	t.Helper()
	for name, p := range report.Processes {
		await(t, fmt.Sprintf("%s (pid %d) to be gone", name, p.PID), func() bool { return !running(p.Process) })
	}
	await(t, "the node to be gone", func() bool { return syscall.Kill(report.Node, 0) != nil })
	await(t, "the runtime directory to be gone", func() bool {
		_, err := os.Lstat(report.Dir)
		return os.IsNotExist(err)
	})
}

func testServerKilled(t *testing.T, spec serverSpec) {
	cmd, _, report := startServer(t, spec)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	awaitNothing(t, report)
}

func TestServerKilled(t *testing.T) { testServerKilled(t, serverSpec{Ranks: 2}) }

func TestServerKilledWhileBusy(t *testing.T) {
	testServerKilled(t, serverSpec{Ranks: 2, Code: "print on\nstubborn\nstuck"})
}

// A server that adopts orphans reaps what a killed node leaves.
func TestAdoptOrphans(t *testing.T) {
	_, out, report := startServer(t, serverSpec{Ranks: 2, Adopt: true, Code: "print on\nstubborn\nstuck"})
	if err := syscall.Kill(report.Node, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	left, err := out.ReadString('\n')
	if err != nil || strings.TrimSpace(left) != "" {
		t.Errorf("children left: %q, %v", left, err)
	}
	awaitNothing(t, report)
}

// When server and node are killed at once, their guard sees to it that nothing is left.
func TestServerAndNodeKilled(t *testing.T) {
	cmd, _, report := startServer(t, serverSpec{Ranks: 2})
	syscall.Kill(report.Node, syscall.SIGSTOP) // it cannot clean up
	cmd.Process.Kill()
	syscall.Kill(report.Node, syscall.SIGKILL)
	cmd.Wait()
	awaitNothing(t, report)
}

// A node that does nothing any more goes with its server.
func TestServerKilledWhileTheNodeIsStopped(t *testing.T) {
	cmd, _, report := startServer(t, serverSpec{Ranks: 2})
	syscall.Kill(report.Node, syscall.SIGSTOP)
	cmd.Process.Kill()
	cmd.Wait()
	awaitNothing(t, report)
}
