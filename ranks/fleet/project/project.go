// Package project knows the Python files of a project: which there are, and what is in them. Where git tracks the folder, these are the files that git
// tracks, of submodules too; elsewhere those below the folder, up to a bound.
//
// Nothing outside the folder is ever read, whatever links there are.
package project

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The bounds. A project is larger than these only if the folder is none of a project, but a home directory or a disk.
const (
	maxTracked = 50_000    // Python files, with git
	maxFound   = 5_000     // without
	maxEntries = 100_000   // of folders, without git
	maxBytes   = 512 << 20 // of all files
)

// fresh is for how long after a change a file may change again without its times telling.
const fresh = 2 * time.Second

// Project is the Python files of a folder. Its methods may be called concurrently.
type Project struct {
	Root string // absolute
	git  bool

	mu    sync.Mutex
	known map[string]known // by path
}

// File is a Python file, or a symbolic link to what is in the project.
type File struct {
	Path     string // below the root
	Target   string // of a link; "": it is a file
	Hash     string // SHA-256 of a file, in hexadecimal digits
	Size     int64
	Mode     fs.FileMode
	Modified time.Time
}

// known is the hash that a file had when it was last read.
type known struct {
	id   identity
	hash string
}

// identity changes whenever a file does, unless it does so twice within a moment.
type identity struct {
	size              int64
	modified, changed int64 // ns
	inode             uint64
}

// Of finds the project that a file's folder belongs to. Without git, that is the working directory if the folder is in it and it is no home directory.
func Of(ctx context.Context, folder, workDir string) (*Project, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	p := &Project{Root: folder, known: map[string]known{}}
	if out, err := git(ctx, folder, "rev-parse", "--show-toplevel"); err == nil {
		top := strings.TrimSuffix(string(out), "\n")
		p.Root, p.git = named(folder, top), true
		return p, nil
	}
	home, _ := os.UserHomeDir()
	if workDir, err := filepath.Abs(workDir); err == nil && workDir != home && workDir != "/" && within(workDir, folder) {
		p.Root = workDir
	}
	return p, nil
}

// named is the folder top as it is called on the way to a folder below it: git resolves links, and processes do not.
func named(folder, top string) string {
	for at := folder; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil && real == top {
			return at
		}
		if at == filepath.Dir(at) {
			return top
		}
	}
}

// within reports whether a path is a folder, or below it.
func within(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// git runs git in a folder. It runs no programs that the folder's configuration names.
func git(ctx context.Context, folder string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = folder
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "GIT_DIR=") || strings.HasPrefix(entry, "GIT_WORK_TREE=") || strings.HasPrefix(entry, "GIT_INDEX_FILE=") ||
			strings.HasPrefix(entry, "GIT_PREFIX=")
	})
	return cmd.Output()
}

// List lists the files as they are now, by path. outside are links that lead out of the folder, which are left out.
func (p *Project) List(ctx context.Context) (files []File, outside []string, err error) {
	root, err := os.OpenRoot(p.Root)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	var paths []string
	if p.git {
		paths, err = tracked(ctx, p.Root, "")
	} else {
		paths, err = p.found(root)
	}
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(paths)
	paths = slices.Compact(paths) // of a merge that is not over, git has three
	if most := maxTracked; len(paths) > most {
		return nil, nil, fmt.Errorf("%s has more than %d Python files", p.Root, most)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var bytes int64
	for _, path := range paths {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		f, ok, err := p.look(root, path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was deleted, and git was not told
		case err != nil:
			return nil, nil, err
		case ok:
			files = append(files, f)
		case f.Target != "":
			outside = append(outside, path)
		}
		if bytes += f.Size; bytes > maxBytes {
			return nil, nil, fmt.Errorf("the Python files of %s have more than %d MB", p.Root, maxBytes>>20)
		}
	}
	return files, outside, nil
}

// tracked are the Python files and the links that git tracks below a folder, with those of submodules.
func tracked(ctx context.Context, root, below string) (paths []string, err error) {
	out, err := git(ctx, filepath.Join(root, below), "ls-files", "--stage", "-z")
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", explained(err))
	}
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		stage, name, ok := strings.Cut(string(entry), "\t") // MODE HASH STAGE
		path := filepath.Join(below, name)
		switch {
		case !ok:
		case strings.HasPrefix(stage, "160000 "):
			if _, err := os.Lstat(filepath.Join(root, path, ".git")); err == nil {
				inner, err := tracked(ctx, root, path)
				if err != nil {
					return nil, err
				}
				paths = append(paths, inner...)
			}
		case strings.HasPrefix(stage, "120000 "), strings.HasSuffix(name, ".py"):
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// explained has what git says.
func explained(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// found are the Python files and links below the root, without those of environments, packages and hidden folders.
func (p *Project) found(root *os.Root) (paths []string, err error) {
	entries := 0
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		entries++
		switch {
		case err != nil && path == ".":
			return err
		case err != nil:
			return nil // it cannot be imported from either
		case len(paths) > maxFound || entries > maxEntries:
			return fmt.Errorf("git does not track %s, and there are more than %d Python files or %d entries below it: run from the project's folder, or \"git init\" it",
				p.Root, maxFound, maxEntries)
		case d.IsDir() && path != "." && foreign(root, path, d.Name()):
			return fs.SkipDir
		case d.Type()&fs.ModeSymlink != 0, d.Type().IsRegular() && strings.HasSuffix(path, ".py"):
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
}

// foreign reports whether a folder holds what others have written.
func foreign(root *os.Root, path, name string) bool {
	if strings.HasPrefix(name, ".") || name == "__pycache__" || name == "node_modules" || name == "site-packages" {
		return true
	}
	for _, mark := range []string{"pyvenv.cfg", "conda-meta"} {
		if _, err := root.Lstat(filepath.Join(path, mark)); err == nil {
			return true
		}
	}
	return false
}

// look looks at a file or link. ok is false if it is neither a Python file nor a link to something in the project that Python could need. p.mu is held.
func (p *Project) look(root *os.Root, path string) (f File, ok bool, err error) {
	info, err := root.Lstat(path)
	if err != nil {
		return f, false, err
	}
	f = File{Path: path, Mode: info.Mode().Perm(), Modified: info.ModTime()}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return p.lookAtLink(root, f)
	case !info.Mode().IsRegular():
		return f, false, nil
	}
	f.Size = info.Size()
	id := identify(info)
	if k, same := p.known[path]; same && k.id == id && time.Since(info.ModTime()) > fresh {
		f.Hash = k.hash
		return f, true, nil
	}
	in, err := root.Open(path)
	if err != nil {
		return f, false, err
	}
	defer in.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(in, maxBytes)); err != nil {
		return f, false, err
	}
	f.Hash = hex.EncodeToString(hash.Sum(nil))
	p.known[path] = known{id, f.Hash}
	return f, true, nil
}

// lookAtLink is look for a link. One that leads out of the project has a target, and is not ok.
func (p *Project) lookAtLink(root *os.Root, f File) (File, bool, error) {
	target, err := root.Readlink(f.Path)
	if err != nil {
		return f, false, err
	}
	python := strings.HasSuffix(f.Path, ".py")
	info, err := os.Stat(filepath.Join(p.Root, f.Path))
	if err != nil || !python && !info.IsDir() {
		return f, false, nil // it leads nowhere, or to data
	}
	real, err := filepath.EvalSymlinks(filepath.Join(p.Root, f.Path))
	top, wrong := filepath.EvalSymlinks(p.Root)
	if err != nil || wrong != nil {
		return f, false, errors.Join(err, wrong)
	}
	if within(top, real) {
		f.Target = target
		return f, true, nil
	}
	if python || importable(real) {
		f.Target = target
	}
	return f, false, nil
}

// importable reports whether a folder has modules.
func importable(folder string) bool {
	found, err := filepath.Glob(filepath.Join(strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(folder), "*.py"))
	return err == nil && len(found) > 0
}

func identify(info fs.FileInfo) identity {
	id := identity{size: info.Size(), modified: info.ModTime().UnixNano()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id.inode, id.changed = s.Ino, changed(s)
	}
	return id
}

// Read reads a file as it is now, which may not be how it was listed.
func (p *Project) Read(f File) (File, []byte, error) {
	root, err := os.OpenRoot(p.Root)
	if err != nil {
		return f, nil, err
	}
	defer root.Close()
	in, err := root.Open(f.Path)
	if err != nil {
		return f, nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return f, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, maxBytes))
	if err != nil {
		return f, nil, err
	}
	sum := sha256.Sum256(data)
	f.Hash, f.Size, f.Mode, f.Modified = hex.EncodeToString(sum[:]), int64(len(data)), info.Mode().Perm(), info.ModTime()
	return f, data, nil
}
