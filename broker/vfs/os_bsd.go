//go:build darwin || freebsd

package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// datasync is a full sync: these systems have no dependable cheaper call.
func datasync(f *os.File) error { return f.Sync() }

// lock is flock(2), which excludes other opens in this process too.
func lock(f *os.File) error {
	err := control(f, "lock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
