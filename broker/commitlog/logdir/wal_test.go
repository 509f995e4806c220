package logdir

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// groupOptions are options of a node whose logs have group durability.
func groupOptions(fsys vfs.FS, dirs ...string) Options {
	o := options(fsys, dirs...)
	o.WALBytes = int64(wal.MinBytes)
	o.Config = func(kafka.TopicPartition, kafka.UUID) commitlog.Config { return groupConfig() }
	return o
}

func groupConfig() commitlog.Config {
	c := testConfig()
	c.Group = true
	return c
}

func createGroup(t *testing.T, m *Manager, p kafka.TopicPartition, topic kafka.UUID) *commitlog.Log {
	t.Helper()
	l, err := m.Create(p, topic, groupConfig(), Placement{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wait is until a log is durable up to its end.
func wait(l *commitlog.Log) {
	for moved := watch(l); l.Durable() < l.End(); {
		<-moved
	}
}

// watch yields something after Durable has moved.
func watch(l *commitlog.Log) <-chan struct{} {
	moved := make(chan struct{}, 1)
	commitlog.OnDurable(l, func() {
		select {
		case moved <- struct{}{}:
		default:
		}
	})
	return moved
}

// crashed is the disk after a power cut that takes all that was not synced, and the options
// of the node that finds it.
func crashed(t *testing.T, fsys *memfs.FS, boot string) (*memfs.FS, Options) {
	t.Helper()
	c := fsys.CrashClone(3)
	o := groupOptions(c, "/a")
	o.BootID = boot
	return c, o
}

// TestWALAppearsWithTheFirstGroupAppend, and a log dir in pagecache mode has none.
func TestWALAppearsWithTheFirstGroupAppend(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, groupOptions(fsys, "/a", "/b"))
	appendTo(t, create(t, m, tp("plain", 0), id(1)), 3)
	there := func(dir string) bool { _, err := fsys.Stat(dir + "/varve-wal"); return err == nil }
	if there("/a") || there("/b") {
		t.Fatal("a write-ahead file without group mode")
	}
	l, err := m.Create(tp("durable", 0), id(2), groupConfig(), Placement{Dir: m.dirs[1].id})
	if err != nil {
		t.Fatal(err)
	}
	if appendTo(t, l, 1); there("/a") || !there("/b") {
		t.Errorf("in /a: %v, in /b: %v", there("/a"), there("/b"))
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReplayEndsWithTheStart: what was replayed once is not replayed into what a later
// process has cut.
func TestReplayEndsWithTheStart(t *testing.T) {
	for seed := range uint64(8) {
		fsys := memfs.New()
		m := mustOpen(t, groupOptions(fsys, "/a"))
		l := createGroup(t, m, tp("t", 0), id(1))
		appendTo(t, l, 20)
		wait(l)
		fsys, o := crashed(t, fsys, "boot2")
		m = mustOpen(t, o)
		if l, _ = m.Log(tp("t", 0), id(1)); l.End() != 20 || l.Durable() != 20 {
			t.Fatalf("seed %d: ends at %d, durable up to %d", seed, l.End(), l.Durable())
		}
		if err := l.TruncateTo(7); err != nil {
			t.Fatal(err)
		}
		o = groupOptions(fsys.CrashClone(seed), "/a")
		o.BootID = "boot3"
		m = mustOpen(t, o)
		if l, _ = m.Log(tp("t", 0), id(1)); l.End() != 7 {
			t.Errorf("seed %d: ends at %d, was truncated to 7", seed, l.End())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLostLogKeepsTheWAL: records of a log that can't take them are put aside, not dropped. A log
// with a damaged record can: the damage costs that record alone.
func TestLostLogKeepsTheWAL(t *testing.T) {
	for name, hurt := range map[string]func(fsys *memfs.FS) error{
		"gone": func(fsys *memfs.FS) error { return fsys.RemoveAll("/a/t-0") },
		"damaged": func(fsys *memfs.FS) error {
			f, err := fsys.OpenFile("/a/t-0/00000000000000000000.log", os.O_RDWR, 0)
			if err == nil {
				_, err = f.WriteAt([]byte{0xff}, 100)
			}
			return err
		},
	} {
		fsys := memfs.New()
		m := mustOpen(t, groupOptions(fsys, "/a"))
		l, other := createGroup(t, m, tp("t", 0), id(1)), createGroup(t, m, tp("other", 0), id(2))
		appendTo(t, l, 5)
		wait(l)
		if err := errors.Join(l.Flush(), m.CheckpointDir("/a")); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 5)
		appendTo(t, other, 4)
		wait(l)
		wait(other)
		fsys, o := crashed(t, fsys, "boot2")
		if err := hurt(fsys); err != nil {
			t.Fatal(err)
		}
		m = mustOpen(t, o)
		kept := keptFiles(t, fsys)
		l, ok := m.Log(tp("t", 0), id(1))
		switch {
		case name == "gone" && (kept != 1 || ok && l.Err() == nil && l.Damage() == nil):
			t.Errorf("%s: %d files were put aside", name, kept)
		case name == "damaged":
			holes := commitlog.Mender{Log: l}.Holes()
			if kept != 0 || l.Err() != nil || l.End() != 10 || len(holes) != 1 || holes[0].To > 5 {
				t.Errorf("%s: %d files were put aside; the log ends at %d with the holes %v, %v", name, kept, l.End(), holes, l.Err())
			}
		}
		if other, _ = m.Log(tp("other", 0), id(2)); other.End() != 4 || other.Err() != nil {
			t.Errorf("%s: the other log ends at %d, %v", name, other.End(), other.Err())
		}
		appendTo(t, other, 1)
		if err := m.Close(); err != nil && name == "gone" {
			t.Fatal(err)
		}
	}
}

// keptFiles counts the write-ahead files that were put aside.
func keptFiles(t *testing.T, fsys *memfs.FS) (n int) {
	t.Helper()
	entries, err := fsys.ReadDir("/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "varve-wal.kept-") {
			n++
		}
	}
	return n
}

// TestDamagedWALTakesItsDirOffline, and no other.
func TestDamagedWALTakesItsDirOffline(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, groupOptions(fsys, "/a", "/b"))
	l := createGroup(t, m, tp("t", 0), id(1))
	for range 3 {
		appendTo(t, l, 1)
		wait(l)
	}
	c := fsys.CrashClone(0)
	f, err := c.OpenFile("/a/varve-wal", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1, 2, 3}, 2*4096+60); err != nil {
		t.Fatal(err)
	}
	m = mustOpen(t, groupOptions(c, "/a", "/b"))
	dirs := m.Dirs()
	if err := dirs[0].Offline; !errors.Is(err, kafka.ErrCorrupt) || !strings.Contains(err.Error(), "/a/varve-wal is damaged at byte 8192") || dirs[1].Offline != nil {
		t.Errorf("offline: %v, %v", err, dirs[1].Offline)
	}
}

// TestGroupFaults fails every call on the disk once, one history each: what was durable
// before is there after a power cut, and nothing was acknowledged that is not.
func TestGroupFaults(t *testing.T) {
	for _, fate := range []error{syscall.EIO, errorfs.After(syscall.EIO), errorfs.Short(100, syscall.ENOSPC)} {
		for n := int64(1); faultHistory(t, n, fate); n += 3 {
		}
	}
}

// faultHistory says whether the n-th step was reached.
func faultHistory(t *testing.T, n int64, fate error) bool {
	t.Helper()
	fsys := memfs.New()
	o := groupOptions(errorfs.Wrap(fsys, stepFault(n, fate)), "/a")
	m, err := Open(o)
	if err != nil {
		return true
	}
	acked := map[int32]int64{}
	var logs []*commitlog.Log
	for p := range int32(2) {
		l, err := m.Create(tp("t", p), id(1), groupConfig(), Placement{Fresh: true})
		if err != nil {
			return true
		}
		logs = append(logs, l)
	}
	failed := false
	for i := range 30 {
		l := logs[i%2]
		if i == 20 {
			failed = l.TruncateTo(3) != nil || failed
			acked[l.TopicPartition().Partition] = min(3, acked[l.TopicPartition().Partition])
		}
		if i == 25 {
			failed = m.Checkpoint() != nil || failed
		}
		var b batch.Builder
		b.Append(nil, fmt.Append(nil, i, strings.Repeat("x", 300)), nil, 1)
		raw := b.Bytes()
		h, err := batch.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(raw, h, 0); err != nil {
			failed = true
			continue
		}
		for moved := watch(l); l.Durable() < l.End() && l.Err() == nil; {
			select {
			case <-moved:
			case <-fenced(m):
			}
		}
		if d := l.Durable(); l.Err() == nil {
			acked[l.TopicPartition().Partition] = d
		}
	}
	reached := m.Close() != nil || failed
	c := fsys.CrashClone(uint64(n))
	o = groupOptions(c, "/a")
	o.BootID = "boot2"
	m = mustOpen(t, o)
	for p, want := range acked {
		l, ok := m.Log(tp("t", p), id(1))
		if want > 0 && (!ok || l.Err() != nil || l.Damage() != nil || l.End() < want) {
			t.Errorf("step %d, %v: partition %d was durable up to %d: %v, %+v", n, fate, p, want, ok, l)
		}
	}
	return reached || n < 60
}

// offline is closed when the first directory is, or was.
func fenced(m *Manager) <-chan struct{} {
	gone := make(chan struct{})
	var once sync.Once
	m.OnOffline(func(DirInfo) { once.Do(func() { close(gone) }) })
	if m.Dirs()[0].Offline != nil {
		once.Do(func() { close(gone) })
	}
	return gone
}

// stepFault fails the n-th call that changes or syncs something.
func stepFault(n int64, fate error) errorfs.Inject {
	var steps atomic.Int64
	return func(op errorfs.Op, _ string) error {
		switch op {
		case errorfs.FileWriteAt, errorfs.FileSync, errorfs.FileDatasync, errorfs.SyncDir, errorfs.Rename, errorfs.FileTruncate, errorfs.OpenFile:
			if steps.Add(1) == n {
				return fate
			}
		}
		return nil
	}
}
