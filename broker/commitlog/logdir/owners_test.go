package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestNameComesBackInAnotherDir: a log is deleted, and before the next checkpoint of its dir
// its name is that of a log in another dir. A start after a crash finds that one.
func TestNameComesBackInAnotherDir(t *testing.T) {
	for _, c := range []struct {
		old, now int // batches
		same     bool
	}{{30, 5, false}, {30, 5, true}, {30, 0, false}, {30, 0, true}, {0, 5, false}, {0, 0, true}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			fsys := memfs.New()
			o := options(fsys, "/a", "/b")
			m := mustOpen(t, o)
			first, second := m.Dirs()[0].ID, m.Dirs()[1].ID
			l, err := m.Create(tp("t", 0), id(1), testConfig(), Placement{Dir: first, Fresh: true})
			if err != nil {
				t.Fatal(err)
			}
			appendTo(t, l, c.old)
			saveDir(t, m, "/a")
			if err := m.Delete(tp("t", 0), id(1)); err != nil {
				t.Fatal(err)
			}
			topic := id(2)
			if c.same {
				topic = id(1)
			}
			if l, err = m.Create(tp("t", 0), topic, testConfig(), Placement{Dir: second, Fresh: true}); err != nil {
				t.Fatal(err)
			}
			appendTo(t, l, c.now)
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			saveDir(t, m, "/b")
			for _, disk := range []*memfs.FS{fsys.KillClone(), fsys.CrashClone(1)} {
				o.FS = disk
				m := mustOpen(t, o)
				l, ok := m.Log(tp("t", 0), topic)
				if c.old == 0 && c.now == 0 && ok { // nothing tells them apart, and nothing needs to
					continue
				}
				if !ok || l.Dir() != "/b" || l.End() != int64(c.now) || l.Err() != nil || l.Damage() != nil {
					t.Errorf("log there %v; all: %+v", ok, m.Dirs())
				}
			}
		})
	}
}

func saveDir(t *testing.T, m *Manager, dir string) {
	t.Helper()
	if err := m.CheckpointDir(dir); err != nil {
		t.Fatal(err)
	}
}

// TestTwoDirsHoldAPartition: two directories with records are nobody's to choose between.
func TestTwoDirsHoldAPartition(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), kafka.UUID{1, 1})
	appendTo(t, l, 5)
	saveDir(t, m, l.Dir())
	other := map[string]string{"/a": "/b", "/b": "/a"}[l.Dir()]
	if err := fsys.MkdirAll(other+"/t-0", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/partition.metadata", "/00000000000000000000.log"} {
		if err := copyFile(fsys, l.Dir()+"/t-0"+name, other+"/t-0"+name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(options(fsys.KillClone(), "/a", "/b")); err == nil {
		t.Error("a partition in two log dirs was opened")
	}
}

// TestStrayOfAnOfflineDir: a topic is deleted, and comes back under another id, while a log dir
// that holds it is away. With that dir the start finds both, and the metadata knows which is meant.
func TestStrayOfAnOfflineDir(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	m := mustOpen(t, o)
	for i, d := range m.Dirs() {
		l, err := m.Create(tp("t", 0), id(byte(1+i)), testConfig(), Placement{Dir: d.ID, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 5+i)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		saveDir(t, m, d.Path)
		if i == 0 { // what /a holds is as it was when the disk went away
			put(m, tp("t", 0), placed{})
		}
	}
	for _, disk := range []*memfs.FS{fsys.KillClone(), fsys.CrashClone(1)} {
		o.FS = disk
		if _, err := Open(o); !errors.Is(err, ErrForeign) {
			t.Fatalf("without a word from the metadata: %v", err)
		}
		o.Named = func(_ kafka.TopicPartition, topic kafka.UUID) bool { return topic == id(2) }
		for range 2 {
			m := mustOpen(t, o)
			l, ok := m.Log(tp("t", 0), id(2))
			if !ok || l.Dir() != "/b" || l.End() != 6 || l.Err() != nil || l.Damage() != nil {
				t.Errorf("log there %v; all: %+v", ok, m.Dirs())
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			if left, err := ReadCheckpoint(disk, "/a/"+CheckpointName); err != nil || len(left) > 0 {
				t.Errorf("the checkpoint still speaks of the stray: %v, %v", left, err)
			}
		}
		entries, err := disk.ReadDir("/a")
		if err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), "-stray") }) {
			t.Errorf("the stray is gone: %v, %v", entries, err)
		}
		o.Named = nil
	}
}

// TestStrayHasItsRecords: what is in the write-ahead file alone after a power cut is in the
// directory that is set aside, or in a file that is kept when that one is damaged.
func TestStrayHasItsRecords(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		fsys := memfs.New()
		o := groupOptions(fsys, "/a", "/b")
		m := mustOpen(t, o)
		dirs := m.Dirs()
		l, err := m.Create(tp("t", 0), id(1), groupConfig(), Placement{Dir: dirs[0].ID, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 5)
		wait(l)
		put(m, tp("t", 0), placed{}) // as it was when the disk went away
		if l, err = m.Create(tp("t", 0), id(2), groupConfig(), Placement{Dir: dirs[1].ID, Fresh: true}); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 6)
		wait(l)
		disk := fsys.CrashClone(3)
		if damaged {
			if err := vfs.WriteFileAtomic(disk, "/a/t-0/00000000000000000000.swap", []byte("no swap")); err != nil {
				t.Fatal(err)
			}
		}
		o.FS, o.BootID = disk, "after"
		o.Named = func(_ kafka.TopicPartition, topic kafka.UUID) bool { return topic == id(2) }
		m = mustOpen(t, o)
		if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.End() != 6 {
			t.Fatalf("log there %v; all: %+v", ok, m.Dirs())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if damaged {
			if n := keptFiles(t, disk); n != 1 {
				t.Errorf("%d files kept", n)
			}
			continue
		}
		if n := keptFiles(t, disk); n != 0 {
			t.Errorf("%d files kept", n)
		}
		entries, err := disk.ReadDir("/a")
		i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), "-stray") })
		if err != nil || i < 0 {
			t.Fatalf("no stray: %v, %v", entries, err)
		}
		// The metadata was wrong: the operator gives it its name back.
		err = errors.Join(disk.Rename("/b/t-0", "/b/gone"), disk.Rename("/a/"+entries[i].Name(), "/a/t-0"))
		if err != nil {
			t.Fatal(err)
		}
		o.Dirs, o.Named, o.KnownDirs = []string{"/a"}, nil, nil
		if l, ok := mustOpen(t, o).Log(tp("t", 0), id(1)); !ok || l.End() != 5 || l.Damage() != nil {
			t.Errorf("log there %v: %+v", ok, l)
		}
	}
}

// TestStrayWithAMovedFile: the disk that was away holds a log whose move to it was not settled,
// and the former log dir holds the topic that has its name now. That is no old copy.
func TestStrayWithAMovedFile(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	m := mustOpen(t, o)
	movedLog(t, m, m.Dirs()[0].ID, "/b")
	disk := fsys.KillClone()
	o = options(disk, "/a") // without the other disk
	m = mustOpen(t, o)
	if err := m.Delete(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	l, err := m.Create(tp("t", 0), id(2), testConfig(), Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 6)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	o = options(disk, "/a", "/b")
	o.Named = func(_ kafka.TopicPartition, topic kafka.UUID) bool { return topic == id(2) }
	m = mustOpen(t, o)
	if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.Dir() != "/a" || l.End() != 6 || l.Err() != nil {
		t.Errorf("log there %v; all: %+v", ok, m.Dirs())
	}
}

// TestDeleteInAFailedDir: a log whose old copy lies in another log dir is deleted when its own
// dir has failed. The copy goes as well; its name may come back there.
func TestDeleteInAFailedDir(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	bad := false
	o.FS = errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if bad && name == "/a/"+CheckpointName+vfs.TempSuffix {
			return syscall.EIO
		}
		return nil
	})
	m := mustOpen(t, o)
	second := m.Dirs()[1].ID
	movedLog(t, m, second, "/a")
	bad = true
	if err := m.Delete(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat("/b/t-0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old copy is there: %v", err)
	}
	if dirs := m.Dirs(); dirs[0].Offline == nil || dirs[1].Offline != nil {
		t.Errorf("%+v", dirs)
	}
	l, err := m.Create(tp("t", 0), id(2), testConfig(), Placement{Dir: second, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 3)
	m = mustOpen(t, options(fsys.KillClone(), "/a", "/b"))
	if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.End() != 3 || l.Err() != nil || len(m.Logs()) != 1 {
		t.Errorf("log there %v; all: %+v", ok, m.Dirs())
	}
}

// movedLog makes a log of 10 batches in a log dir and moves it to another one, unsettled.
func movedLog(t *testing.T, m *Manager, from kafka.UUID, to string) {
	t.Helper()
	l, err := m.Create(tp("t", 0), id(1), testConfig(), Placement{Dir: from, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 10)
	mv, err := m.StartMove(tp("t", 0), id(1), to, noPace)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mv.Switch(testConfig()); err != nil {
		t.Fatal(err)
	}
	mv.Stop()
}

// TestMovedFileOfADeletedTopic: a log is deleted while its former log dir, with an old copy, is
// away, and its name comes back. Once that dir is back the new log knows what is to be removed.
func TestMovedFileOfADeletedTopic(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	movedLog(t, m, m.Dirs()[1].ID, "/a")
	fsys = fsys.KillClone()
	m = mustOpen(t, options(fsys, "/a"))
	if err := m.Delete(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	l, err := m.Create(tp("t", 0), id(2), testConfig(), Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 3)
	m = mustOpen(t, options(fsys.KillClone(), "/a", "/b"))
	if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.End() != 3 || len(m.MovedFrom(tp("t", 0))) != 1 {
		t.Fatalf("log there %v; former log dirs %v", ok, m.MovedFrom(tp("t", 0)))
	}
	if err := m.Settle(tp("t", 0), id(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.StartMove(tp("t", 0), id(2), "/b", noPace); err != nil {
		t.Errorf("the way is not free: %v", err)
	}
}

// TestNewLogInAStraysPlace: a directory of another topic, however it came there, is in the
// place of a new log. It is set aside: the metadata has asked for the new one.
func TestNewLogInAStraysPlace(t *testing.T) {
	for _, restart := range []bool{false, true} {
		fsys := memfs.New()
		m := mustOpen(t, options(fsys, "/a"))
		l := create(t, m, tp("t", 0), id(1))
		appendTo(t, l, 10)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		put(m, tp("t", 0), placed{})
		l, err := m.Create(tp("t", 0), id(2), testConfig(), Placement{Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		if restart { // the log is in the checkpoint, and has no directory
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m = mustOpen(t, options(fsys, "/a"))
			l, _ = m.Log(tp("t", 0), id(2))
		}
		appendTo(t, l, 3)
		if got := readAll(t, l); l.Err() != nil || l.End() != 3 || int64(len(got)) != l.Size() || m.Dirs()[0].Offline != nil {
			t.Errorf("restart %v: ends at %d, %v; %+v", restart, l.End(), l.Err(), m.Dirs())
		}
		m = mustOpen(t, options(fsys.CrashClone(1), "/a"))
		if _, ok := m.Log(tp("t", 0), id(2)); !ok || len(m.Logs()) != 1 {
			t.Errorf("restart %v: after a crash: %v", restart, m.Logs())
		}
		entries, err := fsys.ReadDir("/a")
		if err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), "-stray") }) {
			t.Errorf("restart %v: no stray: %v, %v", restart, entries, err)
		}
	}
}

// TestLostDirectoryBesideAStray: the directory of a log that the metadata means is lost, and a disk
// comes back with another topic's of that name. The loss is told; the log is not forgotten.
func TestLostDirectoryBesideAStray(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	m := mustOpen(t, o)
	for i, d := range m.Dirs() {
		l, err := m.Create(tp("t", 0), id(byte(1+i)), testConfig(), Placement{Dir: d.ID, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 5)
		saveDir(t, m, d.Path)
		if i == 0 { // what /a holds is as it was when the disk went away
			put(m, tp("t", 0), placed{})
		}
	}
	o.FS = fsys.KillClone()
	if err := o.FS.RemoveAll("/b/t-0"); err != nil {
		t.Fatal(err)
	}
	o.Named = func(_ kafka.TopicPartition, topic kafka.UUID) bool { return topic == id(2) }
	m = mustOpen(t, o)
	if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.Damage() == nil {
		t.Errorf("log there %v; all: %+v", ok, m.Dirs())
	}
}

// TestTwoEntriesOfDeletedTopics: a name was in two log dirs one after the other, and both topics
// were deleted, before the next checkpoint of either.
func TestTwoEntriesOfDeletedTopics(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	m := mustOpen(t, o)
	for i, d := range m.Dirs() {
		l, err := m.Create(tp("t", 0), id(byte(1+i)), testConfig(), Placement{Dir: d.ID, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 5)
		saveDir(t, m, d.Path)
		if err := m.Delete(tp("t", 0), id(byte(1+i))); err != nil {
			t.Fatal(err)
		}
	}
	o.FS = fsys.KillClone()
	o.Named = func(kafka.TopicPartition, kafka.UUID) bool { return false }
	if logs := mustOpen(t, o).Logs(); len(logs) > 0 {
		t.Errorf("deleted logs are back: %v", logs)
	}
}

// TestTwoDirsOfDeletedTopics: a topic is deleted while the log dir that holds it is away, its name
// comes back, and that one is deleted as well, and not gone when the process ends. Neither
// is in the way of the start, nor of a third topic of that name.
func TestTwoDirsOfDeletedTopics(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	m := mustOpen(t, o)
	for i, d := range m.Dirs() {
		l, err := m.Create(tp("t", 0), id(byte(1+i)), testConfig(), Placement{Dir: d.ID, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 5)
		saveDir(t, m, d.Path)
		if i == 0 {
			put(m, tp("t", 0), placed{})
		}
	}
	fsys = fsys.KillClone()
	o.FS, o.Named = fsys, func(_ kafka.TopicPartition, topic kafka.UUID) bool { return topic == id(3) }
	m = mustOpen(t, o)
	l, err := m.Create(tp("t", 0), id(3), testConfig(), Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 1)
	for _, dir := range []string{"/a", "/b"} {
		entries, err := fsys.ReadDir(dir)
		if err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), "-stray") }) {
			t.Errorf("no stray in %s: %v, %v", dir, entries, err)
		}
	}
	// One alone stays where it is: a topic that is absent is no proof that it was deleted.
	fsys = fsys.KillClone()
	o.FS, o.Named = fsys, func(kafka.TopicPartition, kafka.UUID) bool { return false }
	if l, ok := mustOpen(t, o).Log(tp("t", 0), id(3)); !ok || l.End() != 1 {
		t.Error("the log of a topic that the metadata does not know is not there")
	}
}

// TestStillbornLog: a crash in front of a log's first record leaves a directory that says nothing
// of its topic. The next start removes it: it would be in the way of a move into this log dir.
func TestStillbornLog(t *testing.T) {
	fsys := memfs.New()
	mustOpen(t, options(fsys, "/a"))
	for name, content := range map[string]string{
		"/a/t-0/00000000000000000000.log": "", "/a/t-0/partition.metadata.tmp": "vers",
		"/a/t-1/00000000000000000000.log": "x", "/a/t-2/notes.txt": "",
	} {
		err := vfs.MkdirAllSync(fsys, filepath.Dir(name), 0o755)
		if err == nil {
			err = vfs.WriteFileAtomic(fsys, name, []byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fsys = fsys.KillClone()
	mustOpen(t, options(fsys, "/a"))
	for name, want := range map[string]bool{"/a/t-0": false, "/a/t-1": true, "/a/t-2": true} {
		if _, err := fsys.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnreadLogIsNotClosedInOrder: a start after a power cut finds too many files open and can't
// read a log; then the process ends in order. What the cut left is for the next start to find.
func TestUnreadLogIsNotClosedInOrder(t *testing.T) {
	for seed := range uint64(20) {
		fsys := memfs.New()
		o := options(fsys, "/a")
		o.BootID = "before"
		m := mustOpen(t, o)
		appendTo(t, create(t, m, tp("t", 0), id(1)), 60)
		saveDir(t, m, "/a")
		disk := fsys.CrashClone(seed)
		o.BootID = "after"
		o.FS = errorfs.Wrap(disk, func(op errorfs.Op, name string) error {
			if op == errorfs.OpenFile && strings.HasSuffix(name, ".log") {
				return syscall.EMFILE
			}
			return nil
		})
		if err := mustOpen(t, o).Close(); err != nil {
			t.Fatal(err)
		}
		o.FS = disk
		l, ok := mustOpen(t, o).Log(tp("t", 0), id(1))
		if !ok {
			continue // nothing of it was left
		}
		end := l.End()
		if got := readAll(t, l); l.Err() != nil || l.Damage() != nil || l.End() != end || int64(len(got)) != l.Size() {
			t.Errorf("seed %d: ends at %d, then at %d; %v, %v", seed, end, l.End(), l.Err(), l.Damage())
		}
	}
}

// TestMoveKeepsWhatIsClean: the cleaner need not begin anew with a log that has moved.
func TestMoveKeepsWhatIsClean(t *testing.T) {
	m := mustOpen(t, options(memfs.New(), "/a", "/b"))
	c := testConfig()
	c.Compact = true
	l, err := m.Create(tp("t", 0), id(1), c, Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 30)
	commitlog.SetCleaned(l, 17)
	mv, err := m.StartMove(tp("t", 0), id(1), map[string]string{"/a": "/b", "/b": "/a"}[l.Dir()], noPace)
	if err != nil {
		t.Fatal(err)
	}
	defer mv.Stop()
	if l, err = mv.Switch(c); err != nil {
		t.Fatal(err)
	}
	if v, ok := commitlog.ViewCompaction(l, false); !ok || v.Cleaned != 17 {
		t.Errorf("clean up to %d (%v), want 17", v.Cleaned, ok)
	}
}

// TestEvictedSinceItWasEmpty: the checkpoint knows a log as empty; since then it has got segments,
// and the first of them were evicted. After a kill it does not pass for empty.
func TestEvictedSinceItWasEmpty(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	l := create(t, m, tp("t", 0), id(1))
	saveDir(t, m, "/a")
	appendTo(t, l, 60)
	start := l.Segments()[1].Base
	if err := l.SetStart(start); err != nil {
		t.Fatal(err)
	}
	if n, err := l.EvictBelow(start); n != 1 || err != nil {
		t.Fatalf("evicted %d segments, %v", n, err)
	}
	l, ok := mustOpen(t, options(fsys.KillClone(), "/a")).Log(tp("t", 0), id(1))
	if !ok || l.End() != 60 || l.Damage() != nil {
		t.Errorf("log there %v, ends at %d, %v", ok, l.End(), l.Damage())
	}
}
