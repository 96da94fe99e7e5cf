package fanout

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"dipls/dipexec"
	"dipls/dipexec/journal"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/ranks/host/join"
	"dipls/ranks/host/mux"
	"dipls/ranks/link"
	"dipls/ranks/wire"
)

const (
	ranksOfHost = 8

	// perCluster is how many hosts a process has: each rank takes three of its descriptors.
	perCluster = 250
)

var hostCounts = []int{8, 64, 256, 1000}

// BenchmarkHosts is [BenchmarkDispatch] with hosts of 8 ranks each. The hosts are in a few other processes; each has a connection of its own with
// this one, over TLS, as real hosts have.
func BenchmarkHosts(b *testing.B) {
	for _, count := range hostCounts {
		b.Run(fmt.Sprintf("%dx%d", count, ranksOfHost), func(b *testing.B) {
			before := heap()
			s, joined := startHosts(b, count)
			s.run(b, "# nothing")
			memory := heap() - before
			took := make([]time.Duration, 0, 1024)
			cpu := cpuTime(b)
			for b.Loop() {
				begin := time.Now()
				s.run(b, "# nothing")
				took = append(took, time.Since(begin))
			}
			b.ReportMetric(perRank(cpuTime(b)-cpu, b.N*count*ranksOfHost), "µs-cpu/rank")
			b.ReportMetric(perRank(joined, count), "µs-cpu/join")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(memory)/float64(count)/1000, "kB/host")
		})
	}
}

// startHosts starts hosts and a pool over them, and tells what it cost this process that they joined.
func startHosts(b *testing.B, count int) (s *server, joined time.Duration) {
	ctx := context.Background()
	gate, err := join.New(join.Options{Listen: []string{"127.0.0.1"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(gate.Close)
	expected := join.Expected{Name: func(number int, _ json.RawMessage) string { return fmt.Sprintf("h%d", number) }}
	for number := range count {
		expected.Hosts = append(expected.Hosts, number)
	}
	begin := cpuTime(b)
	start, err := gate.Expect(expected)
	if err != nil {
		b.Fatal(err)
	}
	for left := count; left > 0; left -= perCluster {
		startCluster(b, cluster{gate.Addresses()[0], gate.Certificate(), start.Tokens()[0], min(left, perCluster)})
	}
	var shares []ranks.Share
	arrived := make([]join.Arrival, 0, count)
	for range count {
		arrived = append(arrived, <-start.Arrivals())
	}
	joined = cpuTime(b) - begin
	start.Close()
	for _, a := range arrived {
		h := &farHost{fakerank.NewHost(fakerank.Config{Name: fmt.Sprintf("h%d", a.Host)}), a.Conn}
		node, err := ranks.StartNode(ctx, ranks.Options{Host: h})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := node.Close(ctx); err != nil {
				b.Error(err)
			}
			a.Conn.Close()
		})
		shares = append(shares, ranks.Share{Node: node, Ranks: ranksOfHost})
	}
	s = &server{}
	store := journal.Open(journal.Options{Dir: b.TempDir()})
	b.Cleanup(func() {
		if s.executor != nil {
			s.executor.Close(ctx)
		}
		store.Close()
	})
	if s.pool, err = ranks.StartPool(ctx, ranks.PoolSpec{}, shares...); err != nil {
		b.Fatal(err)
	}
	s.executor = dipexec.New(dipexec.Options{Pool: s, Journal: store})
	s.sub = s.executor.Subscribe()
	return s, joined
}

// farHost is a host of the cluster, as this process sees it. What is not about its node is as on a fake machine here.
type farHost struct {
	*fakerank.Host
	conn *mux.Conn
}

// request opens a channel with a host of the cluster.
type request struct {
	Start  *wire.StartLine `json:"start,omitempty"`  // a node: its process id comes, and when it has ended its exit code
	Socket string          `json:"socket,omitempty"` // a socket of the node
}

func (h *farHost) StartNode(_ context.Context, spec host.NodeSpec) (host.NodeProcess, error) {
	ch, err := h.conn.Open(request{Start: &spec.Line})
	if err != nil {
		return nil, err
	}
	n := &farNode{h: h, channel: ch, told: json.NewDecoder(ch)}
	return n, n.told.Decode(&n.pid)
}

// farNode is the node of such a host.
type farNode struct {
	h       *farHost
	channel *mux.Channel
	told    *json.Decoder
	pid     int
}

func (n *farNode) Process() host.Process       { return host.Process{PID: n.pid} }
func (n *farNode) Session() string             { return n.h.Name() }
func (n *farNode) Renew(context.Context) error { return nil }
func (n *farNode) Resume()                     {}
func (n *farNode) HangUp()                     { _ = n.channel.CloseWrite() }
func (n *farNode) Kill()                       { n.HangUp() }
func (n *farNode) Output() string              { return "" }
func (n *farNode) CleanUp([]host.Process)      {}

func (n *farNode) Dial(_ context.Context, socket string) (net.Conn, error) {
	channel, err := n.h.conn.Open(request{Socket: socket})
	if err != nil {
		return nil, err
	}
	return conversation{channel}, nil
}

// conversation is a channel to the socket of a process. It ends when that closes the socket: no other process has inherited it.
type conversation struct{ *mux.Channel }

var _ link.Carried = conversation{}

// EndsForCertain implements [link.Certain].
func (conversation) EndsForCertain() {}

func (n *farNode) Wait() host.NodeExit {
	var code int
	if err := n.told.Decode(&code); err != nil {
		return host.NodeExit{PID: n.pid, Failed: err}
	}
	return host.NodeExit{PID: n.pid, Exit: host.Exit{Code: &code}}
}

// cluster is what a process with hosts is told.
type cluster struct {
	Address, Certificate, Token string
	Count                       int
}

// clusterArg makes the test binary such a process.
const clusterArg = "fanout-cluster"

func startCluster(b *testing.B, c cluster) {
	cmd := exec.Command(os.Args[0], clusterArg)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+b.TempDir())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	if err := json.NewEncoder(stdin).Encode(c); err != nil {
		b.Fatal(err)
	}
}

// runCluster is such a process. It ends with its standard input.
func runCluster() {
	var c cluster
	stdin := json.NewDecoder(os.Stdin)
	if err := stdin.Decode(&c); err != nil {
		log.Fatal(err)
	}
	for range c.Count {
		conn, err := c.join()
		if err != nil {
			log.Fatal("join: ", err)
		}
		go serveHost(conn)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// join joins as one host.
func (c cluster) join() (*mux.Conn, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.Certificate))
	nc, err := tls.Dial("tcp", c.Address, &tls.Config{
		InsecureSkipVerify: true, // by name; VerifyConnection does it by certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool})
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(nc).Encode(join.Hello{Protocol: 1, Token: c.Token}); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(nc).ReadBytes('\n'); err != nil { // nothing follows it until we confirm
		return nil, err
	}
	if _, err := io.WriteString(nc, `{"joined": true}`+"\n"); err != nil {
		return nil, err
	}
	conn := mux.New(mux.Options{Name: "session", Host: true})
	return conn, conn.Attach(nc, 0)
}

func serveHost(conn *mux.Conn) {
	machine := fakerank.NewHost(fakerank.Config{})
	var node host.NodeProcess
	for {
		ch, err := conn.Accept(context.Background())
		if err != nil {
			return
		}
		var r request
		if err := json.Unmarshal(ch.What(), &r); err != nil {
			log.Fatal(err)
		}
		if r.Start != nil {
			if node, err = machine.StartNode(context.Background(), host.NodeSpec{Line: *r.Start}); err != nil {
				log.Fatal(err)
			}
			go serveNode(ch, node)
			continue
		}
		nc, err := node.Dial(context.Background(), r.Socket)
		if err != nil {
			_ = ch.Reset(err.Error())
			continue
		}
		go carry(nc, ch)
		go carry(ch, nc)
	}
}

func serveNode(ch *mux.Channel, node host.NodeProcess) {
	told := json.NewEncoder(ch)
	_ = told.Encode(node.Process().PID)
	go func() {
		_, _ = io.Copy(io.Discard, ch)
		node.HangUp()
	}()
	_ = told.Encode(*node.Wait().Code)
	ch.Close()
}

// carry passes on one direction of a conversation, and then ends it.
func carry(to, from net.Conn) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 4<<10))
	to.Close()
}
