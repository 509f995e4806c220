package logdir

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

const cluster = "Y2x1c3Rlci1jbHVzdGVyLQ"

func options(fsys vfs.FS, dirs ...string) Options {
	return Options{
		FS: fsys, Dirs: dirs, ClusterID: cluster, NodeID: 1, BootID: "boot",
		Config: func(kafka.TopicPartition, kafka.UUID) commitlog.Config { return testConfig() },
		Now:    time.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), ProducerIDExpirationMs: 1000,
	}
}

func testConfig() commitlog.Config {
	c := commitlog.DefaultConfig()
	c.SegmentBytes, c.FileDeleteDelayMs = 2000, 0
	return c
}

func mustOpen(t *testing.T, o Options) *Manager {
	t.Helper()
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tp(topic string, p int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: p}
}

func id(b byte) kafka.UUID { return kafka.UUID{b, 1} }

func appendTo(t *testing.T, l *commitlog.Log, n int) {
	t.Helper()
	for range n {
		var b batch.Builder
		b.Append(nil, make([]byte, 100), nil, 1_700_000_000_000)
		bytes := b.Bytes()
		h, err := batch.ParseHeader(bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(bytes, h, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func create(t *testing.T, m *Manager, p kafka.TopicPartition, topic kafka.UUID) *commitlog.Log {
	t.Helper()
	l, err := m.Create(p, topic, testConfig(), Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tree lists every file below the root with its content.
func tree(t *testing.T, fsys vfs.FS, root string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if e.IsDir() {
			out = append(append(out, path+"/"), tree(t, fsys, path)...)
			continue
		}
		b, err := vfs.ReadFile(fsys, path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, path+": "+string(b))
	}
	return out
}

func TestPlacementAndCleanRestart(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	m := mustOpen(t, o)
	var ids []kafka.UUID
	for i := range byte(6) {
		l := create(t, m, tp("t", int32(i)), id(i))
		if i < 4 {
			appendTo(t, l, int(i)*20+1)
		}
		ids = append(ids, m.DirOf(tp("t", int32(i))))
	}
	for _, d := range m.Dirs() {
		if d.Partitions != 3 || d.Offline != nil {
			t.Errorf("%+v, want 3 partitions", d)
		}
	}
	if _, err := fsys.Stat("/a/t-4"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory before the first append: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	// A clean start opens no file of any partition.
	o.FS = errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if strings.HasSuffix(name, ".log") {
			return syscall.EIO
		}
		return nil
	})
	o.KnownDirs = m.DirectoryIDs()
	m = mustOpen(t, o)
	for i := range byte(6) {
		l, ok := m.Log(tp("t", int32(i)), id(i))
		if !ok || l.Err() != nil || l.Suspect() || m.DirOf(tp("t", int32(i))) != ids[i] {
			t.Fatalf("partition %d: found %v, %v", i, ok, l.Err())
		}
		if want := int64(i)*20 + 1; i < 4 && l.End() != want || i >= 4 && l.End() != 0 {
			t.Errorf("partition %d ends at %d", i, l.End())
		}
	}
	if _, ok := m.Log(tp("t", 0), id(99)); ok {
		t.Error("found a log under another topic's id")
	}
}

// TestACheckpointAfterTheCloseChangesNothing: a background checkpoint that comes too late
// neither fails nor makes the next start an unclean one.
func TestACheckpointAfterTheCloseChangesNothing(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	appendTo(t, create(t, m, tp("t", 0), id(1)), 5)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	before := tree(t, fsys, "/a")
	if err := m.Checkpoint(); err != nil {
		t.Error(err)
	}
	if after := tree(t, fsys, "/a"); !slices.Equal(before, after) {
		t.Errorf("the directory was\n%q\nand is\n%q", before, after)
	}
}

// TestEvictionDuringACheckpoint: segments go while a checkpoint is being written that still
// names them. Their files stay until a checkpoint that does not.
func TestEvictionDuringACheckpoint(t *testing.T) {
	mem := memfs.New()
	var l *commitlog.Log
	evict := false
	fsys := errorfs.Wrap(mem, func(op errorfs.Op, name string) error {
		if op == errorfs.Rename && strings.HasPrefix(filepath.Base(name), CheckpointName) && evict {
			evict = false
			if n, err := l.EvictBelow(l.End()); n == 0 || err != nil {
				t.Errorf("evicted %d: %v", n, err)
			}
		}
		return nil
	})
	m := mustOpen(t, options(fsys, "/a"))
	l = create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 100)
	end := l.End()
	evict = true
	if err := m.Checkpoint(); err != nil || evict {
		t.Fatal(err, evict)
	}
	again := mustOpen(t, options(kill(t, mem), "/a"))
	if l, ok := again.Log(tp("t", 0), id(1)); !ok || l.Err() != nil || l.Damage() != nil || l.End() != end {
		t.Errorf("after a kill: %v, %v", l.Err(), l.Damage())
	}
	for range 2 {
		if err := m.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if left := strings.Count(strings.Join(tree(t, mem, "/a/t-0"), "\n"), ".deleted"); left > 0 {
		t.Errorf("%d evicted files are still there", left)
	}
}

// TestIdlePartitionsHoldNoFile: what was not used between two checkpoints is closed, under
// nobody's hands, and opens again when it is needed.
func TestIdlePartitionsHoldNoFile(t *testing.T) {
	m := mustOpen(t, options(memfs.New(), "/a"))
	var logs []*commitlog.Log
	for i := range int32(8) {
		logs = append(logs, create(t, m, tp("t", i), id(1)))
		appendTo(t, logs[i], 30)
	}
	held, err := logs[0].Read(0, 100, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.files.Open(); n != 0 {
		t.Errorf("%d files of idle partitions are open", n)
	}
	if b, err := held.Range.ReadAll(); err != nil || len(b) == 0 {
		t.Errorf("a reader lost its file: %v", err)
	}
	held.Range.Release()
	for _, l := range logs {
		appendTo(t, l, 1)
		if l.End() != 31 {
			t.Errorf("ends at %d", l.End())
		}
	}
}

func TestCrashRecoversEverything(t *testing.T) {
	for _, lost := range []string{"nothing", "checkpoint", "checkpoint bytes"} {
		fsys := memfs.New()
		m := mustOpen(t, options(fsys, "/a"))
		l := create(t, m, tp("t", 0), id(1))
		appendTo(t, l, 50)
		l.SetHighestRemote(9)
		if err := m.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 7)
		late := create(t, m, tp("late", 0), id(2))
		appendTo(t, late, 3)
		path := "/a/" + CheckpointName
		switch lost {
		case "checkpoint":
			if err := fsys.Remove(path); err != nil {
				t.Fatal(err)
			}
		case "checkpoint bytes":
			b, err := vfs.ReadFile(fsys, path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := vfs.WriteFileAtomic(fsys, path, b); err != nil {
				t.Fatal(err)
			}
		}
		dead := kill(t, fsys)
		m = mustOpen(t, options(dead, "/a"))
		l, ok := m.Log(tp("t", 0), id(1))
		if !ok || l.Err() != nil || l.End() != 57 {
			t.Fatalf("%s lost: found %v, ends at %d", lost, ok, l.End())
		}
		if lost != "nothing" != l.Suspect() {
			t.Errorf("%s lost: suspect %v", lost, l.Suspect())
		}
		if late, ok = m.Log(tp("late", 0), id(2)); !ok || late.End() != 3 || !late.Suspect() {
			t.Errorf("%s lost: a log younger than the checkpoint: found %v", lost, ok)
		}
		// Who is suspect stays so until somebody settles it.
		m = mustOpen(t, options(kill(t, dead), "/a"))
		late, _ = m.Log(tp("late", 0), id(2))
		if !late.Suspect() {
			t.Errorf("%s lost: the next restart forgot the suspicion", lost)
		}
		late.Accept()
		if err := m.Checkpoint(); err != nil || late.Suspect() {
			t.Error(err)
		}
	}
}

// kill is what is left of a file system when its process dies: everything, and no lock.
func kill(t *testing.T, fsys *memfs.FS) *memfs.FS {
	t.Helper()
	next := memfs.New()
	var copyDir func(string)
	copyDir = func(dir string) {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.IsDir() {
				if err := next.MkdirAll(path, 0o755); err != nil {
					t.Fatal(err)
				}
				copyDir(path)
				continue
			}
			b, err := vfs.ReadFile(fsys, path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := next.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
			if err == nil {
				_, err = f.WriteAt(b, 0)
			}
			if err = errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyDir("/")
	return next
}

func TestRefusedDirsStayUntouched(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	if _, err := Open(options(fsys, "/fresh", "/a")); !errors.Is(err, ErrInUse) {
		t.Errorf("dir in use: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vfs.MkdirAllSync(fsys, "/home/me", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(fsys, "/home/letter", []byte("dear")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, fsys, "/")
	for name, c := range map[string]struct {
		change func(*Options)
		want   error
	}{
		"another cluster's":   {func(o *Options) { o.ClusterID = "b3RoZXItY2x1c3Rlci1pZA" }, ErrForeign},
		"another node's":      {func(o *Options) { o.NodeID = 2 }, ErrForeign},
		"somebody's files":    {func(o *Options) { o.Dirs = []string{"/a", "/fresh", "/home"} }, ErrForeign},
		"listed twice":        {func(o *Options) { o.Dirs = []string{"/a", "/a/"} }, kafka.InvalidConfig},
		"the only one, empty": {func(o *Options) { o.Dirs, o.KnownDirs = []string{"/fresh"}, []kafka.UUID{id(7)} }, kafka.KafkaStorageError},
	} {
		o := options(fsys, "/a", "/fresh")
		c.change(&o)
		if _, err := Open(o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if after := tree(t, fsys, "/"); !slices.Equal(after, before) {
			t.Errorf("%s: touched:\n%q, was\n%q", name, after, before)
		}
	}
}

// TestEmptyDirInPlaceOfAKnownOne is offline; it is formatted when it is an addition, or
// when the operator accepts the loss.
func TestEmptyDirInPlaceOfAKnownOne(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	known := m.DirectoryIDs()
	appendTo(t, create(t, m, tp("t", 0), id(1)), 3)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fsys.RemoveAll("/b"); err != nil {
		t.Fatal(err)
	}
	o := options(fsys, "/a", "/b", "/c")
	o.KnownDirs = known
	m = mustOpen(t, o)
	for i, offline := range []bool{false, true, true} {
		if d := m.Dirs()[i]; (d.Offline != nil) != offline || offline && !strings.Contains(d.Offline.Error(), known[1].String()) {
			t.Errorf("%+v, want offline %v", d, offline)
		}
	}
	if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.End() != 3 {
		t.Errorf("the other directory's log: %v", ok)
	}
	if _, err := m.Create(tp("u", 0), id(2), testConfig(), Placement{Dir: known[1]}); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("create in the lost directory: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat("/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an offline directory was touched: %v", err)
	}
	o.Lost = known // the first one is not missing
	m = mustOpen(t, o)
	ids := m.DirectoryIDs()
	if len(ids) != 3 || ids[0] != known[0] || ids[1] != known[1] || ids[2].IsZero() {
		t.Errorf("ids %v after accepting the loss of %v", ids, known)
	}
	if l, err := m.Create(tp("u", 0), id(2), testConfig(), Placement{Dir: known[1]}); err != nil || !l.Suspect() {
		t.Errorf("a partition of the lost directory: suspect %v, %v", err == nil && l.Suspect(), err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	o = options(fsys, "/a", "/b", "/c", "/d")
	o.KnownDirs = ids
	if m = mustOpen(t, o); len(m.DirectoryIDs()) != 4 {
		t.Errorf("an added directory: %+v", m.Dirs())
	}
}

func TestFailedDirGoesOfflineAlone(t *testing.T) {
	mem := memfs.New()
	fail := false
	fsys := errorfs.Wrap(mem, func(op errorfs.Op, name string) error {
		if fail && op == errorfs.FileDatasync && strings.HasPrefix(name, "/a/") {
			return syscall.EIO
		}
		return nil
	})
	o := options(fsys, "/a", "/b")
	var told []DirInfo
	o.Offline = func(d DirInfo) { told = append(told, d) }
	m := mustOpen(t, o)
	logs := map[kafka.UUID][]*commitlog.Log{}
	for i := range byte(4) {
		l := create(t, m, tp("t", int32(i)), id(i))
		appendTo(t, l, 1)
		logs[m.DirOf(l.TopicPartition())] = append(logs[m.DirOf(l.TopicPartition())], l)
	}
	fail = true
	bad, good := m.Dirs()[0].ID, m.Dirs()[1].ID
	if err := logs[bad][0].Flush(); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("flush: %v", err)
	}
	if len(told) != 1 || told[0].ID != bad || m.Dirs()[0].Offline == nil || len(m.DirectoryIDs()) != 1 {
		t.Errorf("told %+v, dirs %+v", told, m.Dirs())
	}
	if err := logs[bad][1].Err(); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("its neighbour in the directory: %v", err)
	}
	for _, l := range logs[good] {
		appendTo(t, l, 1)
	}
	if err := m.Checkpoint(); err != nil {
		t.Errorf("checkpoint of the others: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Logf("close: %v", err) // the failed logs say so again
	}
	m = mustOpen(t, options(kill(t, mem), "/a", "/b"))
	for i := range byte(4) {
		if l, ok := m.Log(tp("t", int32(i)), id(i)); !ok || l.End() < 1 || l.Err() != nil {
			t.Errorf("partition %d after a restart: %v, %v", i, ok, l.Err())
		}
	}
}

func TestDeleteFreesTheName(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	appendTo(t, create(t, m, tp("t", 0), id(1)), 3)
	if _, err := m.Create(tp("t", 0), id(2), testConfig(), Placement{Fresh: true}); !errors.Is(err, kafka.InconsistentTopicID) {
		t.Errorf("create over another topic's log: %v", err)
	}
	if err := m.Delete(tp("t", 0), id(2)); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Log(tp("t", 0), id(1)); !ok {
		t.Error("deleted under another topic's id")
	}
	if err := m.Delete(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	l := create(t, m, tp("t", 0), id(2))
	appendTo(t, l, 1)
	m = mustOpen(t, options(kill(t, fsys), "/a"))
	if _, ok := m.Log(tp("t", 0), id(1)); ok {
		t.Error("the deleted log is back")
	}
	if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.End() != 1 {
		t.Error("the new log is not there")
	}
}

func TestFilesOfALaterVersionAreRefused(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	b := (&checkpoint{directoryID: m.DirectoryIDs()[0]}).append(nil)
	b[5] = 2
	b = sum(b[:len(b)-4])
	if err := vfs.WriteFileAtomic(fsys, "/a/"+CheckpointName, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(options(fsys, "/a")); !errors.Is(err, errNewer) {
		t.Errorf("open: %v", err)
	}
}

// TestPowerCut: with the machine's run unknown or another one, un-synced writes may be
// missing; in the same run a hole is damage. Either way nothing synced is lost.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(60) {
		fsys := memfs.New()
		m := mustOpen(t, options(fsys, "/a"))
		l := create(t, m, tp("t", 0), id(1))
		appendTo(t, l, 40)
		if err := m.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		synced := l.State().RecoveryPoint
		appendTo(t, l, 40)
		o := options(fsys.CrashClone(seed), "/a")
		o.BootID = "another"
		m = mustOpen(t, o)
		l, ok := m.Log(tp("t", 0), id(1))
		if !ok || l.Err() != nil || l.Damage() != nil || l.End() < synced || l.End() > 80 || synced == 0 {
			t.Fatalf("seed %d: found %v, ends at %d, synced %d: %v %v", seed, ok, l.End(), synced, l.Err(), l.Damage())
		}
		appendTo(t, l, 1)
	}
}
