package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"dipls/cells"
	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/bytesize"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

const statusHelp = `Show a session: its ranks with what each runs, on which line of the code it is and for how long, its memory, and how busy its GPU
is; what waits; who is attached; when the session ends.

--watch shows it until you leave, with q or Ctrl-C; arrows, Page Up and Page Down scroll. Without a terminal it prints one picture after the other. Who
watches is attached, and the session stays as long. Without --watch it only looks, which does not count.

--json prints one object, with --watch one a line (docs/sessions.md). How busy a GPU is, nvidia-smi says: for how much of the last moment some
process has used it.

Exit codes: 0; 1 if the session cannot be asked, or ends while it is watched; 2 if it is not clear which session is meant, or there is none`

func newStatus() *cobra.Command {
	var chosen sessionFlag
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "show what a session's ranks do",
		Long:    statusHelp,
		Example: "  dipls status\n  dipls status -s train --watch",
		Args:    nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			l, err := chosen.find(ctx, cmd.ErrOrStderr()) // which knows of one that does not answer, too
			if err != nil {
				return err
			}
			if l.Problem != "" {
				return tellProblem(cmd, l, asJSON)
			}
			a, err := chosen.open(ctx, cmd.ErrOrStderr(), session.AttachRequest{Program: "dipls status", History: true, Looks: !watch})
			if err != nil {
				return err
			}
			defer detach(a)
			m, err := newMonitor(ctx, a.API)
			if err != nil {
				return err
			}
			defer m.close()
			if watch {
				return watchStatus(ctx, m, cmd.OutOrStdout(), asJSON)
			}
			m.ask(ctx)
			status, err := m.status(time.Now())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, status)
			}
			head, rows := status.lines(newScreen(out).columns())
			_, err = io.WriteString(out, strings.Join(append(head, rows...), "\n")+"\n")
			return err
		},
	}
	chosen.add(cmd.Flags())
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it until you leave")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object")
	return cmd
}

// tellProblem tells what is known of a session that cannot be asked, and why it cannot.
func tellProblem(cmd *cobra.Command, l session.Listed, asJSON bool) error {
	if asJSON {
		if err := writeJSON(cmd.OutOrStdout(), l); err != nil {
			return err
		}
		return &exitError{exitFailed, nil}
	}
	return fmt.Errorf("session %s in %s: %s", clean.Line(l.Name), shortPath(l.Dir), clean.Text(l.Problem))
}

// sessionStatus is what a session does at a moment.
type sessionStatus struct {
	session.About
	Backend   string             `json:"backend,omitempty"` // of the process group
	App       string             `json:"app,omitempty"`
	Reason    string             `json:"reason,omitempty"`  // why there are no ranks, or why they are dead
	Waits     string             `json:"waits,omitempty"`   // what the start of the ranks waits for
	Autodip   string             `json:"autodip,omitempty"` // the directive for cells that do not say where they run
	Processes []processStatus    `json:"processes"`         // the local namespace first
	Hosts     []session.HostInfo `json:"hosts,omitempty"`   // of a pool that is not on this machine
	Hangs     []string           `json:"hangs,omitempty"`   // who waits for whom, sentences

	now  time.Time
	runs []view.Run // that have begun
}

// processStatus is what one process does.
type processStatus struct {
	Who       ranklist.Who `json:"rank"`               // -1: the local namespace
	State     string       `json:"state"`              // as in [event.RankState], or "done": it has ended its part of a run that goes on
	Run       string       `json:"run,omitempty"`      // that it has a part in
	Cell      int          `json:"cell,omitempty"`     // of the run
	Title     string       `json:"title,omitempty"`    // likewise
	Seconds   float64      `json:"seconds,omitempty"`  // how long its part has taken so far
	Path      string       `json:"path,omitempty"`     // where it is in the user's code: the file
	Line      int          `json:"line,omitempty"`     // the line, 1-based
	Function  string       `json:"function,omitempty"` // "": not in a function
	Host      string       `json:"host"`               // the name of its machine; "" if that has none
	PID       int          `json:"pid"`
	Device    string       `json:"device,omitempty"`
	HostBytes *int64       `json:"host_bytes"` // null: unknown
	GPUBytes  *int64       `json:"gpu_bytes"`
	GPULoad   *int         `json:"gpu_load,omitempty"` // in percent
}

// monitor knows what goes on in a session: from events which process runs what, and by asking where they are and what they use.
type monitor struct {
	session session.API
	sub     session.Subscription
	changed chan struct{} // capacity 1: there is something new
	ended   chan struct{} // closed when no events come any more
	work    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	runs   view.Runs
	about  session.About
	pool   session.PoolInfo
	places map[ranklist.Who]session.StackFrame
	err    error // why the session could not be asked, the last time
}

// errNotAsked is until the session has answered for the first time.
var errNotAsked = errors.New("it has not answered yet")

// newMonitor begins to follow a session, and returns once it knows what runs.
func newMonitor(ctx context.Context, s session.API) (*monitor, error) {
	sub, err := s.Subscribe(ctx, session.SubscribeRequest{History: true, Kinds: []event.Kind{
		event.KindRunStarted, event.KindRankState, event.KindHang, event.KindPoolState, event.KindRunFinished,
	}})
	if err != nil {
		return nil, err
	}
	m := &monitor{session: s, sub: sub, changed: make(chan struct{}, 1), ended: make(chan struct{}), err: errNotAsked}
	for sub.Position() < sub.Past() {
		events, err := sub.Next(ctx)
		if err != nil {
			break // its end is seen again
		}
		m.take(events)
	}
	m.work.Go(m.follow)
	return m, nil
}

// close ends it.
func (m *monitor) close() {
	m.sub.Close()
	m.work.Wait()
}

// follow takes events until there are no more.
func (m *monitor) follow() {
	defer close(m.ended)
	for {
		events, err := m.sub.Next(context.Background())
		if err != nil {
			return
		}
		m.take(events)
		m.tell()
	}
}

// tell says that there is something new.
func (m *monitor) tell() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *monitor) take(events []event.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range events {
		m.runs.Apply(ev, time.Now())
	}
}

// statusPatience is how long a session may take to say what its processes use.
const statusPatience = 5 * time.Second

// ask asks the session what events do not tell.
func (m *monitor) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	var about session.About
	var pool session.PoolInfo
	var stacks session.Stacks
	var aboutErr, poolErr error
	var work sync.WaitGroup
	work.Go(func() { about, aboutErr = m.session.About(ctx, false) })
	work.Go(func() { pool, poolErr = m.session.Info(ctx, true) })
	work.Go(func() { stacks, _ = m.session.Stacks(ctx, session.StacksRequest{}) }) // without them it is not known where processes are
	work.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err = cmp.Or(aboutErr, poolErr); m.err != nil {
		return
	}
	m.about, m.pool, m.places = about, pool, map[ranklist.Who]session.StackFrame{}
	for _, s := range stacks.Of {
		if place, ok := s.Place(); ok {
			m.places[s.Who] = place
		}
	}
}

// status is what is known now.
func (m *monitor) status(now time.Time) (*sessionStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	s := &sessionStatus{
		About: m.about, Backend: m.pool.Backend, App: m.pool.App, Reason: m.pool.Reason, Waits: m.pool.Text, Autodip: m.pool.Autodip,
		Processes: []processStatus{}, Hosts: m.pool.Hosts, now: now,
	}
	s.Ranks, s.Devices, s.Memory = len(m.pool.Ranks), nil, 0
	if l := m.pool.Local; l != nil {
		s.add(processStatus{Who: ranklist.Local, State: l.State, Host: l.Host, PID: l.PID, HostBytes: l.HostBytes}, m)
	}
	for _, r := range m.pool.Ranks {
		s.Devices = append(s.Devices, r.Device)
		if r.GPUBytes != nil {
			s.Memory += *r.GPUBytes
		}
		s.add(processStatus{
			Who: ranklist.Rank(r.Rank), State: r.State, Host: r.Host, PID: r.PID, Device: r.Device,
			HostBytes: r.HostBytes, GPUBytes: r.GPUBytes, GPULoad: r.GPULoad,
		}, m)
	}
	for _, r := range m.runs.All() {
		s.runs = append(s.runs, r.Clone())
		for _, h := range r.Hangs {
			s.Hangs = append(s.Hangs, clean.Text(h.Text))
		}
	}
	return s, nil
}

// add adds a process, with what it runs.
func (s *sessionStatus) add(p processStatus, m *monitor) {
	final := p.State == event.StateDead || p.State == event.StateStopped
	for _, r := range m.runs.All() {
		part := r.PartOf(p.Who)
		if part == nil || final {
			continue
		}
		p.Run, p.Cell, p.Title = r.ID, r.Index, r.Title
		if part.Status != "" {
			p.State, p.Seconds = "done", part.Seconds
			continue
		}
		p.State, p.Seconds = part.State, s.now.Sub(r.Started).Seconds()
		if f, ok := m.places[p.Who]; ok {
			p.Path, p.Line, p.Function = string(f.File), f.Line, strings.Trim(f.Name, "<>")
			if f.Name == "<module>" {
				p.Function = ""
			}
		}
	}
	s.Processes = append(s.Processes, p)
}

// labelWidth is what the words before the facts about a session take.
const labelWidth = 10

// lines are the facts about the session, and the table of its processes, in so many columns; 0: as many as it takes.
func (s *sessionStatus) lines(width int) (head, rows []string) {
	fact := func(label, text string) {
		if text == "" {
			return
		}
		indent := strings.Repeat(" ", labelWidth)
		if width > 0 && width < 60 { // there the words are a line of their own kind: no room for two columns
			head = append(head, wrap(label+" "+text, width, "  ")...)
			return
		}
		head = append(head, wrap(label+indent[len(label):]+text, width, indent)...)
	}
	name := clean.Line(s.Name)
	fact("session", view.Joined(name, shortPath(s.Dir), "up "+view.FormatDuration(max(0, s.now.Sub(s.Since)))))
	memory := prefixed(sizeOrNothing(s.Memory), " of GPU memory")
	if s.Memory == 0 {
		memory = ""
	}
	fact("ranks", view.Joined(stateInWords(s.About), poolInWords(s.Ranks, s.Devices), s.Backend, memory, clean.Line(s.Waits), clean.Line(s.Reason)))
	fact("hosts", hostsInWords(s.Hosts))
	fact("python", clean.Line(s.Python))
	fact("attached", clientsInWords(s.Clients))
	fact("ends", endInWords(s.About, s.now))
	for _, r := range s.runs {
		fact("runs", view.Joined(r.Label(), cells.NameTarget(r.Target), r.Stage(), view.FormatDuration(max(0, s.now.Sub(r.Started))), "run "+r.ID))
	}
	var waiting []string
	for _, r := range s.Runs {
		if r.Since == nil {
			waiting = append(waiting, runName(r))
		}
	}
	fact("waits", strings.Join(waiting, ", "))
	for _, text := range s.Hangs {
		fact("hang?", text)
	}
	if len(s.Processes) == 0 {
		return head, nil
	}
	t := table{columns: []column{
		{title: "RANK"}, {title: "HOST", leave: 1}, {title: "STATE"}, {title: "CELL", leave: 4}, {title: "LINE", leave: 1}, {title: "TIME", right: true, leave: 2},
		{title: "MEMORY", right: true, leave: 7}, {title: "DEVICE", leave: 6}, {title: "GPU MEMORY", right: true, leave: 5}, {title: "GPU", right: true, leave: 3},
	}}
	for _, p := range s.Processes {
		t.rows = append(t.rows, p.row(len(s.Hosts) > 0))
	}
	t.fit(width)
	return append(head, ""), t.lines()
}

// maxHosts is how many hosts are all named.
const maxHosts = 16

// hostsInWords is "gpu1, gpu2, gpu3 (unreachable)". Of many hosts only those are named with which not all is well.
func hostsInWords(hosts []session.HostInfo) string {
	var texts []string
	for _, h := range hosts {
		switch name := clean.Line(h.Host); {
		case h.State != hostReachable:
			texts = append(texts, fmt.Sprintf("%s (%s)", name, h.State))
		case len(hosts) <= maxHosts:
			texts = append(texts, name)
		}
	}
	if len(hosts) > maxHosts {
		texts = slices.Insert(texts, 0, plural(len(hosts), "host"))
	}
	return strings.Join(texts, ", ")
}

// hostReachable is the state of a host with which all is well.
const hostReachable = "reachable"

// row is a process's row of the table. away: there are several machines.
func (p processStatus) row(away bool) []string {
	name := p.Who.String()
	if rank, ok := p.Who.Rank(); ok {
		name = fmt.Sprint(rank)
	}
	var machine, cell, line, took, host, gpu, load string
	if away {
		machine = clean.Line(p.Host)
	}
	if p.Run != "" {
		cell = strings.TrimPrefix((&view.Run{Index: p.Cell, Title: p.Title}).Label(), "cell ")
		cell = ansi.Truncate(cell, 24, "…")
		took = view.FormatDuration(time.Duration(p.Seconds * float64(time.Second)))
	}
	if p.Path != "" {
		line = clean.Line(fmt.Sprintf("%s:%d", filepath.Base(p.Path), p.Line))
	}
	if p.HostBytes != nil {
		host = bytesize.Format(*p.HostBytes)
	}
	if p.GPUBytes != nil {
		gpu = bytesize.Format(*p.GPUBytes)
	}
	if p.GPULoad != nil {
		load = fmt.Sprintf("%d %%", *p.GPULoad)
	}
	return []string{name, machine, p.State, cell, line, took, host, p.Device, gpu, load}
}
