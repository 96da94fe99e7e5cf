//go:build !linux

// Package testdisk gives tests a disk that gets full.
package testdisk

import "errors"

// Mount answers [errors.ErrUnsupported]: this system has no disks of any size to mount.
func Mount(string, int) (unmount func() error, err error) { return nil, errors.ErrUnsupported }
