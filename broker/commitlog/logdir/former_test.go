package logdir

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// evictedLog makes a log in /a whose first segments are gone without a trace but the
// checkpoint's, and a copy of it in /b that is whole.
func evictedLog(t *testing.T, m *Manager) *Move {
	t.Helper()
	l, err := m.Create(tp("t", 0), id(1), testConfig(), Placement{Dir: m.find0("/a"), Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 60)
	start := l.Segments()[2].Base
	if err := errors.Join(l.SetStart(start), l.Flush()); err != nil {
		t.Fatal(err)
	}
	if n, err := l.EvictBelow(start); n != 2 || err != nil {
		t.Fatalf("evicted %d segments, %v", n, err)
	}
	if err := m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, m.opts.FS, "/a/t-0"); slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, ".log.deleted") }) {
		t.Fatal("what was evicted is still there")
	}
	mv, err := m.StartMove(tp("t", 0), id(1), "/b", noPace)
	if err != nil {
		t.Fatal(err)
	}
	return mv
}

// checkPowerCuts cuts the power where fsys is now, and wants the log whole in one of both places.
func checkPowerCuts(t *testing.T, fsys *memfs.FS, what string) map[string]int {
	t.Helper()
	owners := map[string]int{}
	for seed := range uint64(12) {
		o := options(fsys.CrashClone(seed), "/a", "/b")
		o.BootID = "next"
		m := mustOpen(t, o)
		l, ok := m.Log(tp("t", 0), id(1))
		if !ok || l.Err() != nil || l.Damage() != nil || l.End() != 60 {
			t.Fatalf("%s, seed %d: log there %v, %v; %+v", what, seed, ok, errors.Join(l.Err(), l.Damage()), m.Dirs())
		}
		appendTo(t, l, 1)
		owners[l.Dir()]++
	}
	return owners
}

// TestPowerCutTakesAMoveBack: the rename that ends a move was not durable, but the log counted
// as the new directory's when the old one's next checkpoint was written. The old copy is the
// log again, and nobody misses what was evicted from it before.
func TestPowerCutTakesAMoveBack(t *testing.T) {
	fsys := memfs.New()
	var m *Manager
	var armed atomic.Bool
	var killed *memfs.FS
	var between map[string]int
	o := options(errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if op != errorfs.SyncDir || name != "/b" || !armed.Load() {
			return nil
		}
		if _, err := fsys.Stat("/b/t-0"); err != nil { // the moved file's
			return nil
		}
		armed.Store(false)
		killed = fsys.KillClone()
		saveDir(t, m, "/a")
		between = checkPowerCuts(t, fsys, "in the sync")
		return syscall.EIO
	}), "/a", "/b")
	m = mustOpen(t, o)
	mv := evictedLog(t, m)
	armed.Store(true)
	if l, err := mv.Switch(testConfig()); err != nil || l.Err() == nil {
		t.Fatalf("switched: %v", err)
	}
	if between["/a"] == 0 || between["/b"] == 0 {
		t.Errorf("no power cut took the rename back, or none did not: %v", between)
	}
	saveDir(t, m, "/a")
	checkPowerCuts(t, fsys, "after a failed sync")

	// The process was killed instead. The next one sees a rename that is not durable, and writes
	// checkpoints; the power fails at each of its calls.
	for n, over := int64(1), false; !over; n++ {
		after := killed.KillClone()
		var calls atomic.Int64
		_, err := Open(options(errorfs.Wrap(after, func(errorfs.Op, string) error {
			if calls.Add(1) == n {
				checkPowerCuts(t, after, fmt.Sprintf("call %d of the next start", n))
			}
			return nil
		}), "/a", "/b"))
		if over = calls.Load() < n; err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormerDirectoryKnowsItsCopy: the checkpoint of a log's former directory names the old copy
// as long as that is there: over a start, and for one that misses the new directory.
func TestFormerDirectoryKnowsItsCopy(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	evictedLog(t, m).Stop()
	if err := m.Close(); err != nil { // its entry says that it was
		t.Fatal(err)
	}
	knows := func(want bool, boot string) {
		t.Helper()
		saveDir(t, m, "/a")
		cp, err := m.readCheckpoint(m.dirs[0])
		if err != nil || cp.bootID != boot {
			t.Fatalf("checkpoint of boot %q, %v", cp.bootID, err)
		}
		if n := len(cp.entries); n > 1 || want != (n == 1) || want && (cp.entries[0].TopicID != id(1) || cp.entries[0].End != 60 || cp.entries[0].closed) {
			t.Fatalf("%+v", cp.entries)
		}
	}
	begin := func(boot string) {
		t.Helper()
		fsys = fsys.KillClone()
		o := options(fsys, "/a", "/b")
		o.BootID = boot
		m = mustOpen(t, o)
	}
	begin("boot")
	mv, err := m.StartMove(tp("t", 0), id(1), "/b", noPace)
	if err == nil {
		_, err = mv.Switch(testConfig())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, clean := range []bool{false, true, false} {
		if clean {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		begin("boot")
		knows(true, "boot")
		if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.Dir() != "/b" || l.Damage() != nil {
			t.Fatalf("clean %v: log there %v", clean, ok)
		}
	}
	begin("next") // who opens the copy must still look for what a power cut took from it
	knows(true, "boot")
	l, ok := mustOpen(t, options(fsys.KillClone(), "/a")).Log(tp("t", 0), id(1))
	if !ok || l.Dir() != "/a" || l.End() != 60 || l.Damage() != nil {
		t.Errorf("without /b: log there %v, %v", ok, l.Damage())
	}
	if err := m.Settle(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	knows(false, "next")
}

// TestFormerEntryOfADeletedTopic: a log that had moved is deleted, and its old copy can't be
// removed for now. The name comes back beside that copy, which has no entry any more.
func TestFormerEntryOfADeletedTopic(t *testing.T) {
	fsys := memfs.New()
	var full atomic.Bool
	m := mustOpen(t, options(errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if full.Load() && op == errorfs.FileWriteAt && strings.HasPrefix(name, "/a/"+CheckpointName) {
			return syscall.ENOSPC
		}
		return nil
	}), "/a", "/b"))
	if _, err := evictedLog(t, m).Switch(testConfig()); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if err := m.Settle(tp("t", 0), id(1)); !errors.Is(err, commitlog.ErrDiskFull) && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("settled on a full disk: %v", err)
	}
	knows := func(topic kafka.UUID) {
		t.Helper()
		full.Store(false)
		saveDir(t, m, "/a")
		entries, err := ReadCheckpoint(fsys, "/a/"+CheckpointName)
		if err != nil || len(entries) != 1 || entries[0].TopicID != topic {
			t.Errorf("%+v, %v", entries, err)
		}
	}
	knows(id(1))
	full.Store(true)
	if err := m.Delete(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	knows(id(1))
	l, err := m.Create(tp("t", 0), id(2), testConfig(), Placement{Dir: m.find0("/a"), Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 3)
	knows(id(2))
	m = mustOpen(t, options(fsys.KillClone(), "/a", "/b"))
	if l, ok := m.Log(tp("t", 0), id(2)); !ok || l.End() != 3 || l.Err() != nil || len(m.Logs()) != 1 || m.DirOf(tp("t", 0)) == (kafka.UUID{}) {
		t.Errorf("log there %v; all: %+v", ok, m.Dirs())
	}
}
