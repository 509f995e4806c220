package logdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Move brings a log into another log dir of this node: a copy while the log goes on, then a
// switch by one rename. After a crash at any moment exactly one directory owns the partition:
// before the rename the old one, and the copy goes on where it was; from then on the new one.
//
// Advance, Switch and Cancel are called one at a time.
type Move struct {
	m      *Manager
	log    *commitlog.Log
	from   *dir
	to     *dir
	path   string // of the future directory
	unique string
	copy   *commitlog.Copy
}

// MoveInfo describes a log on its way.
type MoveInfo struct {
	TP        kafka.TopicPartition
	Dir       string // where it goes
	SizeBytes int64  // of the segments copied so far
	Lag       int64  // offsets that the copy does not have yet
}

// Future is a log that an earlier process began to move into a log dir.
type Future struct {
	TP  kafka.TopicPartition
	Dir string
}

// StartMove begins, or goes on with, the move of a log into the log dir at path. pace is
// asked before bytes are written and may wait. Errors wrap kafka.LogDirNotFound;
// kafka.KafkaStorageError when the log or any log dir is offline (one may hold another copy,
// so that none begins); kafka.InvalidTopic for a name that is too long.
func (m *Manager) StartMove(tp kafka.TopicPartition, topicID kafka.UUID, path string, pace func(ctx context.Context, n int64) error) (*Move, error) {
	if err := CheckMoveName(tp); err != nil {
		return nil, err
	}
	to, err := m.find(path)
	if err != nil {
		return nil, err
	}
	for _, d := range m.dirs {
		if err := d.offline(); err != nil {
			return nil, fmt.Errorf("no log moves while log dir %s is offline: %w: %w", d.path, kafka.KafkaStorageError, err)
		}
	}
	if err := m.Settle(tp, topicID); err != nil { // what is left of the last move would be in the way
		return nil, err
	}
	mv := &Move{m: m, to: to}
	if err := mv.begin(tp, topicID); err != nil {
		return nil, err
	}
	copying, err := commitlog.NewCopy(mv.log, mv.path, to.room, pace)
	if err == nil {
		m.mu.Lock()
		mv.copy = copying
		m.mu.Unlock()
		if _, there := m.opts.FS.Stat(filepath.Join(to.path, tp.String())); there == nil {
			err = fmt.Errorf("%s holds another directory of %s; move it away: %w", to.path, tp, kafka.KafkaStorageError)
		}
	}
	if err != nil {
		mv.forget()
		return nil, mv.failed(err)
	}
	return mv, nil
}

// CheckMoveName says whether the name of a partition leaves room for that of its copy; errors
// wrap kafka.InvalidTopic.
func CheckMoveName(tp kafka.TopicPartition) error {
	if len(futureName(tp, kafka.UUID{}.Hex())) > maxName {
		return fmt.Errorf("a log of topic %s can't move, the topic's name is too long: %w", tp.Topic, kafka.InvalidTopic)
	}
	return nil
}

// begin makes the move the only one of its log, and finds the copy's directory.
func (mv *Move) begin(tp kafka.TopicPartition, topicID kafka.UUID) error {
	m := mv.m
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.mu.logs[tp]
	switch {
	case m.mu.closed:
		return fmt.Errorf("log dirs: %w: %w", kafka.KafkaStorageError, commitlog.ErrClosed)
	case !ok || p.log.TopicID() != topicID:
		return fmt.Errorf("there is no log of %s: %w", tp, kafka.KafkaStorageError)
	case p.dir == mv.to || m.mu.moves[tp] != nil:
		return fmt.Errorf("BUG: the log of %s is in %s already, or moving", tp, mv.to.path)
	}
	mv.log, mv.from = p.log, p.dir
	mv.unique = m.mu.futures[futureKey{tp, mv.to}]
	if mv.unique == "" {
		mv.unique = kafka.NewUUID().Hex()
	}
	mv.path = filepath.Join(mv.to.path, futureName(tp, mv.unique))
	m.mu.futures[futureKey{tp, mv.to}] = mv.unique
	m.mu.moves[tp] = mv
	return nil
}

// forget ends the move; its copy stays.
func (mv *Move) forget() {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	if tp := mv.log.TopicPartition(); mv.m.mu.moves[tp] == mv {
		delete(mv.m.mu.moves, tp)
	}
}

// failed takes the target directory offline when err is of its disk, a full one apart.
func (mv *Move) failed(err error) error {
	var target *commitlog.TargetError
	if errors.As(err, &target) && !errors.Is(err, commitlog.ErrDiskFull) && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		mv.m.fence(mv.to, err)
	}
	return err
}

// To is the path of the log dir that the log goes to.
func (mv *Move) To() string { return mv.to.path }

// Advance copies what the log held when it was called, and answers how many bytes it has got
// meanwhile. An error of the target's disk takes that log dir offline.
func (mv *Move) Advance(ctx context.Context) (lagBytes int64, err error) {
	lagBytes, err = mv.copy.Advance(ctx)
	return lagBytes, mv.failed(err)
}

// Switch puts the copy in the log's place and answers the log of the new directory. No
// append comes meanwhile; the caller sees to it that the old log is not used afterwards.
// Errors leave the old log at work, but when the switch itself could not be made durable:
// then the target directory is offline, and with it the log. commitlog.ErrBusy: try again.
func (mv *Move) Switch(c commitlog.Config) (*commitlog.Log, error) {
	var l *commitlog.Log
	err := mv.copy.Finish(func(st commitlog.State) (err error) {
		l, err = mv.commit(st, c)
		return err
	})
	if err != nil {
		return nil, mv.failed(err)
	}
	return l, nil
}

// commit is the switch: the copy is whole and durable.
func (mv *Move) commit(st commitlog.State, c commitlog.Config) (*commitlog.Log, error) {
	m, tp := mv.m, st.TP
	if err := errors.Join(mv.to.offline(), mv.from.offline()); err != nil {
		return nil, fmt.Errorf("move of %s: %w: %w", tp, kafka.KafkaStorageError, err)
	}
	st.Cleaned = false // the cleaner's checkpoint of the new directory does not know it
	o := m.logOptions(mv.to, tp, st.TopicID, c)
	o.State, o.Clean = &st, true
	l, err := commitlog.Open(o)
	if err != nil {
		return nil, err
	}
	if old, ok := commitlog.ViewCompaction(mv.log, false); ok {
		commitlog.SetCleaned(l, old.Cleaned) // until a crash, after which it is cleaned from its start
	}
	mv.to.writeMu.Lock()
	v := &moved{unique: mv.unique, directoryID: mv.to.id, sequence: mv.to.sequence, former: []kafka.UUID{mv.from.id}, entry: checkpointEntry{State: st}}
	mv.to.writeMu.Unlock()
	err = mv.rename(v, filepath.Join(mv.to.path, tp.String()))
	if err != nil && !errors.Is(err, errNotCertain) {
		return nil, &commitlog.TargetError{Err: fmt.Errorf("move %s to %s: %w: %w", tp, mv.to.path, kafka.KafkaStorageError, err)}
	}
	left := former{entry: checkpointEntry{State: mv.log.State()}}
	m.mu.Lock()
	m.mu.former[futureKey{tp, mv.from}] = left
	put(m, tp, placed{log: l, dir: mv.to, moved: v})
	delete(m.mu.moves, tp)
	delete(m.mu.futures, futureKey{tp, mv.to})
	m.mu.Unlock()
	if err == nil {
		err = m.opts.FS.SyncDir(mv.to.path)
	}
	if err != nil {
		// Whether the rename holds nobody knows: nothing may be appended to either log before
		// a start has looked. Both have the same content.
		m.fence(mv.to, fmt.Errorf("switch to the copy in %s: %w: %w", mv.to.path, kafka.KafkaStorageError, err))
	}
	return l, nil
}

// errNotCertain says that a rename failed and that its outcome can't be seen or undone.
var errNotCertain = errors.New("not known whether it was done")

// rename gives the copy the partition's name, after the file that says what it means. On
// error neither is there, unless it is errNotCertain; where the file may be left the directory
// goes offline, and the future directory voids it at the next start.
func (mv *Move) rename(v *moved, final string) error {
	path := filepath.Join(mv.to.path, v.name())
	fault.Point("move.before-marker")
	err := vfs.WriteFileAtomic(mv.m.opts.FS, path, v.append(nil))
	if err == nil {
		fault.Point("move.before-rename")
		if err = mv.m.opts.FS.Rename(mv.path, final); err == nil {
			fault.Point("move.after-rename")
			return nil
		}
		// It may have been done all the same. Without the file beside it, and with the old log
		// at work, that would be a second log of the partition.
		if undo := mv.unname(final); undo != nil {
			return fmt.Errorf("%w: %w: %w", err, errNotCertain, undo)
		}
	}
	if undo := mv.m.opts.FS.Remove(path); undo != nil && !errors.Is(undo, fs.ErrNotExist) {
		mv.m.fence(mv.to, undo)
	} else if undo := mv.m.opts.FS.SyncDir(mv.to.path); undo != nil {
		mv.m.fence(mv.to, undo)
	}
	return err
}

// unname makes sure that the copy does not have the partition's name.
func (mv *Move) unname(final string) error {
	_, err := mv.m.opts.FS.Stat(final)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeDir(mv.m.opts.FS, mv.to, final, mv.log.TopicPartition())
}

// Cancel ends the move and removes the copy. The move is over even when that fails; what is
// left is an offline directory's, or is taken up again by the next start.
func (mv *Move) Cancel() error {
	mv.forget()
	m := mv.m
	m.mu.Lock()
	delete(m.mu.futures, futureKey{mv.log.TopicPartition(), mv.to})
	m.mu.Unlock()
	if err := removeDir(m.opts.FS, mv.to, mv.path, mv.log.TopicPartition()); err != nil {
		return mv.failed(&commitlog.TargetError{Err: fmt.Errorf("cancel the move of %s: %w: %w", mv.log.TopicPartition(), kafka.KafkaStorageError, err)})
	}
	return nil
}

// Stop ends the move for this process; the next start goes on with it.
func (mv *Move) Stop() { mv.forget() }

// removeDir removes a partition's directory by way of a name that a start removes too.
func removeDir(fsys vfs.FS, d *dir, path string, tp kafka.TopicPartition) error {
	gone := filepath.Join(d.path, commitlog.DeletedDirName(tp, kafka.NewUUID()))
	err := fsys.Rename(path, gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fsys.SyncDir(d.path)
	}
	if err == nil {
		err = fsys.RemoveAll(gone)
	}
	return err
}

// MovedFrom are the log dirs that may still hold an old copy of the log; see Settle.
func (m *Manager) MovedFrom(tp kafka.TopicPartition) []kafka.UUID {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.mu.logs[tp].moved; v != nil {
		return slices.Clone(v.former)
	}
	return nil
}

// Settle removes what a move has left in the log's former directory. The owner calls it when
// the cluster's metadata names the new one for sure. A former directory that is offline keeps
// its copy, and the log the file that says so. A log that did not move has nothing to settle.
func (m *Manager) Settle(tp kafka.TopicPartition, topicID kafka.UUID) error {
	m.mu.Lock()
	p, ok := m.mu.logs[tp]
	m.mu.Unlock()
	if !ok || p.moved == nil || p.log.TopicID() != topicID {
		return nil
	}
	p.dir.settleMu.Lock()
	defer p.dir.settleMu.Unlock()
	// The new owner's entry first, then the former one's absence.
	if err := m.writeCheckpoint(p.dir, nil); err != nil {
		return err
	}
	if err := settleFormer(m, tp, p.moved); err != nil {
		return err
	}
	err := removeDurably(m.opts.FS, p.dir.path, filepath.Join(p.dir.path, p.moved.name()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.fence(p.dir, err)
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.mu.logs[tp]; now.log == p.log {
		now.moved = nil
		m.mu.logs[tp] = now
	}
	return nil
}

// settleFormer removes the old copies of tp, in each directory that is online.
func settleFormer(m *Manager, tp kafka.TopicPartition, v *moved) error {
	var errs []error
	for _, id := range v.former {
		errs = append(errs, settleIn(m, id, tp))
	}
	return errors.Join(errs...)
}

// deleteFormer removes the old copies of a log that is being deleted. That need not wait for
// the log's own directory, which may have failed: nobody misses what both of them held.
func deleteFormer(m *Manager, tp kafka.TopicPartition, topicID kafka.UUID) {
	err := m.Settle(tp, topicID)
	if err == nil {
		return
	}
	m.mu.Lock()
	p := m.mu.logs[tp]
	m.mu.Unlock()
	if p.moved != nil && p.log.TopicID() == topicID {
		err = settleFormer(m, tp, p.moved)
	}
	if err != nil {
		m.opts.Logger.Warn("an old copy of a deleted log stays behind", "partition", tp.String(), "error", err)
	}
}

// settleIn removes the old copy of tp in one directory.
func settleIn(m *Manager, id kafka.UUID, tp kafka.TopicPartition) error {
	i := slices.IndexFunc(m.dirs, func(d *dir) bool { return d.id == id })
	if i < 0 || m.dirs[i].offline() != nil {
		return fmt.Errorf("log dir %s, which holds an old copy of %s, is not online: %w", id, tp, kafka.KafkaStorageError)
	}
	d := m.dirs[i]
	m.mu.Lock()
	left, named := m.mu.former[futureKey{tp, d}]
	delete(m.mu.former, futureKey{tp, d})
	m.mu.Unlock()
	if err := m.writeCheckpoint(d, nil); err != nil {
		m.mu.Lock()
		if named {
			m.mu.former[futureKey{tp, d}] = left
		}
		m.mu.Unlock()
		return err
	}
	fault.Point("move.before-delete")
	if err := removeDir(m.opts.FS, d, filepath.Join(d.path, tp.String()), tp); err != nil {
		err = fmt.Errorf("remove the old copy of %s: %w: %w", tp, kafka.KafkaStorageError, err)
		m.fence(d, err)
		return err
	}
	return nil
}

// Moving describes the logs on their way, in no order.
func (m *Manager) Moving() []MoveInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]MoveInfo, 0, len(m.mu.moves))
	for tp, mv := range m.mu.moves {
		if mv.copy != nil { // else it is just beginning
			end, size := mv.copy.Progress()
			out = append(out, MoveInfo{TP: tp, Dir: mv.to.path, SizeBytes: size, Lag: max(0, mv.log.End()-end)})
		}
	}
	return out
}

// Futures lists the moves that an earlier process began and that nobody goes on with yet.
func (m *Manager) Futures() []Future {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Future
	for k := range m.mu.futures {
		if m.mu.moves[k.tp] == nil {
			out = append(out, Future{TP: k.tp, Dir: k.dir.path})
		}
	}
	slices.SortFunc(out, func(a, b Future) int {
		return strings.Compare(a.TP.String()+"\x00"+a.Dir, b.TP.String()+"\x00"+b.Dir)
	})
	return out
}

// DropFuture removes the copy that an earlier process began, which nobody goes on with.
func (m *Manager) DropFuture(f Future) error {
	m.mu.Lock()
	var d *dir
	var unique string
	for k, u := range m.mu.futures {
		if k.tp == f.TP && k.dir.path == f.Dir && m.mu.moves[k.tp] == nil {
			d, unique = k.dir, u
			delete(m.mu.futures, k)
		}
	}
	m.mu.Unlock()
	if d == nil {
		return nil
	}
	if err := removeDir(m.opts.FS, d, filepath.Join(d.path, futureName(f.TP, unique)), f.TP); err != nil {
		return fmt.Errorf("remove the copy of %s in %s: %w: %w", f.TP, d.path, kafka.KafkaStorageError, err)
	}
	return nil
}

// futureKey is the place of a log that is on its way, or was.
type futureKey struct {
	tp  kafka.TopicPartition
	dir *dir
}
