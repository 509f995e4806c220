package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// contents is what a log dir holds at start.
type contents struct {
	dir        *dir
	checkpoint *checkpoint                         // nil when there is none to be trusted
	marker     bool                                // there is a clean-shutdown marker
	marked     bool                                // closed in order, with that checkpoint
	clean      bool                                // the checkpoint may stay as it is
	partitions map[kafka.TopicPartition]kafka.UUID // directories with their topic ids, zero where that can't be read
	futures    map[kafka.TopicPartition]string     // unique part of the name
	moved      map[kafka.TopicPartition]*moved
	stale      map[kafka.TopicPartition]kafka.UUID // moved into another directory, or deleted: the topic id

	strays  []kafka.TopicPartition // directories of a deleted topic whose name is that of a log elsewhere
	void    []string               // files of moves that did not come to their end
	debris  []string               // files that a crash cut short
	deleted []string               // directories on their way out
}

// replaced says that the checkpoint's entry of tp is of an earlier life here: a move has
// brought the log since.
func (c *contents) replaced(tp kafka.TopicPartition) bool {
	v := c.moved[tp]
	return v != nil && c.checkpoint.sequence <= v.sequence
}

// owned are the partitions of which there is a log to open here, once owners are settled.
func (c *contents) owned() map[kafka.TopicPartition]bool {
	out := map[kafka.TopicPartition]bool{}
	if c.checkpoint != nil {
		for i := range c.checkpoint.entries {
			if tp := c.checkpoint.entries[i].TP; !c.replaced(tp) {
				out[tp] = true
			}
		}
	}
	for tp, id := range c.partitions {
		if !id.IsZero() || c.moved[tp] != nil {
			out[tp] = true
		}
	}
	for tp := range c.stale {
		delete(out, tp)
	}
	return out
}

// settleOwners finds the logs of which two directories have a copy because a crash, or a disk
// that was away, came before the old one was removed. The moved file says who owns it.
func settleOwners(all []*contents) {
	for _, c := range all {
		for tp, v := range c.moved {
			for _, other := range all {
				if other != c && slices.Contains(v.former, other.dir.id) && other.mayHold(tp, v.entry.TopicID) {
					other.stale[tp] = v.entry.TopicID
				}
			}
		}
	}
}

// dropGone finds the entries of checkpoints whose logs were deleted since: there is no
// directory, and the partition's name came back in another log dir before this one's next
// checkpoint. There it may have no directory yet, until its first append. Where the metadata
// knows one of the two, findStrays has chosen already: that directory may as well be lost.
func dropGone(all []*contents) {
	owned := make([]map[kafka.TopicPartition]bool, len(all))
	for i, c := range all {
		owned[i] = c.owned()
	}
	for i, c := range all {
		for tp := range owned[i] {
			if _, there := c.partitions[tp]; there {
				continue
			}
			for j, other := range all {
				if _, there := other.partitions[tp]; j != i && owned[j][tp] && (there || other.entry(tp).End == 0) {
					c.stale[tp] = c.entry(tp).TopicID
					delete(owned[i], tp)
					break
				}
			}
		}
	}
}

// findStrays finds what a directory that was offline kept of a topic, or of an old copy of its
// log, while the topic was deleted and its name came back in another one: of two topic ids the
// metadata knows one, or none if that topic was deleted as well. Without it nobody can choose.
func (m opener) findStrays(all []*contents) {
	if m.opts.Named == nil {
		return
	}
	owners := map[kafka.TopicPartition]int{}
	for _, c := range all {
		for tp := range c.owned() {
			owners[tp]++
		}
	}
	for tp, n := range owners {
		if n < 2 {
			continue
		}
		var named, others []*contents
		for _, c := range all {
			switch {
			case !c.owned()[tp]:
			case m.opts.Named(tp, c.topicID(tp)):
				named = append(named, c)
			default:
				others = append(others, c)
			}
		}
		var there []*contents
		for _, c := range others {
			if _, ok := c.partitions[tp]; ok {
				there = append(there, c)
			} else {
				c.stale[tp] = c.topicID(tp) // deleted, and its entry is what is left
			}
		}
		if len(named) > 1 || len(named)+len(there) < 2 {
			continue
		}
		for _, c := range there {
			c.stale[tp] = c.topicID(tp)
			c.strays = append(c.strays, tp)
		}
	}
}

// mayHold says whether what there is of a partition, if anything, is of a topic id: a log dir
// comes back with a moved file, and its former one may have another topic of that name by now.
func (c *contents) mayHold(tp kafka.TopicPartition, id kafka.UUID) bool {
	there, ok := c.partitions[tp]
	if there.IsZero() && c.names(tp) {
		there = c.entry(tp).TopicID
	}
	return there == id || !ok && !c.names(tp) || there.IsZero()
}

// topicID is that of the log of an owned partition.
func (c *contents) topicID(tp kafka.TopicPartition) kafka.UUID {
	if id := c.partitions[tp]; !id.IsZero() {
		return id
	}
	if v := c.moved[tp]; v != nil {
		return v.entry.TopicID
	}
	return c.entry(tp).TopicID
}

// complete gives a stray what the write-ahead file holds of it, durably: that is discarded soon,
// and should the metadata be the one that is wrong, the directory is all that there is.
func (m opener) complete(c *contents, tp kafka.TopicPartition) error {
	var o commitlog.Options
	if e := c.known(tp); e != nil {
		o = m.knownLog(c, e).opts
	} else {
		o = m.youngLog(c, tp, c.partitions[tp], c.checkpoint != nil).opts
	}
	if o.Redo.Empty() {
		return nil
	}
	o.Checkpoint, o.Failed, o.WAL = nil, nil, nil
	l, err := commitlog.Open(o)
	if err != nil {
		return err
	}
	err = commitlog.Unreplayed(l)
	return errors.Join(err, l.Close())
}

// setAside gives a stray directory a name that is no partition's, Kafka's for such, durably.
func (m opener) setAside(c *contents, tp kafka.TopicPartition) error {
	name := commitlog.StrayDirName(tp, kafka.NewUUID())
	from, to := filepath.Join(c.dir.path, tp.String()), filepath.Join(c.dir.path, name)
	if err := errors.Join(m.opts.FS.Rename(from, to), m.opts.FS.SyncDir(c.dir.path)); err != nil {
		return fmt.Errorf("rename %s to %s: %w: %w", from, name, kafka.KafkaStorageError, err)
	}
	m.opts.Logger.Warn("a log dir holds a partition of a topic that was deleted, and whose name another topic has now; it is set aside. Remove it once you are sure",
		"partition", tp.String(), "topicID", c.stale[tp].String(), "dir", to)
	return nil
}

// entry is what the checkpoint, which must name it, says of a partition.
func (c *contents) entry(tp kafka.TopicPartition) *checkpointEntry {
	i := slices.IndexFunc(c.checkpoint.entries, func(e checkpointEntry) bool { return e.TP == tp })
	return &c.checkpoint.entries[i]
}

// known is what the checkpoint, or a moved file, says of a partition here; nil for nothing.
func (c *contents) known(tp kafka.TopicPartition) *checkpointEntry {
	switch v := c.moved[tp]; {
	case c.names(tp) && !c.replaced(tp):
		return c.entry(tp)
	case v != nil:
		return &v.entry
	}
	return nil
}

// opener turns what log dirs hold into logs, at start.
type opener struct{ *Manager }

// powerLost says that un-synced writes may be lost since the checkpoint.
func (m opener) powerLost(c *contents) bool {
	return c.checkpoint == nil || m.boot == "" || c.checkpoint.bootID != m.boot
}

// readDir reads a directory's checkpoint, marker and listing, and changes nothing. Copies that
// a move was making, and what moves left to settle, are in it too.
func (m opener) readDir(d *dir) (*contents, error) {
	c := &contents{dir: d, partitions: map[kafka.TopicPartition]kafka.UUID{}, futures: map[kafka.TopicPartition]string{},
		moved: map[kafka.TopicPartition]*moved{}, stale: map[kafka.TopicPartition]kafka.UUID{}}
	var err error
	if c.checkpoint, err = m.readCheckpoint(d); err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, cleanName)
	b, err := vfs.ReadFile(m.opts.FS, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w: %w", path, kafka.KafkaStorageError, err)
	}
	c.marker = err == nil
	c.marked = c.marker && c.checkpoint != nil && string(b) == fmt.Sprintf("1 %d\n", c.checkpoint.sequence)
	return c, m.listPartitions(c)
}

// listPartitions finds the partitions' directories with their topic ids, and what is to be
// removed. After a clean stop the checkpoint's topic ids are taken for those of its
// directories: opening a log checks them.
func (m opener) listPartitions(c *contents) error {
	d := c.dir
	entries, err := m.opts.FS.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("list %s: %w: %w", d.path, kafka.KafkaStorageError, err)
	}
	trusted := map[kafka.TopicPartition]kafka.UUID{}
	if c.marked && !m.powerLost(c) {
		for i := range c.checkpoint.entries {
			if e := &c.checkpoint.entries[i]; e.closed {
				trusted[e.TP] = e.TopicID
			}
		}
	}
	var moves []string
	for _, e := range entries {
		path := filepath.Join(d.path, e.Name())
		if !e.IsDir() {
			if _, _, ok := parseMoveName(e.Name(), movedSuffix); ok {
				moves = append(moves, e.Name())
			} else if strings.HasSuffix(e.Name(), movedSuffix+vfs.TempSuffix) {
				c.debris = append(c.debris, path)
			}
			continue
		}
		if strings.HasSuffix(e.Name(), commitlog.DeletedDirSuffix) {
			c.deleted = append(c.deleted, path)
			continue
		}
		if tp, unique, ok := parseMoveName(e.Name(), futureSuffix); ok {
			c.futures[tp] = unique
			continue
		}
		tp, ok := commitlog.ParseDirName(e.Name())
		if !ok {
			continue
		}
		id, known := trusted[tp]
		if !known {
			if id, err = m.topicID(path); err != nil {
				return err
			}
		}
		if id.IsZero() && !c.names(tp) && m.stillborn(path) {
			c.deleted = append(c.deleted, path)
			continue
		}
		c.partitions[tp] = id
	}
	for _, name := range moves {
		if err := m.readMoved(d, name, c); err != nil {
			return err
		}
	}
	return nil
}

// names says whether the checkpoint names a partition.
func (c *contents) names(tp kafka.TopicPartition) bool {
	return c.checkpoint != nil && slices.ContainsFunc(c.checkpoint.entries, func(e checkpointEntry) bool { return e.TP == tp })
}

// stillborn says whether a partition's directory is what a crash left of a log's first append:
// partition.metadata, without which no record is written, is not there, nor is a byte of a segment.
func (m opener) stillborn(path string) bool {
	entries, err := m.opts.FS.ReadDir(path)
	for _, e := range entries {
		if e.Name() == commitlog.PartitionMetadataName+vfs.TempSuffix {
			continue
		}
		info, infoErr := e.Info()
		if _, _, ok := commitlog.ParseSegmentName(e.Name()); !ok || infoErr != nil || info.Size() > 0 {
			return false
		}
	}
	return err == nil
}

// begin reads the write-ahead file, takes the clean-shutdown marker away, durably (from here
// on a crash is a crash), finishes what a crash interrupted, and answers the logs to open.
func (m opener) begin(c *contents) ([]job, error) {
	d := c.dir
	if c.checkpoint != nil {
		d.sequence, d.boot = c.checkpoint.sequence, c.checkpoint.bootID
	}
	if err := m.readWAL(d); err != nil {
		return nil, err
	}
	c.clean = c.marked && !m.powerLost(c) && d.replay == nil
	if c.marker {
		if err := removeDurably(m.opts.FS, d.path, filepath.Join(d.path, cleanName)); err != nil {
			return nil, err
		}
	}
	for _, path := range c.void {
		if err := removeDurably(m.opts.FS, d.path, path); err != nil {
			return nil, err
		}
	}
	for _, tp := range c.strays {
		if err := m.complete(c, tp); errors.Is(err, kafka.ErrCorrupt) {
			d.unplayed = append(d.unplayed, err)
		} else if err != nil {
			return nil, fmt.Errorf("replay into a stray: %w: %w", kafka.KafkaStorageError, err)
		}
		if err := m.setAside(c, tp); err != nil {
			return nil, err
		}
		delete(c.partitions, tp)
	}
	for _, path := range slices.Concat(c.debris, c.deleted) {
		if err := m.opts.FS.RemoveAll(path); err != nil { // what is left is found again
			m.opts.Logger.Warn("could not remove what a crash has left", "path", path, "error", err)
		}
	}
	// The records of an old copy went with it: the new directory has them. A stray has its own.
	for tp, id := range c.stale {
		d.replay.For(wal.Key{TopicID: id, Partition: tp.Partition})
	}
	m.keepFormer(c)
	return m.jobs(c), nil
}

// jobs answers the logs of a directory to open.
func (m opener) jobs(c *contents) []job {
	owned := c.owned()
	jobs := make([]job, 0, len(owned))
	known := map[kafka.TopicPartition]bool{}
	if c.checkpoint != nil {
		for i := range c.checkpoint.entries {
			e := &c.checkpoint.entries[i]
			if owned[e.TP] && !c.replaced(e.TP) {
				known[e.TP] = true
				jobs = append(jobs, m.knownLog(c, e))
			}
		}
	}
	for _, tp := range slices.SortedFunc(maps.Keys(c.partitions), func(a, b kafka.TopicPartition) int { return strings.Compare(a.String(), b.String()) }) {
		_, stale := c.stale[tp]
		switch v := c.moved[tp]; {
		case known[tp] || stale:
		case !owned[tp]:
			m.opts.Logger.Warn("partition directory has no readable partition.metadata and no checkpoint entry; left alone",
				"dir", filepath.Join(c.dir.path, tp.String()))
		case v != nil:
			jobs = append(jobs, m.knownLog(c, &v.entry))
		default:
			jobs = append(jobs, m.youngLog(c, tp, c.partitions[tp], c.checkpoint != nil))
		}
	}
	return jobs
}

// youngLog prepares a log that the checkpoint does not name.
func (m opener) youngLog(c *contents, tp kafka.TopicPartition, id kafka.UUID, younger bool) job {
	o := m.logOptions(c.dir, tp, id, m.opts.Config(tp, id))
	o.Younger, o.PowerLost = younger, m.powerLost(c)
	c.dir.redo(&o)
	return job{dir: c.dir, opts: o, moved: c.moved[tp]}
}

// knownLog prepares a log that the checkpoint, or a moved file, names. Its directory may hold
// another topic of the same name by now, whose deletion and creation came after the checkpoint.
func (m opener) knownLog(c *contents, e *checkpointEntry) job {
	id, there := c.partitions[e.TP]
	if there && !id.IsZero() && id != e.TopicID {
		return m.youngLog(c, e.TP, id, true)
	}
	o := m.logOptions(c.dir, e.TP, e.TopicID, m.opts.Config(e.TP, e.TopicID))
	st := e.State
	o.State, o.PowerLost = &st, m.powerLost(c)
	whole, synced := there || e.End == 0, e.RecoveryPoint >= e.End
	switch {
	case c.marked && e.closed && whole && (synced || !e.Sealed):
		o.Clean, st.Sealed = true, false // it is more than sealed
	case !o.PowerLost && whole && (synced || !o.Config.Group):
		// Nobody needs to read a sealed log, but in group mode all that is shown is durable.
		o.Clean = !there && e.Sealed && !e.Damaged || commitlog.Untouched(m.opts.FS, filepath.Join(c.dir.path, e.TP.String()), &st)
	}
	c.dir.redo(&o)
	return job{dir: c.dir, opts: o, moved: c.moved[e.TP]}
}
