// Package testdisk gives tests a disk that gets full.
package testdisk

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Mount mounts a file system of so many bytes on a directory, which it makes. It answers [errors.ErrUnsupported] where only root could do that.
func Mount(dir string, size int) (unmount func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("size=%d,mode=0700", size)
	switch err := syscall.Mount("dipls-test", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, options); {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ENODEV):
		return nil, fmt.Errorf("a small disk: %w", errors.ErrUnsupported)
	case err != nil:
		return nil, err
	}
	return func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) }, nil
}
