package commitlog

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

var (
	testTP = kafka.TopicPartition{Topic: "orders", Partition: 3}
	testID = kafka.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

const testNowMs = 1_800_000_000_000

func testConfig() Config {
	c := DefaultConfig()
	c.SegmentBytes = 4096
	c.IndexIntervalBytes = 256
	c.FileDeleteDelayMs = 0
	return c
}

func testOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, Dir: "/data", TP: testTP, TopicID: testID, Config: testConfig(), Files: NewFileCache(fs, 16),
		Now:    func() time.Time { return time.UnixMilli(testNowMs) },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Fresh: true, ProducerIDExpirationMs: 86_400_000,
	}
}

func newFS(t testing.TB) *memfs.FS {
	fs := memfs.New()
	if err := vfs.MkdirAllSync(fs, "/data", 0o755); err != nil {
		t.Fatal(err)
	}
	return fs
}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	return l
}

// records builds one batch of n records of size bytes; record i has time tsMs+i.
func records(n, size int, tsMs int64) []byte {
	var b batch.Builder
	for i := range n {
		b.Append([]byte(fmt.Sprint(i)), bytes.Repeat([]byte{'x'}, size), nil, tsMs+int64(i))
	}
	return b.Bytes()
}

// idempotent builds a batch of n records of a producer.
func idempotent(pid int64, epoch int16, seq int32, n int) []byte {
	b := batch.Builder{ProducerID: pid, ProducerEpoch: epoch, BaseSequence: seq}
	for i := range n {
		b.Append(nil, []byte(fmt.Sprint(seq, i)), nil, testNowMs)
	}
	return b.Bytes()
}

// transactional is the same inside a transaction.
func transactional(pid int64, epoch int16, seq int32, n int) []byte {
	b := batch.Builder{ProducerID: pid, ProducerEpoch: epoch, BaseSequence: seq, Attributes: batch.Transactional}
	for i := range n {
		b.Append(nil, []byte(fmt.Sprint(seq, i)), nil, testNowMs)
	}
	return b.Bytes()
}

func tryAppend(l *Log, b []byte, epoch int32) (Appended, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return Appended{}, err
	}
	return l.Append(b, h, epoch)
}

func appendBatch(t testing.TB, l *Log, b []byte, epoch int32) Appended {
	t.Helper()
	a, err := tryAppend(l, b, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// readAll reads the log batch run by batch run from off to its end.
func readAll(t testing.TB, l *Log, off int64) []byte {
	t.Helper()
	var out []byte
	for off < l.End() {
		r, err := l.Read(off, 1<<20, l.End(), true)
		if err != nil {
			t.Fatalf("read %d: %v", off, err)
		}
		b, err := r.Range.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		r.Range.Release()
		if len(b) == 0 {
			t.Fatalf("read %d of %d: empty", off, l.End())
		}
		for rest := b; len(rest) > 0; {
			h, err := batch.ParseHeader(rest)
			if err != nil || h.Size() > int64(len(rest)) {
				t.Fatalf("read %d: torn batch: %v", off, err)
			}
			if err := batch.CheckCRC(rest[:h.Size()]); err != nil {
				t.Fatal(err)
			}
			off = h.LastOffset() + 1
			rest = rest[h.Size():]
		}
		out = append(out, b...)
	}
	return out
}

// reopen opens the log of l anew on fs as a log dir would after a crash.
func reopen(t testing.TB, o Options, fs vfs.FS, st *State, clean, powerLost bool) *Log {
	t.Helper()
	o.FS, o.Files, o.Fresh = fs, NewFileCache(fs, 16), false
	o.State, o.Clean, o.PowerLost = st, clean, powerLost
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func names(t testing.TB, fs vfs.FS) []string {
	t.Helper()
	entries, err := fs.ReadDir("/data/orders-3")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
