package dipexec

import (
	"maps"
	"math"
	"os"
	"slices"

	"dipls/cells"
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

// reloads are the source files that processes of the run reload before its code, which is about to be sent to them. It is decided for all processes when
// the first ones are known, also for those that are reached only later, so all have the same.
func (r *run) reloads(procs []Process) []wire.Path {
	if !r.req.Autoreload || !r.req.isCode() {
		return nil
	}
	if !r.looked {
		all := procs
		if r.target.Where == cells.Everywhere {
			all = r.e.living(r.target)
		}
		r.looked, r.edits = true, r.edited(all)
		for _, path := range slices.Sorted(maps.Keys(r.edits)) {
			r.reload = append(r.reload, wire.Path(path))
		}
	}
	for _, p := range r.e.known(procs) {
		p.sourcesMu.Lock()
		for path, is := range r.edits {
			if _, has := p.sources[path]; has {
				p.sources[path] = is // whether the reload succeeds or not: it is tried once
			}
		}
		p.sourcesMu.Unlock()
	}
	return r.reload
}

// edited are the source files that any of the processes has imported and that were edited since, as they are now. All of them reload all of these, so they
// agree also if they have imported them at different times. It looks at each file once, with no lock held: a file system of the network may be slow.
func (r *run) edited(procs []Process) map[string]source {
	known := r.e.known(procs)
	learnCopied(known)
	now := map[string]source{}
	for _, p := range known {
		p.sourcesMu.Lock()
		for path := range p.sources {
			now[path] = source{}
		}
		p.sourcesMu.Unlock()
	}
	for path := range now {
		now[path], _ = sourceNow(path)
	}
	changed := map[string]source{}
	for _, p := range known {
		p.sourcesMu.Lock()
		for path, had := range p.sources {
			if is := now[path]; is != (source{}) && had.differs(is) {
				changed[path] = is
			}
		}
		p.sourcesMu.Unlock()
	}
	return changed
}

// hasImported notes what a process has imported, as its reply tells it, and whether it has tried to reload what it was to. If it has not, as after an
// interrupt, these files count as edited until it has. It looks at no file, since the process's reader calls it.
func (p *process) hasImported(reply *wire.ExecuteReply, reload []wire.Path) {
	if reply.Reloaded {
		reload = nil
	}
	if len(reply.Imported) == 0 && len(reload) == 0 {
		return
	}
	_, here := p.p.Host().(host.Local)
	p.sourcesMu.Lock()
	defer p.sourcesMu.Unlock()
	if p.sources == nil {
		p.sources = map[string]source{}
	}
	for _, f := range reply.Imported {
		switch {
		case slices.Contains(reload, f.Path): // it was restored to what it was
		case here:
			p.sources[string(f.Path)] = source{f.MTime, f.Size}
		default:
			p.copied = append(p.copied, string(f.Path))
		}
	}
	for _, path := range reload {
		if _, has := p.sources[string(path)]; has {
			p.sources[string(path)] = source{}
		}
	}
}

// learnCopied looks at the files that processes on other hosts have imported since the last time: their copies have times of their own.
func learnCopied(known []*process) {
	now := map[string]source{}
	for _, p := range known {
		p.sourcesMu.Lock()
		copied := p.copied
		p.copied = nil
		p.sourcesMu.Unlock()
		for _, path := range copied {
			if _, looked := now[path]; !looked {
				now[path], _ = sourceNow(path)
			}
		}
		p.sourcesMu.Lock()
		for _, path := range copied {
			if is := now[path]; is != (source{}) {
				p.sources[path] = is
			}
		}
		p.sourcesMu.Unlock()
	}
}
