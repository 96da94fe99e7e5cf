package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"dipls/internal/contain"
	"dipls/internal/private"
	"dipls/ranks/agent"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/join"
	"dipls/ranks/host/mux"
	"dipls/ranks/launch"
)

const (
	// defaultTimeout is how long hosts may take to join.
	defaultTimeout = 2 * time.Minute

	// othersPatience is how long others that fail as well are waited for once a host has failed.
	othersPatience = time.Second

	// mostNamed is how many hosts are named in a sentence about some.
	mostNamed = 3

	// mostTold is of how many hosts it is told why they have not come, where each has its own reason.
	mostTold = 8

	// endPatience is how long what is left of a start that has failed may take to end in order.
	endPatience = 3 * time.Second
)

// newsEvery is how often a start tells which hosts have not joined yet. Tests are less patient.
var newsEvery = 5 * time.Second

// Start starts an agent on each of the hosts that the options name. It is the [Starter] of real hosts.
func Start(ctx context.Context, o Options) (_ Fleet, err error) {
	o = o.withDefaults()
	plan, err := launch.Parse(o.Hosts)
	if err != nil {
		return nil, err
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	listen, ports, err := parsePorts(o.Ports)
	if err != nil {
		return nil, err
	}
	if len(listen) == 0 && plan.Engine != launch.SSH {
		return nil, fmt.Errorf("ports %q: only ssh carries the connections of its hosts; those of %s must dial the session: name ports, such as 7000-7010",
			o.Ports, plan.Engine)
	}
	f := &cluster{o: o, ports: ports, copies: copies{turn: make(chan struct{}, 1)}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	allocation, err := plan.Launcher(launch.Options{Log: o.Log}).Allocate(ctx, f.told)
	if err != nil {
		return nil, err
	}
	f.allocation = allocation
	o.Allotted()
	defer func() {
		if err != nil {
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
			defer cancel()
			err = errors.Join(err, f.Close(short))
		}
	}()
	dir, remove, err := private.Scratch("dipls-join-")
	if err != nil {
		return nil, fmt.Errorf("let hosts join: %w", err)
	}
	f.remove = remove
	zip, sum := agent.Zip()
	f.agent = sum
	f.socket = filepath.Join(dir, "join")
	f.gate, err = join.New(join.Options{Listen: listen, Ports: ports, Socket: f.socket, Agent: zip, Lease: o.Lease, Log: o.Log})
	if err != nil {
		return nil, err
	}
	for i, h := range allocation.Hosts() {
		f.members = append(f.members, &member{number: i, name: h.Name, ranks: h.Ranks, state: Lost})
	}
	if err := f.bringIn(ctx, f.members); err != nil {
		return nil, err
	}
	return f, nil
}

// Check reads what --hosts says, and starts nothing. It answers how many ranks each host is to have (0: it does not say); none if the hosts are known
// only once they are there.
func Check(hosts string) (ranks []int, err error) {
	plan, err := launch.Parse(hosts)
	for _, h := range plan.Hosts {
		ranks = append(ranks, h.Ranks)
	}
	return ranks, err
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Lease = cmp.Or(o.Lease, DefaultLease)
	if o.Waits == nil {
		o.Waits = func(string) {}
	}
	if o.Allotted == nil {
		o.Allotted = func() {}
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.Astray == nil {
		o.Astray = func(host, wanted, instead string) {}
	}
	if o.Changed == nil {
		o.Changed = func(Member) {}
	}
	return o
}

// noPort is what a user says who wants no port to be opened.
const noPort = "none"

// parsePorts reads "7000-7010", or one port; "" is any. listen is where to listen: nowhere for "none".
func parsePorts(text string) (listen []string, ports join.Ports, err error) {
	switch text {
	case "":
		return []string{""}, join.Ports{}, nil
	case noPort:
		return nil, join.Ports{}, nil
	}
	first, last, many := strings.Cut(text, "-")
	if !many {
		last = first
	}
	a, wrong := strconv.Atoi(strings.TrimSpace(first))
	b, wrongToo := strconv.Atoi(strings.TrimSpace(last))
	if cmp.Or(wrong, wrongToo) != nil || a < 1 || b < a || b > 65535 {
		return nil, join.Ports{}, fmt.Errorf("ports %q: want a range such as 7000-7010, or none", text)
	}
	return []string{""}, join.Ports{First: a, Last: b}, nil
}

// bringIn starts the agents of members and waits until all of them have joined, or none of them stays.
func (f *cluster) bringIn(ctx context.Context, wanted []*member) (err error) {
	numbers := make([]int, len(wanted))
	f.mu.Lock()
	f.starts++
	number := f.starts
	for i, m := range wanted {
		numbers[i], m.start = m.number, number
		m.joining, m.ended, m.taken = true, nil, ""
	}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, f.o.Timeout, fmt.Errorf("it took longer than %v", f.o.Timeout))
	defer cancel()
	start, err := f.gate.Expect(join.Expected{
		Hosts: numbers, Own: f.allocation.OwnInput(), Name: f.nameOf, OnState: f.stateChanged,
		Place: func(facts json.RawMessage, taken func(int) bool) (int, error) {
			return launch.Place(f.allocation.Hosts(), numbers, facts, taken)
		},
	})
	if err != nil {
		return err
	}
	defer start.Close()
	tokens := start.Tokens()
	trouble := make(chan launch.Event, len(wanted)+1)
	joins, err := f.allocation.Start(launch.Bootstrap{
		Python: f.o.Python, Prologue: lines(f.o.Prologue), Addresses: f.gate.Addresses(), Certificate: f.gate.Certificate(), Agent: f.agent, Socket: f.socket,
		Token: func(host int) string {
			if i := slices.Index(numbers, host); i >= 0 && len(tokens) > 1 {
				return tokens[i]
			}
			return tokens[0]
		},
	}, numbers, func(e launch.Event) {
		switch e.Kind {
		case launch.Failed:
			select {
			case trouble <- e:
			default: // enough are known
			}
		case launch.Ended:
			f.agentEnded(number, e)
		}
		f.told(e)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.joins = append(f.joins, joins)
	f.mu.Unlock()
	told := ""
	return f.gather(ctx, wanted, start, joins, trouble, func(waiting []*member) {
		if reminder, ok := joins.(launch.Reminder); ok {
			reminder.Remind()
			return
		}
		if text := f.missing(waiting, len(wanted)); text != told {
			told = text
			f.o.Waits(text)
		}
	})
}

// missing is "1 of 3 hosts joined; not yet: gpu2, gpu3".
func (f *cluster) missing(waiting []*member, of int) string {
	return fmt.Sprintf("%d of %d hosts joined; not yet: %s", of-len(waiting), of, firstOf(f.titles(waiting)))
}

// gather lets in members until all are there, and now and then tells which are not. If one fails, others that fail at once are named, too.
func (f *cluster) gather(
	ctx context.Context, wanted []*member, start *join.Start, joins launch.Joins, trouble <-chan launch.Event, tell func(waiting []*member),
) error {
	news := time.NewTicker(newsEvery)
	defer news.Stop()
	type outcome struct {
		m   *member
		err error
	}
	outcomes := make(chan outcome, len(wanted))
	waiting := slices.Clone(wanted)
	var failed failures
	var enough <-chan time.Time
	fail := func(m *member, text string) {
		waiting = slices.DeleteFunc(waiting, func(w *member) bool { return w == m })
		if f.o.Lacking != nil {
			f.goWithout(m, text)
			return
		}
		failed.add(f.title(m), text)
		if enough == nil {
			enough = time.After(othersPatience)
		}
	}
	for len(waiting) > 0 {
		select {
		case arrival, ok := <-start.Arrivals():
			if !ok {
				return join.ErrClosed
			}
			joins.Joined(arrival.Host)
			m := f.members[arrival.Host]
			go func() {
				var err error
				defer func() { outcomes <- outcome{m, err} }()
				defer contain.AsError(&err)
				err = f.enter(ctx, m, arrival)
			}()
		case done := <-outcomes:
			if done.err != nil {
				fail(done.m, done.err.Error())
			} else {
				waiting = slices.DeleteFunc(waiting, func(w *member) bool { return w == done.m })
			}
		case e := <-trouble:
			if e.Host < 0 {
				failed.add("", e.Text)
				return failed.err()
			}
			fail(f.members[e.Host], e.Text)
		case <-news.C:
			tell(waiting)
		case <-enough:
			return failed.err()
		case <-ctx.Done():
			if f.o.Lacking != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				for _, m := range slices.Clone(waiting) {
					fail(m, fmt.Sprintf("no agent has joined: %v", context.Cause(ctx)))
				}
				continue
			}
			return fmt.Errorf("%s: no agent has joined: %w", firstOf(f.titles(waiting)), context.Cause(ctx))
		}
	}
	return failed.err()
}

// failures are why hosts have not come. A launcher that starts several may say the same of all of them.
type failures []failure

type failure struct {
	hosts []string
	text  string
}

// add notes why a host has not come; "": all of them.
func (f *failures) add(host, text string) {
	i := slices.IndexFunc(*f, func(other failure) bool { return other.text == text })
	if i < 0 {
		i = len(*f)
		*f = append(*f, failure{text: text})
	}
	if host != "" {
		(*f)[i].hosts = append((*f)[i].hosts, host)
	}
}

// err tells each text once, of the first few, after the names of its hosts unless it has one of them. nil: there are none.
func (f failures) err() error {
	if len(f) == 0 {
		return nil
	}
	var all, rest []string
	for i, one := range f {
		if i >= mostTold {
			rest = append(rest, one.hosts...)
			continue
		}
		text := one.text
		if len(one.hosts) > 0 && !slices.ContainsFunc(one.hosts, func(host string) bool { return mentions(text, host) }) {
			text = firstOf(one.hosts) + ": " + text
		}
		all = append(all, text)
	}
	if len(rest) > 0 {
		all = append(all, "not joined either: "+firstOf(rest))
	}
	return errors.New(strings.Join(all, "\n"))
}

// mentions reports whether a text has the name of a host: as a word, not in that of another one.
func mentions(text, host string) bool {
	return regexp.MustCompile(`(^|[^\w.-])` + regexp.QuoteMeta(host) + `($|[^\w-])`).MatchString(text)
}

// firstOf is "gpu1, gpu2, gpu3, and 5 more".
func firstOf(names []string) string {
	text := strings.Join(names[:min(len(names), mostNamed)], ", ")
	if more := len(names) - mostNamed; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// goWithout leaves out a host that does not come, and tells why.
func (f *cluster) goWithout(m *member, why string) {
	f.mu.Lock()
	m.out = true
	f.mu.Unlock()
	f.o.Lacking(f.title(m), why)
}

// enter makes a host of an agent that has joined.
func (f *cluster) enter(ctx context.Context, m *member, a join.Arrival) error {
	name := f.nameOf(m.number, a.Facts)
	far, err := afar.New(ctx, a.Conn, afar.Options{
		Name: name, Certificate: a.Certificate, Ports: f.ports, Log: f.o.Log, Astray: func(wanted, instead string) { f.o.Astray(name, wanted, instead) },
	})
	if err != nil {
		_ = a.Conn.Close()
		return err
	}
	f.mu.Lock()
	if f.closing { // which has ended those that were in
		f.mu.Unlock()
		_ = a.Conn.Close()
		return join.ErrClosed
	}
	defer f.mu.Unlock()
	m.Host, m.conn, m.joining = far, a.Conn, false
	if m.state, m.reason = Reachable, nil; a.Conn.State() == mux.Ended {
		m.state, m.reason = Lost, a.Conn.Err()
	}
	return nil
}

// titles are what members are called.
func (f *cluster) titles(members []*member) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = f.title(m)
	}
	return names
}

// title is a member's name, or its number where that is not known yet.
func (f *cluster) title(m *member) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(m.name, fmt.Sprintf("host %d", m.number))
}

// nameOf is what a host is called: as the user calls it, or as it calls itself.
func (f *cluster) nameOf(number int, facts json.RawMessage) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[number]
	if m.name != "" {
		return m.name
	}
	var said struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(facts, &said) // a host that says nothing gets its number
	name := cmp.Or(said.Name, "host")
	taken := func(name string) bool {
		return slices.ContainsFunc(f.members, func(other *member) bool { return other != m && other.name == name })
	}
	for i := 2; taken(name) || name == "host"; i++ {
		name = fmt.Sprintf("%s#%d", cmp.Or(said.Name, "host"), i)
	}
	m.name = name
	return name
}

// lines are those of a text, none for an empty one.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// stateChanged hears of the states of a member's connection.
func (f *cluster) stateChanged(number int, state mux.State, err error) {
	f.mu.Lock()
	m := f.members[number]
	was := m.state
	switch {
	case f.closing || m.joining: // who waits for it hears of its end, too
		f.mu.Unlock()
		return
	case state == mux.Reachable:
		m.state = Reachable
		m.conn.Explain(m.taken)
	case state == mux.Unreachable && errors.Is(err, mux.ErrHungUp) && m.ended != nil && time.Since(m.endedAt) < breakPatience:
		why := m.conn.Explained(m.ended)
		f.mu.Unlock()
		go m.conn.Fail(why) // which tells of the end
		return
	case state == mux.Unreachable:
		m.state, m.hungUp = Unreachable, errors.Is(err, mux.ErrHungUp)
		conn := m.conn
		f.work.Go(func() { contain.Do(func() { f.inquire(m, conn) }) })
	case state == mux.Ended:
		m.state, m.reason = Lost, err
	}
	told := m.told()
	f.mu.Unlock()
	if told.State != was {
		f.o.Changed(told)
	}
}
