package commitlog

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// groupLog is a log with group durability and the write-ahead file of its dir.
func groupLog(t *testing.T, fs vfs.FS) (*Log, *wal.WAL) {
	t.Helper()
	o := testOptions(fs)
	o.Config.Group = true
	w, err := wal.Open(wal.Options{
		FS: fs, Dir: "/data", DirID: kafka.UUID{9}, Bytes: wal.MinBytes, Logger: o.Logger,
		Checkpoint: func() error { return nil }, Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	o.WAL = func() (*wal.WAL, error) { return w, nil }
	return open(t, o), w
}

// TestLateNoticeOfACutLog: what the write-ahead file made durable before a truncation says
// nothing of what is appended behind it.
func TestLateNoticeOfACutLog(t *testing.T) {
	l, w := groupLog(t, newFS(t))
	for range 10 {
		appendBatch(t, l, records(1, 10, testNowMs), 0)
	}
	old := l.w.member
	if err := l.TruncateTo(4); err != nil {
		t.Fatal(err)
	}
	c := l.config()
	c.Group = false
	if err := l.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, l, records(1, 10, testNowMs), 0) // in the page cache only
	c.Group = true
	if err := l.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	redoOwner{l}.Committed(old, 10, 0)
	if d := l.Durable(); d != 4 {
		t.Errorf("durable up to %d, want 4", d)
	}
	if err := errors.Join(l.Close(), w.Close(true)); err != nil {
		t.Fatal(err)
	}
}

// TestABatchThatFitsIntoNoFrame is durable when Append returns.
func TestABatchThatFitsIntoNoFrame(t *testing.T) {
	fs := newFS(t)
	l, w := groupLog(t, fs)
	c := l.config()
	c.SegmentBytes = 1 << 20
	if err := l.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	b := records(1, 200<<10, testNowMs)
	if w.Fits(len(b)) {
		t.Fatal("the batch fits")
	}
	appendBatch(t, l, b, 0)
	if d := l.Durable(); d != 2 {
		t.Errorf("durable up to %d, want 2", d)
	}
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	if err := errors.Join(l.Close(), w.Close(true)); err != nil {
		t.Fatal(err)
	}
}

// TestNothingOvertakesALogStart: a start that was raised is on its way into the write-ahead file
// when a sync of the log's own files makes an append behind it durable. The append is not
// acknowledged before the start is.
func TestNothingOvertakesALogStart(t *testing.T) {
	for name, c := range map[string]struct {
		joined   bool
		overtake func(t *testing.T, l *Log)
	}{
		"a batch that fits into no frame": {true, func(t *testing.T, l *Log) {
			appendBatch(t, l, records(1, 200<<10, testNowMs), 0)
		}},
		"the file is half full": {true, func(t *testing.T, l *Log) {
			appendBatch(t, l, records(1, 10, testNowMs), 0)
			if err := (redoOwner{l}).SyncForWAL(); err != nil {
				t.Error(err)
			}
		}},
		"the log joins": {false, func(t *testing.T, l *Log) {
			appendBatch(t, l, records(1, 10, testNowMs), 0)
		}},
	} {
		t.Run(name, func(t *testing.T) { overtakeStart(t, c.joined, c.overtake) })
	}
}

func overtakeStart(t *testing.T, joined bool, overtake func(*testing.T, *Log)) {
	mem := newFS(t)
	hold := make(chan struct{})
	var held atomic.Bool
	l, w := groupLog(t, errorfs.Wrap(mem, func(op errorfs.Op, name string) error {
		if op == errorfs.FileDatasync && strings.HasSuffix(name, "varve-wal") && held.Load() {
			<-hold
		}
		return nil
	}))
	told := make(chan int64, 10)
	OnDurable(l, func() { told <- l.Durable() })
	c := l.config()
	c.SegmentBytes, c.Group = 1<<20, joined
	if err := l.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		appendBatch(t, l, records(1, 10, testNowMs), 0)
	}
	for joined && l.Durable() < 2 {
		<-told
	}
	c.Group = true
	held.Store(true)
	if err := errors.Join(l.SetConfig(c), l.SetStart(1)); err != nil {
		t.Fatal(err)
	}
	overtake(t, l)
	if got := l.Durable(); got >= 3 {
		t.Errorf("durable up to %d while the start is in no file", got)
	}
	close(hold)
	for l.Durable() < 3 {
		<-told
	}
	for seed := range uint64(20) {
		r, err := wal.Recover(mem.CrashClone(seed), "/data", kafka.UUID{9})
		if err != nil {
			t.Fatal(err)
		}
		d := r.For(wal.Key{TopicID: testID, Partition: testTP.Partition})
		if d == nil || d.Start != 1 {
			t.Errorf("seed %d: the write-ahead file has %+v", seed, d)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Close(), w.Close(true)); err != nil {
		t.Fatal(err)
	}
}

// TestAStartThatNoFileHas holds nothing back once its log has left the write-ahead file, or an
// eviction has made it durable.
func TestAStartThatNoFileHas(t *testing.T) {
	l, w := groupLog(t, newFS(t))
	for range 20 {
		appendBatch(t, l, records(1, 300, testNowMs), 0)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, err := l.EvictBelow(12); n == 0 || err != nil {
		t.Fatalf("evicted %d, %v", n, err)
	}
	appendBatch(t, l, records(1, 300, testNowMs), 0)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if d := l.Durable(); d != 21 || l.LogStart() == 0 {
		t.Errorf("durable up to %d behind an eviction to %d, want 21", d, l.LogStart())
	}
	if err := errors.Join(l.SetStart(20), l.TruncateTo(18)); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, l, records(1, 300, testNowMs), 0)
	if d := l.Durable(); d != 19 || l.LogStart() != 18 {
		t.Errorf("durable up to %d, start %d, want 19 and 18", d, l.LogStart())
	}
	if err := errors.Join(l.Close(), w.Close(true)); err != nil {
		t.Fatal(err)
	}
}
