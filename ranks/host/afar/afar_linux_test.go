package afar_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"dipls/internal/leaktest"
	"dipls/internal/testpython"
	"dipls/ranks/host"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/afar/afartest"
	"dipls/ranks/host/mux"
	"dipls/ranks/wire"
)

func TestMain(m *testing.M) { leaktest.Begin().Main(m) }

const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func newHost(t testing.TB, env ...string) *afar.Host {
	t.Helper()
	a := afartest.Start(t, afartest.Options{Name: "gpu2", Env: env})
	h, err := afar.New(testContext(t), a.Conn, afar.Options{Name: "gpu2", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// sleeper is a process that sleeps until the test ends.
func sleeper(t *testing.T) host.Process {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return processOf(t, cmd.Process.Pid)
}

func processOf(t *testing.T, pid int) host.Process {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	p := host.Process{PID: pid}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if _, err := fmt.Sscan(strings.Fields(rest)[19], &p.Start); err != nil {
		t.Fatal(err)
	}
	return p
}

// childOf is the child of a process that has a word on its command line.
func childOf(t *testing.T, pid int, word string) host.Process {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skip(err)
	}
	for _, child := range strings.Fields(string(children)) {
		line, _ := os.ReadFile("/proc/" + child + "/cmdline")
		if n, err := strconv.Atoi(child); err == nil && slices.Contains(strings.Split(string(line), "\x00"), word) {
			return processOf(t, n)
		}
	}
	t.Fatalf("process %d has no child %s", pid, word)
	return host.Process{}
}

// What a host says of itself is true of this machine, on which its agent runs.
func TestFacts(t *testing.T) {
	h := newHost(t, "TASTE=salt\xff", "SLURM_PROCID=3", "OMPI_COMM_WORLD_RANK=1", "SLURM_JOB_ID=4711")
	f := h.Facts()
	dir, _ := os.Getwd()
	if f.System != "Linux" || f.PageSize != os.Getpagesize() || f.Hostname != (host.Local{}).Name() || string(f.Dir) != dir || f.PID == 0 {
		t.Errorf("%+v", f)
	}
	if h.Name() != "gpu2" {
		t.Errorf("its name is %s", h.Name())
	}
	for entry, want := range map[string]bool{"TASTE=salt\xff": true, "SLURM_JOB_ID=4711": true, "SLURM_PROCID=3": false, "OMPI_COMM_WORLD_RANK=1": false} {
		if slices.Contains(h.Environ(), entry) != want {
			t.Errorf("%q in the environment: %v", entry, !want)
		}
	}
	if clock := h.Clock().Abs(); clock > time.Second {
		t.Errorf("this machine's clock is %v off", clock)
	}
}

// What is read of processes there is what is read of them here.
func TestProcesses(t *testing.T) {
	h, local, ctx := newHost(t), host.Local{}, testContext(t)
	p := sleeper(t)
	for { // it may have to fall asleep first
		there, ok := h.Vitals(ctx, p)
		here, _ := local.Vitals(ctx, p)
		if there.At = here.At; ok && there == here {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("vitals %+v, %v; here %+v", there, ok, here)
		}
	}
	if bytes, ok := h.Memory(ctx, p); !ok || bytes <= 0 {
		t.Errorf("memory %d, %v", bytes, ok)
	}
	other := host.Process{PID: p.PID, Start: p.Start + 1}
	if v, ok := h.Vitals(ctx, other); ok {
		t.Errorf("vitals of another process with that number: %+v", v)
	}
	if !h.Ended(other) || h.Ended(p) || h.Ended(host.Process{}) {
		t.Errorf("ended: another %v, this %v, unknown %v", h.Ended(other), h.Ended(p), h.Ended(host.Process{}))
	}
	if !h.Kill(ctx, other) || h.Ended(p) {
		t.Error("another process with that number was killed")
	}
	if !h.Kill(ctx, p) || !h.Ended(p) {
		t.Error("it was not killed")
	}
	if !h.Kill(ctx, host.Process{}) {
		t.Error("a process that never was is not gone")
	}
	machine := childOf(t, h.Facts().PID, "machine")
	if !h.Kill(ctx, machine) || !local.Ended(machine) {
		t.Error("the process that answers was not killed, or there is no other one to tell")
	}
	if _, ok := h.Vitals(ctx, processOf(t, os.Getpid())); !ok {
		t.Error("no other one answers")
	}
	for _, name := range []string{"../etc/passwd", "1/../../etc/passwd", "self/environ", "1/root/etc/passwd"} {
		if contents := h.Files(ctx, name); contents[0] != nil {
			t.Errorf("%s can be read", name)
		}
	}
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '%s' \"$*\"\nprintf 'oh \\377' >&2\nexit 9\n"
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	h, ctx := newHost(t, "PATH="+dir+":"+os.Getenv("PATH")), testContext(t)
	printed, err := h.Run(ctx, []string{"/no/such/program", "nvidia-smi"}, "a b", "c")
	if diff := cmp.Diff(host.Printed{Out: []byte("a b c"), Err: []byte("oh \xff"), Status: "exit status 9"}, printed); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if printed, err := h.Run(ctx, []string{"nvidia-smi"}); err != nil || len(printed.Out) > 0 {
		t.Errorf("without arguments: %+v, %v", printed, err)
	}
	if _, err := h.Run(ctx, []string{"/no/such/program", "nor-this-one"}); !errors.Is(err, host.ErrNoProgram) {
		t.Errorf("no program: %v", err)
	}
	_, err = h.GPUs(ctx, nil)
	if want := "nvidia-smi failed (exit status 9), so no GPU can be used"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := h.Run(short, []string{"sleep"}, "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that takes too long: %v", err)
	}
}

// An address leads to a host if the host itself answers there.
func TestReach(t *testing.T) {
	h, ctx := newHost(t), testContext(t)
	if len(h.Facts().Addresses) == 0 {
		t.Skip("this machine has no address for others")
	}
	offer, err := h.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := h.Reach(ctx, offer)
	if err != nil || len(routes) != len(offer.At) {
		t.Errorf("routes %v of %v, %v", routes, offer.At, err)
	}
	for i, route := range routes {
		own := afar.Address{Interface: route.Interface, IP: route.To.Addr()}
		if route.To != offer.At[i] || route.From != own.IP || !slices.Contains(h.Facts().Addresses, own) {
			t.Errorf("route %+v, addresses %+v", route, h.Facts().Addresses)
		}
	}
	impostor := *offer
	impostor.Word = "of another host"
	if routes, err := h.Reach(ctx, &impostor); err != nil || len(routes) > 0 {
		t.Errorf("routes to another host: %v, %v", routes, err)
	}
	offer.Withdraw(ctx)
	if routes, err := h.Reach(ctx, &afar.Offer{At: append(offer.At, netip.MustParseAddrPort("127.0.0.1:1")), Word: offer.Word}); err != nil || len(routes) > 0 {
		t.Errorf("routes to what was withdrawn: %v, %v", routes, err)
	}
}

// Nobody waits for the figures of a host that cannot be reached.
func TestFiguresOfUnreachable(t *testing.T) {
	unreachable := make(chan struct{})
	a := afartest.Start(t, afartest.Options{Name: "gpu2", OnState: func(s mux.State, _ error) {
		if s == mux.Unreachable {
			close(unreachable)
		}
	}})
	ctx := testContext(t)
	h, err := afar.New(ctx, a.Conn, afar.Options{Name: "gpu2"})
	if err != nil {
		t.Fatal(err)
	}
	p := sleeper(t)
	if _, ok := h.Memory(ctx, p); !ok {
		t.Error("the memory of a process is not known")
	}
	a.Vanish()
	defer func() { _ = a.Relay.Signal(syscall.SIGTERM) }() // it hears of no end
	<-unreachable
	if _, err := h.GPUMemory(ctx); err == nil || !strings.Contains(err.Error(), "gpu2 does not answer") {
		t.Errorf("GPU memory: %v", err)
	}
	if _, ok := h.Memory(ctx, p); ok || h.Ended(p) {
		t.Error("what is told of a process is not from there")
	}
}

// Who ends a node does not wait for the lease of a host that does not answer.
func TestKillOfUnreachable(t *testing.T) {
	a := afartest.Start(t, afartest.Options{Name: "gpu2"})
	h, err := afar.New(testContext(t), a.Conn, afar.Options{Name: "gpu2"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := h.StartNode(testContext(t), host.NodeSpec{
		Python: testpython.Need(t), Log: zap.NewNop(),
		Line: wire.StartLine{Protocol: wire.ProtocolVersion, Name: "node", Key: strings.Repeat("00", 32), ExtraPath: []string{}, LogLevel: "error"},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Vanish()
	defer func() { _ = a.Relay.Signal(syscall.SIGTERM) }() // it hears of no end
	n.Kill()
	const want = "host gpu2 lost: it did not answer when it was told to end its processes"
	if exit := n.Wait(); exit.Failed == nil || exit.Failed.Error() != want {
		t.Errorf("its end: %+v", exit)
	}
	n.CleanUp(nil)
}

// A working directory that is not on the host is replaced, which is told.
func TestMissingDirectory(t *testing.T) {
	home := t.TempDir()
	a := afartest.Start(t, afartest.Options{Name: "gpu2", Env: []string{"HOME=" + home}})
	var astray []string
	h, err := afar.New(testContext(t), a.Conn, afar.Options{Name: "gpu2", Astray: func(wanted, instead string) { astray = append(astray, wanted, instead) }})
	if err != nil {
		t.Fatal(err)
	}
	wanted := filepath.Join(t.TempDir(), "só ausente\xff")
	n, err := h.StartNode(testContext(t), host.NodeSpec{
		Python: testpython.Need(t), Dir: wanted, Log: zap.NewNop(),
		Line: wire.StartLine{Protocol: wire.ProtocolVersion, Name: "node", Key: strings.Repeat("00", 32), ExtraPath: []string{}, LogLevel: "error"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{wanted, home}, astray); diff != "" {
		t.Error(diff)
	}
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", n.Process().PID)); err != nil || dir != home {
		t.Errorf("the node runs in %s, %v", dir, err)
	}
	n.HangUp()
	if exit := n.Wait(); exit.Code == nil || *exit.Code != 0 || exit.PID != n.Process().PID {
		t.Errorf("its end: %+v", exit)
	}
	if err := n.Renew(testContext(t)); !errors.Is(err, host.ErrEnded) {
		t.Errorf("after its end: %v", err)
	}
	n.CleanUp(nil)
}
