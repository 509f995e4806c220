package commitlog

import (
	"errors"
	"fmt"
	"sync"

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

// ErrDiskFull says that a disk has no room for what would be written, which may pass.
var ErrDiskFull = errors.New("the disk is nearly full")

// Room keeps appends off a disk that is about to be full. One is shared by the logs of a
// disk; it may be used by any of them at once. A nil Room lets everything pass.
type Room struct {
	fs  vfs.FS
	dir string

	mu struct {
		sync.Mutex
		left int64 // bytes until the next look
	}
}

// NewRoom watches the disk that holds dir.
func NewRoom(fs vfs.FS, dir string) *Room { return &Room{fs: fs, dir: dir} }

// take accounts for n bytes that are about to be written. On a disk that is nearly full
// the error wraps kafka.KafkaStorageError; it says nothing about later calls: retention
// and eviction, or the operator, make room again.
func (r *Room) take(n int64) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.left >= n {
		r.mu.left -= n
		return nil
	}
	u, err := r.fs.Usage(r.dir)
	if err != nil {
		return nil // the write itself will tell what is wrong
	}
	reserve := min(roomReserveBytes, u.Total/roomSmallShare)
	if u.Free-reserve < n {
		r.mu.left = 0
		return fmt.Errorf("%s has %d bytes left, of which %d are kept for the broker's own files: free space, or let retention and the object store catch up: %w: %w",
			r.dir, u.Free, reserve, kafka.KafkaStorageError, ErrDiskFull)
	}
	r.mu.left = min(u.Free-reserve, roomLookBytes) - n
	return nil
}
