package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dipls/internal/contain"
	"dipls/ranks/fleet/project"
	"dipls/ranks/host"
	"dipls/ranks/host/afar"
	"dipls/ranks/wire"
)

const (
	// syncTold is how long an update takes of which the user is told.
	syncTold = time.Second

	// syncsAtOnce is how many hosts are brought up to date at the same time.
	syncsAtOnce = 32

	// namedLinks is how many links a sentence names.
	namedLinks = 3
)

// copies are what hosts have of the project.
type copies struct {
	turn chan struct{} // cap 1: held by the one update that there is at a time, which has what follows

	project *project.Project
	on      map[*afar.Host]*projectCopy
	outside bool // the user knows of links that lead out
}

// projectCopy is what a host has.
type projectCopy struct {
	shared bool                    // our own files
	files  map[string]project.File // by path; nil: that is not known
}

// Sync implements [Fleet].
func (f *cluster) Sync(ctx context.Context, among []host.Host) error {
	c := &f.copies
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	begun := time.Now()
	if err := c.prepare(ctx, f.o, among); err != nil {
		return fmt.Errorf("the project's files: %w", err)
	}
	u, err := f.bringUpToDate(ctx)
	if errors.Is(err, fs.ErrNotExist) { // a file has gone since it was listed
		u, err = f.bringUpToDate(ctx)
	}
	if err != nil {
		return err
	}
	if took := time.Since(begun); u != nil && len(u.brought) > 0 && took > syncTold {
		f.o.Notice(fmt.Sprintf("%s, in %.1f s", u, took.Seconds()))
	}
	return nil
}

// prepare finds the project, and makes room for new hosts in place of those that are no more among them.
func (c *copies) prepare(ctx context.Context, o Options, among []host.Host) (err error) {
	if c.project == nil {
		if c.project, err = project.Of(ctx, o.Project, o.Dir); err != nil {
			return err
		}
	}
	before := c.on
	c.on = make(map[*afar.Host]*projectCopy, len(among))
	for _, h := range among {
		far := h.(*afar.Host) // it is one of our members
		if c.on[far] = before[far]; c.on[far] == nil {
			c.on[far] = &projectCopy{}
		}
	}
	return nil
}

// update is one comparison of the project with what hosts have.
type update struct {
	project *project.Project
	workDir string // in the project; "": it is elsewhere
	files   map[string]project.File
	probe   *probe // nil: no host needs one

	mu      sync.Mutex // guards what follows
	brought []string   // the hosts to which
	sent    int        // files came, to one of them, at most
	bytes   int64      // of these
	removed int
	kept    []string // HOST: PATH, of what somebody else had in their place
	failed  []string // HOST: WHY
	err     error
}

// bringUpToDate compares the project with what each host has, and brings what differs.
func (f *cluster) bringUpToDate(ctx context.Context) (*update, error) {
	c := &f.copies
	apart := make(map[*afar.Host]*projectCopy, len(c.on))
	fresh := false
	for h, has := range c.on {
		if !has.shared {
			apart[h] = has
			fresh = fresh || has.files == nil
		}
	}
	if len(apart) == 0 {
		return nil, nil
	}
	files, outside, err := c.project.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("the project's files: %w", err)
	}
	if len(outside) > 0 && !c.outside {
		c.outside = true
		f.o.Notice(fmt.Sprintf("links that lead out of %s are not brought to the hosts: %s", c.project.Root, some(outside)))
	}
	u := &update{project: c.project, files: make(map[string]project.File, len(files))}
	for _, file := range files {
		u.files[file.Path] = file
	}
	if below, err := filepath.Rel(c.project.Root, f.o.Dir); err == nil && filepath.IsLocal(below) {
		u.workDir = f.o.Dir
	}
	if fresh {
		u.probe = newProbe(c.project.Root)
		defer u.probe.remove()
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, syncsAtOnce)
	for h, has := range apart {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			var err error
			defer func() { u.note(h, err) }()
			defer contain.AsError(&err)
			err = u.bring(ctx, h, has)
		})
	}
	work.Wait()
	if len(u.kept) > 0 {
		slices.Sort(u.kept)
		f.o.Notice("files that somebody had changed on hosts were replaced; what was there is in " + strings.Join(u.kept, ", "))
	}
	if u.err != nil {
		slices.Sort(u.failed)
		return nil, &syncError{u.failed, u.err}
	}
	return u, nil
}

// bring brings to a host what it does not have.
func (u *update) bring(ctx context.Context, h *afar.Host, has *projectCopy) error {
	asked := afar.ProjectUpdate{
		Root: wire.Path(u.project.Root), Folder: wire.Path(u.workDir), Whole: has.files == nil,
		Files: []afar.ProjectFile{}, Links: []afar.ProjectLink{}, Gone: []wire.Path{},
	}
	if asked.Whole {
		asked.Probe = u.probe.forHost()
	}
	for path, file := range u.files {
		before, had := has.files[path]
		switch {
		case had && before.Target == file.Target && before.Hash == file.Hash:
		case file.Target != "":
			asked.Links = append(asked.Links, afar.ProjectLink{Path: wire.Path(path), Target: wire.Path(file.Target)})
		default:
			asked.Files = append(asked.Files, afar.ProjectFile{Path: wire.Path(path), Hash: file.Hash})
		}
	}
	for path := range has.files {
		if _, there := u.files[path]; !there {
			asked.Gone = append(asked.Gone, wire.Path(path))
		}
	}
	if !asked.Whole && len(asked.Files)+len(asked.Links)+len(asked.Gone) == 0 {
		return nil
	}
	has.files = nil // until all has come
	done, err := h.UpdateProject(ctx, asked, func(i int) (afar.ProjectContent, error) {
		file, data, err := u.project.Read(u.files[string(asked.Files[i].Path)])
		return afar.ProjectContent{Bytes: data, Hash: file.Hash, Mode: uint32(file.Mode), Modified: file.Modified}, err
	})
	if err != nil {
		return err
	}
	if has.shared = done.Shared; has.shared {
		return nil
	}
	has.files = u.files
	u.mu.Lock()
	defer u.mu.Unlock()
	if done.Sent+done.Removed > 0 {
		u.brought = append(u.brought, h.Name())
	}
	u.sent, u.bytes, u.removed = max(u.sent, done.Sent), max(u.bytes, done.Bytes), max(u.removed, done.Removed)
	if done.Kept != "" {
		u.kept = append(u.kept, h.Name()+": "+string(done.Kept))
	}
	return nil
}

// note notes how an update of a host went.
func (u *update) note(h *afar.Host, err error) {
	if err == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = append(u.failed, h.Name()+": "+err.Error())
	u.err = errors.Join(u.err, err)
}

// String is "brought 3 Python files (0.1 MB) of /home/me/project to gpu1, gpu2, and removed 1".
func (u *update) String() string {
	slices.Sort(u.brought)
	files := "files"
	if u.sent == 1 {
		files = "file"
	}
	text := fmt.Sprintf("brought %d Python %s (%.1f MB) of %s to %s", u.sent, files, float64(u.bytes)/1e6, u.project.Root, strings.Join(u.brought, ", "))
	if u.removed > 0 {
		text += fmt.Sprintf(", and removed %d", u.removed)
	}
	return text
}

// syncError says to which hosts the project could not be brought, and why.
type syncError struct {
	failed []string
	err    error
}

func (e *syncError) Error() string {
	return "the project's Python files could not be brought to all hosts: " + strings.Join(e.failed, "; ")
}

func (e *syncError) Unwrap() error { return e.err }

// some is the first of a list, and how many more there are.
func some(paths []string) string {
	if len(paths) <= namedLinks {
		return strings.Join(paths, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(paths[:namedLinks], ", "), len(paths)-namedLinks)
}
