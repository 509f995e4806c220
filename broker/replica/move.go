package replica

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
)

const (
	// moveSwitchBytes is how much of a log may be left to copy when appends are held up for
	// the switch.
	moveSwitchBytes = 1 << 20
	// moveRetry is the time between two tries of a move that failed, of its end in the
	// cluster's metadata, and of a switch that found segments at work.
	moveRetry     = 5 * time.Second
	moveBusyRetry = 50 * time.Millisecond
)

// DirChange asks for a partition's log to lie in the log dir at Path.
type DirChange struct {
	Topic string
	Index int32
	Path  string
}

// MoveLogs has logs move to other log directories, and calls done once, on another goroutine,
// with an error for each change, in their order: nil when its move has begun, goes on, or has
// nothing to do. A move to where the log is ends one that is under way; a move to a third
// directory takes its place. The moves go on in the background, and after a restart.
//
// Errors: InvalidTopic for a name that is too long, LogDirNotFound, KafkaStorageError for a
// directory or log that is offline and while any directory is, InvalidReplicaAssignment for a
// cordoned one, ReplicaNotAvailable for a partition that is not here, UnknownTopicOrPartition. Source: KIP-113, KIP-1066.
func (m *Manager) MoveLogs(changes []DirChange, done func([]error)) {
	errs := make([]error, len(changes))
	job := func() {
		for i, c := range changes {
			if errs[i] = m.moveLog(c, false); errs[i] != nil {
				m.logger.Warn("a log does not move", "topic", c.Topic, "partition", c.Index, "dir", c.Path, "error", errs[i])
			}
		}
		done(errs)
	}
	if !m.disk.submit(job) {
		for i := range errs {
			errs[i] = errShutdown
		}
		done(errs)
	}
}

// dirAt finds the log dir that clients call path.
func (m *Manager) dirAt(path string) (logdir.DirInfo, error) {
	for _, d := range m.dirs.Dirs() {
		if abs, err := filepath.Abs(d.Path); d.Path == path || err == nil && abs == path {
			return d, nil
		}
	}
	return logdir.DirInfo{}, fmt.Errorf("%s is no log dir of this broker: %w", path, kafka.LogDirNotFound)
}

// moveLog begins a move, or ends one. resume says that an earlier process began it.
func (m *Manager) moveLog(c DirChange, resume bool) error {
	tp := kafka.TopicPartition{Topic: c.Topic, Partition: c.Index}
	if err := logdir.CheckMoveName(tp); err != nil {
		return err
	}
	dir, err := m.dirAt(c.Path)
	if err != nil {
		return err
	}
	if dir.Offline != nil {
		return fmt.Errorf("log dir %s is offline: %w: %w", dir.Path, kafka.KafkaStorageError, dir.Offline)
	}
	if dir.Cordoned && !resume {
		return fmt.Errorf("log dir %s is cordoned: %w", dir.Path, kafka.InvalidReplicaAssignment)
	}
	p, err := m.Partition(c.Topic, c.Index)
	if errors.Is(err, kafka.NotLeaderOrFollower) {
		return fmt.Errorf("%s has no replica here: %w", tp, kafka.ReplicaNotAvailable)
	} else if err != nil {
		return err
	}
	m.moves.Lock()
	defer m.moves.Unlock()
	if v := m.moves.byPartition[p]; v != nil {
		if v.move.To() == dir.Path {
			return nil
		}
		if err := v.end(true); err != nil {
			return err
		}
		delete(m.moves.byPartition, p)
	}
	log := p.Log()
	switch {
	case log == nil:
		return fmt.Errorf("partition %s is offline: %w", tp, kafka.KafkaStorageError)
	case log.Dir() == dir.Path:
		return nil
	case m.moves.closed:
		return errShutdown
	}
	move, err := m.dirs.StartMove(tp, p.topicID, dir.Path, m.moves.pace.wait)
	if err != nil {
		return storageError(err)
	}
	v := &mover{p: p, move: move, done: make(chan struct{})}
	v.ctx, v.cancel = context.WithCancel(m.ctx)
	m.moves.byPartition[p] = v
	m.logger.Info("a log moves to another directory", "partition", tp.String(), "from", log.Dir(), "to", dir.Path)
	m.movers.submit(v.run)
	return nil
}

// moves is the moves under way.
type moves struct {
	sync.Mutex
	byPartition map[*Partition]*mover
	closed      bool
	pace        pace

	// told are the moves of which the metadata may know. It is locked while that is told, so
	// that one thing is said of a log at a time; the other lock may be held already.
	told struct {
		sync.Mutex
		byPartition map[*Partition]*mover
	}
}

// stopMove ends a partition's move and removes its copy: the partition is deleted.
func (m *Manager) stopMove(p *Partition) {
	m.moves.Lock()
	defer m.moves.Unlock()
	if v := m.moves.byPartition[p]; v != nil {
		delete(m.moves.byPartition, p)
		if err := v.end(true); err != nil {
			m.logger.Warn("the copy of a deleted log stays behind", "partition", p.tp.String(), "dir", v.move.To(), "error", err)
		}
	}
}

// closeMoves ends all moves; the next process goes on with them.
func (m *Manager) closeMoves() {
	m.moves.Lock()
	m.moves.closed = true
	for p, v := range m.moves.byPartition {
		_ = v.end(false) // nothing is removed, so nothing can fail
		delete(m.moves.byPartition, p)
	}
	m.moves.Unlock()
	m.movers.close()
}

// mover does one move. It is queued, running, or over.
type mover struct {
	p      *Partition
	move   *logdir.Move
	ctx    context.Context
	cancel context.CancelFunc
	state  atomic.Int32
	done   chan struct{} // closed when it is over

	kept      error // why the copy stays although the move is over; set before done is closed
	announced bool  // the metadata names the new directory; moves.told guards it
}

const (
	moverQueued int32 = iota
	moverRunning
	moverOver
)

// end stops the mover where it is, and removes the copy unless it has taken the log's place.
// The caller holds m.moves.
func (v *mover) end(remove bool) error {
	v.cancel()
	if v.state.CompareAndSwap(moverQueued, moverOver) {
		close(v.done)
	}
	<-v.done
	switch log := v.p.Log(); {
	case log != nil && log.Dir() == v.move.To():
		return nil
	case remove && v.kept != nil:
		v.move.Stop()
		return v.kept
	case remove:
		return v.move.Cancel()
	}
	v.move.Stop()
	return nil
}

// run copies and switches, and sees to the rest when the move is over.
func (v *mover) run() {
	if !v.state.CompareAndSwap(moverQueued, moverRunning) {
		return
	}
	m, tp := v.p.m, v.p.tp.String()
	err := v.bring()
	if err != nil {
		v.kept = v.takeBack()
	}
	if err != nil && v.ctx.Err() == nil {
		m.logger.Error("a log does not move; the copy goes on with the next start, or when it is asked for again", "partition", tp, "to", v.move.To(), "error", err)
		v.move.Stop()
	}
	if v.ctx.Err() == nil || err == nil {
		m.metrics.moved(err)
	}
	v.cancel()
	v.state.Store(moverOver)
	close(v.done)
	m.moves.Lock()
	if m.moves.byPartition[v.p] == v {
		delete(m.moves.byPartition, v.p)
	}
	m.moves.Unlock()
	if v.untold() || err == nil {
		m.settle(v.p)
	}
}

// bring copies the log until it can be switched. What fails is tried again while there is hope:
// a full disk may get room.
func (v *mover) bring() error {
	for {
		lag, err := v.move.Advance(v.ctx)
		if err == nil && lag <= moveSwitchBytes {
			if err = v.announce(); err == nil {
				if err = v.switchOver(); err == nil {
					return nil
				}
			}
		}
		wait := moveRetry
		switch {
		case err == nil:
			continue
		case v.ctx.Err() != nil:
			return v.ctx.Err()
		case errors.Is(err, commitlog.ErrBusy):
			wait = moveBusyRetry
		case errors.Is(err, errNotAnnounced):
			v.p.m.logger.Warn("a move between log dirs waits for the cluster's metadata", "partition", v.p.tp.String(), "to", v.move.To(), "error", err)
		case !errors.Is(err, commitlog.ErrDiskFull):
			return err
		default:
			v.p.m.logger.Warn("a move between log dirs waits for room", "partition", v.p.tp.String(), "to", v.move.To(), "error", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-v.ctx.Done():
		}
		t.Stop()
	}
}

// errNotAnnounced says that the metadata could not be told where a log goes.
var errNotAnnounced = errors.New("the metadata does not know of the move")

// announce has the metadata name the new directory, once, before the log is there: what is
// acknowledged there must not be forgotten by a start that finds that directory missing, takes
// the old copy for the log and gives its offsets to other records. Source: KIP-858.
func (v *mover) announce() error {
	m := v.p.m
	m.moves.told.Lock()
	defer m.moves.told.Unlock()
	if m.assign == nil || v.announced {
		return nil
	}
	dir, err := m.dirAt(v.move.To())
	if err != nil {
		return err
	}
	m.moves.told.byPartition[v.p] = v
	if err := m.assign(v.ctx, v.p.topicID, v.p.tp.Partition, dir.ID); err != nil {
		return fmt.Errorf("%w: %w", errNotAnnounced, err)
	}
	v.announced = true
	return nil
}

// takeBack has the metadata name the log's directory again, of a move that failed or is to end. As
// long as it names the other one the copy there stays: that tells a start, which may miss
// the disk with the log, that there is one.
func (v *mover) takeBack() error {
	m := v.p.m
	m.moves.told.Lock()
	defer m.moves.told.Unlock()
	if m.moves.told.byPartition[v.p] != v {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.ctx, moveRetry)
	defer cancel()
	err := m.assign(ctx, v.p.topicID, v.p.tp.Partition, m.dirs.DirOf(v.p.tp))
	if err != nil && !errors.Is(err, kafka.UnknownTopicID) {
		return fmt.Errorf("%w: %w", errNotAnnounced, err)
	}
	delete(m.moves.told.byPartition, v.p)
	return nil
}

// untold says whether the metadata may name the new directory of a move that is over.
func (v *mover) untold() bool {
	told := &v.p.m.moves.told
	told.Lock()
	defer told.Unlock()
	if told.byPartition[v.p] != v {
		return false
	}
	delete(told.byPartition, v.p)
	return true
}

// switchOver puts the copy in the log's place. Appends and reads wait: what is left to copy
// is small.
func (v *mover) switchOver() error {
	p := v.p
	begun := time.Now()
	p.lead.Lock()
	if p.lead.refused != nil || v.ctx.Err() != nil {
		p.lead.Unlock()
		return fmt.Errorf("partition %s is no more: %w", p.tp, errors.Join(p.lead.refused, v.ctx.Err()))
	}
	old := p.lead.log
	log, err := v.move.Switch(LogConfig(p.lead.cfg))
	if err != nil {
		p.lead.Unlock()
		return err
	}
	// What is not written but said may have come to the old log until now.
	st := old.State()
	log.SetHighestRemote(st.HighestRemote)
	err = log.SetStart(st.LogStart)
	p.lead.log = log
	p.lead.Unlock()
	if err != nil {
		p.m.logger.Error("the log start of a moved log", "partition", p.tp.String(), "error", err)
	}
	p.wakeAll()
	p.m.logger.Info("a log has moved", "partition", p.tp.String(), "from", old.Dir(), "to", log.Dir(), "end", log.End(), "paused", time.Since(begun).String())
	return nil
}

// settle tells the cluster's metadata where a log is that has moved, or that did not although
// it was announced, and then removes the old copy. It is tried until it succeeds or this
// process ends.
func (m *Manager) settle(p *Partition) {
	job := func() {
		err := m.assignHere(p)
		if err == nil {
			err = m.dirs.Settle(p.tp, p.topicID)
		}
		if err == nil || m.ctx.Err() != nil || errors.Is(err, kafka.UnknownTopicID) {
			return
		}
		m.logger.Warn("the end of a move between log dirs is tried again", "partition", p.tp.String(), "error", err)
		time.AfterFunc(moveRetry, func() { m.settle(p) })
	}
	m.movers.submit(job) // after close the next process does it
}

// assignHere tells the metadata where a log is, unless a move has announced another place.
func (m *Manager) assignHere(p *Partition) error {
	m.moves.told.Lock()
	defer m.moves.told.Unlock()
	if m.moves.told.byPartition[p] != nil {
		return errMovesAgain
	}
	dir := m.dirs.DirOf(p.tp)
	if m.assign == nil || dir.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.ctx, moveRetry)
	defer cancel()
	return m.assign(ctx, p.topicID, p.tp.Partition, dir)
}

var errMovesAgain = errors.New("the log moves again")

// resumeMoves goes on with what an earlier process began.
func (m *Manager) resumeMoves() {
	for _, p := range m.all() {
		if p.Log() != nil && (p.displaced.Load() || len(m.dirs.MovedFrom(p.tp)) > 0) {
			m.settle(p)
		}
	}
	for _, f := range m.dirs.Futures() {
		m.disk.submit(func() { m.resumeMove(f) })
	}
}

func (m *Manager) resumeMove(f logdir.Future) {
	p, err := m.Partition(f.TP.Topic, f.TP.Partition)
	if err == nil && p.Log() != nil && p.Log().Dir() == f.Dir {
		err = m.dirs.DropFuture(f)
	} else if err == nil {
		err = m.moveLog(DirChange{f.TP.Topic, f.TP.Partition, f.Dir}, true)
	}
	if err != nil {
		m.logger.Warn("a copy that a move was making is left alone", "partition", f.TP.String(), "dir", f.Dir, "error", err)
	}
}

// movedFrom says whether the log of tp has moved here from the directory.
func (m *Manager) movedFrom(tp kafka.TopicPartition, dir kafka.UUID) bool {
	return slices.Contains(m.dirs.MovedFrom(tp), dir)
}

// pace spreads what moves write over time.
type pace struct {
	bytesPerSecond func() int64
	mu             struct {
		sync.Mutex
		next time.Time
	}
}

// wait returns when n more bytes may be written.
func (p *pace) wait(ctx context.Context, n int64) error {
	rate := max(1, p.bytesPerSecond())
	now := time.Now()
	p.mu.Lock()
	if p.mu.next.Before(now) {
		p.mu.next = now
	}
	d := p.mu.next.Sub(now)
	p.mu.next = p.mu.next.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	p.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
