package controller

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Store is where the metadata log lives: its entries, the few values that raft must not
// forget, and the snapshots. What its methods acknowledge survives a power cut.
type Store interface {
	Logs() raft.LogStore
	Stable() raft.StableStore
	Snapshots() raft.SnapshotStore
	Close() error
}

// Files in the metadata directory, beside the log's segments (*.wal) and the snapshots.
const (
	lockFile  = "lock"
	stateFile = "raft.state"
)

// walSegmentSize is when a file of the log is sealed, in bytes. Log truncation after a
// snapshot gives back whole files only.
const walSegmentSize = 4 << 20

// lockDir makes the directory this process's own.
func lockDir(fsys vfs.FS, dir string) (io.Closer, error) {
	if err := vfs.MkdirAllSync(fsys, dir, 0o755); err != nil {
		return nil, fmt.Errorf("metadata directory: %w", err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("the metadata directory %s is in use by another process: stop it, or name another directory: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the metadata directory %s: %w", dir, err)
	}
	return lock, nil
}

// diskStore is a Store of files: the log by raft-wal, the rest our own.
type diskStore struct {
	wal   *wal.WAL
	snaps *snapshotStore
}

// OpenStore opens or creates a Store in a directory, which exists and which the caller has
// locked. It repairs what a crash may leave: a torn tail of the log, unfinished snapshots.
// Damage that no crash leaves is refused with the file's name; see kafka.ErrCorrupt.
func OpenStore(fsys vfs.FS, dir string, log *slog.Logger) (Store, error) {
	return openStore(fsys, dir, log, walSegmentSize)
}

func openStore(fsys vfs.FS, dir string, log *slog.Logger, segmentSize int) (Store, error) {
	snaps, err := openSnapshots(fsys, dir)
	if err != nil {
		return nil, err
	}
	w, err := wal.Open(dir,
		wal.WithMetaStore(&stateStore{fs: fsys}),
		wal.WithSegmentFiler(segment.NewFiler(dir, walFS{fsys})),
		wal.WithSegmentSize(segmentSize),
		wal.WithLogger(newLogger(log).Named("wal")))
	if err != nil {
		return nil, fmt.Errorf("open the metadata log: %w", err)
	}
	store := &diskStore{wal: w, snaps: snaps}
	if err := store.check(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// check holds the log against the newest snapshot: a log that was written past a snapshot
// and now ends before it has lost entries, and which ones came after the snapshot nobody knows.
func (s *diskStore) check() error {
	last, err := s.wal.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	metas, err := s.snaps.List()
	if err != nil || len(metas) == 0 || last >= metas[0].Index {
		return err
	}
	return fmt.Errorf("the metadata log ends at entry %d, before its snapshot at entry %d: restore the metadata directory from a copy: %w", last, metas[0].Index, kafka.ErrCorrupt)
}

// Logs implements Store.
func (s *diskStore) Logs() raft.LogStore { return s.wal }

// Stable implements Store.
func (s *diskStore) Stable() raft.StableStore { return s.wal }

// Snapshots implements Store.
func (s *diskStore) Snapshots() raft.SnapshotStore { return s.snaps }

// Close implements Store.
func (s *diskStore) Close() error { return s.wal.Close() }

// memStore is a Store that a process takes with it.
type memStore struct {
	*raft.InmemStore
	snaps *raft.InmemSnapshotStore
}

// NewMemStore returns an empty Store in memory, for tests.
func NewMemStore() Store {
	return &memStore{InmemStore: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore()}
}

// Logs implements Store.
func (s *memStore) Logs() raft.LogStore { return s.InmemStore }

// Stable implements Store.
func (s *memStore) Stable() raft.StableStore { return s.InmemStore }

// Snapshots implements Store.
func (s *memStore) Snapshots() raft.SnapshotStore { return s.snaps }

// Close implements Store. The content stays, so that a test can open it again.
func (s *memStore) Close() error { return nil }

// Exists says whether dir holds metadata of an earlier start. It changes nothing.
func Exists(fsys vfs.FS, dir string) bool {
	entries, err := fsys.ReadDir(dir)
	return err == nil && len(entries) > 0
}
