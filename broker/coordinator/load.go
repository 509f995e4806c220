package coordinator

import (
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// start loads the shard: at once when there is nothing to load, else in the background.
func (s *shard[M]) start() {
	start, end := s.log.Bounds()
	if start == end {
		s.begin()
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.r.mu.closed {
		return // Close has ended the shard or will; nobody waits for one that loads
	}
	s.r.mu.wg.Go(func() {
		select {
		case s.r.loading <- struct{}{}:
		case <-s.gone:
			s.run(-1)
			return
		}
		err := s.load(start, end)
		<-s.r.loading
		if err == nil {
			err = s.awaitCommit(end)
		}
		if err != nil {
			s.loadFailed(err)
			return
		}
		s.begin()
	})
}

// load replays the log.
func (s *shard[M]) load(start, end int64) error {
	began := time.Now()
	records := 0
	s.versions.loading = true
	defer func() { s.versions.loading = false }()
	for off := start; off < end; {
		select {
		case <-s.gone:
			return s.why()
		default:
		}
		b, err := s.log.Read(off, end)
		if err != nil {
			return fmt.Errorf("read at offset %d: %w", off, err)
		}
		next, n, err := s.replay(b, off)
		if err != nil {
			return err
		}
		if next <= off {
			return fmt.Errorf("no batch at offset %d below %d: %w", off, end, kafka.ErrCorrupt)
		}
		off = next
		records += n
	}
	s.r.metrics.loaded.Add(float64(records))
	s.r.o.Logger.Info("coordinator: a shard is loaded", "coordinator", s.r.o.Name, "shard", s.index,
		"records", records, "elapsed", time.Since(began))
	return nil
}

// replay applies the batches in b and answers where the next one begins.
func (s *shard[M]) replay(b []byte, off int64) (next int64, records int, err error) {
	next = off
	for len(b) > 0 {
		h, err := batch.ParseHeader(b)
		if err != nil {
			return next, records, err
		}
		if h.Size() > int64(len(b)) {
			return next, records, nil // the rest of it comes with the next read
		}
		one := b[:h.Size()]
		b = b[h.Size():]
		next = h.LastOffset() + 1
		if err := batch.CheckCRC(one); err != nil {
			return next, records, fmt.Errorf("batch at offset %d: %w: %w", h.BaseOffset, err, kafka.ErrCorrupt)
		}
		n, err := s.replayOne(one, &h)
		if err != nil {
			return next, records, err
		}
		records += n
	}
	return next, records, nil
}

// replayOne applies a batch.
func (s *shard[M]) replayOne(b []byte, h *batch.Header) (records int, err error) {
	txn, ok := any(s.machine).(Transactional)
	if !ok && h.IsTransactional() {
		s.r.o.Logger.Warn("coordinator: records of a transaction are passed over", "coordinator", s.r.o.Name,
			"shard", s.index, "offset", h.BaseOffset, "records", h.Count)
		return 0, nil
	}
	for rec, err := range batch.Records(b, batch.Limits{}) {
		if err != nil {
			return records, err
		}
		switch {
		case h.IsControl():
			kind, _, bad := batch.ParseControl(rec)
			if err = bad; err == nil && h.IsTransactional() && (kind == batch.Commit || kind == batch.Abort) {
				err = txn.ReplayMarker(h.ProducerID, kind == batch.Commit)
			}
		case h.IsTransactional():
			err = txn.ReplayTxn(h.ProducerID, Record{rec.Key, rec.Value})
		default:
			err = s.machine.Replay(Record{rec.Key, rec.Value})
		}
		if err != nil {
			return records, fmt.Errorf("record at offset %d: %w", rec.Offset, err)
		}
		records++
	}
	return records, nil
}

// awaitCommit waits until what was loaded is committed.
func (s *shard[M]) awaitCommit(end int64) error {
	settled := make(chan error, 1)
	if s.log.WhenCommitted(end, func(err error) { settled <- err }) {
		return nil
	}
	select {
	case err := <-settled:
		return err
	case <-s.gone:
		return s.why()
	}
}

func (s *shard[M]) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.why
}

// begin opens the shard for events. Its first one is that it is loaded.
func (s *shard[M]) begin() {
	s.mu.Lock()
	if s.mu.status == loading {
		s.mu.status = active
		s.mu.queue = append([]task{{event: func(nowMs int64) Step { return s.machine.Loaded(nowMs) }}}, s.mu.queue...)
	}
	s.mu.Unlock()
	s.run(-1)
}

// loadFailed leaves the shard without service, until this broker leads it anew.
func (s *shard[M]) loadFailed(err error) {
	s.mu.Lock()
	gave := s.mu.status == loading
	if gave {
		s.mu.status = failed
		s.mu.why = fmt.Errorf("shard %d of the %s coordinator is not loaded: %w", s.index, s.r.o.Name, kafka.NotCoordinator)
	}
	s.mu.Unlock()
	if gave {
		s.r.metrics.failures.WithLabelValues("load").Inc()
		s.r.o.Logger.Error("coordinator: a shard could not be loaded and is not served", "coordinator", s.r.o.Name, "shard", s.index, "error", err)
	}
	s.run(-1)
}
