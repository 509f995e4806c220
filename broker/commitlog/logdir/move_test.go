package logdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

func noPace(ctx context.Context, _ int64) error { return ctx.Err() }

// moveTo moves the log of tp to another directory and settles it.
func moveTo(m *Manager, p kafka.TopicPartition, topic kafka.UUID, path string, during func()) (*commitlog.Log, error) {
	mv, err := m.StartMove(p, topic, path, noPace)
	if err != nil {
		return nil, err
	}
	defer mv.Stop()
	if _, err := mv.Advance(context.Background()); err != nil {
		return nil, err
	}
	during()
	if _, err := mv.Advance(context.Background()); err != nil {
		return nil, err
	}
	l, err := mv.Switch(testConfig())
	if err != nil {
		return nil, err
	}
	return l, m.Settle(p, topic)
}

// readAll is the batches of a log, as bytes.
func readAll(t *testing.T, l *commitlog.Log) []byte {
	t.Helper()
	var out []byte
	for off := l.LocalStart(); off < l.End(); {
		r, err := l.Read(off, 1<<20, l.End(), true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Range.ReadAll()
		r.Range.Release()
		if err != nil {
			t.Fatal(err)
		}
		out, off = append(out, b...), r.UpperBound
	}
	return out
}

func TestMoveToAnotherDirectory(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b", "/c"))
	l := create(t, m, tp("t", 0), id(1))
	from := l.Dir()
	to := map[string]string{"/a": "/b", "/b": "/c", "/c": "/a"}[from]
	appendTo(t, l, 50) // several segments
	if err := l.SetStart(7); err != nil {
		t.Fatal(err)
	}
	want := readAll(t, l)
	var moving []MoveInfo
	moved, err := moveTo(m, tp("t", 0), id(1), to, func() {
		moving = m.Moving()
		appendTo(t, l, 30)
		if _, err := l.EvictBelow(20); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(moving) != 1 || moving[0].Dir != to || moving[0].Lag != 0 || moving[0].SizeBytes == 0 {
		t.Errorf("on the way: %+v", moving)
	}
	if err := l.Err(); !errors.Is(err, commitlog.ErrClosed) {
		t.Errorf("the old log: %v", err)
	}
	if moved.Dir() != to || moved.End() != 80 || moved.LogStart() != l.LogStart() || m.DirOf(tp("t", 0)) != m.find0(to) {
		t.Errorf("moved to %s: [%d, %d)", moved.Dir(), moved.LogStart(), moved.End())
	}
	if got := readAll(t, moved); !strings.Contains(string(want), string(got[:1000])) || moved.LocalStart() < 8 {
		t.Error("the moved log holds something else")
	}
	appendTo(t, moved, 1)
	if left := tree(t, fsys, from); slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, "/t-0") }) {
		t.Errorf("left behind: %q", left)
	}
	if left := tree(t, fsys, to); slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, futureSuffix) || strings.Contains(s, movedSuffix) }) {
		t.Errorf("left of the move: %q", left)
	}
	for _, clean := range []bool{true, false} {
		fsys = kill(t, fsys)
		m = mustOpen(t, options(fsys, "/a", "/b", "/c"))
		if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.Dir() != to || l.End() != 81 || l.LogStart() != moved.LogStart() || l.Damage() != nil || l.Suspect() {
			t.Errorf("after a restart: %v", ok)
		}
		if clean {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// find0 is the id of a directory.
func (m *Manager) find0(path string) kafka.UUID {
	for _, d := range m.dirs {
		if d.path == path {
			return d.id
		}
	}
	return kafka.UUID{}
}

func TestMoveOfALogWithoutFiles(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), id(1))
	to := "/a"
	if l.Dir() == to {
		to = "/b"
	}
	moved, err := moveTo(m, tp("t", 0), id(1), to, func() {})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, moved, 3)
	m = mustOpen(t, options(kill(t, fsys), "/a", "/b"))
	if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.Dir() != to || l.End() != 3 || l.Suspect() {
		t.Error("the moved log is not there")
	}
}

func TestMovesThatAreRefused(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b", "/c"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 1)
	if _, err := m.StartMove(tp("t", 0), id(1), "/nowhere", noPace); !errors.Is(err, kafka.LogDirNotFound) {
		t.Errorf("unknown directory: %v", err)
	}
	if _, err := m.StartMove(tp(strings.Repeat("x", 220), 0), id(1), "/b", noPace); !errors.Is(err, kafka.InvalidTopic) {
		t.Errorf("a name that is too long: %v", err)
	}
	if _, err := m.StartMove(tp("u", 0), id(1), "/b", noPace); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("unknown log: %v", err)
	}
	others := slices.DeleteFunc([]string{"/a", "/b", "/c"}, func(d string) bool { return d == l.Dir() })
	if err := fsys.MkdirAll(others[0]+"/t-0", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := m.StartMove(tp("t", 0), id(1), others[0], noPace); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("a directory in the way: %v", err)
	}
	for _, d := range m.dirs {
		if d.path == others[0] {
			m.fence(d, syscall.EIO)
		}
	}
	for _, to := range others {
		if _, err := m.StartMove(tp("t", 0), id(1), to, noPace); !errors.Is(err, kafka.KafkaStorageError) {
			t.Errorf("to %s while a directory is offline: %v", to, err)
		}
	}
	appendTo(t, l, 1)
}

func TestCancelledAndResumedMove(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 60)
	from, to := l.Dir(), "/a"
	if from == to {
		to = "/b"
	}
	start := func() *Move {
		t.Helper()
		mv, err := m.StartMove(tp("t", 0), id(1), to, noPace)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mv.Advance(context.Background()); err != nil {
			t.Fatal(err)
		}
		return mv
	}
	if err := start().Cancel(); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, fsys, to); slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, "/t-0") }) {
		t.Errorf("left of a cancelled move: %q", left)
	}
	start().Stop()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	var written atomic.Int64
	m = mustOpen(t, options(errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if op == errorfs.FileWriteAt && strings.Contains(name, futureSuffix) && strings.HasSuffix(name, logSuffixForTest) {
			written.Add(1)
		}
		return nil
	}), "/a", "/b"))
	if f := m.Futures(); len(f) != 1 || f[0] != (Future{tp("t", 0), to}) {
		t.Fatalf("futures after a restart: %+v", f)
	}
	l, _ = m.Log(tp("t", 0), id(1))
	if l.Dir() != from || l.End() != 60 {
		t.Fatalf("the log is in %s and ends at %d", l.Dir(), l.End())
	}
	moved, err := moveTo(m, tp("t", 0), id(1), to, func() {})
	if err != nil || moved.End() != 60 {
		t.Fatal(err)
	}
	if written.Load() != 0 {
		t.Errorf("%d writes of what was there already", written.Load())
	}
	if f := m.Futures(); len(f) != 0 {
		t.Errorf("futures after the move: %+v", f)
	}
}

const logSuffixForTest = ".log"

// TestMoveSurvivesAnyCrash stops a move at each of its calls of the file system, cuts the power
// there, and looks who owns the log: one directory, with every record.
func TestMoveSurvivesAnyCrash(t *testing.T) {
	errDead := errors.New("the process is dead")
	for n, over := int64(1), false; !over; n++ {
		fsys := memfs.New()
		var calls, limit atomic.Int64
		o := options(errorfs.Wrap(fsys, func(errorfs.Op, string) error {
			if l := limit.Load(); l > 0 && calls.Add(1) >= l {
				return errDead
			}
			return nil
		}), "/a", "/b")
		m := mustOpen(t, o)
		l := create(t, m, tp("t", 0), id(1))
		appendTo(t, l, 40)
		if err := errors.Join(l.Flush(), m.Checkpoint()); err != nil {
			t.Fatal(err)
		}
		want := readAll(t, l)
		to := "/a"
		if l.Dir() == to {
			to = "/b"
		}
		limit.Store(n)
		_, err := moveTo(m, tp("t", 0), id(1), to, func() {})
		over = err == nil
		for seed := range uint64(3) {
			after := fsys.CrashClone(seed)
			if seed == 0 {
				after = kill(t, fsys)
			}
			checkOneOwner(t, fmt.Sprintf("call %d, seed %d", n, seed), after, want)
		}
	}
}

func checkOneOwner(t *testing.T, what string, fsys *memfs.FS, want []byte) {
	t.Helper()
	for round := range 2 {
		m, err := Open(options(fsys, "/a", "/b"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		l, ok := m.Log(tp("t", 0), id(1))
		if !ok || l.Err() != nil || l.Damage() != nil || l.Suspect() {
			t.Fatalf("%s: log there %v: %v, %v", what, ok, l.Err(), l.Damage())
		}
		if got := readAll(t, l); string(got) != string(want) {
			t.Fatalf("%s: %d bytes of %d", what, len(got), len(want))
		}
		if err := m.Settle(tp("t", 0), id(1)); err != nil {
			t.Fatalf("%s: settle: %v", what, err)
		}
		for _, f := range m.Futures() {
			if err := m.DropFuture(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		owners := 0
		for _, s := range append(tree(t, fsys, "/a"), tree(t, fsys, "/b")...) {
			if strings.HasSuffix(s, "/t-0/") {
				owners++
			}
			if strings.Contains(s, movedSuffix) || strings.Contains(s, futureSuffix) {
				t.Fatalf("%s, round %d: %s is still there", what, round, s)
			}
		}
		if owners != 1 {
			t.Fatalf("%s: %d directories have the log", what, owners)
		}
	}
}

// TestOldCopyOnADiskThatWasAway: the former directory comes back after the move with its copy.
func TestOldCopyOnADiskThatWasAway(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 10)
	from, to := l.Dir(), "/a"
	if from == to {
		to = "/b"
	}
	mv, err := m.StartMove(tp("t", 0), id(1), to, noPace)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := mv.Switch(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, moved, 5)
	for _, d := range m.dirs {
		if d.path == from {
			m.fence(d, syscall.EIO)
		}
	}
	if err := m.Settle(tp("t", 0), id(1)); !errors.Is(err, kafka.KafkaStorageError) {
		t.Fatalf("settled with the old directory offline: %v", err)
	}
	m = mustOpen(t, options(kill(t, fsys), "/a", "/b"))
	got, ok := m.Log(tp("t", 0), id(1))
	if !ok || got.Dir() != to || got.End() != 15 || len(m.MovedFrom(tp("t", 0))) != 1 {
		t.Fatalf("%v: %s ends at %d", ok, got.Dir(), got.End())
	}
	if err := m.Settle(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.opts.FS.Stat(from + "/t-0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old copy: %v", err)
	}
}

// TestTargetThatFails: the directory that a log moves to goes offline, the log goes on.
func TestTargetThatFails(t *testing.T) {
	fsys := memfs.New()
	var bad atomic.Bool
	o := options(errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if bad.Load() && op == errorfs.FileDatasync && strings.Contains(name, futureSuffix) {
			return syscall.EIO
		}
		return nil
	}), "/a", "/b")
	m := mustOpen(t, o)
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 10)
	to := "/a"
	if l.Dir() == to {
		to = "/b"
	}
	bad.Store(true)
	if _, err := moveTo(m, tp("t", 0), id(1), to, func() {}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("move: %v", err)
	}
	for _, d := range m.Dirs() {
		if (d.Offline != nil) != (d.Path == to) {
			t.Errorf("%s: %v", d.Path, d.Offline)
		}
	}
	appendTo(t, l, 1)
}

func TestCordonedDirectoryTakesNoNewLog(t *testing.T) {
	o := options(memfs.New(), "/a", "/b")
	cordoned := []string{"/a"}
	o.Cordoned = func() []string { return cordoned }
	m := mustOpen(t, o)
	for i := range int32(3) {
		if l := create(t, m, tp("t", i), id(1)); l.Dir() != "/b" {
			t.Errorf("t-%d lies in %s", i, l.Dir())
		}
	}
	cordoned = []string{"*"}
	if _, err := m.Create(tp("t", 9), id(1), testConfig(), Placement{Fresh: true}); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("all are cordoned: %v", err)
	}
	for _, d := range m.Dirs() {
		if !d.Cordoned {
			t.Errorf("%s is not cordoned", d.Path)
		}
	}
}

// TestMovedFileIsNotReadable: it is left alone, and two owners are refused by name.
func TestMovedFileIsNotReadable(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 10)
	to := "/a"
	if l.Dir() == to {
		to = "/b"
	}
	mv, err := m.StartMove(tp("t", 0), id(1), to, noPace)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mv.Switch(testConfig()); err != nil {
		t.Fatal(err)
	}
	fsys = kill(t, fsys)
	if err := vfs.WriteFileAtomic(fsys, to+"/t-0."+mv.unique+movedSuffix, []byte("VLMV")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(options(fsys, "/a", "/b")); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "t-0") {
		t.Errorf("two owners: %v", err)
	}
}

// TestRenameWhoseReplyIsLost: the switch of a move is done by the disk and reported as failed.
// The next start finds one log, with all that was acknowledged.
func TestRenameWhoseReplyIsLost(t *testing.T) {
	for _, undo := range []bool{true, false} {
		fsys := memfs.New()
		o := options(fsys, "/a", "/b")
		o.FS = errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
			if op == errorfs.Rename && name == "/b/t-0" {
				return errorfs.After(syscall.EIO)
			}
			if op == errorfs.Rename && !undo && strings.HasSuffix(name, commitlog.DeletedDirSuffix) {
				return syscall.EIO
			}
			return nil
		})
		m := mustOpen(t, o)
		l, err := m.Create(tp("t", 0), id(1), testConfig(), Placement{Dir: m.Dirs()[0].ID, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 10)
		mv, err := m.StartMove(tp("t", 0), id(1), "/b", noPace)
		if err != nil {
			t.Fatal(err)
		}
		moved, err := mv.Switch(testConfig())
		if mv.Stop(); undo == (err == nil) || m.Dirs()[1].Offline == nil {
			t.Errorf("undone %v: %v, %+v", undo, err, m.Dirs())
		}
		want := int64(10)
		if undo { // the old log goes on
			appendTo(t, l, 5)
			want = 15
		} else if moved == nil || moved.Err() == nil {
			t.Error("a log that may be either takes appends")
		}
		m = mustOpen(t, options(fsys.KillClone(), "/a", "/b"))
		if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.End() != want || l.Damage() != nil {
			t.Errorf("undone %v: log there %v, %+v", undo, ok, m.Dirs())
		}
	}
}
