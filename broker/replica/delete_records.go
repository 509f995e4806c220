package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/tiered"
)

// AllRecords is the offset of a deletion that stands for the high watermark.
const AllRecords int64 = -1

// Deletion asks for the end of the records of a partition below Offset.
type Deletion struct {
	Partition *Partition
	Offset    int64 // the first to keep, or AllRecords
}

// DeletionResult is how a deletion fared.
type DeletionResult struct {
	LogStart int64 // the partition's log start now, kafka.NoOffset with an error
	Err      error
}

// failedDeletion is a deletion that did not happen.
func failedDeletion(err error) DeletionResult {
	return DeletionResult{LogStart: kafka.NoOffset, Err: err}
}

// DeleteRecords raises the log starts that the deletions name, and calls done once, on
// any goroutine, with a result for each, in their order. What is answered without an error
// holds after a crash: the manifest of a tiered partition and the checkpoint of the log dir
// have it. Segments below the new start, local and in the object store, go with the next
// round of retention.
//
// Deletions that are not done after timeout answer RequestTimedOut, and go on. Errors:
// PolicyViolation for a topic without the delete policy, OffsetOutOfRange above the high
// watermark, NotLeaderOrFollower, KafkaStorageError.
func (m *Manager) DeleteRecords(deletions []Deletion, timeout time.Duration, done func([]DeletionResult)) {
	if len(deletions) == 0 {
		done(nil)
		return
	}
	j := &deleteJob{m: m, done: done}
	j.mu.left = len(deletions)
	j.mu.moved = map[string][]movedStart{}
	j.mu.results = make([]DeletionResult, len(deletions))
	for i := range j.mu.results {
		j.mu.results[i] = failedDeletion(kafka.RequestTimedOut)
	}
	j.mu.Lock() // conclude waits for it: with a timeout of 0 it may run before AfterFunc returns
	j.mu.timer = time.AfterFunc(timeout, j.conclude)
	j.mu.Unlock()
	for i, d := range deletions {
		workers := m.disk
		if d.isTiered() {
			workers = m.remote
		}
		if !workers.submit(func() { j.run(i, d) }) {
			j.settle(i, nil, failedDeletion(errTooBusy))
		}
	}
}

// deleteJob is the deletions of one request.
type deleteJob struct {
	m    *Manager
	done func([]DeletionResult)
	once sync.Once

	mu struct {
		sync.Mutex
		timer   *time.Timer
		left    int
		results []DeletionResult        // what an answer would say now
		moved   map[string][]movedStart // by log dir: starts that its checkpoint does not have yet
	}
}

// movedStart is a log start that was raised for the deletion of that index.
type movedStart struct {
	index int
	start int64
}

// run does one deletion.
func (j *deleteJob) run(i int, d Deletion) {
	log, start, err := d.do(j.m.ctx)
	if err != nil {
		j.settle(i, nil, failedDeletion(err))
		return
	}
	j.settle(i, log, DeletionResult{LogStart: start})
}

// settle notes how a deletion fared. One that moved the start of log counts only when the
// checkpoint has it, which is written once for all deletions of the request.
func (j *deleteJob) settle(i int, log *commitlog.Log, res DeletionResult) {
	j.mu.Lock()
	if log == nil {
		j.mu.results[i] = res
	} else {
		j.mu.moved[log.Dir()] = append(j.mu.moved[log.Dir()], movedStart{i, res.LogStart})
	}
	j.mu.left--
	last := j.mu.left == 0
	j.mu.Unlock()
	if last {
		j.conclude()
	}
}

// conclude answers, when what has moved by now is durable. It runs when all is done, and
// before that when the time is up.
func (j *deleteJob) conclude() {
	j.mu.Lock()
	moved := j.mu.moved
	j.mu.moved = map[string][]movedStart{}
	j.mu.Unlock()
	if len(moved) == 0 || !j.m.disk.submit(func() { j.save(moved) }) { // no: the clean shutdown saves it
		j.answer()
	}
}

// save makes new starts durable and answers.
func (j *deleteJob) save(moved map[string][]movedStart) {
	for dir, starts := range moved {
		err := j.m.dirs.CheckpointDir(dir)
		j.mu.Lock()
		for _, d := range starts {
			if j.mu.results[d.index] = (DeletionResult{LogStart: d.start}); err != nil {
				j.mu.results[d.index] = failedDeletion(storageError(err))
			}
		}
		j.mu.Unlock()
	}
	j.answer()
}

// answer tells what is known, once.
func (j *deleteJob) answer() {
	j.once.Do(func() {
		j.mu.Lock()
		j.mu.timer.Stop()
		out := slices.Clone(j.mu.results) // what is late writes to results
		j.mu.Unlock()
		j.done(out)
	})
}

// isTiered says whether the object store has to be asked.
func (d Deletion) isTiered() bool {
	p := d.Partition
	p.lead.RLock()
	defer p.lead.RUnlock()
	return p.lead.remote != nil
}

// do raises the log start and answers it. The log is nil when nothing moved.
func (d Deletion) do(ctx context.Context) (moved *commitlog.Log, start int64, err error) {
	p, offset := d.Partition, d.Offset
	p.lead.RLock()
	log, remote, epoch, cfg := p.lead.log, p.lead.remote, p.lead.epoch, p.lead.cfg
	if err = p.servesLocked(kafka.NoEpoch); err != nil {
		p.lead.RUnlock()
		return nil, 0, err
	}
	start, certain := p.logStartLocked()
	p.lead.RUnlock()
	hw := p.HighWatermark()
	if offset == AllRecords {
		offset = hw
	}
	switch {
	case !cfg.CleanupDelete:
		return nil, 0, fmt.Errorf("cleanup.policy of %s has no delete: %w", p.tp.Topic, kafka.PolicyViolation)
	case offset < 0 || offset > hw:
		return nil, 0, fmt.Errorf("partition %s: offset %d is not in [0, %d]: %w", p.tp, offset, hw, kafka.OffsetOutOfRange)
	case certain && offset <= start:
		return nil, start, nil
	}
	if err := log.Damage(); err != nil {
		return nil, 0, storageError(err) // its checkpoint says what was promised before
	}
	if remote != nil {
		// The manifest first, and with the very offset: an upload that is under way holds the
		// manifest, and all that come later start at the new start.
		if err := remote.Expire(ctx, offset); errors.Is(err, tiered.ErrFenced) {
			return nil, 0, fmt.Errorf("%w: %w", kafka.NotLeaderOrFollower, err)
		} else if err != nil {
			return nil, 0, storageError(err)
		}
	}
	return d.raise(log, epoch, offset)
}

// raise moves the log start up to offset if this broker still leads in the epoch.
func (d Deletion) raise(log *commitlog.Log, epoch int32, offset int64) (moved *commitlog.Log, start int64, err error) {
	p := d.Partition
	p.lead.RLock()
	defer p.lead.RUnlock()
	if err := p.servesLocked(kafka.NoEpoch); err != nil {
		return nil, 0, err
	}
	if p.lead.epoch != epoch || p.lead.log != log {
		return nil, 0, fmt.Errorf("partition %s has a new leader: %w", p.tp, kafka.NotLeaderOrFollower)
	}
	if log.LogStart() < offset {
		if err := log.SetStart(offset); err != nil {
			return nil, 0, storageError(err)
		}
		moved = log
		p.touch()
	}
	start, _ = p.logStartLocked()
	return moved, start, nil
}
