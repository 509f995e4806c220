//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// control runs a system call on f's descriptor, again when a signal interrupts it. The
// descriptor cannot be closed and reused meanwhile.
func control(f *os.File, op string, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for {
			callErr = call(int(fd))
			if !errors.Is(callErr, unix.EINTR) {
				return
			}
		}
	})
	if err == nil {
		err = callErr
	} else {
		err = fs.ErrClosed // the only reason for which Control does not make the call
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

func usage(name string) (Usage, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(name, &s)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Usage{}, err
		}
		break
	}
	block := int64(s.Bsize)
	return Usage{Total: int64(s.Blocks) * block, Free: int64(s.Bavail) * block}, nil
}
