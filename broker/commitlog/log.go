// Package commitlog is one partition's log on one disk, in Kafka's own files, byte for
// byte: segments, their offset, time and transaction indexes, producer snapshots, the
// leader-epoch history and the topic's id.
//
// It owns appending, reading as file ranges, rolling, searching by offset and time,
// truncating, evicting, putting rewritten segments in the place of others, recovery after
// a crash, setting damage aside, and the state of idempotent and transactional producers.
// It does not own the high watermark, replication, retention
// decisions or the remote part; nor the validation of a batch (broker/batch).
// Sub-package logdir keeps the directories that logs live in; cleaner compacts.
//
// A Log is safe for concurrent use. Appends of one log are serialised; readers never wait
// for a write or a sync of bytes, only for the moment in which it is published. An idle
// log holds no descriptor, goroutine or timer: its files are open only in the shared,
// bounded FileCache, and nothing is read before its first use.
//
// Locks, in the order they are taken: maintMu (cutting, evicting and replacing files),
// appendMu (writing), cutMu (cutting files, or syncing them for the write-ahead file: who
// holds it never waits for that), mu (the picture that readers see; no I/O under it but
// opening a file and renaming those of a rewritten segment).
// Nothing here locks two logs. Format page: docs/formats/log.md.
package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
)

// ErrClosed is what a log answers after Close or Delete.
var ErrClosed = errors.New("log is closed")

// Log is one replica of a partition.
type Log struct {
	opts Options
	dir  string // the partition's own directory

	maintMu  sync.Mutex
	appendMu sync.Mutex
	w        writer // guarded by appendMu

	cutMu   sync.Mutex // cutting, and syncing for the write-ahead file; taken after the above
	namesMu sync.Mutex // one sync of leader-epoch-checkpoint and the directory; taken after the above, before mu

	highWatermark atomic.Int64 // last one that LastStable was asked about
	expiration    atomic.Int64 // ProducerIDExpirationMs of now

	mu struct {
		sync.RWMutex
		config    Config
		loaded    bool   // segs, epochs and txns say what the files say
		err       error  // sticky: the log refuses all work
		damage    error  // the files hold less than was promised: no appends
		promise   *State // what was promised, while the log can't speak for itself: damage, or a failed load
		suspect   bool
		dirDirty  bool // entries of the partition's directory are not synced
		segs      []*segment
		cut       *segment // what a truncation makes the active one, until its files are durable
		cutEnd    int64    // the end in front of it
		epochs    epochCache
		latest    int32 // leader epoch of the last batch
		txns      []txnSpan
		trash     []trash
		member    *wal.Member // the log's part in the write-ahead file; nil outside group mode
		onDurable func()      // told when Durable has moved up; see raiseDurable
		holes     holes       // ranges that the files do not hold
		swaps     uint64      // grows when files of closed segments are replaced or go
		gaps      bool        // the log is or was compacted: offsets may be missing
		cleaned   int64       // see SetCleaned
		cleanKept bool        // see KeepCleaned

		// vouched is the closedPoint of the log dir's durable checkpoint, which has the news that
		// there may be gaps; flushed is that of its next one. 0 while the checkpoint does not
		// know of gaps.
		vouched, flushed int64

		logStart, localStart, highestRemote int64
		recoveryPoint, durable, end         int64

		// sureStart is the log start that a power cut leaves. While it is behind logStart, and the
		// log has, or is about to get (joining), a part in the write-ahead file, the durable end
		// waits, and held is where it goes then; see raiseDurable.
		sureStart, held int64
		joining         bool

		cold   coldSizes
		sealed bool // see seal.go
	}
}

// writer is the appending side of a log, with the state that only appends need.
// Log.appendMu is held in all its methods.
type writer struct {
	*Log
	producers   *producerState
	snapshotEnd int64 // offset of the newest producer snapshot file
	dirty       bool  // something was written, or recovered, since the files were closed in order
	wal         *wal.WAL
	member      *wal.Member // as mu.member
	unflushed   int64       // records since the last flush

	// quietEnd is the log's end when it was last looked at for sealing, sealSnapshot the
	// offset of the snapshot that the last seal wrote.
	quietEnd, sealSnapshot int64

	flushedMs int64
	expiredMs int64
}

// coldSizes is what the checkpoint says of the segments, until the files are read; see State.
type coldSizes struct{ size, activeBase, activeBytes int64 }

// trash is a file that was renamed away and waits for its time to be removed.
type trash struct {
	path  string
	dueMs int64
	told  bool // the eviction is in the State that is about to become durable
}

// Open opens a log, or describes one that has no files yet. A log whose Options say Clean
// opens without reading anything; any other is recovered before Open returns. Damage in
// the files is no error here: it makes every later call answer what Err answers, so that
// the owner can still name, replace (ResetTo) or delete the log.
func Open(o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Log{opts: o, dir: filepath.Join(o.Dir, o.TP.String())}
	l.w.Log = l
	l.expiration.Store(o.ProducerIDExpirationMs)
	m := &l.mu
	m.config = o.Config
	m.highestRemote, m.latest = kafka.NoOffset, kafka.NoEpoch
	m.cold = coldSizes{size: -1, activeBytes: -1}
	if st := o.State; st != nil {
		m.logStart, m.localStart, m.highestRemote = st.LogStart, st.LocalStart, st.HighestRemote
		m.sureStart = st.LogStart
		m.recoveryPoint, m.durable, m.end, m.latest = st.RecoveryPoint, st.End, st.End, st.LatestEpoch
		if st.Sealed {
			m.durable = st.RecoveryPoint
		}
		m.cold, m.cleanKept = coldSizes{st.SizeBytes, st.ActiveBase, st.ActiveBytes}, st.Cleaned
		if st.Gaps {
			m.vouched, m.flushed = st.closedPoint(), st.closedPoint()
		}
	}
	m.gaps = o.Config.Compact || o.State != nil && o.State.Gaps
	m.suspect = !o.Fresh && o.State == nil || o.State != nil && o.State.Suspect || m.highestRemote >= m.end
	if o.Clean && o.State != nil {
		m.sealed = true
		return l, nil
	}
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	_ = load(l) // kept in mu.err
	return l, nil
}

// TopicPartition is which partition this is.
func (l *Log) TopicPartition() kafka.TopicPartition { return l.opts.TP }

// TopicID is the id of the topic that the log belongs to.
func (l *Log) TopicID() kafka.UUID { return l.opts.TopicID }

// Dir is the log dir that holds the partition's directory.
func (l *Log) Dir() string { return l.opts.Dir }

// Err is why the log refuses all work: nil, ErrClosed, or an error that wraps
// kafka.KafkaStorageError, and kafka.ErrCorrupt when stored bytes are damaged.
func (l *Log) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.err
}

// Damage says that the log came back shorter than what had been synced, or without its
// files: nil, or an error that wraps kafka.ErrCorrupt. Such a log is readable and refuses
// appends, which would give known offsets to other records, until ResetTo or Accept.
func (l *Log) Damage() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.damage
}

// Accept says that the owner knows what is missing and that the log goes on at its end. Of
// a log that had damage the checkpoint is told at once: a crash must not find the old promise.
func (l *Log) Accept() {
	l.mu.Lock()
	promised := l.mu.promise != nil
	l.mu.damage, l.mu.promise, l.mu.suspect = nil, nil, false
	if promised {
		l.mu.recoveryPoint = min(l.mu.recoveryPoint, l.mu.end)
	}
	l.mu.Unlock()
	if promised && l.opts.Checkpoint != nil {
		_ = l.opts.Checkpoint() // its owner takes the directory offline when it fails
	}
}

// Suspect says that the log cannot vouch for holding all that remote storage was told
// of: it has damage, or no checkpoint named it, or it ends at or below the highest remote
// offset. The owner of a tiered partition reads the manifest before the first append, then
// calls ResetTo or Accept.
func (l *Log) Suspect() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.suspect || l.mu.damage != nil
}

// fail makes err sticky and tells the owner, once.
func (l *Log) fail(err error) error {
	if kafka.Code(err) == kafka.UnknownServerError {
		err = fmt.Errorf("%w: %w", kafka.KafkaStorageError, err)
	}
	err = fmt.Errorf("log %s in %s: %w", l.opts.TP, l.opts.Dir, err)
	l.mu.Lock()
	first := l.mu.err == nil
	if first {
		l.mu.err = err
	}
	err = l.mu.err
	l.mu.Unlock()
	if first {
		l.opts.Logger.Error("log refuses all work", "partition", l.opts.TP.String(), "dir", l.opts.Dir, "error", err)
		if l.opts.Failed != nil && !errors.Is(err, kafka.ErrCorrupt) {
			l.opts.Failed(err)
		}
	}
	return err
}

// outOfDescriptors says that the process, or the machine, has too many files open.
func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// busy is the error of work that changed nothing because no file could be opened. It says
// nothing about the disk, and the next try may succeed.
func (l *Log) busy(err error) error {
	return fmt.Errorf("log %s in %s: too many files are open; raise the limit (ulimit -n), or have fewer connections: %w: %w", l.opts.TP, l.opts.Dir, kafka.KafkaStorageError, err)
}

// Fail makes the log refuse all work from now on: its directory went offline.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err == nil {
		l.mu.err = fmt.Errorf("log %s in %s: %w: %w", l.opts.TP, l.opts.Dir, kafka.KafkaStorageError, err)
	}
}

// ready makes sure that the files were read. appendMu is held.
func (l *Log) ready() error {
	l.mu.RLock()
	loaded, err := l.mu.loaded, l.mu.err
	l.mu.RUnlock()
	if err != nil || loaded {
		return err
	}
	return load(l)
}

// view takes mu for reading once the files were read. On error it holds nothing.
func (l *Log) view() error {
	for {
		l.mu.RLock()
		if l.mu.err == nil && l.mu.loaded {
			return nil
		}
		err := l.mu.err
		l.mu.RUnlock()
		if err != nil {
			return err
		}
		l.appendMu.Lock()
		err = l.ready()
		l.appendMu.Unlock()
		if err != nil {
			return err
		}
	}
}

// End is the offset that the next record gets.
func (l *Log) End() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.end
}

// Durable is the end of what may be shown and acknowledged under the partition's
// durability: the synced end in group mode, else End.
func (l *Log) Durable() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.mu.config.Group && !fault.Planted(fault.BugAckBeforeDurable) {
		return min(l.mu.durable, l.mu.end)
	}
	return l.mu.end
}

// LogStart is the global start of the log, its remote part included.
func (l *Log) LogStart() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.logStart
}

// LocalStart is the first offset that can be read here; End when there is none.
func (l *Log) LocalStart() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.localStart
}

// LastStable is the last stable offset: the first offset of the oldest transaction that
// is open, or whose end marker is not below highWatermark; without one highWatermark.
// When the files can't be read it is highWatermark capped by the local start, so that
// nothing undecided is shown.
func (l *Log) LastStable(highWatermark int64) int64 {
	l.highWatermark.Store(highWatermark)
	if l.view() != nil {
		return min(highWatermark, l.LocalStart())
	}
	defer l.mu.RUnlock()
	for _, t := range l.mu.txns { // ascending in first
		if t.last < 0 || t.last >= highWatermark {
			return min(highWatermark, max(t.first, l.mu.logStart)) // its first records may be deleted
		}
	}
	return highWatermark
}

// Size is the bytes of all local segments, indexes excluded. Of a log that was closed in
// order and not used since it is what its checkpoint says: no file is read.
func (l *Log) Size() int64 {
	l.mu.RLock()
	loaded, cold := l.mu.loaded, l.mu.cold.size
	l.mu.RUnlock()
	if !loaded && cold >= 0 {
		return cold
	}
	if l.view() != nil {
		return 0
	}
	defer l.mu.RUnlock()
	var n int64
	for _, s := range l.mu.segs {
		n += s.size
	}
	return n
}

// Segments describes the local segments, ascending; the last one is active. It is empty
// when the log has no files, or when they can't be read (Err).
func (l *Log) Segments() []SegmentInfo {
	if l.view() != nil {
		return nil
	}
	defer l.mu.RUnlock()
	out := make([]SegmentInfo, len(l.mu.segs))
	for i, s := range l.mu.segs {
		out[i] = s.info(i == len(l.mu.segs)-1)
		if i > 0 {
			out[i-1].Next = s.base // the same, but in a compacted log
		}
	}
	return out
}

// LatestEpoch is the leader epoch of the last batch, kafka.NoEpoch when there is none.
func (l *Log) LatestEpoch() int32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.latest
}

// EpochAt is the leader epoch that wrote offset, kafka.NoEpoch when that is not known.
func (l *Log) EpochAt(offset int64) int32 {
	if l.view() != nil {
		return kafka.NoEpoch
	}
	defer l.mu.RUnlock()
	return l.mu.epochs.at(offset)
}

// EndOffsetFor answers OffsetForLeaderEpoch: the largest known epoch at most epoch and
// the offset at which it ends; (kafka.NoEpoch, kafka.NoOffset) when epoch is unknown.
func (l *Log) EndOffsetFor(epoch int32) (foundEpoch int32, end int64) {
	if l.view() != nil {
		return kafka.NoEpoch, kafka.NoOffset
	}
	defer l.mu.RUnlock()
	return l.mu.epochs.endFor(epoch, l.mu.end)
}

// Epochs is the leader-epoch history, ascending.
func (l *Log) Epochs() []EpochEntry {
	if l.view() != nil {
		return nil
	}
	defer l.mu.RUnlock()
	return append([]EpochEntry(nil), l.mu.epochs.entries...)
}

// SetConfig gives the log its topic's new settings; they hold from the next append on.
func (l *Log) SetConfig(c Config) error {
	if err := c.validate(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.config = c
	l.mu.gaps = l.mu.gaps || c.Compact
	return nil
}

func (l *Log) config() Config {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.config
}

// State is what the log dir's checkpoint is to keep: of a log that is damaged or could not
// be read, what was promised before. It never waits for I/O, but for the opening of a file.
func (l *Log) State() State {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return stateLocked(l)
}

// stateLocked is State with mu held.
func stateLocked(l *Log) State {
	if l.mu.promise != nil {
		return *l.mu.promise
	}
	point := l.mu.recoveryPoint
	if fault.Planted(fault.BugCheckpointFirst) {
		point = l.mu.end
	}
	for i := len(l.mu.segs) - 2; i >= 0 && !l.mu.segs[i].synced; i-- {
		point = min(point, l.mu.segs[i].base) // its batches may be synced, its indexes are not
	}
	st := State{
		TP: l.opts.TP, TopicID: l.opts.TopicID,
		RecoveryPoint: point, LogStart: l.mu.logStart, LocalStart: l.mu.localStart,
		HighestRemote: l.mu.highestRemote, End: l.mu.end, LatestEpoch: l.mu.latest,
		SizeBytes: l.mu.cold.size, ActiveBase: l.mu.cold.activeBase, ActiveBytes: l.mu.cold.activeBytes,
		Suspect: l.mu.suspect, Sealed: l.mu.sealed, Gaps: l.mu.gaps, Cleaned: l.mu.cleanKept,
	}
	if !l.mu.loaded {
		return st
	}
	st.SizeBytes, st.ActiveBase, st.ActiveBytes = 0, 0, 0
	for _, s := range l.mu.segs {
		st.SizeBytes += s.size
		st.ActiveBase, st.ActiveBytes = s.base, s.size
	}
	if cut := l.mu.cut; cut != nil {
		st.ActiveBase, st.ActiveBytes = cut.base, cut.size
		st.End = l.mu.cutEnd // so that a start sees that files are missing, not yet durably
	}
	return st
}

// SetHighestRemote records the highest offset that a committed manifest holds, -1 = none.
func (l *Log) SetHighestRemote(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.highestRemote = offset
}

// SetStart moves the global start of the log up (retention, DeleteRecords); a lower one
// changes nothing. It deletes nothing: see EvictBelow. It is durable with the log dir's
// next checkpoint, and in group mode before anything that is appended from now on. Errors:
// kafka.OffsetOutOfRange above End.
func (l *Log) SetStart(offset int64) error {
	m, err := raiseStart(l, offset)
	if err != nil || m == nil {
		return err
	}
	return m.Start(offset)
}

// raiseStart answers the member that is to log the new start, if it is one.
func raiseStart(l *Log, offset int64) (*wal.Member, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.mu.end {
		return nil, fmt.Errorf("log %s: start %d lies behind end %d: %w", l.opts.TP, offset, l.mu.end, kafka.OffsetOutOfRange)
	}
	if offset <= l.mu.logStart {
		return nil, nil
	}
	l.mu.logStart = offset
	l.mu.localStart = max(l.mu.localStart, l.mu.logStart)
	l.mu.epochs.truncateStart(l.mu.logStart)
	return l.mu.member, nil
}
