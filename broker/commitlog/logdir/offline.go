package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/inspect"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Offline is one log dir that no broker has open, for an operator's work on single
// partitions. It is locked until Close. Not safe for concurrent use.
type Offline struct {
	fs   vfs.FS
	now  func() time.Time
	m    *Manager
	d    *dir
	cp   *checkpoint // nil when there is none to be trusted
	lost bool        // un-synced writes may be missing
}

// OpenOffline locks a log dir and reads its checkpoint. It changes nothing. Errors wrap
// ErrInUse, ErrForeign when the directory is no log dir, kafka.ErrCorrupt.
func OpenOffline(fsys vfs.FS, path string, now func() time.Time, logger *slog.Logger) (*Offline, error) {
	path = filepath.Clean(path)
	b, err := vfs.ReadFile(fsys, filepath.Join(path, metaName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s: it is no log dir; name one of log.dirs: %w", path, metaName, ErrForeign)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(path, metaName), err)
	}
	meta, err := parseMetaProperties(b)
	if err != nil {
		return nil, fmt.Errorf("log dir %s: %w", path, err)
	}
	m := &Manager{opts: Options{FS: fsys, Now: now, Logger: logger}, files: commitlog.NewFileCache(fsys, 0), boot: machineBootID(fsys)}
	o := &Offline{fs: fsys, now: now, m: m, d: &dir{path: path, id: meta.directoryID}}
	if err := m.lockDir(o.d); err != nil {
		return nil, err
	}
	if o.cp, err = m.readCheckpoint(o.d); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	o.lost = o.cp == nil || m.boot == "" || o.cp.bootID != m.boot
	return o, nil
}

// Close lets go of the directory.
func (o *Offline) Close() error {
	o.m.files.Close()
	return o.d.lock.Close()
}

// Holds says whether the directory has a partition, and whether that has had records.
func (o *Offline) Holds(tp kafka.TopicPartition) (there, used bool) {
	e := o.entry(tp)
	return e != nil, e != nil && (e.HighestRemote >= 0 || e.End > 0)
}

// entry is what the checkpoint says of a partition, nil when it says nothing.
func (o *Offline) entry(tp kafka.TopicPartition) *checkpointEntry {
	if o.cp == nil {
		return nil
	}
	i := slices.IndexFunc(o.cp.entries, func(e checkpointEntry) bool { return e.TP == tp })
	if i < 0 {
		return nil
	}
	return &o.cp.entries[i]
}

// topicID is the id of the topic that a partition here belongs to. Its directory and the
// checkpoint must agree: another id comes with files that were copied from elsewhere.
func (o *Offline) topicID(tp kafka.TopicPartition) (kafka.UUID, error) {
	id, err := o.m.topicID(filepath.Join(o.d.path, tp.String()))
	if err != nil {
		return id, err
	}
	e := o.entry(tp)
	switch {
	case e != nil && !id.IsZero() && id != e.TopicID:
		return id, fmt.Errorf("%s names topic id %s, the topic of this cluster has %s: remove the file, the receiver keeps its own: %w",
			filepath.Join(o.d.path, tp.String(), commitlog.PartitionMetadataName), id, e.TopicID, kafka.InconsistentTopicID)
	case e != nil:
		return e.TopicID, nil
	case id.IsZero():
		return id, fmt.Errorf("%s holds no partition %s: create the topic first, and stop the broker in order: %w", o.d.path, tp, kafka.UnknownTopicOrPartition)
	}
	return id, nil
}

// open opens a partition's log as a start would. st replaces what the checkpoint says.
func (o *Offline) open(tp kafka.TopicPartition, st *commitlog.State, compacted bool) (*commitlog.Log, error) {
	id, err := o.topicID(tp)
	if err != nil {
		return nil, err
	}
	c := commitlog.DefaultConfig()
	c.Compact = compacted
	opts := o.m.logOptions(o.d, tp, id, c)
	opts.Checkpoint, opts.Failed = nil, nil
	opts.State, opts.Younger, opts.PowerLost = st, o.cp != nil && st == nil, o.lost
	opts.ProducerIDExpirationMs = keepProducers
	l, err := commitlog.Open(opts)
	if err != nil {
		return nil, err
	}
	return l, l.Err()
}

// keepProducers: whether a producer is forgotten is for the broker to decide.
const keepProducers = 1 << 60

// save closes a log and writes what it says into the checkpoint. The other entries, and
// whether they were closed in order, stay as they are.
func (o *Offline) save(l *commitlog.Log) error {
	if err := l.Close(); err != nil {
		return err
	}
	if o.cp == nil {
		return nil // every log is scanned at the next start; an entry alone would belie that
	}
	st := l.State()
	e := o.entry(st.TP)
	if e == nil {
		o.cp.entries = append(o.cp.entries, checkpointEntry{})
		e = &o.cp.entries[len(o.cp.entries)-1]
	}
	*e = checkpointEntry{State: st, closed: l.Damage() == nil}
	slices.SortFunc(o.cp.entries, func(a, b checkpointEntry) int {
		if c := strings.Compare(a.TP.Topic, b.TP.Topic); c != 0 {
			return c
		}
		return int(a.TP.Partition) - int(b.TP.Partition)
	})
	path := filepath.Join(o.d.path, CheckpointName)
	if err := vfs.WriteFileAtomic(o.fs, path, o.cp.append(nil)); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Repair accepts that the offsets from from up to, not including, to of a partition are
// lost; see commitlog.Mender. Every segment is read first, and what is damaged is
// set aside. It answers what was lost and what, outside of the range, nobody has accepted yet.
func (o *Offline) Repair(tp kafka.TopicPartition, from, to int64, compacted bool) (lost, left []commitlog.Hole, err error) {
	var st *commitlog.State
	if e := o.entry(tp); e != nil {
		known := e.State
		st = &known
	}
	l, err := o.open(tp, st, compacted)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range l.Segments() {
		if err := (commitlog.Mender{Log: l}).Check(s.Base); err != nil {
			return nil, nil, errors.Join(err, l.Close())
		}
	}
	lost, err = (commitlog.Mender{Log: l}).AcceptLoss(from, to)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	if left, err = (commitlog.Mender{Log: l}).Unsettled(); err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return lost, left, o.save(l)
}

// Drop removes a partition's log and its entry in the checkpoint: of a topic that was deleted
// while this broker could not hear of it. The topic's id has to be named, because the name
// alone may mean a topic that is there. Errors wrap kafka.InconsistentTopicID,
// kafka.UnknownTopicOrPartition.
func (o *Offline) Drop(tp kafka.TopicPartition, topicID kafka.UUID) error {
	id, err := o.topicID(tp)
	if err != nil {
		return err
	}
	if id != topicID {
		return fmt.Errorf("%s in %s belongs to topic id %s, not %s: %w", tp, o.d.path, id, topicID, kafka.InconsistentTopicID)
	}
	gone := filepath.Join(o.d.path, commitlog.DeletedDirName(tp, kafka.NewUUID()))
	err = o.fs.Rename(filepath.Join(o.d.path, tp.String()), gone)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := o.fs.SyncDir(o.d.path); err != nil {
		return err
	}
	if o.cp != nil {
		o.cp.entries = slices.DeleteFunc(o.cp.entries, func(e checkpointEntry) bool { return e.TP == tp })
		if err := vfs.WriteFileAtomic(o.fs, filepath.Join(o.d.path, CheckpointName), o.cp.append(nil)); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	return o.fs.RemoveAll(gone)
}

// ImportOptions say how Import takes a partition over.
type ImportOptions struct {
	// From is the partition's directory to copy files from; "" = they are in place already.
	From string
	// Compacted says that offsets may be missing.
	Compacted bool
	// Seen is told of bytes as they are read; it may be nil.
	Seen func(bytes int64)
}

// Imported is what Import took over.
type Imported struct {
	Report *inspect.Report
	// Epochs says that the batches carried leader epochs of the cluster they come from,
	// which were set to 0: this cluster's epochs begin there. They stay where the topic was
	// adopted, with its id, because this cluster's epochs are above them then.
	Epochs bool
	State  commitlog.State
}

// Import takes over segment files that another broker wrote, Apache Kafka above all: all are
// read and must be sound, indexes and producer state are rebuilt, and the checkpoint says
// so, so that the next start opens the log as one that was closed in order. The partition's
// topic exists here, and its log is empty but for those files. Nothing is changed before
// every file has been read; a crash later leaves files that Import takes over again.
func (o *Offline) Import(tp kafka.TopicPartition, io ImportOptions) (*Imported, error) {
	id, err := o.topicID(tp)
	if err != nil {
		return nil, err
	}
	if o.cp == nil {
		return nil, fmt.Errorf("%s has no usable checkpoint: start the broker once and stop it in order: %w", o.d.path, kafka.InvalidRequest)
	}
	if _, used := o.Holds(tp); used {
		return nil, fmt.Errorf("%s holds records of its own (up to offset %d) or has some in the object store: import into a new topic: %w", tp, o.entry(tp).End, kafka.InvalidRequest)
	}
	dir, src := filepath.Join(o.d.path, tp.String()), io.From
	if src == "" {
		src = dir
	}
	report, err := inspect.Verify(o.fs, src, inspect.VerifyOptions{Compacted: true, Seen: io.Seen})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", src, err)
	}
	if report.Segments == 0 {
		return nil, fmt.Errorf("%s holds no segment files (*.log): %w", src, kafka.InvalidRequest)
	}
	for _, f := range report.Findings {
		if f.Problem && strings.HasSuffix(f.File, ".log") {
			return nil, fmt.Errorf("%s is damaged, nothing was imported (%s): %w", src, f, kafka.ErrCorrupt)
		}
	}
	if io.From != "" {
		if err := o.copyIn(io.From, dir); err != nil {
			return nil, err
		}
	}
	out := &Imported{Report: report}
	adopted := false
	if io.From != "" {
		theirs, err := o.m.topicID(io.From)
		if err != nil {
			return nil, err
		}
		adopted = !theirs.IsZero() && theirs == id
	}
	if !adopted {
		if out.Epochs, err = o.firstEpoch(dir, report.Start); err != nil {
			return nil, err
		}
	}
	return out, o.takeOver(tp, id, io.Compacted, out)
}

// takeOver scans the files as a start would and makes the checkpoint know them.
func (o *Offline) takeOver(tp kafka.TopicPartition, id kafka.UUID, compacted bool, out *Imported) error {
	path := filepath.Join(o.d.path, tp.String(), commitlog.PartitionMetadataName)
	if err := vfs.WriteFileAtomic(o.fs, path, commitlog.AppendPartitionMetadata(nil, id)); err != nil {
		return err
	}
	start := out.Report.Start
	l, err := o.open(tp, &commitlog.State{TP: tp, TopicID: id, LogStart: start, LocalStart: start, HighestRemote: kafka.NoOffset, LatestEpoch: kafka.NoEpoch}, compacted)
	if err != nil {
		return err
	}
	left, err := (commitlog.Mender{Log: l}).Unsettled()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	for _, h := range left { // the files are whole: the records were not there where they come from
		if _, err := (commitlog.Mender{Log: l}).AcceptLoss(h.From, h.To); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if err := l.Flush(); err != nil {
		return errors.Join(err, l.Close())
	}
	l.Accept()
	err = o.save(l)
	out.State = l.State()
	return err
}

// copyIn copies the files that matter from another partition's directory; indexes are rebuilt.
func (o *Offline) copyIn(src, dir string) error {
	if err := vfs.MkdirAllSync(o.fs, dir, dirPerm); err != nil {
		return fmt.Errorf("create %s: %w", dir, err)
	}
	old, err := o.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old { // an empty log's files, or what an import that ended early left
		if _, _, ok := commitlog.ParseSegmentName(e.Name()); ok {
			if err := o.fs.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	entries, err := o.fs.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, suffix, ok := commitlog.ParseSegmentName(e.Name())
		if ok && (suffix == ".log" || suffix == ".snapshot") || e.Name() == epochFile {
			if err := copyFile(o.fs, filepath.Join(src, e.Name()), filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("copy %s: %w", filepath.Join(src, e.Name()), err)
			}
		}
	}
	return o.fs.SyncDir(dir)
}

const (
	epochFile = "leader-epoch-checkpoint" // Kafka's
	copyChunk = 1 << 20
)

func copyFile(fsys vfs.FS, src, dst string) (err error) {
	in, err := fsys.OpenFile(src, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := fsys.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	b := make([]byte, copyChunk)
	for at := int64(0); err == nil && at < info.Size(); {
		n := min(int64(len(b)), info.Size()-at)
		if _, err = in.ReadAt(b[:n], at); err == nil {
			_, err = out.WriteAt(b[:n], at)
		}
		at += n
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// firstEpoch sets the leader epochs of all batches to 0, if any is another: epochs count
// the leaders of one cluster, and a leader of this one may not append in an epoch below
// the log's. The field lies outside of a batch's CRC. It says whether it changed any.
func (o *Offline) firstEpoch(dir string, start int64) (changed bool, err error) {
	entries, err := o.fs.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if _, suffix, ok := commitlog.ParseSegmentName(e.Name()); ok && suffix == ".log" {
			more, err := clearEpochs(o.fs, filepath.Join(dir, e.Name()))
			if err != nil {
				return changed, fmt.Errorf("set the leader epochs in %s: %w", filepath.Join(dir, e.Name()), err)
			}
			changed = changed || more
		}
	}
	path := filepath.Join(dir, epochFile)
	b, err := vfs.ReadFile(o.fs, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return changed, err
	}
	if want := commitlog.AppendEpochCheckpoint(nil, []commitlog.EpochEntry{{Epoch: 0, Start: start}}); changed || string(b) != string(want) {
		return changed, vfs.WriteFileAtomic(o.fs, path, want)
	}
	return changed, nil
}

func clearEpochs(fsys vfs.FS, path string) (changed bool, err error) {
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer func() {
		if changed && err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	var b [batch.HeaderSize]byte
	for pos := int64(0); pos+batch.HeaderSize <= info.Size(); {
		if _, err := f.ReadAt(b[:], pos); err != nil {
			return changed, err
		}
		h, err := batch.ParseHeader(b[:])
		if err != nil || pos+h.Size() > info.Size() {
			return changed, nil // a torn end, which is cut
		}
		if h.LeaderEpoch != 0 {
			batch.SetLeaderEpoch(b[:], 0)
			if _, err := f.WriteAt(b[:], pos); err != nil {
				return changed, err
			}
			changed = true
		}
		pos += h.Size()
	}
	return changed, nil
}
