package server

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendfileStep bounds one sendfile call, so that a huge range does not keep one thread in
// the kernel for long.
const sendfileStep = 4 << 20

// rawConn is direct access to a plain TCP socket, nil for any other connection.
func rawConn(nc net.Conn) syscall.RawConn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nil // closed already: the first read says so
	}
	return raw
}

// readFD reads once without waiting; again says that nothing has arrived.
func readFD(fd uintptr, b []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), b)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}

// writeFD writes bufs once without waiting; again says that the socket is full.
func writeFD(fd uintptr, bufs [][]byte, more bool) (n int, again bool, err error) {
	flags := unix.MSG_NOSIGNAL
	if more {
		flags |= unix.MSG_MORE
	}
	for {
		n, err = unix.SendmsgBuffers(int(fd), bufs, nil, nil, flags)
		switch err {
		case nil:
			return n, false, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}

// sendfileFD sends up to n bytes of src from *off without waiting for the socket, and moves
// *off on. It reads src by page cache, so a cold range waits for the disk here.
func sendfileFD(fd, src uintptr, off *int64, n int64) (sent int64, again bool, err error) {
	for {
		m, err := syscall.Sendfile(int(fd), int(src), off, int(min(n, sendfileStep)))
		switch err {
		case nil:
			return int64(m), false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		case syscall.EINVAL, syscall.ENOSYS, syscall.EOPNOTSUPP:
			return 0, false, errors.ErrUnsupported
		default:
			return 0, false, err
		}
	}
}

// peerGone says whether the peer has closed its side, even if bytes it sent before are
// still unread.
func peerGone(raw syscall.RawConn) bool {
	seen, err := look(raw, unix.POLLRDHUP)
	return seen&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 || err != nil
}

// unread says whether the peer has sent what nobody has read.
func unread(raw syscall.RawConn) bool {
	seen, err := look(raw, unix.POLLIN)
	return seen&unix.POLLIN != 0 && err == nil
}

// look polls a socket without waiting; what cannot be polled shows nothing. The error says that it is closed.
func look(raw syscall.RawConn, events int16) (seen int16, err error) {
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: events}}
		if n, err := unix.Poll(p, 0); err == nil && n > 0 {
			seen = p[0].Revents
		}
	})
	return seen, err
}
