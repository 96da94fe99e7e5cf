package launch

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// template starts agents by any command: one that starts one program on each host, or with {host} one for each host.
type template struct {
	hosts []Host
	words []string
	env   []string

	mu  sync.Mutex
	run map[int]*process // what has started the agent on a host the last time
}

// Allocate is immediate: whoever writes such a command knows that its hosts are there.
func (e *template) Allocate(context.Context, func(Event)) (Allocation, error) { return e, nil }

func (e *template) Hosts() []Host { return e.hosts }

func (e *template) OwnInput() bool {
	return slices.ContainsFunc(e.words, func(word string) bool { return strings.Contains(word, "{host}") })
}

func (e *template) Explain(_ context.Context, host int) string {
	e.mu.Lock()
	run := e.run[host]
	e.mu.Unlock()
	if run == nil {
		return ""
	}
	return run.gone()
}

func (e *template) Close(context.Context) error { return nil }

func (e *template) Start(b Bootstrap, hosts []int, tell func(Event)) (Joins, error) {
	parts := [][]int{hosts}
	if e.OwnInput() {
		parts = nil
		for _, host := range hosts {
			parts = append(parts, []int{host})
		}
	}
	var started groups
	for _, part := range parts {
		g, err := e.startOne(b, part, tell)
		if err != nil {
			now, stop := context.WithCancel(context.Background())
			stop()
			started.End(now)
			return nil, err
		}
		started = append(started, g)
	}
	return started, nil
}

// startOne starts one command for some hosts. Its standard input brings the agent; for launchers that lose it, so does a file.
func (e *template) startOne(b Bootstrap, hosts []int, tell func(Event)) (*group, error) {
	who := -1
	if e.OwnInput() {
		who = hosts[0]
	}
	input := b.input(who, false)
	file, err := writeStartup(e.dir(), input)
	if err != nil {
		return nil, err
	}
	env := append(slices.Clone(e.env), StartupVariable+"="+file.path)
	run, err := command{words: e.expand(b.command(), file.path, hosts), env: env, input: input, deadly: true, printed: func(line string) {
		tell(Event{Printed, who, line})
	}}.start()
	if err != nil {
		file.remove()
		return nil, err
	}
	g := newGroup(hosts, tell)
	g.run, g.signals, g.all = run, []syscall.Signal{syscall.SIGTERM}, file.remove
	g.begin()
	e.mu.Lock()
	for _, host := range hosts {
		e.run[host] = run
	}
	e.mu.Unlock()
	g.watch.Go(func() {
		<-run.done
		file.remove()
	})
	return g, nil
}

// dir is where the user wants the file with the start-up: {join:DIR}.
func (e *template) dir() string {
	for _, word := range e.words {
		for _, m := range placeholder.FindAllStringSubmatch(word, -1) {
			if m[2] != "" {
				return m[2]
			}
		}
	}
	return ""
}

// fromFile runs a command with a file as its standard input, if it is there and the user's: in a folder such as /tmp, which hosts may not share, others of
// a host can put one under its name, and what is in it runs. What was the standard input stays open: Open MPI's daemon crashes when it has something
// for a task that has closed it.
const fromFile = `[ -r "$0" ] && [ -O "$0" ] && [ ! -h "$0" ] && exec 9<&0 <"$0"; exec "$@"`

// expand makes the command line.
func (e *template) expand(join []string, file string, hosts []int) []string {
	join = append([]string{"sh", "-c", fromFile, file}, join...)
	var words []string
	for _, word := range e.words {
		if m := placeholder.FindStringSubmatch(word); m != nil && m[0] == word && m[1] == "join" {
			words = append(words, join...)
			continue
		}
		words = append(words, placeholder.ReplaceAllStringFunc(word, func(text string) string {
			switch m := placeholder.FindStringSubmatch(text); {
			case text == "{{" || text == "}}":
				return text[:1]
			case m[1] == "command":
				return quoteForShell(join)
			case m[1] == "list":
				return namesOf(e.hosts, hosts)
			case m[1] == "host":
				return e.hosts[hosts[0]].Name
			default:
				return strconv.Itoa(len(hosts))
			}
		}))
	}
	return words
}
