package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// lengthBytes is the size of the length that precedes every frame.
const lengthBytes = 4

// minFrameBytes is the least that a request header takes: key, version, correlation id.
const minFrameBytes = 8

// growthFactor bounds the memory of a frame under way by the bytes received of it.
const growthFactor = 4

var (
	errFrameLength = errors.New("frame length out of bounds")
	errHeader      = errors.New("malformed request header")
	errStalled     = errors.New("peer stopped in the middle of a request")
	errIdle        = errors.New("connection idle for too long")
	errDraining    = errors.New("server is shutting down")
	errConnClosed  = errors.New("connection closed")

	errHandshake    = errors.New("TLS handshake failed")
	errHandshakes   = errors.New("too many TLS handshakes at once")
	errLoginTimeout = errors.New("peer has not logged in in time")
)

// framer cuts the bytes of one connection into frames. It belongs to the goroutine of
// the connection.
//
// Small frames share a read slab: one read brings in as many as have arrived. A frame of
// largeFrameBytes or more gets a slab of its own and is received straight into it.
// While the connection waits with nothing under way, it holds no memory at all; while it
// waits inside a small frame, it holds a slab of about the size received.
//
// The memory of a frame grows with the bytes that came in, not with the length that the
// peer claimed: at most growthFactor times what was received, or what this connection
// has delivered in one whole frame before.
type framer struct {
	c *Conn

	shared *slab // small frames: bytes [r:w] are not consumed yet
	r, w   int
	parked bool // shared was exchanged for a small slab while waiting

	own        *slab // a large frame under way, without its length: have of need bytes
	have, need int

	spare     *slab // memory that was waited for
	starved   int   // bytes asked for in vain by take
	largest   int   // longest frame delivered whole
	lastLarge bool

	progress time.Time // of the last byte received
	slow     slow      // of the frame under way
	tiny     [lengthBytes]byte
	attempt  func(fd uintptr) bool // f.tryRead, bound once
	got      int
	err      error
}

// buffered returns the next frame if all of it is here. The frame aliases s, of which the
// framer keeps its own count until the call of done.
func (f *framer) buffered() (frame []byte, s *slab, err error) {
	if f.own != nil {
		if f.have < f.need {
			return nil, nil, nil
		}
		f.lastLarge, f.largest = true, max(f.largest, f.need)
		return f.own.b[:f.need], f.own, nil
	}
	n, err := f.nextLength()
	if err != nil || n == 0 || f.w-f.r < lengthBytes+n {
		return nil, nil, err
	}
	start := f.r + lengthBytes
	f.r = start + n
	f.lastLarge = n >= largeFrameBytes
	return f.shared.b[start:f.r:f.r], f.shared, nil
}

// nextLength is the checked length of the frame at r, 0 while it is not known.
func (f *framer) nextLength() (int, error) {
	if f.shared == nil || f.w-f.r < lengthBytes {
		return 0, nil
	}
	n, least := int64(int32(binary.BigEndian.Uint32(f.shared.b[f.r:]))), int64(minFrameBytes)
	if f.c.tokens != nil {
		least = 1 // a token has no header
	}
	if limit := f.c.frameLimit(); n < least || n > limit {
		return 0, fmt.Errorf("%w: %d bytes claimed, %d allowed", errFrameLength, n, limit)
	}
	return int(n), nil
}

// done ends the use of the frame that buffered returned.
func (f *framer) done(frame []byte, s *slab) {
	if s.sole() {
		poison(frame)
	}
	if s == f.own {
		f.own, f.have, f.need = nil, 0, 0
		s.release()
		return
	}
	if f.r == f.w {
		f.dropShared()
	}
}

// dropShared lets go of the read slab.
func (f *framer) dropShared() {
	f.shared.release()
	f.shared, f.r, f.w, f.parked = nil, 0, 0, false
}

// midFrame says whether the peer owes the rest of a frame.
func (f *framer) midFrame() bool { return f.own != nil || f.shared != nil }

// room is where the next bytes go. It is nil when the budget has nothing to give;
// f.starved then says how much was asked for.
func (f *framer) room() []byte {
	if f.own == nil && f.shared == nil {
		size := readSlabBytes
		if f.lastLarge {
			size = peekSlabBytes
		}
		if f.shared = f.take(size, nil); f.shared == nil {
			return nil
		}
		return f.shared.b
	}
	n, _ := f.nextLength() // buffered has checked it
	if f.own == nil && n >= largeFrameBytes {
		if !f.begin(n) {
			return nil
		}
	}
	if f.own != nil {
		return f.roomOwn()
	}
	return f.roomShared(max(n, 0))
}

// begin moves the large frame at r to a slab of its own.
func (f *framer) begin(n int) bool {
	here := f.w - f.r - lengthBytes
	s := f.take(min(n, max(readSlabBytes, growthFactor*here, f.largest)), f.shared)
	if s == nil {
		return false
	}
	copy(s.b, f.shared.b[f.r+lengthBytes:f.w])
	f.dropShared()
	f.own, f.have, f.need = s, here, n
	return true
}

// roomOwn is the rest of the large frame's slab, which grows fourfold when it is full.
func (f *framer) roomOwn() []byte {
	if f.have == len(f.own.b) {
		s := f.take(min(f.need, max(growthFactor*f.have, f.largest)), f.own)
		if s == nil {
			return nil
		}
		copy(s.b, f.own.b[:f.have])
		f.own.release()
		f.own = s
	}
	return f.own.b[f.have:min(f.need, len(f.own.b))]
}

// roomShared is the rest of the read slab, if the frame of n bytes at r can be finished
// there; else the part of it that is here moves to the front, or to another slab when
// requests still alias this one.
func (f *framer) roomShared(n int) []byte {
	if !f.parked && f.r+lengthBytes+n <= len(f.shared.b) && f.w < len(f.shared.b) {
		return f.shared.b[f.w:]
	}
	target := f.shared
	if f.parked || lengthBytes+n > len(target.b) || !target.sole() {
		if target = f.take(readSlabBytes, f.shared); target == nil {
			return nil
		}
	}
	f.moveTo(target)
	f.parked = false
	return f.shared.b[f.w:]
}

// moveTo brings the bytes not yet consumed to the front of target.
func (f *framer) moveTo(target *slab) {
	n := copy(target.b, f.shared.b[f.r:f.w])
	if target != f.shared {
		f.shared.release()
		f.shared = target
	}
	f.r, f.w = 0, n
}

// take gets a slab of n bytes: what was waited for, the heir of one on the overdraft, or
// a new one that the budget admits.
func (f *framer) take(n int, old *slab) *slab {
	if s := f.spare; s != nil {
		f.spare = nil
		if len(s.b) >= n {
			return s
		}
		s.release()
	}
	if old != nil && old.overdraft {
		return f.c.srv.slabs.heir(n, old)
	}
	s := f.c.srv.slabs.try(n)
	if s == nil {
		f.starved = n
	}
	return s
}

// waitMemory waits for the memory that take did not get.
func (f *framer) waitMemory() error {
	size := sizeOf(f.starved)
	f.starved = 0
	f.c.srv.metrics.memoryWaits.Inc()
	over, err := f.c.srv.slabs.budget.acquire(int64(size), f.midFrame(), f.c.ctx.Done(), f.c.srv.limits.StallTimeout)
	if err != nil {
		return err
	}
	f.spare = f.c.srv.slabs.make(size, over)
	return nil
}

// park gives back what a waiting connection need not hold.
func (f *framer) park() {
	if f.spare != nil {
		f.spare.release()
		f.spare = nil
	}
	if f.own != nil || f.shared == nil {
		return
	}
	n := f.w - f.r
	if n == 0 {
		f.dropShared()
		return
	}
	if f.parked || growthFactor*sizeOf(n) > len(f.shared.b) || f.shared.overdraft {
		return
	}
	if s := f.c.srv.slabs.try(n); s != nil {
		f.moveTo(s)
		f.parked = true
	}
}

// fill receives more bytes. It waits until there are some, and ends with an error when
// the peer has gone, was idle or stalled for too long, or the server drains.
func (f *framer) fill() error {
	for {
		f.got, f.err = 0, nil
		if f.c.raw != nil {
			if err := f.c.raw.Read(f.attempt); err != nil {
				f.err = err
			}
		} else {
			f.readPlain()
		}
		if f.starved > 0 {
			if err := f.waitMemory(); err != nil {
				return err
			}
			continue
		}
		if f.got > 0 {
			f.advance(f.got)
			return nil
		}
		if f.err == nil {
			return io.EOF
		}
		if err := f.c.readFailed(f.err); err != nil {
			return err
		}
	}
}

// advance accounts n bytes that were read into room.
func (f *framer) advance(n int) {
	f.progress = time.Now()
	f.slow.moved += int64(n)
	if f.own != nil {
		f.have += n
		return
	}
	f.w += n
}

// tryRead is one attempt to read without waiting, run by the netpoller's loop: false asks
// it to wait until the socket is readable. The memory is taken for the attempt and given
// back before the wait.
func (f *framer) tryRead(fd uintptr) bool {
	dst := f.room()
	if dst == nil {
		return true
	}
	n, again, err := readFD(fd, dst)
	if again {
		f.park()
		f.c.armRead()
		return false
	}
	f.got, f.err = n, err
	return true
}

// readPlain reads where there is no descriptor to try (memory, TLS). Between frames it
// waits with the four bytes of a length only.
func (f *framer) readPlain() {
	f.c.armRead()
	if f.midFrame() {
		if dst := f.room(); dst != nil {
			f.got, f.err = f.c.nc.Read(dst)
		}
		return
	}
	n, err := f.c.nc.Read(f.tiny[:])
	if n == 0 {
		f.err = err
		return
	}
	dst := f.room()
	for dst == nil {
		if f.err = f.waitMemory(); f.err != nil {
			return
		}
		dst = f.room()
	}
	f.got = copy(dst, f.tiny[:n])
}

// free gives all memory back when the connection ends.
func (f *framer) free() {
	for _, s := range []*slab{f.shared, f.own, f.spare} {
		if s != nil {
			s.release()
		}
	}
	f.shared, f.own, f.spare = nil, nil, nil
}
