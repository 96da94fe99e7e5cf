//go:build !linux

package host

import "os"

// newShared makes a file that only the user can read. path is where other processes of this host find it.
func newShared() (f *os.File, path string, err error) {
	f, err = os.CreateTemp("", "dipls-")
	if err != nil {
		return nil, "", err
	}
	return f, f.Name(), nil
}
