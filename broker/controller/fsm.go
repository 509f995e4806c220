package controller

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/varve-io/varve/broker/metadata"
)

// fsm applies the log to the image. Raft calls Apply, Snapshot and Restore one at a time.
type fsm struct {
	image       atomic.Pointer[metadata.Image]
	snapshotDue chan struct{} // a hint: enough entries since the last snapshot
	every       int
	since       int // entries applied since the last snapshot; raft's goroutine only

	failed chan struct{}
	mu     struct {
		sync.Mutex
		err error
	}
	watchers struct {
		sync.Mutex // held while an image is put in place and shown
		list       []func(*metadata.Image, *metadata.Delta)
	}
}

func newFSM(snapshotEntries int) *fsm {
	f := &fsm{snapshotDue: make(chan struct{}, 1), every: snapshotEntries, failed: make(chan struct{})}
	f.image.Store(&metadata.Image{})
	return f
}

// fail stops the log for good: nothing is applied, snapshotted or proposed after it, so that
// a later program that can read the log finds it as it is.
func (f *fsm) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.err == nil {
		f.mu.err = err
		close(f.failed)
	}
}

func (f *fsm) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.err
}

// Apply implements raft.FSM. It answers nil or the error of the entry.
func (f *fsm) Apply(l *raft.Log) any {
	if err := f.err(); err != nil {
		return err
	}
	records, err := metadata.DecodeEntry(l.Data)
	if err != nil {
		err = fmt.Errorf("metadata log entry %d: %w", l.Index, err)
		f.fail(err)
		return err
	}
	img := f.image.Load()
	next, delta, err := img.Apply(int64(l.Index), records)
	switch {
	case errors.Is(err, metadata.ErrUnsupported):
		err = fmt.Errorf("metadata log entry %d: %w", l.Index, err)
		f.fail(err)
		return err
	case err != nil:
		next, delta = img.Skip(int64(l.Index)), &metadata.Delta{}
	}
	f.show(next, delta)
	f.count()
	return err
}

// count asks for a snapshot after every so many entries.
func (f *fsm) count() {
	f.since++
	if f.since%f.every == 0 {
		select {
		case f.snapshotDue <- struct{}{}:
		default:
		}
	}
}

// show puts an image in place and tells the watchers.
func (f *fsm) show(img *metadata.Image, d *metadata.Delta) {
	f.watchers.Lock()
	defer f.watchers.Unlock()
	f.image.Store(img)
	for _, w := range f.watchers.list {
		w(img, d)
	}
}

func (f *fsm) watch(w func(*metadata.Image, *metadata.Delta)) {
	f.watchers.Lock()
	defer f.watchers.Unlock()
	img := f.image.Load()
	w(img, metadata.Diff(&metadata.Image{}, img))
	f.watchers.list = append(f.watchers.list, w)
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	f.since = 0
	return imageSnapshot{f.image.Load()}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	img, err := metadata.ReadImage(r)
	if err != nil {
		err = fmt.Errorf("metadata snapshot: %w", err)
		f.fail(err)
		return err
	}
	f.since = 0
	f.show(img, metadata.Diff(f.image.Load(), img))
	return nil
}

// imageSnapshot is an image on its way into a snapshot. It costs nothing to hold: images do not change.
type imageSnapshot struct{ img *metadata.Image }

// Persist implements raft.FSMSnapshot.
func (s imageSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.img.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (imageSnapshot) Release() {}

// failStop stops the node when the log cannot be written. After a failed write nobody knows
// what is on the disk, and the log library's memory no longer agrees with its file; only a
// new start reads what is there.
type failStop struct {
	raft.LogStore
	fail func(error)
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *failStop) IsMonotonic() bool {
	m, ok := s.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// StoreLog implements raft.LogStore.
func (s *failStop) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *failStop) StoreLogs(l []*raft.Log) error { return s.check(s.LogStore.StoreLogs(l)) }

// DeleteRange implements raft.LogStore.
func (s *failStop) DeleteRange(first, last uint64) error {
	return s.check(s.LogStore.DeleteRange(first, last))
}

func (s *failStop) check(err error) error {
	if err != nil {
		s.fail(fmt.Errorf("write the metadata log: %w", err))
	}
	return err
}
