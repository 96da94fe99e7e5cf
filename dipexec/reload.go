package dipexec

import (
	"maps"
	"math"
	"os"
	"slices"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// source is a source file as a process has it: as it was when it was imported, or reloaded last.
type source struct {
	mtime float64 // seconds since 1970
	size  int64
}

// mtimeSlack is by how much one time may differ in Python's floating point from what it is here, in seconds.
const mtimeSlack = 1e-5

// differs reports whether a file was edited since.
func (s source) differs(now source) bool {
	return s.size != now.size || math.Abs(s.mtime-now.mtime) > mtimeSlack
}

// sourceNow is a file as it is now; ok is false if it is not there.
func sourceNow(path string) (s source, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return s, false
	}
	return source{float64(info.ModTime().UnixNano()) / 1e9, info.Size()}, true
}

// edited are the source files that any of the processes has imported and that were edited since, in order. All of them reload all of these, so they agree
// also if they have imported them at different times. It looks at each file once.
func (r *run) edited(procs []Process) (paths []wire.Path) {
	if !r.req.Autoreload {
		return nil
	}
	now := map[string]source{}
	changed := map[string]bool{}
	known := r.e.known(procs)
	for _, p := range known {
		p.sourcesMu.Lock()
		for path, had := range p.sources {
			is, looked := now[path]
			if !looked {
				is, _ = sourceNow(path)
				now[path] = is
			}
			if is != (source{}) && had.differs(is) {
				changed[path] = true
			}
		}
		p.sourcesMu.Unlock()
	}
	for _, p := range known {
		p.sourcesMu.Lock()
		for path := range changed {
			if _, has := p.sources[path]; has {
				p.sources[path] = now[path] // whether the reload succeeds or not: it is tried once
			}
		}
		p.sourcesMu.Unlock()
	}
	for _, path := range slices.Sorted(maps.Keys(changed)) {
		paths = append(paths, wire.Path(path))
	}
	return paths
}

// hasImported notes what a process has imported.
func (p *process) hasImported(files []wire.Imported) {
	if len(files) == 0 {
		return
	}
	_, here := p.p.Host().(host.Local)
	p.sourcesMu.Lock()
	defer p.sourcesMu.Unlock()
	if p.sources == nil {
		p.sources = map[string]source{}
	}
	for _, f := range files {
		s := source{f.MTime, f.Size}
		if !here { // its copy has a time of its own
			var ok bool
			if s, ok = sourceNow(string(f.Path)); !ok {
				continue
			}
		}
		p.sources[string(f.Path)] = s
	}
}
