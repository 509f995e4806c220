package commitlog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Appends leave a reserve on the disk, so that what frees it again can still be written:
// rolls, snapshots, checkpoints, the metadata log. Of a small disk it is a sixteenth.
const (
	roomReserveBytes = 64 << 20
	roomSmallShare   = 16
	roomLookBytes    = 16 << 20 // appended at most between two looks at the disk
)

// A watermark is a share of the disk; on a large one this many free bytes are enough all the same.
const (
	evictEnoughBytes    = 32 << 30
	throttleEnoughBytes = 4 << 30
	refuseEnoughBytes   = 1 << 30
)

// Between the marks for throttling and refusing, producers share a rate at which what is left
// would last for this long. It falls with what is left, so the end is approached ever slower.
const roomLastsFor = time.Minute

// roomMaxThrottle is the longest that one request holds its connection up.
const roomMaxThrottle = 5 * time.Second

// roomRetryThrottle holds up who was refused, so that retries do not come at once.
const roomRetryThrottle = time.Second

// Pressure is how full a disk is, by its watermarks.
type Pressure int8

// The levels, ascending; each one includes those before it.
const (
	Calm     Pressure = iota
	Evict             // tiered segments are uploaded, and evicted, sooner than their topics ask for
	Throttle          // producers are held up
	Refuse            // producers are refused
)

// String is the level in a word.
func (p Pressure) String() string { return [...]string{"calm", "evict", "throttle", "refuse"}[p] }

// Watermarks say from which percentage of a disk in use on it is under pressure; 0 and 100 are never.
type Watermarks struct {
	EvictPercent, ThrottlePercent, RefusePercent int64
}

// RoomOptions is what a Room keeps to. The zero value has no watermarks, only the reserve.
type RoomOptions struct {
	Marks Watermarks
	Now   func() time.Time // paces producers; nil = time.Now
	// Changed is told of each change of level. It must not block, nor call the Room. May be nil.
	Changed func(from, to Pressure, u vfs.Usage)
}

// Room keeps appends off a disk that is about to be full, and says how full it is. One is
// shared by the logs of a disk; it may be used by any of them at once. A nil Room lets
// everything pass.
type Room struct {
	fs   vfs.FS
	dir  string
	opts RoomOptions

	refusals  atomic.Int64
	throttles atomic.Int64 // in milliseconds

	mu struct {
		sync.Mutex
		left  int64 // bytes until the next look
		free  int64 // at the last look, less what was taken since
		level Pressure
		marks [Refuse + 1]int64 // the free bytes below which each level begins
		paid  time.Time         // when the producers' share allows the next byte
	}
}

// NewRoom watches the disk that holds dir.
func NewRoom(fs vfs.FS, dir string, o RoomOptions) *Room {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Room{fs: fs, dir: dir, opts: o}
}

// Pressure is the level at the last look.
func (r *Room) Pressure() Pressure {
	if r == nil {
		return Calm
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.level
}

// Look looks at the disk and answers the level, and how many bytes have to be freed for
// Calm. On a disk that does not tell, nothing changes.
func (r *Room) Look() (level Pressure, wantBytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, err := r.fs.Usage(r.dir)
	if err != nil {
		return r.mu.level, 0
	}
	r.lookedLocked(u)
	r.mu.left = r.budgetLocked(u)
	if r.mu.level == Calm {
		return Calm, 0
	}
	return r.mu.level, max(0, calmer(r.mu.marks[Evict])-u.Free)
}

// Refusals counts the appends that were refused since the start.
func (r *Room) Refusals() int64 { return r.refusals.Load() }

// Throttled is for how long producers were held up since the start, added up.
func (r *Room) Throttled() time.Duration { return time.Duration(r.throttles.Load()) * time.Millisecond }

// calmer is what has to be free before a level ends that begins below mark: a little more,
// so that it does not come and go with each segment.
func calmer(mark int64) int64 { return mark + mark/16 }

// mark is the free bytes below which a level begins, 0 for never.
func mark(total, percent, enough int64) int64 {
	if percent <= 0 || percent >= 100 {
		return 0
	}
	return min(total/100*(100-percent), enough)
}

// reserve is what only the broker's own files may use.
func reserve(u vfs.Usage) int64 { return min(roomReserveBytes, u.Total/roomSmallShare) }

// lookedLocked takes over what a look has brought.
func (r *Room) lookedLocked(u vfs.Usage) {
	m := &r.opts.Marks
	r.mu.free = u.Free
	r.mu.marks[Evict] = mark(u.Total, m.EvictPercent, evictEnoughBytes)
	r.mu.marks[Throttle] = mark(u.Total, m.ThrottlePercent, throttleEnoughBytes)
	r.mu.marks[Refuse] = mark(u.Total, m.RefusePercent, refuseEnoughBytes)
	level := Calm
	for l := Evict; l <= Refuse; l++ {
		limit := r.mu.marks[l]
		if l <= r.mu.level {
			limit = calmer(limit)
		}
		if u.Free < limit {
			level = l
		}
	}
	if from := r.mu.level; level != from {
		r.mu.level = level
		if r.opts.Changed != nil {
			r.opts.Changed(from, level, u)
		}
	}
}

// budgetLocked is how many bytes may be taken before the next look.
func (r *Room) budgetLocked(u vfs.Usage) int64 {
	if r.mu.level == Refuse {
		return 0
	}
	stop := reserve(u)
	for l := Evict; l <= Refuse; l++ { // the next mark below what is free is worth a look
		if m := r.mu.marks[l]; m <= u.Free {
			stop = max(stop, m)
		}
	}
	return min(max(0, u.Free-stop), roomLookBytes)
}

// take accounts for n bytes that are about to be written; own says that they are the
// broker's, which may use what is kept from clients. On a disk that is nearly full the
// error wraps kafka.KafkaStorageError; it says nothing about later calls: retention and
// eviction, or the operator, make room again.
func (r *Room) take(n int64, own bool) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.left >= n {
		r.mu.left -= n
		r.mu.free -= n
		return nil
	}
	u, err := r.fs.Usage(r.dir)
	if err != nil {
		return nil // the write itself will tell what is wrong
	}
	r.lookedLocked(u)
	keep := reserve(u)
	if !own {
		keep = max(keep, r.mu.marks[Refuse])
	}
	if u.Free-keep < n || !own && r.mu.level == Refuse {
		r.mu.left = 0
		r.refusals.Add(1)
		return fmt.Errorf("%s has %d bytes left, and producers are refused below %d: free space, or let retention and the object store catch up: %w",
			r.dir, u.Free, keep, kafka.KafkaStorageError)
	}
	r.mu.left = max(0, r.budgetLocked(u)-n)
	r.mu.free -= n
	return nil
}

// Throttle is for how long the producer of n bytes is to be held up. All producers of the
// disk share one rate, which falls with what is left. Zero on a disk with enough room.
func (r *Room) Throttle(n int64) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.throttleLocked(n)
	r.throttles.Add(d.Milliseconds())
	return d
}

func (r *Room) throttleLocked(n int64) time.Duration {
	switch {
	case r.mu.level < Throttle:
		return 0
	case r.mu.level == Refuse:
		return roomRetryThrottle
	}
	left := max(r.mu.free-r.mu.marks[Refuse], 1)
	now := r.opts.Now()
	if r.mu.paid.Before(now) {
		r.mu.paid = now
	}
	share := min(float64(n)/float64(left), 1)
	r.mu.paid = r.mu.paid.Add(time.Duration(share * float64(roomLastsFor)))
	if most := now.Add(roomMaxThrottle); r.mu.paid.After(most) {
		r.mu.paid = most
	}
	return r.mu.paid.Sub(now)
}

// diskFull says that an operation failed for want of space, of which nothing follows for
// what is on the disk already.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
