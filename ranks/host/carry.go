package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// SharedFile is memory, or a file, that a process of a host shares with others there.
type SharedFile struct {
	Path  string `json:"path"` // such as /proc/4711/fd/33
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
}

// carriedAtOnce is how much is read at a time, between two looks at whether anybody still wants it.
const carriedAtOnce = 256 << 10

// Keep implements [Host]. The memory is this process's.
func (Local) Keep(ctx context.Context, sizes []int64, r io.Reader) (files []SharedFile, free func(), err error) {
	var opened []*os.File
	release := func() {
		for _, f := range opened {
			f.Close()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	for _, size := range sizes {
		f, path, err := newShared()
		if err != nil {
			return nil, nil, fmt.Errorf("no memory to share: %w", err)
		}
		opened = append(opened, f)
		if err := carry(ctx, f, r, size); err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, nil, err
		}
		files = append(files, SharedFile{Path: path, Inode: info.Sys().(*syscall.Stat_t).Ino, Size: size})
	}
	return files, release, nil
}

// Fetch implements [Host].
func (Local) Fetch(ctx context.Context, files []SharedFile, w io.Writer) error {
	for _, file := range files {
		if err := fetch(ctx, file, w); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, file SharedFile, w io.Writer) error {
	f, err := os.OpenFile(file.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("what was sent is gone: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	has := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || int(has.Uid) != os.Geteuid() || has.Ino != file.Inode || info.Size() != file.Size {
		return fmt.Errorf("%s is not the file that was sent", file.Path)
	}
	return carry(ctx, w, f, file.Size)
}

// carry copies so many bytes, until nobody wants them any more.
func carry(ctx context.Context, w io.Writer, r io.Reader, size int64) error {
	buffer := make([]byte, min(size, carriedAtOnce))
	for size > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece := buffer[:min(size, carriedAtOnce)]
		_, err := io.ReadFull(r, piece)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			_, err = w.Write(piece)
		}
		if err != nil {
			return err
		}
		size -= int64(len(piece))
	}
	return nil
}
