package commitlog

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// EvictBelow drops the closed segments that lie wholly below offset and answers how many
// went. The local start moves up to the first segment that stays; the global start
// (SetStart) is the caller's. For a tiered partition the caller has committed them.
//
// What stays is made durable first: its producer snapshot and its directory entry. The
// files are renamed (`.deleted`), durably; Reap removes them. Readers keep what they hold.
func (l *Log) EvictBelow(offset int64) (int, error) {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	if err := l.view(); err != nil {
		return 0, err
	}
	n := (cutter{l}).evictable(offset)
	l.mu.RUnlock()
	if n == 0 {
		return 0, nil
	}
	if err := (syncer{l}).sync(syncClosed); err != nil {
		return 0, err
	}
	if err := (syncer{l}).syncDir(); err != nil {
		return 0, l.fail(err)
	}
	l.mu.Lock()
	n = (cutter{l}).evictable(offset)
	gone := l.mu.segs[:n:n]
	l.mu.segs = slices.Clone(l.mu.segs[n:])
	l.mu.swaps++
	for _, s := range gone {
		(cutter{l}).forget(s)
	}
	first := l.mu.segs[0].base
	l.mu.localStart = max(l.mu.localStart, first)
	if l.mu.highestRemote < 0 {
		l.mu.logStart = max(l.mu.logStart, first)
	}
	l.mu.epochs.truncateStart(l.mu.logStart)
	l.mu.Unlock()
	if err := (cutter{l}).renameAway(gone, first); err != nil {
		return n, l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.highestRemote >= 0 { // the start is not what is here
		return n, nil
	}
	if tell := settleStart(l, first); tell != nil {
		go tell() // as in sync
	}
	return n, nil
}

// evictable counts the closed segments wholly below offset. mu is held.
func (l cutter) evictable(offset int64) int {
	n := 0
	for n < len(l.mu.segs)-1 && l.mu.segs[n+1].base <= offset {
		n++
	}
	return n
}

// renameAway marks the files of segments as deleted, and those snapshots that only they needed.
func (l cutter) renameAway(gone []*segment, first int64) error {
	var moved []string
	for _, s := range gone {
		suffixes := []string{logSuffix, indexSuffix, timeIndexSuffix}
		if s.hasTxns {
			suffixes = append(suffixes, txnIndexSuffix)
		}
		for _, suffix := range suffixes {
			path := s.path(suffix)
			if err := l.opts.FS.Rename(path, path+deletedSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("rename %s: %w", path, err)
			}
			moved = append(moved, path+deletedSuffix)
		}
		if s.base < first {
			moved = append(moved, s.path(snapshotSuffix))
		}
	}
	if err := l.opts.FS.SyncDir(l.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", l.dir, err)
	}
	due := l.opts.nowMs() + l.config().FileDeleteDelayMs
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range moved {
		l.mu.trash = append(l.mu.trash, trash{path: path, dueMs: due})
	}
	return nil
}

// Reap removes the files of evicted segments that have waited for file.delete.delay.ms and
// were evicted before the last FlushClosed. Call it after a State that was taken behind that
// FlushClosed became durable: until then their names are what tells a recovery that the
// log's first segments were evicted, and not lost. What it does not get to, the next start
// does. On a disk that fills, now does not wait for the delay; readers keep what they hold.
func (l *Log) Reap(now bool) {
	at := l.opts.nowMs()
	if now {
		at = math.MaxInt64
	}
	l.mu.Lock()
	l.mu.vouched = l.mu.flushed
	l.mu.Unlock()
	(cutter{l}).reap(at, false)
}

// DeletedDirSuffix ends the name of a partition's directory that is being removed.
const DeletedDirSuffix = "-delete"

// Delete removes the log for good: its directory is renamed, durably, to
// `<topic>-<partition>.<32 hex digits>-delete`, so that the topic's name is free at once,
// and then removed. The log answers ErrClosed afterwards; readers keep what they hold.
func (l *Log) Delete() error {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.w.quit(0); err != nil {
		// Its records go with its directory; only the same partition, back in this dir before
		// the next start, would need the end of its replay.
		l.opts.Logger.Warn("delete a log whose end of replay could not be written", "partition", l.opts.TP.String(), "dir", l.opts.Dir, "error", err)
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	(cutter{l}).shut()
	gone := filepath.Join(l.opts.Dir, DeletedDirName(l.opts.TP, kafka.NewUUID()))
	err := l.opts.FS.Rename(l.dir, gone)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no append ever came
	}
	if err == nil {
		err = l.opts.FS.SyncDir(l.opts.Dir)
	}
	if err == nil {
		err = l.opts.FS.RemoveAll(gone)
	}
	if err != nil {
		return fmt.Errorf("delete log %s: %w: %w", l.dir, kafka.KafkaStorageError, err)
	}
	return nil
}

// DeletedDirName is the name of a partition's directory on its way out. It fits the 255
// bytes of a file name, at the expense of the topic's.
func DeletedDirName(tp kafka.TopicPartition, unique kafka.UUID) string {
	return dirName(tp, unique, DeletedDirSuffix)
}

// StrayDirName is the name, Kafka's, of the directory of a partition that is no log of this
// node any more and that nobody but the operator removes.
func StrayDirName(tp kafka.TopicPartition, unique kafka.UUID) string {
	return dirName(tp, unique, "-stray")
}

func dirName(tp kafka.TopicPartition, unique kafka.UUID, suffix string) string {
	tail := fmt.Sprintf("-%d.%s%s", tp.Partition, unique.Hex(), suffix)
	return tp.Topic[:min(len(tp.Topic), 255-len(tail))] + tail
}

// ParseDirName reads the name of a partition's directory.
func ParseDirName(name string) (kafka.TopicPartition, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || strings.HasSuffix(name, DeletedDirSuffix) {
		return kafka.TopicPartition{}, false
	}
	p, ok := parsePartition(name[i+1:])
	return kafka.TopicPartition{Topic: name[:i], Partition: p}, ok
}

func parsePartition(s string) (int32, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	var n int64
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > 1<<31-1 {
			return 0, false
		}
	}
	return int32(n), true
}
