package commitlog

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
)

// Group durability: a batch goes to its segment, in the page cache, and to the write-ahead
// file of the log dir, whose next sync makes it durable. What a log has there continues what
// its own files hold durably, from the moment at which it joins to the one at which it leaves:
//
//   - It joins behind a sync of all it has, with its first append in group mode since it was
//     opened, cut or in another mode. That append is durable by the sync itself.
//   - It leaves before anything of it is cut or deleted, before it moves to another log dir, and
//     before its first append in pagecache mode: it syncs what it has, unless that is to go, and then a record that ends
//     its replay is made durable. So what is replayed was never cut.
//   - Eviction and its like take closed segments only, which are synced before: replay finds
//     that the log reaches further and takes nothing.

// OnDurable has f told, with no lock held, each time that what is durable has moved up in group mode: by the
// write-ahead file, or by a sync of the log's own files, whichever came first. There is one
// f; it may be called from several goroutines at once, and late, when the log is closed. It must
// not block for long, because the dir's other partitions wait behind it.
func OnDurable(l *Log, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.onDurable = f
}

// Unreplayed is why the log could not take all that the write-ahead file holds of it; nil
// when it could.
func Unreplayed(l *Log) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.opts.Redo.Empty():
		return nil
	case l.mu.err != nil:
		return l.mu.err
	case l.mu.damage != nil:
		return l.mu.damage
	default:
		return errNotRead
	}
}

// errNotRead says that the files could not be opened for now; see busy.
var errNotRead = errors.New("the log's files could not be read for now")

// enter makes the log ready for an append in the mode that c asks for. appendMu is held.
func (l *writer) enter(c *Config) error {
	if !c.Group {
		return l.leave(math.MaxInt64)
	}
	if l.wal != nil || l.opts.WAL == nil {
		return nil
	}
	w, err := l.opts.WAL()
	if err != nil {
		return fmt.Errorf("log %s: no appends in group mode: %w", l.opts.TP, err)
	}
	l.wal = w
	return nil
}

// stage hands a batch that was written to the write-ahead file. It answers false when the
// log's own files are to be synced instead. appendMu is held.
func (l *writer) stage(b []byte, h *batch.Header) (bool, error) {
	if l.member == nil || !l.wal.Fits(len(b)) {
		return false, nil
	}
	if err := l.member.Data(h.BaseOffset, h.LastOffset()+1, b); err != nil {
		return false, l.fail(err)
	}
	return true, nil
}

// join makes the log a member, behind a sync of all it holds. A log start that no checkpoint
// has yet comes along, and what was synced is not told before it is durable. appendMu is held.
func (l *writer) join() error {
	l.mu.Lock()
	l.mu.joining = true
	l.mu.Unlock()
	err := (syncer{l.Log}).sync(syncAll)
	if err == nil {
		k := wal.Key{TopicID: l.opts.TopicID, Partition: l.opts.TP.Partition}
		l.member = l.wal.Join(k, redoOwner{l.Log}, l.End())
	}
	l.mu.Lock()
	l.mu.joining, l.mu.member = false, l.member
	start, sure := l.mu.logStart, l.mu.sureStart
	tell := settleStart(l.Log, sure)
	l.mu.Unlock()
	if tell != nil {
		go tell() // as in sync
	}
	if err != nil || start <= sure {
		return err
	}
	if err := l.member.Start(start); err != nil {
		return l.fail(err)
	}
	return nil
}

// leave syncs what the log holds and then ends the replay of what it has in the write-ahead
// file, durably; start is the most that the log start is from here on. appendMu is held.
func (l *writer) leave(start int64) error {
	if l.member == nil {
		return nil
	}
	if err := (syncer{l.Log}).sync(syncAll); err != nil {
		return err
	}
	return l.quit(min(start, l.LogStart()))
}

// handOver is leave for a log that goes on in another log dir: a log start that it gets there
// may be lower, so that the checkpoint keeps the one of here, and the write-ahead file none.
func (l *writer) handOver() error {
	if l.member == nil {
		return nil
	}
	if err := (syncer{l.Log}).sync(syncAll); err != nil {
		return err
	}
	if l.opts.Checkpoint != nil {
		if err := l.opts.Checkpoint(); err != nil {
			return fmt.Errorf("checkpoint before a move: %w", err)
		}
	}
	return l.quit(0)
}

// quit is leave without a sync: what the log holds is to go.
func (l *writer) quit(start int64) error {
	if l.member == nil {
		return nil
	}
	if err := l.member.Leave(start); err != nil {
		return l.fail(err)
	}
	l.member = nil
	l.mu.Lock()
	l.mu.member = nil
	tell := settleStart(l.Log, start)
	l.mu.Unlock()
	if tell != nil {
		go tell() // as in sync
	}
	return nil
}

// redoOwner is the log as its part in the write-ahead file sees it.
type redoOwner struct{ *Log }

// SyncForWAL implements wal.Owner.
func (l redoOwner) SyncForWAL() error {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	return (syncer{l.Log}).sync(syncAll)
}

// Committed implements wal.Owner. Of a member that has left it may come late, when the log
// was cut since.
func (l redoOwner) Committed(m *wal.Member, end, start int64) {
	var tell func()
	l.mu.Lock()
	if l.mu.member == m {
		l.mu.sureStart = max(l.mu.sureStart, start)
		tell = raiseDurable(l.Log, end)
	}
	l.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// raiseDurable moves the durable end up to end, which is durable, or up to where it was held
// back. It is while the write-ahead file has a log start to commit: an append that a sync of the
// log's own files made durable is behind that start, and must not be acknowledged in front of it.
// It answers who is to be told, nil for nobody: each raise is told once, by who made it. Outside group
// mode nobody waits for it. mu is held.
func raiseDurable(l *Log, end int64) (tell func()) {
	l.mu.held = max(l.mu.held, end)
	starting := (l.mu.member != nil || l.mu.joining) && l.mu.logStart > l.mu.sureStart
	if starting && !fault.Planted(fault.BugStartOvertaken) || l.mu.held <= l.mu.durable {
		return nil
	}
	l.mu.durable = l.mu.held
	if !l.mu.config.Group {
		return nil
	}
	return l.mu.onDurable
}

// settleStart notes that a log start is durable, and is raiseDurable where that was waited for.
// mu is held.
func settleStart(l *Log, start int64) (tell func()) {
	l.mu.sureStart = max(l.mu.sureStart, start)
	return raiseDurable(l, l.mu.held)
}

// redo puts back what the write-ahead file holds and the segments lack. What is in both is
// in the segments already; batches are appended from where the segments' chain ends.
func (ld *loader) redo() error {
	d, taken := ld.l.opts.Redo, 0
	err := d.Each(func(base int64, b []byte) error {
		h, err := batch.ParseHeader(b)
		if err == nil && (h.BaseOffset != base || h.Size() != int64(len(b))) {
			err = fmt.Errorf("batch of offset %d and %d bytes in a record of offset %d and %d bytes: %w", h.BaseOffset, h.Size(), base, len(b), kafka.ErrCorrupt)
		}
		if err == nil {
			err = batch.CheckCRC(b)
		}
		end := ld.end()
		switch {
		case err != nil:
			return fmt.Errorf("write-ahead file: %w", err)
		case ld.damage != nil || h.LastOffset() < end:
			return nil
		case base != end || len(ld.segs) == 0:
			ld.hurt(fmt.Errorf("log %s in %s ends at %d and the write-ahead file goes on at %d: %w", ld.l.opts.TP, ld.l.opts.Dir, end, base, kafka.ErrCorrupt))
			return nil
		}
		if taken++; taken == 1 {
			ld.state.RecoveryPoint = min(ld.state.RecoveryPoint, base) // what is put back is not synced yet
		}
		return ld.put(b, &h)
	})
	if err != nil {
		return err
	}
	if taken > 0 {
		ld.l.opts.Logger.Info("replayed batches from the write-ahead file", "partition", ld.l.opts.TP.String(), "dir", ld.l.opts.Dir, "batches", taken, "end", ld.end())
	}
	return nil
}

// put appends a batch to the last segment, or to a new one where it is full, as the log did.
func (ld *loader) put(b []byte, h *batch.Header) error {
	l := ld.l
	i, flag := len(ld.segs)-1, 0
	s := ld.segs[i]
	begins := h.LeaderEpoch > ld.epoch
	ld.epoch = h.LeaderEpoch
	if s.full(&ld.c, h.Size(), h.MaxTimestampMs, h.LastOffset(), l.opts.nowMs()) || begins && splitsEpoch(s.size) {
		s.addTime()
		if err := l.w.flushIndexes(s); err != nil {
			return err
		}
		s = newSegment(l.dir, h.BaseOffset, l.opts.nowMs(), 0)
		if err := l.w.writeIndexes(s, writeFile); err != nil {
			return err
		}
		ld.segs, ld.sizes, i = append(ld.segs, s), append(ld.sizes, 0), i+1
		flag = os.O_CREATE | os.O_TRUNC
	}
	f, err := l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, flag)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(logSuffix), err)
	}
	defer f.ref.Release()
	if _, err := f.WriteAt(b, s.size); err != nil {
		return fmt.Errorf("write %s at %d: %w", s.path(logSuffix), s.size, err)
	}
	s.grow(&ld.c, h.Size(), h.MaxTimestampMs, h.LastOffset())
	ld.sizes[i] = s.size
	return nil
}
