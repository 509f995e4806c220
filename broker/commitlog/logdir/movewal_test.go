package logdir

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// switchTo moves the log of tp to another directory, in group mode, and settles nothing.
func switchTo(m *Manager, p kafka.TopicPartition, topic kafka.UUID, path string) (*commitlog.Log, error) {
	mv, err := m.StartMove(p, topic, path, noPace)
	if err != nil {
		return nil, err
	}
	defer mv.Stop()
	if _, err := mv.Advance(context.Background()); err != nil {
		return nil, err
	}
	return mv.Switch(groupConfig())
}

func otherDir(l *commitlog.Log) string {
	if l.Dir() == "/a" {
		return "/b"
	}
	return "/a"
}

// keptWALs are the write-ahead files that a start has put aside.
func keptWALs(t *testing.T, fsys *memfs.FS) (out []string) {
	t.Helper()
	for _, dir := range []string{"/a", "/b"} {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "varve-wal.kept-") {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	return out
}

// TestGroupMoveSurvivesAnyCrash stops the move of a log whose last records are in the
// write-ahead file alone at each of its calls of the file system, and cuts the power there:
// one directory owns the log with every record, and no records are left without a log.
func TestGroupMoveSurvivesAnyCrash(t *testing.T) {
	errDead := errors.New("the process is dead")
	for n, over := int64(1), false; !over; n++ {
		fsys := memfs.New()
		var calls, limit atomic.Int64
		m := mustOpen(t, groupOptions(errorfs.Wrap(fsys, func(errorfs.Op, string) error {
			if l := limit.Load(); l > 0 && calls.Add(1) >= l {
				return errDead
			}
			return nil
		}), "/a", "/b"))
		l := createGroup(t, m, tp("t", 0), id(1))
		appendTo(t, l, 30)
		if err := errors.Join(l.Flush(), m.Checkpoint(), l.SetStart(7)); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 3)
		wait(l)
		want := readAll(t, l)
		limit.Store(n)
		moved, err := switchTo(m, tp("t", 0), id(1), otherDir(l))
		if over = err == nil && moved.Err() == nil; over {
			limit.Store(0)
			appendTo(t, moved, 1) // the new directory has a write-ahead file from here on
			wait(moved)
			want = readAll(t, moved)
		}
		for seed := range uint64(3) {
			after := fsys.CrashClone(seed)
			if seed == 0 {
				after = kill(t, fsys)
			}
			what := fmt.Sprintf("call %d, seed %d", n, seed)
			o := groupOptions(after, "/a", "/b")
			o.BootID = fmt.Sprint("boot", seed)
			m, err := Open(o)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			l, ok := m.Log(tp("t", 0), id(1))
			if !ok || l.Err() != nil || l.Damage() != nil || l.Suspect() {
				t.Fatalf("%s: log there %v: %v, %v", what, ok, l.Err(), l.Damage())
			}
			if got := readAll(t, l); string(got) != string(want) || l.LogStart() != 7 || l.Durable() != l.End() {
				t.Fatalf("%s: %d bytes of %d, from %d to %d, durable to %d", what, len(got), len(want), l.LogStart(), l.End(), l.Durable())
			}
			if kept := keptWALs(t, after); len(kept) > 0 {
				t.Fatalf("%s: put aside: %q", what, kept)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			checkOneOwner(t, what, after, want)
		}
	}
}

// TestRecordsOfAMovedLogAreNotReplayed: not even when the end of their replay is not in the old
// directory's write-ahead file.
func TestRecordsOfAMovedLogAreNotReplayed(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, groupOptions(fsys, "/a", "/b"))
	l := createGroup(t, m, tp("t", 0), id(1))
	appendTo(t, l, 5)
	wait(l)
	before, err := vfs.ReadFile(fsys, l.Dir()+"/varve-wal")
	if err != nil {
		t.Fatal(err)
	}
	to := otherDir(l)
	moved, err := switchTo(m, tp("t", 0), id(1), to)
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, moved, 2)
	wait(moved)
	fsys = fsys.CrashClone(1)
	if err := vfs.WriteFileAtomic(fsys, l.Dir()+"/varve-wal", before); err != nil {
		t.Fatal(err)
	}
	o := groupOptions(fsys, "/a", "/b")
	o.BootID = "boot2"
	m = mustOpen(t, o)
	if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.Dir() != to || l.End() != 7 || l.Durable() != 7 {
		t.Errorf("the log is in %s and ends at %d, durable up to %d", l.Dir(), l.End(), l.Durable())
	}
	if kept := keptWALs(t, fsys); len(kept) > 0 {
		t.Errorf("put aside: %q", kept)
	}
}

// TestMoveThereAndBack: what the first directory's write-ahead file said of the log's start is
// not true of the log that comes back.
func TestMoveThereAndBack(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, groupOptions(fsys, "/a", "/b"))
	l := createGroup(t, m, tp("t", 0), id(1))
	first, second := l.Dir(), otherDir(l)
	appendTo(t, l, 10)
	if err := l.SetStart(7); err != nil {
		t.Fatal(err)
	}
	wait(l)
	there, err := switchTo(m, tp("t", 0), id(1), second)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Settle(tp("t", 0), id(1)); err != nil {
		t.Fatal(err)
	}
	crash := fsys.CrashClone(0)
	o := groupOptions(crash, "/a", "/b")
	o.BootID = "boot2"
	if mustOpen(t, o); len(keptWALs(t, crash)) > 0 {
		t.Error("records of a log that has left were put aside")
	}
	if err := there.TruncateTo(3); err != nil || there.LogStart() != 3 {
		t.Fatalf("starts at %d: %v", there.LogStart(), err)
	}
	back, err := switchTo(m, tp("t", 0), id(1), first)
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, back, 9)
	wait(back)
	for seed := range uint64(5) {
		o := groupOptions(fsys.CrashClone(seed), "/a", "/b")
		o.BootID = "boot2"
		m = mustOpen(t, o)
		if l, _ := m.Log(tp("t", 0), id(1)); l.Dir() != first || l.LogStart() != 3 || l.End() != 12 {
			t.Errorf("seed %d: in %s from %d to %d", seed, l.Dir(), l.LogStart(), l.End())
		}
	}
}

// TestHolesMoveWithTheirLog: the list of what is lost, and the file that was set aside.
func TestHolesMoveWithTheirLog(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 40)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile(l.Dir()+"/t-0/00000000000000000000.log", 2, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{0xff}, 400)
	}
	if err = errors.Join(err, (commitlog.Mender{Log: l}).Check(0)); err != nil {
		t.Fatal(err)
	}
	aside := func(dir string) (out []string) {
		for _, s := range tree(t, fsys, dir+"/t-0") {
			if strings.Contains(s, ".quarantine-") {
				out = append(out, strings.TrimPrefix(s, dir))
			}
		}
		return out
	}
	lost := func(l *commitlog.Log) []commitlog.Hole {
		hs, err := (commitlog.Mender{Log: l}).Unsettled()
		if err != nil {
			t.Error(err)
		}
		return hs
	}
	holes, files, to := lost(l), aside(l.Dir()), otherDir(l)
	if len(holes) != 1 || len(files) != 1 {
		t.Fatalf("holes %v, %d files set aside", holes, len(files))
	}
	moved, err := moveTo(m, tp("t", 0), id(1), to, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if got := lost(moved); !slices.Equal(got, holes) || !slices.Equal(aside(to), files) {
		t.Errorf("moved with holes %v, want %v, and %d files", got, holes, len(aside(to)))
	}
	for range 2 {
		fsys = kill(t, fsys)
		m = mustOpen(t, options(fsys, "/a", "/b"))
		l, _ := m.Log(tp("t", 0), id(1))
		if got := lost(l); l.Err() != nil || l.Damage() != nil || l.End() != 40 || !slices.Equal(got, holes) {
			t.Errorf("after a restart: end %d, holes %v, %v", l.End(), got, l.Err())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhichLogsOpenUnread: a log that was closed in order, and a sealed one where that is enough.
func TestWhichLogsOpenUnread(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 3)
	if err := errors.Join(m.Checkpoint(), m.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	sealed := l.State()
	if !sealed.Sealed || sealed.RecoveryPoint >= sealed.End {
		t.Fatalf("not sealed: %+v", sealed)
	}
	synced := sealed
	synced.RecoveryPoint = synced.End
	for _, c := range []struct {
		name                         string
		st                           commitlog.State
		marked, closed, boots, group bool
		clean                        bool
	}{
		{name: "sealed", st: sealed, clean: true},
		{name: "sealed, not synced, group mode", st: sealed, group: true},
		{name: "sealed and synced, group mode", st: synced, group: true, clean: true},
		{name: "sealed, the machine went down", st: synced, boots: true},
		{name: "sealed, opened unread, closed, the machine went down", st: sealed, marked: true, closed: true, boots: true},
		{name: "sealed, opened unread, closed", st: sealed, marked: true, closed: true, clean: true},
		{name: "sealed, then closed with a sync, the machine went down", st: synced, marked: true, closed: true, boots: true, clean: true},
		{name: "sealed, then closed with an error", st: synced, marked: true, boots: true},
	} {
		m.opts.Config = func(kafka.TopicPartition, kafka.UUID) commitlog.Config {
			o := testConfig()
			o.Group = c.group
			return o
		}
		boot := "boot"
		if c.boots {
			boot = "another"
		}
		d := &contents{dir: m.dirs[0], marked: c.marked, checkpoint: &checkpoint{bootID: boot}, partitions: map[kafka.TopicPartition]kafka.UUID{tp("t", 0): id(1)}}
		if j := (opener{m}).knownLog(d, &checkpointEntry{State: c.st, closed: c.closed}); j.opts.Clean != c.clean {
			t.Errorf("%s: clean %v", c.name, j.opts.Clean)
		}
	}
}

// TestTwoOwnersChangeNothing: with one partition in two directories, and everything that a
// start would take away, every byte stays.
func TestTwoOwnersChangeNothing(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 10)
	void := &moved{unique: kafka.NewUUID().Hex(), directoryID: m.find0("/a"), former: []kafka.UUID{m.find0("/b")},
		entry: checkpointEntry{State: commitlog.State{TP: tp("u", 0), TopicID: id(2)}}}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	other := otherDir(l) + "/t-0"
	err := errors.Join(fsys.MkdirAll(other, 0o755), fsys.MkdirAll("/a/"+commitlog.DeletedDirName(tp("x", 0), id(3)), 0o755),
		vfs.WriteFileAtomic(fsys, other+"/"+commitlog.PartitionMetadataName, commitlog.AppendPartitionMetadata(nil, id(1))),
		vfs.WriteFileAtomic(fsys, "/a/"+void.name(), void.append(nil)),
		vfs.WriteFileAtomic(fsys, "/b/t-0."+void.unique+movedSuffix+vfs.TempSuffix, []byte("VLMV")))
	if err != nil {
		t.Fatal(err)
	}
	before := append(tree(t, fsys, "/a"), tree(t, fsys, "/b")...)
	if _, err := Open(options(fsys, "/a", "/b")); !errors.Is(err, ErrForeign) {
		t.Errorf("two owners: %v", err)
	}
	if after := append(tree(t, fsys, "/a"), tree(t, fsys, "/b")...); !slices.Equal(before, after) {
		t.Errorf("changed:\n%q\n%q", before, after)
	}
	if err := fsys.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, options(fsys, "/a", "/b")).Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range append(tree(t, fsys, "/a"), tree(t, fsys, "/b")...) {
		if strings.Contains(s, movedSuffix) || strings.Contains(s, commitlog.DeletedDirSuffix) {
			t.Errorf("%s is still there", s)
		}
	}
}
