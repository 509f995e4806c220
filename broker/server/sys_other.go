//go:build !linux

package server

import (
	"errors"
	"net"
	"syscall"
)

// rawConn is nil: on this system sockets are read and written through package net.
func rawConn(net.Conn) syscall.RawConn { return nil }

func readFD(uintptr, []byte) (int, bool, error) { return 0, false, errors.ErrUnsupported }

func writeFD(uintptr, [][]byte, bool) (int, bool, error) { return 0, false, errors.ErrUnsupported }

func sendfileFD(_, _ uintptr, _ *int64, _ int64) (int64, bool, error) {
	return 0, false, errors.ErrUnsupported
}

func peerGone(syscall.RawConn) bool { return false }

func unread(syscall.RawConn) bool { return false }
