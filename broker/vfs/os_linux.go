package vfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// datasync is fdatasync(2), guarded against a concurrent Close.
func datasync(f *os.File) error {
	return control(f, "fdatasync", func(fd int) error { return unix.Fdatasync(fd) })
}

// lock takes an open-file-description lock. It excludes other opens in this process too,
// and it conflicts with the fcntl lock that Apache Kafka takes on its own .lock files, so
// the two never run on one directory.
func lock(f *os.File) error {
	err := control(f, "lock", func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return err
}

// openDirect implements directOpener.
func (o osFS) openDirect(name string, flag int) (File, error) {
	return o.OpenFile(name, flag|unix.O_DIRECT, 0)
}
