package logdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

const (
	lockName = ".lock" // Kafka's
	dirPerm  = 0o755
)

// Errors of Open that tell the operator what to do; each says which directory it means.
var (
	// ErrInUse says that another process has a log dir open.
	ErrInUse = errors.New("log dir is in use by another process")
	// ErrForeign says that a log dir belongs to another cluster or node, or is no log dir.
	ErrForeign = errors.New("log dir is not this node's")
)

// Open takes the log dirs and opens the logs in them. It looks at every directory before
// it changes anything: when one is in use (ErrInUse), another cluster's or node's, or
// holds other files (ErrForeign), all stay untouched. Directories that don't exist are
// created; one that can't be read, or is empty in place of a known one, is offline
// (Dirs); when all are, errors wrap kafka.KafkaStorageError.
//
// After a clean shutdown no log's files are read. Otherwise the logs are recovered,
// several at once, before Open returns; those that can't be refuse all work (Log.Err).
func Open(o Options) (*Manager, error) {
	if o.FS == nil || o.Now == nil || o.Logger == nil || o.Config == nil || o.ClusterID == "" || len(o.Dirs) == 0 {
		return nil, errors.New("BUG: logdir.Options without FS, Now, Logger, Config, ClusterID or Dirs")
	}
	if o.RecoveryThreads <= 0 {
		o.RecoveryThreads = 4
	}
	m := &Manager{opts: o, files: commitlog.NewFileCache(o.FS, o.OpenFiles), boot: o.BootID}
	m.expiration.Store(o.ProducerIDExpirationMs)
	m.mu.logs = map[kafka.TopicPartition]placed{}
	m.mu.moves = map[kafka.TopicPartition]*Move{}
	m.mu.futures = map[futureKey]string{}
	m.mu.former = map[futureKey]former{}
	if m.boot == "" {
		m.boot = machineBootID(o.FS)
	}
	found, err := lookAll(&o)
	if err != nil {
		return nil, err
	}
	if err := m.lockAll(found); err != nil {
		m.unlock()
		return nil, err
	}
	if err := m.openAll(); err != nil {
		m.unlock()
		return nil, err
	}
	return m, nil
}

func (m *Manager) unlock() {
	for _, d := range m.dirs {
		if d.lock != nil {
			_ = d.lock.Close() // we are refusing to start already
		}
	}
}

// inspected is what a look at a directory found.
type inspected struct {
	path    string
	meta    metaProperties
	exists  bool // the directory
	ours    bool // it has our meta.properties
	offline error
}

// lookAll looks at all directories and changes nothing.
func lookAll(o *Options) ([]inspected, error) {
	var out []inspected
	seen := map[kafka.UUID]string{}
	paths := map[string]bool{}
	for _, path := range o.Dirs {
		path = filepath.Clean(path)
		if paths[path] {
			return nil, fmt.Errorf("log dir %s is listed twice: %w", path, kafka.InvalidConfig)
		}
		paths[path] = true
		d, err := look(o, path)
		if err != nil {
			return nil, err
		}
		if d.ours {
			if other, twice := seen[d.meta.directoryID]; twice {
				return nil, fmt.Errorf("%s and %s have the same directory.id %s: one is a copy of the other; remove one from log.dirs: %w",
					other, path, d.meta.directoryID, ErrForeign)
			}
			seen[d.meta.directoryID] = path
		}
		out = append(out, d)
	}
	o.replaceLost(out, seen)
	return out, nil
}

// replaceLost gives the identities of lost directories to empty ones, as far as the operator
// said so; the other empty ones are offline while a known directory is missing.
func (o *Options) replaceLost(found []inspected, seen map[kafka.UUID]string) {
	var missing, lost []kafka.UUID
	for _, id := range o.KnownDirs {
		if _, ok := seen[id]; ok {
			continue
		}
		if slices.Contains(o.Lost, id) {
			lost = append(lost, id)
		} else {
			missing = append(missing, id)
		}
	}
	for i := range found {
		d := &found[i]
		switch {
		case d.ours || d.offline != nil:
		case len(lost) > 0:
			d.meta.directoryID, lost = lost[0], lost[1:]
			o.Logger.Warn("an empty log dir takes the place of a lost one; what the object store does not hold of its partitions is gone",
				"dir", d.path, "directory.id", d.meta.directoryID.String())
		case len(missing) > 0:
			d.offline = fmt.Errorf("%s is empty, but the cluster knows log dir %s of this node, which no configured directory is: "+
				"mount the disk that is missing; if it is lost for good, set varve.log.dirs.lost=%s, and what the object store holds comes back: %w",
				d.path, join(missing), missing[0], kafka.KafkaStorageError)
		}
	}
	if len(lost) > 0 {
		o.Logger.Warn("no directory of log.dirs is empty and could take the place of a lost one; its partitions stay offline", "directory.id", join(lost))
	}
}

func join(ids []kafka.UUID) string {
	var out []string
	for _, id := range ids {
		out = append(out, id.String())
	}
	return strings.Join(out, ", ")
}

// look reads whose a directory is.
func look(o *Options, path string) (inspected, error) {
	d := inspected{path: path}
	b, err := vfs.ReadFile(o.FS, filepath.Join(path, metaName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d, lookEmpty(o, &d)
	case err != nil:
		d.offline = fmt.Errorf("read %s: %w: %w", filepath.Join(path, metaName), kafka.KafkaStorageError, err)
		return d, nil
	}
	d.exists, d.ours = true, true
	if d.meta, err = parseMetaProperties(b); err != nil {
		return d, fmt.Errorf("log dir %s: %w", path, err)
	}
	if d.meta.clusterID != o.ClusterID {
		return d, fmt.Errorf("%s belongs to cluster %s, this node to cluster %s; give this node a directory of its own: %w",
			path, d.meta.clusterID, o.ClusterID, ErrForeign)
	}
	if d.meta.nodeID != o.NodeID {
		return d, fmt.Errorf("%s belongs to node %d, this is node %d; give this node a directory of its own: %w",
			path, d.meta.nodeID, o.NodeID, ErrForeign)
	}
	return d, nil
}

// lookEmpty makes sure that a directory without meta.properties is empty.
func lookEmpty(o *Options, d *inspected) error {
	entries, err := o.FS.ReadDir(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		d.offline = fmt.Errorf("list %s: %w: %w", d.path, kafka.KafkaStorageError, err)
		return nil
	}
	d.exists = true
	for _, e := range entries {
		if slices.Contains(o.Own, filepath.Join(d.path, e.Name())) {
			continue
		}
		switch e.Name() {
		case lockName, "lost+found", metaName + vfs.TempSuffix, CheckpointName, CheckpointName + vfs.TempSuffix:
			// what a mount point has, or a crash while formatting leaves
		default:
			return fmt.Errorf("%s holds files (%s) but no %s: it is no log dir; name an empty directory: %w",
				d.path, e.Name(), metaName, ErrForeign)
		}
	}
	return nil
}

// lockAll locks the directories that are there, then creates and formats the others.
func (m *Manager) lockAll(found []inspected) error {
	online := 0
	for _, in := range found {
		d := &dir{path: in.path, id: in.meta.directoryID, room: m.watch(in.path)}
		d.mu.offline = in.offline
		m.dirs = append(m.dirs, d)
		if in.offline != nil {
			m.opts.Logger.Error("log dir is offline", "dir", in.path, "error", in.offline)
			continue
		}
		online++
		if !in.ours {
			continue
		}
		if err := m.lockDir(d); err != nil {
			return err
		}
	}
	if online == 0 {
		errs := []error{fmt.Errorf("no log dir is online: %w", kafka.KafkaStorageError)}
		for _, in := range found {
			errs = append(errs, in.offline)
		}
		return errors.Join(errs...)
	}
	for i, in := range found {
		if !in.ours && in.offline == nil {
			if err := m.format(m.dirs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) lockDir(d *dir) error {
	lock, err := m.opts.FS.Lock(filepath.Join(d.path, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%s: stop the other process, or use another directory: %w", d.path, ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w: %w", d.path, kafka.KafkaStorageError, err)
	}
	d.lock = lock
	return nil
}

// format makes an empty directory ours. The checkpoint comes first: a directory that has
// an identity has one, so that its absence later means that it was lost.
func (m *Manager) format(d *dir) error {
	if err := vfs.MkdirAllSync(m.opts.FS, d.path, dirPerm); err != nil {
		return fmt.Errorf("create log dir %s: %w: %w", d.path, kafka.KafkaStorageError, err)
	}
	if err := m.lockDir(d); err != nil {
		return err
	}
	if _, err := m.opts.FS.Stat(filepath.Join(d.path, metaName)); err == nil {
		return fmt.Errorf("%s was taken meanwhile: %w", d.path, ErrInUse)
	}
	if d.id.IsZero() {
		d.id = kafka.NewUUID()
	}
	if err := m.writeCheckpoint(d, nil); err != nil {
		return err
	}
	meta := metaProperties{clusterID: m.opts.ClusterID, nodeID: m.opts.NodeID, directoryID: d.id}
	if err := vfs.WriteFileAtomic(m.opts.FS, filepath.Join(d.path, metaName), meta.append(nil)); err != nil {
		return fmt.Errorf("format log dir: %w: %w", kafka.KafkaStorageError, err)
	}
	m.opts.Logger.Info("formatted log dir", "dir", d.path, "directory.id", d.id.String())
	return nil
}

// job is a log to be opened.
type job struct {
	dir   *dir
	opts  commitlog.Options
	moved *moved
}

// openAll opens the logs of all directories. Nothing is changed in any before it is known
// that no partition is in two of them, files of moves considered.
func (m *Manager) openAll() error {
	var all []*contents
	for _, d := range m.dirs {
		if d.offline() != nil {
			continue
		}
		c, err := (opener{m}).readDir(d)
		if errors.Is(err, kafka.KafkaStorageError) {
			m.fence(d, err)
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	settleOwners(all)
	(opener{m}).findStrays(all)
	dropGone(all)
	at := map[kafka.TopicPartition]*dir{}
	for _, c := range all {
		for tp := range c.owned() {
			if other := at[tp]; other != nil {
				return fmt.Errorf("%s and %s both hold partition %s; move one away: %w", other.path, c.dir.path, tp, ErrForeign)
			}
			at[tp] = c.dir
		}
	}
	var jobs []job
	var open []*contents
	for _, c := range all {
		more, err := (opener{m}).begin(c)
		if errors.Is(err, kafka.KafkaStorageError) {
			m.fence(c.dir, err)
			continue
		}
		if err != nil {
			return err
		}
		jobs, open = append(jobs, more...), append(open, c)
		for tp, unique := range c.futures {
			m.mu.futures[futureKey{tp, c.dir}] = unique
		}
	}
	if err := m.openLogs(jobs); err != nil {
		return err
	}
	for _, c := range open {
		d := c.dir
		if !c.clean && d.offline() == nil {
			if err := m.writeCheckpoint(d, nil); err != nil && d.offline() == nil {
				return err
			}
		}
		if d.replay != nil {
			if err := m.endReplay(d); err != nil {
				return err
			}
		}
	}
	if len(m.DirectoryIDs()) == 0 {
		return fmt.Errorf("no log dir is online: %w: %w", kafka.KafkaStorageError, m.dirs[0].offline())
	}
	return nil
}

// openLogs opens, and where needed recovers, several logs at once of each directory: disks
// do not wait for each other.
func (m *Manager) openLogs(jobs []job) error {
	byDir := map[*dir][]job{}
	var scans int64
	for _, j := range jobs {
		byDir[j.dir] = append(byDir[j.dir], j)
		if !j.opts.Clean {
			scans++
		}
	}
	m.opts.Progress.begin(int64(len(jobs)), scans)
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for d, jobs := range byDir {
		wg.Go(func() {
			began := m.opts.Now()
			each(m.opts.RecoveryThreads, jobs, func(j job) {
				if err := m.openLog(j); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
			m.opts.Logger.Info("opened the logs of a log dir", "dir", d.path, "logs", len(jobs), "took", m.opts.Now().Sub(began))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (m *Manager) openLog(j job) error {
	l, err := commitlog.Open(j.opts)
	if err != nil {
		return fmt.Errorf("open log %s in %s: %w", j.opts.TP, j.dir.path, err)
	}
	m.mu.Lock()
	put(m, j.opts.TP, placed{log: l, dir: j.dir, moved: j.moved})
	m.mu.Unlock()
	if m.opts.Progress.opened(!j.opts.Clean) {
		m.opts.Logger.Info("recovering logs", "progress", m.opts.Progress.String())
	}
	return nil
}

// readCheckpoint answers nil when there is none to be trusted: then every log is scanned.
func (m *Manager) readCheckpoint(d *dir) (*checkpoint, error) {
	path := filepath.Join(d.path, CheckpointName)
	b, err := vfs.ReadFile(m.opts.FS, path)
	if err == nil {
		var cp *checkpoint
		if cp, err = parseCheckpoint(b); err == nil && cp.directoryID == d.id {
			return cp, nil
		}
		if err == nil {
			err = fmt.Errorf("%s is of directory %s: %w", path, cp.directoryID, kafka.ErrCorrupt)
		}
	}
	switch {
	case errors.Is(err, errNewer):
		return nil, fmt.Errorf("log dir %s: %w", d.path, err)
	case errors.Is(err, kafka.ErrCorrupt), errors.Is(err, fs.ErrNotExist):
		m.opts.Logger.Warn("log dir has no usable checkpoint; scanning its logs", "dir", d.path, "reason", err)
		return nil, nil
	}
	return nil, fmt.Errorf("read %s: %w: %w", path, kafka.KafkaStorageError, err)
}

func (m *Manager) topicID(path string) (kafka.UUID, error) {
	b, err := vfs.ReadFile(m.opts.FS, filepath.Join(path, commitlog.PartitionMetadataName))
	if err == nil {
		var id kafka.UUID
		if id, err = commitlog.ParsePartitionMetadata(b); err == nil {
			return id, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, kafka.ErrCorrupt) {
		return kafka.UUID{}, nil
	}
	return kafka.UUID{}, fmt.Errorf("read %s: %w: %w", filepath.Join(path, commitlog.PartitionMetadataName), kafka.KafkaStorageError, err)
}

// machineBootID reads Linux's name for the machine's run; "" where there is none.
func machineBootID(fsys vfs.FS) string {
	f, err := fsys.OpenFile("/proc/sys/kernel/random/boot_id", os.O_RDONLY, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	var b [64]byte
	n, err := f.ReadAt(b[:], 0) // its Stat says size 0
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}
