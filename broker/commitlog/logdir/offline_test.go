package logdir

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

func offline(t *testing.T, fsys vfs.FS, dir string) *Offline {
	t.Helper()
	o, err := OpenOffline(fsys, dir, options(fsys, dir).Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// flip changes a byte of a file.
func flip(t *testing.T, fsys vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	_, rerr := f.ReadAt(b[:], at)
	b[0] ^= 0x20
	_, werr := f.WriteAt(b[:], at)
	if err := errors.Join(rerr, werr); err != nil {
		t.Fatal(err)
	}
}

// TestRepairOfACleanLog: damage that came while the broker was away is found by the repair,
// the loss is accepted, and the next start is a clean one.
func TestRepairOfACleanLog(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	l := create(t, m, tp("t", 0), id(1))
	appendTo(t, l, 20)
	appendTo(t, create(t, m, tp("u", 0), id(2)), 5)
	first := l.Segments()[0]
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenOffline(fsys, "/nosuch", nil, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("no log dir: %v", err)
	}
	path := fmt.Sprintf("/a/t-0/%020d.log", first.Base)
	flip(t, fsys, path, 70)
	o := offline(t, fsys, "/a")
	if _, err := OpenOffline(fsys, "/a", nil, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second tool: %v", err)
	}
	if _, _, err := o.Repair(tp("nosuch", 0), 0, 1, false); kafka.Code(err) != kafka.UnknownTopicOrPartition {
		t.Errorf("no such partition: %v", err)
	}
	if _, _, err := o.Repair(tp("t", 0), 10, 20, false); kafka.Code(err) != kafka.InvalidRequest {
		t.Errorf("a range without damage: %v", err)
	}
	lost, left, err := o.Repair(tp("t", 0), 0, 20, false)
	if err != nil || len(lost) != 1 || lost[0].From != 0 || len(left) != 0 {
		t.Fatalf("lost %v, left %v: %v", lost, left, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	opts := options(fsys, "/a")
	opts.Stats = new(commitlog.Stats)
	m = mustOpen(t, opts)
	defer m.Close()
	l, _ = m.Log(tp("t", 0), id(1))
	r, err := l.Read(0, 1<<20, l.End(), true)
	if err != nil || r.Base != lost[0].To || l.End() != 20 || opts.Stats.ScannedBytes.Load() != 0 {
		t.Errorf("after the repair: reads from %d, ends at %d, %d bytes scanned, %v", r.Base, l.End(), opts.Stats.ScannedBytes.Load(), err)
	}
	if u, ok := m.Log(tp("u", 0), id(2)); !ok || u.End() != 5 {
		t.Errorf("another partition: %v", ok)
	}
}

// TestImport takes Kafka's files over, copied by it or before, and refuses what is damaged,
// another topic's, or would mix with records of its own.
func TestImport(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		fsys := memfs.New()
		m := mustOpen(t, options(fsys, "/a"))
		create(t, m, tp("t", 0), id(1))
		full := create(t, m, tp("full", 0), id(2))
		appendTo(t, full, 1)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		src := "/kafka/t-0"
		if inPlace {
			src = "/a/t-0"
		}
		golden(t, fsys, src)
		from := src
		if inPlace {
			from = ""
		}
		o := offline(t, fsys, "/a")
		if inPlace { // with Kafka's own partition.metadata
			if _, err := o.Import(tp("t", 0), ImportOptions{}); kafka.Code(err) != kafka.InconsistentTopicID {
				t.Errorf("another topic's id: %v", err)
			}
			if err := fsys.Remove(src + "/partition.metadata"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Import(tp("full", 0), ImportOptions{From: src}); kafka.Code(err) != kafka.InvalidRequest {
			t.Errorf("a log with records: %v", err)
		}
		if _, err := o.Import(tp("t", 0), ImportOptions{From: "/a/full-1"}); err == nil {
			t.Error("imported from nowhere")
		}
		flip(t, fsys, src+"/00000000000000000000.log", 90)
		before := tree(t, fsys, "/a")
		if _, err := o.Import(tp("t", 0), ImportOptions{From: from}); !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("a damaged file: %v", err)
		}
		if after := tree(t, fsys, "/a"); !slices.Equal(before, after) {
			t.Error("a refused import changed files")
		}
		flip(t, fsys, src+"/00000000000000000000.log", 90)
		got, err := o.Import(tp("t", 0), ImportOptions{From: from})
		if err != nil || got.State.End != 234 || got.Report.Records != 234 || !got.Epochs {
			t.Fatalf("in place %v: %+v, %v", inPlace, got, err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		opts := options(fsys, "/a")
		opts.Stats = new(commitlog.Stats)
		m = mustOpen(t, opts)
		l, ok := m.Log(tp("t", 0), id(1))
		if !ok || l.End() != 234 || l.Suspect() || l.LastStable(234) != 234 || l.LatestEpoch() != 0 || opts.Stats.ScannedBytes.Load() != 0 {
			t.Errorf("in place %v: ends at %d, suspect %v, epoch %d, %d bytes scanned", inPlace, l.End(), l.Suspect(), l.LatestEpoch(), opts.Stats.ScannedBytes.Load())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestImportOfAnAdoptedTopic keeps the leader epochs of records whose topic has the id that it
// had where they come from.
func TestImportOfAnAdoptedTopic(t *testing.T) {
	fsys := memfs.New()
	golden(t, fsys, "/kafka/t-0")
	m := mustOpen(t, options(fsys, "/a"))
	theirs, err := m.topicID("/kafka/t-0")
	if err != nil || theirs.IsZero() {
		t.Fatal(theirs, err)
	}
	create(t, m, tp("t", 0), theirs)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	o := offline(t, fsys, "/a")
	if there, used := o.Holds(tp("t", 0)); !there || used {
		t.Error("it holds t-0, without records")
	}
	if there, _ := o.Holds(tp("t", 1)); there {
		t.Error("it holds t-0 only")
	}
	got, err := o.Import(tp("t", 0), ImportOptions{From: "/kafka/t-0"})
	if err = errors.Join(err, o.Close()); err != nil || got.Epochs || got.State.LatestEpoch == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	want, err := vfs.ReadFile(fsys, "/kafka/t-0/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	if is, err := vfs.ReadFile(fsys, "/a/t-0/00000000000000000000.log"); err != nil || !bytes.Equal(is, want) {
		t.Errorf("the file was changed: %v", err)
	}
	m = mustOpen(t, options(fsys, "/a"))
	defer m.Close()
	if l, ok := m.Log(tp("t", 0), theirs); !ok || l.End() != 234 || l.LatestEpoch() != got.State.LatestEpoch {
		t.Errorf("after a start it is in epoch %d, want %d", l.LatestEpoch(), got.State.LatestEpoch)
	}
}

// golden copies the directory that Apache Kafka wrote.
func golden(t *testing.T, fsys vfs.FS, dir string) {
	t.Helper()
	if err := vfs.MkdirAllSync(fsys, dir, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("../testdata/kafka-4.3.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile("../testdata/kafka-4.3.1/" + e.Name())
		if err == nil {
			err = vfs.WriteFileAtomic(fsys, dir+"/"+e.Name(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDropOfAStray removes the log of the topic that is named, and no other.
func TestDropOfAStray(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	appendTo(t, create(t, m, tp("t", 0), id(1)), 3)
	appendTo(t, create(t, m, tp("u", 0), id(2)), 3)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	o := offline(t, fsys, "/a")
	if err := o.Drop(tp("t", 0), id(2)); kafka.Code(err) != kafka.InconsistentTopicID {
		t.Errorf("another topic's id: %v", err)
	}
	if err := errors.Join(o.Drop(tp("t", 0), id(1)), o.Close()); err != nil {
		t.Fatal(err)
	}
	m = mustOpen(t, options(fsys, "/a"))
	defer m.Close()
	if logs := m.Logs(); len(logs) != 1 || logs[0].TopicPartition() != tp("u", 0) {
		t.Errorf("left: %v", logs)
	}
}

// TestOnePartitionInTwoDirs is refused by name, and nothing is touched.
func TestOnePartitionInTwoDirs(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a", "/b"))
	appendTo(t, create(t, m, tp("t", 0), id(1)), 3)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	holder, other := "/a", "/b"
	if _, err := fsys.Stat("/a/t-0"); err != nil {
		holder, other = other, holder
	}
	golden(t, fsys, other+"/t-0")
	before := tree(t, fsys, "/")
	_, err := Open(options(fsys, "/a", "/b"))
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "/a") || !strings.Contains(err.Error(), "/b") || !strings.Contains(err.Error(), "t-0") {
		t.Errorf("two dirs with one partition: %v", err)
	}
	if after := tree(t, fsys, "/"); !slices.Equal(before, after) {
		t.Errorf("touched:\n%q, was\n%q", after, before)
	}
	if err := fsys.RemoveAll(other + "/t-0"); err != nil {
		t.Fatal(err)
	}
	opts := options(fsys, "/a", "/b")
	opts.Stats = new(commitlog.Stats)
	m = mustOpen(t, opts)
	defer m.Close()
	if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.End() != 3 || opts.Stats.ScannedBytes.Load() != 0 {
		t.Errorf("%s/t-0 after the other was moved away: found %v, %d bytes scanned", holder, ok, opts.Stats.ScannedBytes.Load())
	}
}

// TestDirWithoutWritePermission is refused by name, and nothing is touched.
func TestDirWithoutWritePermission(t *testing.T) {
	fsys := memfs.New()
	if err := mustOpen(t, options(fsys, "/a")).Close(); err != nil {
		t.Fatal(err)
	}
	before := tree(t, fsys, "/")
	denied := errorfs.Wrap(fsys, func(op errorfs.Op, _ string) error {
		switch op {
		case errorfs.Lock, errorfs.Rename, errorfs.Remove, errorfs.FileWriteAt, errorfs.MkdirAll:
			return os.ErrPermission
		}
		return nil
	})
	_, err := Open(options(denied, "/a"))
	if !errors.Is(err, kafka.KafkaStorageError) || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "/a") {
		t.Errorf("no write permission: %v", err)
	}
	if after := tree(t, fsys, "/"); !slices.Equal(before, after) {
		t.Error("touched")
	}
}

// TestFlippedCheckpointIsAScan: whatever bit of the checkpoint or the marker flips, nothing
// is lost and nothing is cut.
func TestFlippedCheckpointIsAScan(t *testing.T) {
	fsys := memfs.New()
	m := mustOpen(t, options(fsys, "/a"))
	appendTo(t, create(t, m, tp("t", 0), id(1)), 20)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{CheckpointName, cleanName} {
		b, err := vfs.ReadFile(fsys, "/a/"+name)
		if err != nil {
			t.Fatal(err)
		}
		for at := range b {
			damaged := kill(t, fsys)
			flip(t, damaged, "/a/"+name, int64(at))
			m, err := Open(options(damaged, "/a"))
			if err != nil {
				t.Fatalf("%s byte %d: %v", name, at, err)
			}
			if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.End() != 20 || l.Err() != nil || l.Damage() != nil {
				t.Fatalf("%s byte %d: found %v, %v, %v", name, at, ok, l.Err(), l.Damage())
			}
		}
	}
}
