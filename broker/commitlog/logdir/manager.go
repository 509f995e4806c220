// Package logdir keeps the directories that partitions' logs live in: it locks them, knows
// whose they are, places new partitions, and remembers in one checkpoint per directory
// what a start would otherwise have to read from every partition's files.
//
// It owns meta.properties, the lock, the checkpoint, the clean-shutdown marker and the
// set of open logs. It does not own what is in a log (commitlog), nor which partitions
// this node should have (replica): a log that nobody asks for stays untouched.
// A Manager is safe for concurrent use; no lock of it is held over a log's I/O.
// Format page: docs/formats/log-dir-checkpoint.md.
package logdir

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Options says which directories Open opens, and for whom.
type Options struct {
	FS        vfs.FS
	Dirs      []string
	ClusterID string
	NodeID    int32
	// Own are the node's other directories, clean paths. One that lies in a log dir does not
	// make it somebody else's.
	Own []string
	// KnownDirs are the directory ids that the cluster's metadata has for this node, nil at
	// its first start. An empty directory in place of a known one is offline, because
	// "no data yet" would be a lie about a disk that is not mounted or was replaced.
	KnownDirs []kafka.UUID
	// Lost are ids in KnownDirs of directories that the operator knows to be gone for good:
	// empty ones take their places and ids, and their partitions start as suspect. An id
	// that is not missing is passed over.
	Lost []kafka.UUID
	// Named says whether the cluster's metadata has the partition under this topic id, nil for
	// not known. It decides between two directories that hold a partition of one name.
	Named func(tp kafka.TopicPartition, topicID kafka.UUID) bool
	// Config answers a partition's settings for the logs found at start.
	Config func(tp kafka.TopicPartition, topicID kafka.UUID) commitlog.Config

	Now                    func() time.Time
	Logger                 *slog.Logger
	ProducerIDExpirationMs int64
	OpenFiles              int // bound of the open-file cache, 0 = commitlog.DefaultOpenFiles
	RecoveryThreads        int // logs recovered at once in each directory, 0 = 4
	// Stats and Progress are told of what happens; either may be nil.
	Stats    *commitlog.Stats
	Progress *Progress
	// BootID names the machine's run; a start in another run may have lost un-synced
	// writes. "" asks the operating system.
	BootID string
	// Cordoned answers the paths in Dirs that take no new log, "*" for all. May be nil.
	Cordoned func() []string
	// WALBytes is the size of the write-ahead file of a directory with group durability, 0 =
	// wal.DefaultBytes; WALMetrics counts what it does, nil for nothing.
	WALBytes   int64
	WALMetrics *wal.Metrics
	// Marks are the watermarks of each directory's disk.
	Marks commitlog.Watermarks
	// Pressed is told when the pressure on a disk grows. It must not block, nor call the Manager. May be nil.
	Pressed func()
	// Offline is told once of each directory that fails while in use. May be nil.
	Offline func(DirInfo)
}

// DirInfo describes a log dir.
type DirInfo struct {
	Path       string
	ID         kafka.UUID // zero when it was offline from the start
	Partitions int
	Offline    error // nil = online
	Cordoned   bool  // takes no new log
}

// Manager is the log dirs of one node and the logs in them.
type Manager struct {
	opts  Options
	files *commitlog.FileCache
	dirs  []*dir
	boot  string
	// expiration is ProducerIDExpirationMs of now.
	expiration atomic.Int64
	mu         struct {
		sync.Mutex
		closed  bool
		logs    map[kafka.TopicPartition]placed
		moves   map[kafka.TopicPartition]*Move
		futures map[futureKey]string // unique parts of the names of copies on disk
		former  map[futureKey]former // what the checkpoints go on saying of logs that have moved
		offline []func(DirInfo)      // told of each directory that fails
	}
}

// placed is a log and where it lives.
type placed struct {
	log   *commitlog.Log
	dir   *dir
	moved *moved // while another directory may hold an old copy
}

// dir is one log dir.
type dir struct {
	path string
	id   kafka.UUID
	lock io.Closer
	room *commitlog.Room

	partitions int // logs placed here; guarded by Manager.mu

	// What the directory's logs are given; see logOptions.
	once       sync.Once
	checkpoint func() error
	failed     func(error)
	walOf      func() (*wal.WAL, error)

	settleMu sync.Mutex // one Settle
	roundMu  sync.Mutex // one round of flush, checkpoint and removal; taken before writeMu
	writeMu  sync.Mutex // one writer of the checkpoint
	sequence uint64     // of the last one; guarded by writeMu
	sealed   bool       // the last one was written at the close; guarded by writeMu

	replay   *wal.Replay // while the logs are opened
	unplayed []error     // of strays that could not take their part of it
	boot     string      // of the checkpoint that was there at the start

	walMu sync.Mutex // one opener of the write-ahead file; taken before mu and Manager.mu

	mu struct {
		sync.Mutex
		offline error
		wal     *wal.WAL // nil before the first append in group mode
	}
}

func (d *dir) offline() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.offline
}

// Log finds a partition's log; ok is false when there is none, or one of another topic
// of that name.
func (m *Manager) Log(tp kafka.TopicPartition, topicID kafka.UUID) (*commitlog.Log, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.mu.logs[tp]
	if !ok || p.log.TopicID() != topicID {
		return nil, false
	}
	return p.log, true
}

// Logs lists all logs, in no order.
func (m *Manager) Logs() []*commitlog.Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*commitlog.Log, 0, len(m.mu.logs))
	for _, p := range m.mu.logs {
		out = append(out, p.log)
	}
	return out
}

// SetProducerIDExpiration changes Options.ProducerIDExpirationMs, for the logs that there are
// and for those to come.
func (m *Manager) SetProducerIDExpiration(ms int64) {
	m.expiration.Store(ms)
	for _, l := range m.Logs() {
		commitlog.SetProducerIDExpiration(l, ms)
	}
}

// Placement says how a partition comes to a log dir.
type Placement struct {
	Dir kafka.UUID // zero = the online directory with the fewest partitions
	// Fresh says that the partition was never on this node; see commitlog.Options.Fresh.
	Fresh bool
}

// Create adds a partition's log. It touches no disk: the partition's directory appears
// with its first append. Errors wrap kafka.KafkaStorageError when no directory, or not
// the wanted one, is online; kafka.InconsistentTopicID when another topic's log of that
// name is there; kafka.TopicAlreadyExists when it is this one's.
func (m *Manager) Create(tp kafka.TopicPartition, topicID kafka.UUID, c commitlog.Config, where Placement) (*commitlog.Log, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.mu.logs[tp]; ok {
		if p.log.TopicID() == topicID {
			return nil, fmt.Errorf("log %s is there already: %w", tp, kafka.TopicAlreadyExists)
		}
		return nil, fmt.Errorf("%s holds %s of topic id %s, not %s: %w", p.dir.path, tp, p.log.TopicID(), topicID, kafka.InconsistentTopicID)
	}
	d, err := m.pick(where.Dir)
	if err != nil {
		return nil, err
	}
	o := m.logOptions(d, tp, topicID, c)
	o.Fresh = where.Fresh
	o.State = &commitlog.State{TP: tp, TopicID: topicID, HighestRemote: kafka.NoOffset, LatestEpoch: kafka.NoEpoch, Suspect: !where.Fresh}
	o.Clean = true // nothing is there, and nothing is to be read
	l, err := commitlog.Open(o)
	if err != nil {
		return nil, err
	}
	put(m, tp, placed{log: l, dir: d})
	delete(m.mu.former, futureKey{tp, d}) // a directory that is still there will be a stray
	return l, nil
}

// PickDir answers the directory that Create would take for the next partition.
func (m *Manager) PickDir() (kafka.UUID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.pick(kafka.UUID{})
	if err != nil {
		return kafka.UUID{}, err
	}
	return d.id, nil
}

// pick finds the wanted directory, or the online one with the fewest partitions. m.mu is held.
func (m *Manager) pick(want kafka.UUID) (*dir, error) {
	if m.mu.closed {
		return nil, fmt.Errorf("log dirs: %w: %w", kafka.KafkaStorageError, commitlog.ErrClosed)
	}
	var best *dir
	for _, d := range m.dirs {
		switch {
		case !want.IsZero() && d.id != want, d.offline() != nil, want.IsZero() && cordoned(m, d):
		case best == nil || d.partitions < best.partitions:
			best = d
		}
	}
	if best == nil && !want.IsZero() {
		return nil, fmt.Errorf("log dir %s is not online here: %w", want, kafka.KafkaStorageError)
	}
	if best == nil {
		return nil, fmt.Errorf("no log dir is online and not cordoned: %w", kafka.KafkaStorageError)
	}
	return best, nil
}

// put places a log, nil takes it away. m.mu is held.
func put(m *Manager, tp kafka.TopicPartition, p placed) {
	if old, ok := m.mu.logs[tp]; ok {
		old.dir.partitions--
	}
	if p.log == nil {
		delete(m.mu.logs, tp)
		return
	}
	p.dir.partitions++
	m.mu.logs[tp] = p
}

// cordoned says whether a directory takes no new log. Source: KIP-1066.
func cordoned(m *Manager, d *dir) bool {
	if m.opts.Cordoned == nil {
		return false
	}
	return slices.ContainsFunc(m.opts.Cordoned(), func(path string) bool { return path == "*" || filepath.Clean(path) == d.path })
}

func (m *Manager) logOptions(d *dir, tp kafka.TopicPartition, topicID kafka.UUID, c commitlog.Config) commitlog.Options {
	d.once.Do(func() { // one each for all logs of the directory
		d.checkpoint = func() error { return m.writeCheckpoint(d, nil) }
		d.failed = func(err error) { m.fence(d, err) }
		d.walOf = func() (*wal.WAL, error) { return m.wal(d) }
	})
	return commitlog.Options{
		FS: m.opts.FS, Dir: d.path, TP: tp, TopicID: topicID, Config: c, Files: m.files, Room: d.room, Own: kafka.InternalTopic(tp.Topic), Stats: m.opts.Stats,
		Now: m.opts.Now, Logger: m.opts.Logger, ProducerIDExpirationMs: m.expiration.Load(),
		Checkpoint: d.checkpoint, Failed: d.failed, WAL: d.walOf,
	}
}

// Delete removes a partition's log for good; one that is not there is no error. Only a
// record that the topic was deleted, or exists anew under another id, is a reason to.
func (m *Manager) Delete(tp kafka.TopicPartition, topicID kafka.UUID) error {
	l, ok := m.Log(tp, topicID)
	if !ok {
		return nil
	}
	deleteFormer(m, tp, topicID)
	for _, f := range m.Futures() {
		if f.TP == tp {
			if err := m.DropFuture(f); err != nil {
				m.opts.Logger.Warn("a copy of a deleted log stays behind", "partition", tp.String(), "dir", f.Dir, "error", err)
			}
		}
	}
	if err := l.Delete(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	put(m, tp, placed{}) // only now: a new log of that name must not meet the old directory
	return nil
}

// fence takes a directory offline after a failed write or sync: what it holds un-synced
// can't be trusted any more, and its logs refuse all work.
func (m *Manager) fence(d *dir, err error) {
	d.mu.Lock()
	first, w := d.mu.offline == nil, d.mu.wal
	if first {
		d.mu.offline = err
	}
	d.mu.Unlock()
	if !first {
		return
	}
	m.opts.Logger.Error("log dir goes offline", "dir", d.path, "error", err)
	if w != nil {
		w.Fail(err)
	}
	for _, l := range m.logsIn(d) {
		l.Fail(err)
	}
	if m.opts.Offline != nil {
		m.opts.Offline(DirInfo{Path: d.path, ID: d.id, Offline: err})
	}
	m.mu.Lock()
	tell := m.mu.offline
	m.mu.Unlock()
	for _, f := range tell {
		f(DirInfo{Path: d.path, ID: d.id, Offline: err})
	}
}

// OnOffline has f told, once each, of the directories that fail from now on. It may be
// called with a log of the directory locked, so it must not block or call into one.
func (m *Manager) OnOffline(f func(DirInfo)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.offline = append(m.mu.offline[:len(m.mu.offline):len(m.mu.offline)], f)
}

func (m *Manager) logsIn(d *dir) []*commitlog.Log {
	logs, _ := inDir(m, d)
	return logs
}

// inDir answers the logs of a directory, and what is left in it of those that moved away: each
// partition is in one of them, whenever the switch of a move comes.
func inDir(m *Manager, d *dir) (logs []*commitlog.Log, left []former) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.mu.logs {
		if p.dir == d {
			logs = append(logs, p.log)
		}
	}
	for k, f := range m.mu.former {
		if k.dir == d {
			left = append(left, f)
		}
	}
	return logs, left
}

// Dirs describes the log dirs in the order of Options.Dirs.
func (m *Manager) Dirs() []DirInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]DirInfo, len(m.dirs))
	for i, d := range m.dirs {
		out[i] = DirInfo{Path: d.path, ID: d.id, Partitions: d.partitions, Offline: d.offline(), Cordoned: cordoned(m, d)}
	}
	return out
}

// DirOf is the directory id of a partition's log, zero when there is none.
func (m *Manager) DirOf(tp kafka.TopicPartition) kafka.UUID {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.mu.logs[tp]; ok {
		return p.dir.id
	}
	return kafka.UUID{}
}

// DirectoryIDs are the ids of the online log dirs.
func (m *Manager) DirectoryIDs() []kafka.UUID {
	var ids []kafka.UUID
	for _, d := range m.dirs {
		if d.offline() == nil {
			ids = append(ids, d.id)
		}
	}
	return ids
}

// Checkpoint syncs the closed segments of every log and then writes each directory's
// checkpoint; the owner calls it every minute or so. A log that was never used costs
// nothing but its entry; one that was not used since the last call lets go of its files.
func (m *Manager) Checkpoint() error {
	var errs []error
	for _, d := range m.dirs {
		errs = append(errs, m.checkpointDir(d))
	}
	m.files.Trim()
	return errors.Join(errs...)
}

// checkpointDir is Checkpoint of one directory. On a disk that fills, what was evicted goes
// at once.
func (m *Manager) checkpointDir(d *dir) error {
	if d.offline() != nil {
		return nil
	}
	now := d.room.Pressure() != commitlog.Calm
	return m.round(d, m.logsIn(d), now)
}

// round flushes some logs of a directory, writes its checkpoint, and has the logs remove what
// that one vouches for. Rounds of a directory do not overlap: another one's flush must not
// pass for what this one's checkpoint holds.
func (m *Manager) round(d *dir, logs []*commitlog.Log, now bool) error {
	d.roundMu.Lock()
	defer d.roundMu.Unlock()
	var errs []error
	for _, l := range logs {
		if l.Err() != nil {
			continue
		}
		if err := l.FlushClosed(); err != nil && !errors.Is(err, commitlog.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if err := m.writeCheckpoint(d, nil); errors.Is(err, commitlog.ErrClosed) {
		return errors.Join(errs...) // closed meanwhile, with a checkpoint of its own
	} else if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, l := range logs {
		l.Reap(now)
	}
	return errors.Join(errs...)
}

// writeCheckpoint replaces the checkpoint of d, durably. closed holds the logs that were
// closed in order; nil when the node goes on.
func (m *Manager) writeCheckpoint(d *dir, closed map[kafka.TopicPartition]bool) error {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	if err := d.offline(); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", d.path, err)
	}
	if d.sealed { // a later one would undo the marker, in a directory that may be another process's by now
		return fmt.Errorf("checkpoint of %s: %w", d.path, commitlog.ErrClosed)
	}
	c := checkpoint{directoryID: d.id, bootID: m.boot, sequence: d.sequence + 1}
	logs, left := inDir(m, d)
	for _, l := range logs {
		st := l.State()
		c.entries = append(c.entries, checkpointEntry{State: st, closed: closed[st.TP]})
		if !commitlog.Recovered(l) { // what an earlier run's power cut left of it is still to be found
			c.bootID = d.boot
		}
	}
	for _, f := range left {
		c.entries = append(c.entries, f.entry)
		if f.unread { // as above
			c.bootID = d.boot
		}
	}
	slices.SortFunc(c.entries, func(a, b checkpointEntry) int {
		if a.TP.Topic != b.TP.Topic {
			if a.TP.Topic < b.TP.Topic {
				return -1
			}
			return 1
		}
		return int(a.TP.Partition) - int(b.TP.Partition)
	})
	if err := vfs.WriteFileAtomic(m.opts.FS, filepath.Join(d.path, CheckpointName), c.append(nil)); err != nil {
		err = fmt.Errorf("checkpoint of %s: %w: %w", d.path, kafka.KafkaStorageError, err)
		if !full(err) {
			m.fence(d, err)
		}
		return err // of a full disk the checkpoint before it still holds, and the next call tries again
	}
	d.sequence++
	d.sealed = closed != nil
	return nil
}

// Close closes every log, writes the checkpoints and then the markers that make the next
// start a clean one, and lets go of the directories.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		return nil
	}
	m.mu.closed = true
	m.mu.Unlock()
	var errs []error
	for _, d := range m.dirs {
		if d.lock == nil {
			continue
		}
		errs = append(errs, m.closeDir(d), d.lock.Close())
	}
	m.files.Close()
	return errors.Join(errs...)
}

func (m *Manager) closeDir(d *dir) error {
	var mu sync.Mutex
	var errs []error
	closed := map[kafka.TopicPartition]bool{}
	each(m.opts.RecoveryThreads, m.logsIn(d), func(l *commitlog.Log) {
		ok := l.Err() == nil && l.Damage() == nil && commitlog.Recovered(l)
		err := l.Close()
		mu.Lock()
		defer mu.Unlock()
		closed[l.TopicPartition()] = ok && err == nil
		errs = append(errs, err)
	})
	if d.offline() != nil {
		return errors.Join(append(errs, d.closeWAL(false))...)
	}
	if err := m.writeCheckpoint(d, closed); err != nil {
		return errors.Join(append(errs, err, d.closeWAL(false))...)
	}
	if err := d.closeWAL(errors.Join(errs...) == nil); err != nil {
		return errors.Join(append(errs, err)...)
	}
	marker := strconv.AppendUint([]byte("1 "), d.sequence, 10)
	errs = append(errs, vfs.WriteFileAtomic(m.opts.FS, filepath.Join(d.path, cleanName), append(marker, '\n')))
	return errors.Join(errs...)
}

// each calls f for all items, from at most n goroutines, and waits.
func each[T any](n int, items []T, f func(T)) {
	var wg sync.WaitGroup
	work := make(chan T)
	for range min(n, len(items)) {
		wg.Go(func() {
			for it := range work {
				f(it)
			}
		})
	}
	for _, it := range items {
		work <- it
	}
	close(work)
	wg.Wait()
}
