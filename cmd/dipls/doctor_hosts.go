package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"dipls/dipexec/view"
	"dipls/session"
)

const (
	// clockTolerance is how far a clock may be off. More confuses people who compare logs, and file systems that compare times.
	clockTolerance = time.Second

	fewOpenFiles = 1024
)

// hostFinding is a surveyed host as JSON. If Absent is not empty, the rest is not known.
type hostFinding struct {
	Name       string                `json:"name"`
	Absent     string                `json:"absent,omitempty"` // why it has not come
	Hostname   string                `json:"hostname,omitempty"`
	From       string                `json:"from,omitempty"` // the address from which it dials; absent: ssh carries its connection
	RoundTrip  float64               `json:"round_trip,omitempty"`
	ClockAhead float64               `json:"clock_ahead,omitempty"`
	User       string                `json:"user,omitempty"`
	Python     string                `json:"python,omitempty"`
	Version    string                `json:"version,omitempty"`
	Packages   map[string]string     `json:"packages,omitempty"`
	GPUs       []session.GPU         `json:"gpus,omitempty"`
	Addresses  []session.HostAddress `json:"addresses,omitempty"`
	Interface  string                `json:"interface,omitempty"` // that leads to where ranks meet
	OpenFiles  int                   `json:"open_files,omitempty"`
	Dir        session.HostFolder    `json:"dir,omitzero"`  // the working directory
	Home       session.HostFolder    `json:"home,omitzero"` // the home directory
}

// examineHosts looks at hosts, and at what is here for them.
func (d *doctor) examineHosts(ctx context.Context, pythonFlag string, f hostsFlags) {
	d.ok("dipls", version+revision())
	if err := session.CheckHosts(f.hosts); err != nil {
		d.fail("hosts", err, "dipls run --help says how hosts are written")
		return
	}
	python, usable := d.python(ctx, pythonFlag)
	if !usable {
		d.warn("hosts", "skipped: they need an interpreter", "")
		return
	}
	here, err := os.Getwd()
	if err != nil {
		d.fail("hosts", err, "")
		return
	}
	tell := func(text string) {
		if text != "" {
			fmt.Fprintln(d.said, text)
		}
	}
	log, err := newLogger("debug", &d.report.log)
	if err != nil {
		d.fail("log", err, "")
		return
	}
	s, err := session.SurveyHosts(ctx, session.HostOptions{
		Hosts: f.hosts, Python: python, Dir: here, Terms: f.hostTerms, Waits: tell, Notice: tell, Log: log,
	})
	if err != nil {
		d.fail("hosts", err, "")
		return
	}
	came := slices.DeleteFunc(slices.Clone(s.Hosts), func(h session.SurveyedHost) bool { return h.Absent != "" })
	found := fmt.Sprintf("%d of %s reached in %s", len(came), plural(len(s.Hosts), "host"), view.FormatDuration(s.Took))
	if len(s.Listens) > 0 {
		found += "; this machine listens meanwhile at " + strings.Join(s.Listens, ", ")
	}
	if len(came) == 0 {
		d.fail("hosts", errors.New(found), "")
	} else {
		d.ok("hosts", found)
	}
	for _, h := range s.Hosts {
		d.host(h)
	}
	if len(came) > 1 {
		d.compareHosts(s, came)
	}
	switch {
	case d.pool && d.failed:
		d.warn("pool", "skipped: it needs all hosts", "")
	case d.pool:
		d.tryPool(ctx, python, session.Choice{Hosts: f.hosts, HostTerms: f.hostTerms})
	}
}

// host reports what was found on one.
func (d *doctor) host(h session.SurveyedHost) {
	d.hosts = append(d.hosts, findingOf(h))
	if h.Absent != "" {
		d.fail(h.Name, errors.New(h.Absent), "docs/clusters.md has what to try; --report FILE keeps the log")
		return
	}
	road := "ssh carries its connection: it does not reach this machine by itself"
	if h.From != "" {
		road = "dials from " + h.From
	}
	if h.RoundTrip > 0 {
		road += fmt.Sprintf("; round trip %.1f ms", float64(h.RoundTrip.Microseconds())/1000)
	}
	lines := []string{
		fmt.Sprintf("%s as %s; %s", h.Hostname, h.User, road),
		fmt.Sprintf("Python %s %s; %s", h.Python.Version, h.Python.Python, packagesOf(h)),
		gpusOf(h),
		interfacesOf(h),
		fmt.Sprintf("working directory %s; home %s", folderWord(h.Dir), folderWord(h.Home)),
	}
	for _, err := range h.Faults {
		lines = append(lines, "not known: "+err.Error())
	}
	text := strings.Join(lines, "\n")
	var todo []string
	if missing := h.Python.Missing(); h.Python.Packages != nil && len(missing) > 0 {
		todo = append(todo, fmt.Sprintf("it lacks %s: there, %s -m pip install %s", strings.Join(missing, ", "), h.Python.Python, strings.Join(missing, " ")))
		d.fail(h.Name, errors.New(text), strings.Join(append(todo, whatToDo(h)...), "; "))
		return
	}
	if todo = whatToDo(h); len(todo) > 0 {
		d.warn(h.Name, text, strings.Join(todo, "; "))
		return
	}
	d.ok(h.Name, text)
}

// whatToDo says how to mend what is not as it should be on a host, though ranks can run there.
func whatToDo(h session.SurveyedHost) (todo []string) {
	add := func(format string, args ...any) { todo = append(todo, fmt.Sprintf(format, args...)) }
	if len(h.Faults) > 0 {
		add("try by hand on that host what is not known")
	}
	switch {
	case len(h.Faults) > 0:
	case !h.Dir.There:
		add("%s is not there: cells begin in the home directory; use one that the hosts share, or bring the project's files with --sync", h.Dir.Path)
	case h.Dir.Known && !h.Dir.Shared:
		add("%s is another directory than here: cells import what lies there; --sync brings the project's files", h.Dir.Path)
	}
	if ahead := h.Ahead.Abs(); ahead > clockTolerance {
		word := "ahead of"
		if h.Ahead < 0 {
			word = "behind"
		}
		add("its clock is %s %s this machine's: have both synchronized (chrony, systemd-timesyncd)", view.FormatDuration(ahead), word)
	}
	if h.OpenFiles > 0 && h.OpenFiles < fewOpenFiles {
		add("a process there may have only %d open files: --hosts-prologue 'ulimit -n 4096'", h.OpenFiles)
	}
	return todo
}

// compareHosts reports how hosts differ, and where their ranks meet.
func (d *doctor) compareHosts(s session.HostSurvey, came []session.SurveyedHost) {
	if s.Apart != nil {
		d.fail("meeting", s.Apart, "open the hosts' ports to each other (torch chooses them), or name hosts of one network")
	} else {
		by := make([]string, len(came))
		for i, h := range came {
			by[i] = h.Name + " by " + cmp.Or(h.Interface, "an interface that is not known")
		}
		d.ok("meeting", fmt.Sprintf("ranks meet at %s: %s", s.Meeting.Address, strings.Join(by, ", ")))
	}
	grave, slight := session.DifferencesOf(s)
	switch {
	case len(grave) > 0:
		d.fail("versions", errors.New(strings.Join(append(grave, slight...), "\n")),
			"ranks of one pool need the same versions: install them, or name another --python")
	case len(slight) > 0:
		d.warn("versions", strings.Join(slight, "\n"), "functions and classes that are pushed or pulled may not work")
	default:
		d.ok("versions", "the same on all hosts")
	}
	var parts []string
	differ := false
	for _, h := range came {
		differ = differ || len(h.GPUs) != len(came[0].GPUs)
		parts = append(parts, fmt.Sprintf("%s has %d", h.Name, len(h.GPUs)))
	}
	if differ {
		d.warn("gpus", strings.Join(parts, ", "), "a pool takes a rank for each GPU: --ranks-per-host N, or HOST:N, makes them equal")
	}
}

func packagesOf(h session.SurveyedHost) string {
	var have []string
	for _, p := range []struct{ key, name string }{{"torch", "torch"}, {"nccl", "NCCL"}, {"cloudpickle", "cloudpickle"}} {
		if v := h.Python.Packages[p.key]; v != "" {
			have = append(have, p.name+" "+v)
		} else if p.key == "torch" {
			have = append(have, "no torch: ranks are plain Python")
		}
	}
	return strings.Join(have, ", ")
}

func gpusOf(h session.SurveyedHost) string {
	if len(h.GPUs) == 0 {
		return "no GPU"
	}
	var names []string
	count := map[string]int{}
	for _, gpu := range h.GPUs {
		if count[gpu.Name]++; count[gpu.Name] == 1 {
			names = append(names, gpu.Name)
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%d × %s", count[name], cmp.Or(name, "part of a GPU"))
	}
	return plural(len(h.GPUs), "GPU") + ": " + strings.Join(names, ", ")
}

func interfacesOf(h session.SurveyedHost) string {
	var all []string
	for _, a := range h.Addresses {
		all = append(all, a.Interface+" "+a.IP.String())
	}
	if len(all) == 0 {
		return "no address but its own for itself"
	}
	return strings.Join(all, ", ")
}

func folderWord(f session.HostFolder) string {
	switch {
	case !f.There:
		return "is missing"
	case !f.Known:
		return "is there (not known whether it is shared: nothing can be written to it here)"
	case f.Shared:
		return "is shared with this machine"
	default:
		return "is one of its own"
	}
}

func findingOf(h session.SurveyedHost) hostFinding {
	return hostFinding{
		Name: h.Name, Absent: h.Absent, Hostname: h.Hostname, From: h.From, RoundTrip: h.RoundTrip.Seconds(), ClockAhead: h.Ahead.Seconds(), User: h.User,
		Python: h.Python.Python, Version: h.Python.Version, Packages: h.Python.Packages, GPUs: h.GPUs, Addresses: h.Addresses, Interface: h.Interface,
		OpenFiles: h.OpenFiles, Dir: h.Dir, Home: h.Home,
	}
}
