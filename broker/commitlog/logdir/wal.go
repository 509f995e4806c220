package logdir

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
)

// wal answers the write-ahead file of a directory, and opens it at the first call: a
// directory without an append in group mode has none.
func (m *Manager) wal(d *dir) (*wal.WAL, error) {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	if w, err := d.openWAL(); w != nil || err != nil {
		return w, err
	}
	w, err := wal.Open(wal.Options{
		FS: m.opts.FS, Dir: d.path, DirID: d.id, Bytes: m.opts.WALBytes, Logger: m.opts.Logger, Metrics: m.opts.WALMetrics,
		Checkpoint: func() error { return m.writeCheckpoint(d, nil) },
		Failed:     func(err error) { m.fence(d, err) },
	})
	if err == nil {
		d.mu.Lock()
		d.mu.wal = w
		d.mu.Unlock()
		return d.openWAL() // the directory may have failed meanwhile
	}
	if !full(err) && !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) { // those pass
		m.fence(d, err)
	}
	return nil, err
}

// openWAL is the write-ahead file if it is open, or why nothing is written to the directory.
func (d *dir) openWAL() (*wal.WAL, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.offline != nil {
		return nil, fmt.Errorf("log dir %s is offline: %w: %w", d.path, kafka.KafkaStorageError, d.mu.offline)
	}
	return d.mu.wal, nil
}

// closeWAL lets go of the write-ahead file; clean says that all logs were closed in order.
func (d *dir) closeWAL(clean bool) error {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	d.mu.Lock()
	w := d.mu.wal
	d.mu.wal = nil
	d.mu.Unlock()
	if w == nil {
		return nil
	}
	if err := w.Close(clean); err != nil {
		return fmt.Errorf("close the write-ahead file in %s: %w", d.path, err)
	}
	return nil
}

// readWAL reads what the write-ahead file of a directory holds after a crash.
func (m *Manager) readWAL(d *dir) error {
	r, err := wal.Recover(m.opts.FS, d.path, d.id)
	if errors.Is(err, wal.ErrNewer) {
		return fmt.Errorf("log dir %s: %w", d.path, err)
	}
	if err != nil {
		return fmt.Errorf("log dir %s: %w: %w", d.path, kafka.KafkaStorageError, err)
	}
	if r.Empty() {
		return r.Close()
	}
	d.replay = r
	return nil
}

// redo gives a log what is to be replayed into it. Such a log is not clean, whatever the
// checkpoint says.
func (d *dir) redo(o *commitlog.Options) {
	o.Redo = d.replay.For(wal.Key{TopicID: o.TopicID, Partition: o.TP.Partition})
	if !o.Redo.Empty() {
		o.Clean = false
	}
}

// endReplay empties the write-ahead file, now that all of it is durable in the logs' own
// files and in the checkpoint. When a log could not take its part, the file is put aside.
func (m *Manager) endReplay(d *dir) error {
	r := d.replay
	d.replay = nil
	if d.offline() != nil {
		return r.Close()
	}
	left := d.unplayed
	d.unplayed = nil
	for _, l := range m.logsIn(d) {
		if err := commitlog.Unreplayed(l); err != nil {
			left = append(left, fmt.Errorf("%s: %w", l.TopicPartition(), err))
		}
	}
	if n := r.Unclaimed(); n > 0 {
		left = append(left, fmt.Errorf("%d partitions are not in the log dir any more: %w", n, kafka.ErrCorrupt))
	}
	err := errors.Join(left...)
	switch {
	case err == nil:
		err = r.Discard()
	case errors.Is(err, kafka.ErrCorrupt) || errors.Is(err, kafka.InconsistentTopicID):
		var kept string
		kept, keepErr := r.Keep()
		m.opts.Logger.Error("a log could not take what the write-ahead file holds of it; the file is put aside", "dir", d.path, "file", kept, "error", err)
		err = keepErr
	default:
		return errors.Join(fmt.Errorf("log dir %s: the write-ahead file can't be replayed for now: %w", d.path, err), r.Close())
	}
	if err != nil {
		m.fence(d, fmt.Errorf("write-ahead file in %s: %w: %w", d.path, kafka.KafkaStorageError, err))
	}
	return nil
}
