package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// floorLog is the one log of the floor program: a file and where each offset begins.
type floorLog struct {
	sync.Mutex
	f     *os.File
	size  int64
	next  int64
	count int64 // records per batch, equal for all batches of a run
	bytes int64 // bytes per batch
}

// floorMain serves the least that any broker in Go must do: it shows what the machine and
// the network cost, so that ratios between brokers can be read.
func floorMain(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("floor takes ADDR and DIR")
	}
	f, err := os.Create(filepath.Join(args[1], "floor.log"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	log := &floorLog{f: f}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = log.serve(c.(*net.TCPConn))
		}()
	}
}

func (l *floorLog) serve(c *net.TCPConn) error {
	var head [8]byte
	buf := make([]byte, 2<<20)
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(head[:])) - 4
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		req := buf[:n]
		if _, err := io.ReadFull(c, req); err != nil {
			return err
		}
		body := req[4+2+len("bench"):]
		var err error
		switch int16(binary.BigEndian.Uint16(head[4:])) {
		case keyProduce:
			err = l.produce(c, body)
		case keyFetch:
			err = l.fetch(c, body)
		default:
			err = l.reset(c)
		}
		if err != nil {
			return err
		}
	}
}

// reset answers a CreateTopics by emptying the log: each workload starts afresh.
func (l *floorLog) reset(c net.Conn) error {
	l.Lock()
	defer l.Unlock()
	l.size, l.next = 0, 0
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := c.Write([]byte{0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0})
	return err
}

func (l *floorLog) produce(c net.Conn, body []byte) error {
	nameLen := int(binary.BigEndian.Uint16(body[2+2+4+4:]))
	name := body[14 : 14+nameLen]
	batch := body[14+nameLen+4+4+4:]
	if crc32.Checksum(batch[21:], castagnoli) != binary.BigEndian.Uint32(batch[17:]) {
		return fmt.Errorf("crc")
	}
	l.Lock()
	base := l.next
	l.count, l.bytes = int64(binary.BigEndian.Uint32(batch[57:])), int64(len(batch))
	binary.BigEndian.PutUint64(batch, uint64(base))
	_, err := l.f.WriteAt(batch, l.size)
	l.size += int64(len(batch))
	l.next += l.count
	l.Unlock()
	if err != nil {
		return err
	}
	out := be32(make([]byte, 4, 64), 1)
	out = append(be16(be32(out, 1), int16(nameLen)), name...)
	out = be16(be32(be32(out, 1), 0), 0)
	out = be32(be64(be64(be64(out, base), -1), 0), 0)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	_, err = c.Write(out)
	return err
}

func (l *floorLog) fetch(c *net.TCPConn, body []byte) error {
	nameLen := int(binary.BigEndian.Uint16(body[29:]))
	name := body[31 : 31+nameLen]
	part := body[31+nameLen+4:]
	offset := int64(binary.BigEndian.Uint64(part[8:]))
	maxBytes := int64(binary.BigEndian.Uint32(part[24:]))
	l.Lock()
	pos := int64(0)
	if l.count > 0 {
		pos = offset / l.count * l.bytes
	}
	n := max(0, min(max(maxBytes, l.bytes), l.size-pos)) // one batch comes whole
	next := l.next
	l.Unlock()
	out := be32(make([]byte, 4, 96), 1)
	out = be32(be16(be32(out, 0), 0), 0)
	out = append(be16(be32(out, 1), int16(nameLen)), name...)
	out = be16(be32(be32(out, 1), 0), 0)
	out = be64(be64(be64(out, next), next), 0)
	out = be32(be32(be32(out, -1), -1), int32(n))
	binary.BigEndian.PutUint32(out, uint32(int64(len(out)-4)+n))
	if _, err := c.Write(out); err != nil {
		return err
	}
	return sendFile(c, l.f, pos, n)
}

// sendFile sends n bytes of f from pos by sendfile(2).
func sendFile(c *net.TCPConn, f *os.File, pos, n int64) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	var sendErr error
	err = raw.Write(func(sock uintptr) bool {
		for n > 0 {
			sent, err := syscall.Sendfile(int(sock), fd, &pos, int(min(n, 1<<30)))
			if sent > 0 {
				n -= int64(sent)
			}
			if err == syscall.EAGAIN {
				return false
			}
			if err != nil && err != syscall.EINTR {
				sendErr = err
				return true
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return sendErr
}
