package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// ErrBusy is what Copy.Finish answers while segments are being cut, evicted or exported.
var ErrBusy = errors.New("segments of the log are at work")

// TargetError is an error of the place that a Copy writes to; all others are the log's.
type TargetError struct{ Err error }

// Error implements error.
func (e *TargetError) Error() string { return e.Err.Error() }

// Unwrap answers the cause.
func (e *TargetError) Unwrap() error { return e.Err }

// copyChunk is how much a Copy reads and writes at a time, in bytes.
const copyChunk = 1 << 20

// Copy brings a log's files into another directory while the log goes on, for a move to
// another disk. What a stop or a crash left in the directory is compared and kept where it
// is the same. Every batch in the copy has its CRC checked, and what was copied is synced.
//
// Its methods are called one at a time, but for Progress.
type Copy struct {
	l    *Log
	dir  string
	room *Room
	pace func(ctx context.Context, n int64) error
	done map[*segment]copied
	buf  []byte

	mu struct {
		sync.Mutex
		end, size int64
	}
}

// copied is how much of a segment the copy has.
type copied struct {
	size   int64
	closed bool // the whole segment, its indexes too
}

// NewCopy begins a copy of l in dir, which it makes durable with the topic's id.
// pace is asked before bytes are written and may wait. Errors are a TargetError, or say why
// the log can't be copied: it is damaged, or refuses all work.
func NewCopy(l *Log, dir string, room *Room, pace func(ctx context.Context, n int64) error) (*Copy, error) {
	if err := errors.Join(l.Err(), l.Damage()); err != nil {
		return nil, fmt.Errorf("copy of log %s: %w: %w", l.opts.TP, kafka.KafkaStorageError, err)
	}
	err := vfs.MkdirAllSync(l.opts.FS, dir, dirPerm)
	if err == nil {
		err = vfs.WriteFileAtomic(l.opts.FS, filepath.Join(dir, PartitionMetadataName), AppendPartitionMetadata(nil, l.opts.TopicID))
	}
	if err != nil {
		return nil, &TargetError{fmt.Errorf("begin %s: %w: %w", dir, kafka.KafkaStorageError, err)}
	}
	return &Copy{l: l, dir: dir, room: room, pace: pace, done: map[*segment]copied{}}, nil
}

// Progress is the end offset of the copy and the bytes of its segments.
func (c *Copy) Progress() (end, sizeBytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.end, c.mu.size
}

// Advance copies what was there when it was called, and answers how many bytes of segments
// the log has got meanwhile.
func (c *Copy) Advance(ctx context.Context) (lagBytes int64, err error) {
	if err := c.pass(ctx); err != nil {
		return 0, err
	}
	if err := c.l.view(); err != nil {
		return 0, err
	}
	defer c.l.mu.RUnlock()
	for _, s := range c.l.mu.segs {
		lagBytes += s.size - c.done[s].size
	}
	return lagBytes, nil
}

// pass copies each segment as far as it reaches now.
func (c *Copy) pass(ctx context.Context) error {
	if err := c.l.view(); err != nil {
		return err
	}
	segs := slices.Clone(c.l.mu.segs)
	c.l.mu.RUnlock()
	for s := range c.done {
		if !slices.Contains(segs, s) {
			delete(c.done, s) // evicted, or cut
		}
	}
	var size int64
	for _, s := range segs {
		if err := c.segment(ctx, s); err != nil {
			return err
		}
		size += c.done[s].size
	}
	if _, err := c.asides(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.mu.size = size
	c.mu.Unlock()
	return nil
}

// source is a segment that is about to be copied.
type source struct {
	*segment
	file    *handle
	size    int64
	next    int64
	closed  bool
	hasTxns bool
}

// take looks at a segment and holds its file; nil when the log has let go of it.
func (c *Copy) take(s *segment) (*source, error) {
	l := c.l
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := slices.Index(l.mu.segs, s)
	if i < 0 {
		return nil, nil
	}
	h, err := l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", s.path(logSuffix), kafka.KafkaStorageError, err)
	}
	return &source{segment: s, file: h, size: s.size, next: s.next, closed: i < len(l.mu.segs)-1, hasTxns: s.hasTxns}, nil
}

func (c *Copy) segment(ctx context.Context, s *segment) error {
	have := c.done[s]
	if have.closed {
		return nil
	}
	src, err := c.take(s)
	if src == nil || err != nil {
		return err
	}
	defer src.file.ref.Release()
	if err := c.bytes(ctx, src, have.size); err != nil {
		if gone, e := c.take(s); e == nil && gone == nil {
			return nil // it was cut or evicted under our hands
		} else if gone != nil {
			gone.file.ref.Release()
		}
		return err
	}
	c.done[s] = copied{size: src.size}
	if src.closed {
		if err := c.indexes(src); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.mu.end = src.next
	c.mu.size += src.size - have.size
	c.mu.Unlock()
	return nil
}

// indexes copies what belongs to a closed segment beside its batches. Nothing is evicted or
// replaced meanwhile.
func (c *Copy) indexes(src *source) error {
	c.l.maintMu.Lock()
	defer c.l.maintMu.Unlock()
	c.l.mu.RLock()
	there := slices.Contains(c.l.mu.segs, src.segment)
	c.l.mu.RUnlock()
	if !there {
		return nil
	}
	if err := c.small(src); err != nil {
		return err
	}
	c.done[src.segment] = copied{size: src.size, closed: true}
	return nil
}

// small copies a segment's indexes, and the producer snapshot at its start.
func (c *Copy) small(src *source) error {
	for _, suffix := range []string{indexSuffix, timeIndexSuffix, txnIndexSuffix, snapshotSuffix} {
		if err := c.whole(segmentName(src.base, suffix), suffix == indexSuffix || suffix == timeIndexSuffix || suffix == txnIndexSuffix && src.hasTxns); err != nil {
			return err
		}
	}
	return nil
}

// whole copies a small file, which must be there or not.
func (c *Copy) whole(name string, must bool) error {
	path := filepath.Join(c.l.dir, name)
	b, err := vfs.ReadFile(c.l.opts.FS, path)
	if errors.Is(err, os.ErrNotExist) && !must {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w: %w", path, kafka.KafkaStorageError, err)
	}
	path = filepath.Join(c.dir, name)
	err = writeFile(c.l.opts.FS, path, b)
	if err == nil {
		err = (syncer{c.l}).syncPath(path)
	}
	return c.target(name, err)
}

// target marks an error as the target's.
func (c *Copy) target(name string, err error) error {
	if err == nil {
		return nil
	}
	return &TargetError{fmt.Errorf("write %s: %w: %w", filepath.Join(c.dir, name), kafka.KafkaStorageError, err)}
}

// bytes copies the batches of src from byte from on, syncs and checks them.
func (c *Copy) bytes(ctx context.Context, src *source, from int64) error {
	name := segmentName(src.base, logSuffix)
	f, err := c.l.opts.FS.OpenFile(filepath.Join(c.dir, name), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return c.target(name, err)
	}
	err = c.fill(ctx, src, f, from)
	if closed := f.Close(); err == nil {
		err = c.target(name, closed)
	}
	return err
}

// fill writes the batches into the copy's file.
func (c *Copy) fill(ctx context.Context, src *source, f vfs.File, from int64) error {
	name := segmentName(src.base, logSuffix)
	info, err := f.Stat()
	if err != nil {
		return c.target(name, err)
	}
	if err := c.chunks(ctx, src, f, from, info.Size()); err != nil {
		return err
	}
	if info.Size() > src.size {
		err = f.Truncate(src.size)
	}
	if err == nil && !fault.Planted(fault.BugMoveNotSynced) {
		err = f.Datasync()
	}
	if err != nil {
		return c.target(name, err)
	}
	// Read back, and so checked on both disks: damage here is the log's, and was copied.
	err = verifyRange(f, filepath.Join(c.dir, name), from, src.size, src.base)
	if err != nil && !errors.Is(err, kafka.ErrCorrupt) {
		return c.target(name, err)
	}
	return err
}

// chunks writes what the target, which has size bytes, does not have yet.
func (c *Copy) chunks(ctx context.Context, src *source, f vfs.File, from, size int64) error {
	if c.buf == nil {
		c.buf = make([]byte, 2*copyChunk)
	}
	for off := from; off < src.size; {
		b, old := c.buf[:min(copyChunk, src.size-off)], c.buf[copyChunk:]
		n := int64(len(b))
		if err := c.pace(ctx, n); err != nil {
			return err
		}
		if _, err := src.file.ReadAt(b, off); err != nil {
			return fmt.Errorf("read %s at %d: %w: %w", src.path(logSuffix), off, kafka.KafkaStorageError, err)
		}
		if off+n <= size {
			if m, err := f.ReadAt(old[:n], off); int64(m) == n && (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(b, old[:n]) {
				off += n
				continue
			}
		}
		if err := c.room.take(n, false); err != nil {
			return c.target(segmentName(src.base, logSuffix), err)
		}
		if _, err := f.WriteAt(b, off); err != nil {
			return c.target(segmentName(src.base, logSuffix), err)
		}
		off += n
	}
	return nil
}

// Finish copies the rest while no append comes in between, and has commit put the copy in
// the log's place, on the strength of the State that it is given: all of it is durable in
// the copy. When commit has returned nil the log is closed; otherwise it goes on.
// The answer is ErrBusy while files of the log are at work; try again.
func (c *Copy) Finish(commit func(State) error) error {
	l := c.l
	if !l.maintMu.TryLock() {
		return ErrBusy
	}
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := errors.Join(l.ready(), l.Damage()); err != nil {
		return fmt.Errorf("copy of log %s: %w: %w", l.opts.TP, kafka.KafkaStorageError, err)
	}
	if err := l.w.writeState(); err != nil {
		return l.w.failToOpen(err)
	}
	names, err := c.rest()
	if err != nil {
		return err
	}
	if err := c.clear(names); err != nil {
		return c.target(".", err)
	}
	// From here on the old directory's write-ahead file brings nothing back, whoever owns the log
	// after a crash. On error the log joins again.
	if err := l.w.handOver(); err != nil {
		return err
	}
	st := l.State()
	st.RecoveryPoint, st.Sealed = st.End, true
	if err := commit(st); err != nil {
		return err
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	(cutter{l}).shut()
	return nil
}

// writeState writes, un-synced, what the end of a log in order has in files: the indexes up
// to the last batch and the producer state. appendMu is held.
func (l *writer) writeState() error {
	l.mu.Lock()
	n, end := len(l.mu.segs), l.mu.end
	if n == 0 {
		l.mu.Unlock()
		return nil
	}
	s := l.mu.segs[n-1]
	s.addTime()
	l.mu.Unlock()
	l.dirty = true
	if err := l.flushIndexes(s); err != nil || l.snapshotEnd == end {
		return err
	}
	return l.writeSnapshot(end)
}

// rest brings the copy up to the log's end, with nothing changing meanwhile, and lists the
// names of its files.
func (c *Copy) rest() (map[string]bool, error) {
	l := c.l
	l.mu.RLock()
	segs, end := slices.Clone(l.mu.segs), l.mu.end
	epochs, holes := AppendEpochCheckpoint(nil, l.mu.epochs.entries), l.mu.holes
	l.mu.RUnlock()
	names := map[string]bool{PartitionMetadataName: true, DamageName: len(holes) > 0}
	pace := c.pace
	c.pace = func(context.Context, int64) error { return nil }
	defer func() { c.pace = pace }()
	for _, s := range segs {
		src, err := c.take(s)
		if err != nil {
			return nil, err
		}
		have := c.done[s]
		if !have.closed {
			if err = c.bytes(context.Background(), src, have.size); err == nil {
				err = c.small(src)
			}
		}
		src.file.ref.Release()
		if err != nil {
			return nil, err
		}
		c.done[s] = copied{size: src.size, closed: src.closed}
		for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, snapshotSuffix} {
			names[segmentName(s.base, suffix)] = true
		}
		if src.hasTxns {
			names[segmentName(s.base, txnIndexSuffix)] = true
		}
	}
	asides, err := c.asides(context.Background())
	if err != nil {
		return nil, err
	}
	for _, name := range asides {
		names[name] = true
	}
	if err := writeHoles(l.opts.FS, c.dir, holes); err != nil {
		return nil, c.target(DamageName, err)
	}
	if len(segs) == 0 {
		return names, nil
	}
	names[epochFile], names[segmentName(end, snapshotSuffix)] = true, true
	if err := c.whole(segmentName(end, snapshotSuffix), true); err != nil {
		return nil, err
	}
	return names, c.target(epochFile, vfs.WriteFileAtomic(l.opts.FS, filepath.Join(c.dir, epochFile), epochs))
}

// asides copies the damaged files that were set aside, which stay as long as the partition
// does, and answers their names. One that can't be read is left behind.
func (c *Copy) asides(ctx context.Context) (names []string, err error) {
	fs := c.l.opts.FS
	entries, err := fs.ReadDir(c.l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w: %w", c.l.dir, kafka.KafkaStorageError, err)
	}
	for _, e := range entries {
		if e.IsDir() || !strings.Contains(e.Name(), asideInfix) {
			continue
		}
		if _, err := fs.Stat(filepath.Join(c.dir, e.Name())); errors.Is(err, os.ErrNotExist) {
			if err := c.aside(ctx, e.Name()); errors.Is(err, errUnread) {
				c.l.opts.Logger.Error("a file that was set aside can't be read; it does not move with its log", "file", filepath.Join(c.l.dir, e.Name()), "error", err)
				continue
			} else if err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, c.target(e.Name(), err)
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// errUnread says that a file of the log itself could not be read.
var errUnread = errors.New("not readable")

// aside copies one such file; it gets its name when it is whole and durable.
func (c *Copy) aside(ctx context.Context, name string) error {
	fs, path := c.l.opts.FS, filepath.Join(c.l.dir, name)
	src, err := fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w: %w", path, errUnread, err)
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w: %w", path, errUnread, err)
	}
	to := filepath.Join(c.dir, name)
	dst, err := fs.OpenFile(to+vfs.TempSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return c.target(name, err)
	}
	b := make([]byte, min(copyChunk, max(1, info.Size())))
	for off := int64(0); off < info.Size() && err == nil; off += int64(len(b)) {
		b = b[:min(int64(len(b)), info.Size()-off)]
		if err = c.pace(ctx, int64(len(b))); err != nil {
			break
		}
		if _, err = src.ReadAt(b, off); err != nil {
			err = fmt.Errorf("read %s at %d: %w: %w", path, off, errUnread, err)
		} else if err = c.target(name, c.room.take(int64(len(b)), false)); err == nil {
			_, err = dst.WriteAt(b, off)
			err = c.target(name, err)
		}
	}
	if err == nil {
		err = c.target(name, dst.Sync())
	}
	if closed := dst.Close(); err == nil {
		err = c.target(name, closed)
	}
	if err == nil {
		err = c.target(name, fs.Rename(to+vfs.TempSuffix, to))
	}
	return err
}

// clear removes what the copy has beyond names, and makes its directory durable.
func (c *Copy) clear(names map[string]bool) error {
	entries, err := c.l.opts.FS.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !names[e.Name()] {
			if err := c.l.opts.FS.RemoveAll(filepath.Join(c.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return c.l.opts.FS.SyncDir(c.dir)
}
