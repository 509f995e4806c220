package commitlog

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
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
	redoOwner{l}.Committed(old, 10)
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
