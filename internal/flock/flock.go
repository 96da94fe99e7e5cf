// Package flock locks files and directories. The kernel unlocks them when their process ends, however it ends, so a lock tells who lives.
//
// A lock on a directory itself, unlike one on a file in it, cannot be removed while the directory stays, and programs that clean up /tmp skip locked
// directories.
package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// pause is between two tries of those who wait for a lock.
const pause = 10 * time.Millisecond

// Try locks an open file, exclusively, or beside others who do not lock it exclusively. held is false if somebody else's lock forbids it.
func Try(f *os.File, exclusive bool) (held bool, err error) {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err {
		case syscall.EINTR:
		case nil, syscall.EWOULDBLOCK:
			return err == nil, nil
		default:
			return false, err
		}
	}
}

// TryDir locks a directory, which is not a link, exclusively; nil if somebody else holds the lock, or has removed the directory.
func TryDir(path string) (*os.File, error) {
	f, err := openDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	held, err := Try(f, true)
	if err == nil && held && Same(f, path) {
		return f, nil
	}
	f.Close()
	return nil, err
}

// Held reports whether somebody holds a directory's lock exclusively. It is an error if the directory cannot be opened.
func Held(path string) (bool, error) {
	f, err := openDir(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	free, err := Try(f, false)
	return !free, err
}

// Dir locks a directory, which is not a link, exclusively. It waits while another process holds the lock. If the directory is removed meanwhile, the error
// is [fs.ErrNotExist].
func Dir(ctx context.Context, path string) (unlock func(), err error) {
	return await(ctx, path, func() (*os.File, error) { return openDir(path) })
}

// File makes and locks a file. It waits while another process holds the lock.
func File(ctx context.Context, path string) (unlock func(), err error) {
	return await(ctx, path, func() (*os.File, error) {
		return os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	})
}

// await locks what open opens.
func await(ctx context.Context, path string, open func() (*os.File, error)) (unlock func(), err error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	for {
		held, err := Try(f, true)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if held && !Same(f, path) {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
		}
		if held {
			return func() { f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s, which another dipls holds: %w", path, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
}

// Same reports whether an open file is the one at a path.
func Same(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}
