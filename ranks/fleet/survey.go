package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/internal/contain"
	"dipls/ranks/host"
	"dipls/ranks/host/afar"
	"dipls/ranks/wire"
)

// surveyPatience bounds what is asked of one host of a survey.
const surveyPatience = time.Minute

// Survey is what was found on the hosts of a fleet.
type Survey struct {
	Took    time.Duration // until the hosts were there
	Listens []string      // where they dial us, as "10.0.0.1:7000"
	Hosts   []Surveyed    // in order
	Meeting Meeting       // where their ranks would meet
	Apart   error         // why their ranks cannot meet
}

// Surveyed is a host of a survey.
type Surveyed struct {
	Name   string
	Absent string // why it has not come; nothing else is known then

	Hostname  string
	From      string        // the address that its connection comes from; "": ssh carries it
	RoundTrip time.Duration // to its agent
	Ahead     time.Duration // its clock is ahead of ours
	User      string
	Python    host.PythonInfo
	GPUs      []host.GPU
	Addresses []Address // of its network interfaces
	Interface string    // that leads to the meeting; "": not known
	OpenFiles int       // that a process there may have
	Dir       Folder    // the working directory of the options
	Home      Folder    // the home directory there
	Faults    []error   // what could not be found out
}

// Folder is a directory on a host.
type Folder struct {
	Path   string `json:"path,omitempty"`
	There  bool   `json:"there"`
	Shared bool   `json:"shared"` // it is the one that has this path here, or is our home directory
	Known  bool   `json:"known"`  // Shared is known; it is not where nothing can be written to the directory here
}

// Address is an address of a host by which others may reach it.
type Address = afar.Address

// TakeSurvey starts a fleet, asks its hosts what they have, and ends it. A host that does not come is no error. Nothing is left on any of them.
func TakeSurvey(ctx context.Context, o Options) (_ Survey, err error) {
	var s Survey
	absent := map[string]string{}
	o.Lacking = func(name, why string) { absent[name] = why }
	began := time.Now()
	started, err := Start(ctx, o)
	if err != nil {
		return s, err
	}
	f := started.(*cluster) // Start makes nothing else
	defer func() { err = errors.Join(err, f.Close(context.WithoutCancel(ctx))) }()
	s.Took = time.Since(began)
	s.Listens = slices.DeleteFunc(f.gate.Addresses(), func(at string) bool { return strings.HasPrefix(at, "unix:") })

	members := f.Members()
	home, _ := os.UserHomeDir() // without one it cannot be shared
	inDir, inHome := newProbe(o.Dir), newProbe(home)
	defer inDir.remove()
	defer inHome.remove()
	q := question{Dir: wire.Path(o.Dir), InDir: inDir.sought(), InHome: inHome.sought()}
	came := make([]Surveyed, len(members))
	among := make([]host.Host, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		among[i] = m.Host
		asked.Go(func() {
			contain.Do(func() { came[i] = survey(ctx, m.Host.(*afar.Host), q) })
		})
	}
	if len(among) > 0 {
		within, cancel := context.WithTimeout(ctx, surveyPatience)
		defer cancel()
		s.Meeting, s.Apart = f.Meet(within, among)
	}
	asked.Wait()
	for i, name := range s.Meeting.Interfaces {
		came[i].Interface = name
	}
	for _, m := range f.members {
		if why, gone := absent[f.title(m)]; gone {
			s.Hosts = append(s.Hosts, Surveyed{Name: f.title(m), Absent: why})
		} else {
			s.Hosts, came = append(s.Hosts, came[0]), came[1:]
		}
	}
	return s, ctx.Err()
}

// question is what lookScript is asked.
type question struct {
	Dir    wire.Path `json:"dir"`
	InDir  sought    `json:"in_dir"`
	InHome sought    `json:"in_home"` // in the home directory
}

// sought is a probe in a folder that has perhaps another path on the host. An empty one is found nowhere.
type sought struct {
	Name string `json:"name"`
	Word string `json:"word"`
}

func (p *probe) sought() sought {
	if p.path == "" {
		return sought{}
	}
	return sought{filepath.Base(p.path), p.word}
}

// lookScript looks around on a host.
const lookScript = `
import json, os, pwd, resource, sys
asked = json.loads(sys.argv[1])
def same(folder, probe):
    try:
        with open(os.path.join(folder, probe["name"])) as file:
            return file.read() == probe["word"]
    except OSError:
        return False
home = os.path.expanduser("~")
try:
    user = pwd.getpwuid(os.getuid()).pw_name
except KeyError:
    user = str(os.getuid())
print(json.dumps({
    "user": user, "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "dir": os.path.isdir(asked["dir"]), "dir_shared": same(asked["dir"], asked["in_dir"]),
    "home": home, "home_there": os.path.isdir(home), "home_shared": same(home, asked["in_home"]),
}))
`

// survey asks one host.
func survey(ctx context.Context, h *afar.Host, q question) Surveyed {
	ctx, cancel := context.WithTimeout(ctx, surveyPatience)
	defer cancel()
	facts := h.Facts()
	found := Surveyed{
		Name: h.Name(), Hostname: facts.Hostname, Addresses: facts.Addresses, Python: host.PythonInfo{Python: facts.Python, Version: facts.Version},
		Dir: Folder{Path: string(q.Dir), Known: q.InDir.Name != ""}, Home: Folder{Known: q.InHome.Name != ""},
	}
	if from, ok := h.Conn().Remote().(*net.TCPAddr); ok {
		found.From = from.IP.String()
	}
	var err error
	if python, err := h.Probe(ctx, facts.Python); err == nil {
		found.Python = python
	} else {
		found.Faults = append(found.Faults, err)
	}
	if found.GPUs, err = host.ListGPUs(ctx, h); err != nil {
		found.Faults = append(found.Faults, err)
	}
	if err := found.lookAround(ctx, h, q); err != nil {
		found.Faults = append(found.Faults, fmt.Errorf("look at its folders and clock: %w", err))
	}
	return found
}

// lookAround runs lookScript.
func (s *Surveyed) lookAround(ctx context.Context, h *afar.Host, q question) error {
	asked, err := json.Marshal(q)
	if err != nil {
		return err
	}
	printed, err := h.Run(ctx, []string{h.Facts().Python}, "-I", "-c", lookScript, string(asked))
	switch {
	case err != nil:
		return err
	case printed.Status != "":
		return fmt.Errorf("%s: %s", printed.Status, strings.TrimSpace(string(printed.Err)))
	}
	var saw struct {
		User       string    `json:"user"`
		Files      int       `json:"files"`
		Dir        bool      `json:"dir"`
		DirShared  bool      `json:"dir_shared"`
		Home       wire.Path `json:"home"`
		HomeThere  bool      `json:"home_there"`
		HomeShared bool      `json:"home_shared"`
	}
	if err := json.Unmarshal(printed.Out, &saw); err != nil {
		return fmt.Errorf("it answered %.100q", printed.Out)
	}
	s.User, s.OpenFiles = saw.User, saw.Files
	s.Dir.There, s.Dir.Shared = saw.Dir, saw.DirShared
	s.Home.Path, s.Home.There, s.Home.Shared = string(saw.Home), saw.HomeThere, saw.HomeShared
	_, s.RoundTrip, _ = h.Conn().Clock()
	s.Ahead = h.WallClock()
	return nil
}
