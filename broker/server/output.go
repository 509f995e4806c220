package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/varve-io/varve/broker/vfs"
)

const (
	// sendfileBytes is the length from which a file range leaves by sendfile. Below it
	// reading and writing is cheaper than the extra system call and page handling.
	sendfileBytes = 32 << 10
	// scratchBytes is the buffer for file bytes that do not leave by sendfile.
	scratchBytes = 64 << 10
	// pageBytes is what long reads of a file are aligned to, in the file as in the buffer: the kernel copies
	// twice as fast then.
	pageBytes = 4 << 10
	// maxVector is the most pieces that one writev takes (IOV_MAX on Linux).
	maxVector = 1024
)

// output writes answers. It belongs to the connection's writer of the moment.
//
// On a plain TCP socket, bytes leave by one gathered write and file ranges by sendfile
// with an explicit offset; for short ranges, file bytes are read into a scratch buffer.
// Elsewhere (TLS, memory) everything but long runs of bytes goes through the scratch buffer,
// so that TLS makes full records of it. A write that would block waits for the peer under a
// deadline which each bit of progress renews, as long as it comes to a least speed (slow).
type output struct {
	nc       net.Conn
	raw      syscall.RawConn // nil: no direct access to the socket
	patience time.Duration
	slow     slow       // of the batch under way
	scratch  *sync.Pool // of *[scratchBytes]byte
	cold     *coldReads
	warm     warmRun

	vector [][]byte // gathered, not yet written
	buf    *[scratchBytes]byte
	used   int // bytes of buf that vector refers to

	// State of the raw write under way, here so that its callback needs no closure.
	sendFn   func(fd uintptr) bool
	fileFn   func(fd uintptr) bool
	more     bool
	src      uintptr
	off, rem int64
	err      error
	waited   bool
}

// send writes the answers of batch in order, each with its length in front.
func (o *output) send(batch []*Request) error {
	defer o.reset()
	for _, r := range batch {
		if r.silent {
			continue
		}
		if err := o.answer(r); err != nil {
			return err
		}
	}
	return o.flush(false)
}

// reset drops what the output holds between batches.
func (o *output) reset() {
	clear(o.vector)
	if o.vector = o.vector[:0]; cap(o.vector) > 64 {
		o.vector = nil
	}
	if o.buf != nil {
		o.scratch.Put(o.buf)
		o.buf = nil
	}
	o.used = 0
	o.slow.end()
}

// answer gathers one answer, writing what cannot be gathered.
func (o *output) answer(r *Request) error {
	total := int64(0)
	for i := range r.pieces {
		total += int64(len(r.pieces[i].Bytes)) + r.pieces[i].Range.Len
	}
	if total > 1<<31-1 {
		return fmt.Errorf("BUG: answer of %d bytes does not fit into a frame", total)
	}
	binary.BigEndian.PutUint32(r.prefix[:], uint32(total))
	if err := o.bytes(r.prefix[:]); err != nil {
		return err
	}
	for i := range r.pieces {
		p := &r.pieces[i]
		if len(p.Bytes) > 0 {
			if err := o.bytes(p.Bytes); err != nil {
				return err
			}
		}
		if p.Range.Len > 0 {
			if err := o.file(p.Range); err != nil {
				return err
			}
		}
	}
	return nil
}

// bytes gathers b.
func (o *output) bytes(b []byte) error {
	if o.raw == nil {
		return o.stream(b)
	}
	if len(o.vector) == maxVector {
		if err := o.flush(true); err != nil {
			return err
		}
	}
	o.vector = append(o.vector, b)
	return nil
}

// stream copies b into the scratch buffer, or writes a long run by itself.
func (o *output) stream(b []byte) error {
	if len(b) >= scratchBytes/2 {
		if err := o.flush(true); err != nil {
			return err
		}
		return o.write(b)
	}
	for len(b) > 0 {
		dst, err := o.room(int64(len(b)))
		if err != nil {
			return err
		}
		n := copy(dst, b)
		o.used += n
		b = b[n:]
	}
	return nil
}

// room is the free part of the scratch buffer, at most n bytes of it; a full one is written first.
func (o *output) room(n int64) ([]byte, error) {
	if o.used == scratchBytes || len(o.vector) == maxVector {
		if err := o.flush(true); err != nil {
			return nil, err
		}
	}
	if o.buf == nil {
		o.buf, _ = o.scratch.Get().(*[scratchBytes]byte)
	}
	return o.buf[o.used:min(scratchBytes, int64(o.used)+n)], nil
}

// file sends a range by sendfile, or gathers it through the scratch buffer.
func (o *output) file(r vfs.Range) error {
	if o.raw != nil && r.Len >= sendfileBytes {
		if fd, ok := vfs.Fd(r.File); ok {
			if err := o.flush(true); err != nil {
				return err
			}
			sent, err := o.sendFileOf(fd, r)
			if err == nil || !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
			r.Off, r.Len = r.Off+sent, r.Len-sent // this file system cannot: copy the rest
		}
	}
	return o.copyFile(r)
}

// sendFileOf sends a range by sendfile, at once if it is in memory: sendfile itself would wait
// for the disk with a thread. Otherwise it goes step by step, each brought in first.
func (o *output) sendFileOf(fd uintptr, r vfs.Range) (sent int64, err error) {
	if o.warm.goesOn(r) || o.warm.begins(r, o.cold.hot(r)) {
		return o.sendfile(fd, r.Off, r.Len)
	}
	for sent < r.Len && err == nil {
		step := vfs.NewRange(r.File, r.Off+sent, min(coldStep, r.Len-sent), nil)
		if !o.cold.hot(step) {
			if err := o.cold.load(step); err != nil {
				return sent, err
			}
		}
		var n int64
		n, err = o.sendfile(fd, step.Off, step.Len)
		sent += n
	}
	return sent, err
}

// copyFile gathers a range through the scratch buffer, writing whenever that is full.
func (o *output) copyFile(r vfs.Range) error {
	for r.Len > 0 {
		dst, err := o.room(r.Len)
		if err != nil {
			return err
		}
		cut := 0
		if o.raw == nil && r.Len > int64(len(dst)) {
			if cut = int((r.Off + int64(len(dst))) % pageBytes); cut >= len(dst) {
				cut = 0
			}
			dst = dst[:len(dst)-cut]
		}
		n, err := o.cold.readAt(r.File, dst, r.Off)
		if n < len(dst) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %s at %d for an answer: %w", r.File.Name(), r.Off, err)
		}
		o.used += n
		r.Off, r.Len = r.Off+int64(n), r.Len-int64(n)
		if o.raw != nil {
			o.vector = append(o.vector, dst)
		}
		if cut > 0 {
			if err := o.flush(true); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what is gathered. more says that further bytes follow at once, so that the
// kernel need not send a short packet.
func (o *output) flush(more bool) error {
	if o.raw == nil {
		if o.used == 0 {
			return nil
		}
		n := o.used
		o.used = 0
		return o.write(o.buf[:n])
	}
	if len(o.vector) == 0 {
		return nil
	}
	o.more = more
	err := o.rawLoop(o.sendFn)
	clear(o.vector)
	o.vector, o.used = o.vector[:0], 0
	return err
}

// write writes through the net.Conn, step by step, so that the deadline covers little.
func (o *output) write(b []byte) error {
	for len(b) > 0 {
		if err := o.arm(); err != nil {
			return err
		}
		n, err := o.nc.Write(b[:min(len(b), scratchBytes)])
		o.slow.moved += int64(n)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// sendfile sends n bytes at off of the file src and reports how many have left.
func (o *output) sendfile(src uintptr, off, n int64) (int64, error) {
	o.src, o.off, o.rem = src, off, n
	err := o.rawLoop(o.fileFn)
	return n - o.rem, err
}

// rawLoop runs one raw write to its end. The deadline is set only when the socket is full,
// so that an ordinary answer arms no timer.
func (o *output) rawLoop(f func(fd uintptr) bool) error {
	o.err, o.waited = nil, false
	err := o.raw.Write(f)
	if o.waited {
		_ = o.nc.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return err
	}
	return o.err
}

// wait arms the deadline before the netpoller waits for room in the socket.
func (o *output) wait() {
	o.waited = true
	_ = o.arm() // fails only on a closed connection
}

// arm sets the deadline of the next bytes.
func (o *output) arm() error {
	now := time.Now()
	return o.nc.SetWriteDeadline(now.Add(o.slow.left(now, o.patience)))
}

// sendVector is the callback that writes o.vector: false asks to wait for room.
func (o *output) sendVector(fd uintptr) bool {
	rest := o.vector
	for len(rest) > 0 {
		n, again, err := writeFD(fd, rest, o.more)
		if again {
			o.vector = rest
			o.wait()
			return false
		}
		if err != nil {
			o.err = err
			return true
		}
		o.slow.moved += int64(n)
		for len(rest) > 0 && n >= len(rest[0]) {
			n -= len(rest[0])
			rest = rest[1:]
		}
		if n > 0 {
			rest[0] = rest[0][n:]
		}
	}
	return true
}

// sendFileRange is the callback that sends o.rem bytes of o.src: false asks to wait for room.
func (o *output) sendFileRange(fd uintptr) bool {
	for o.rem > 0 {
		n, again, err := sendfileFD(fd, o.src, &o.off, o.rem)
		o.rem -= n
		o.slow.moved += n
		switch {
		case again:
			o.wait()
			return false
		case err != nil:
			o.err = err
			return true
		case n == 0:
			o.err = fmt.Errorf("file of an answer ends %d bytes early: %w", o.rem, io.ErrUnexpectedEOF)
			return true
		}
	}
	return true
}
