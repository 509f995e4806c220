package cleaner

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

var testTP = kafka.TopicPartition{Topic: "states", Partition: 2}

// bench is one compacted log with a cleaner.
type bench struct {
	t       *testing.T
	fs      vfs.FS
	nowMs   int64
	o       commitlog.Options
	log     *commitlog.Log
	cleaner *Cleaner
	policy  Policy
	s       Settings
	stable  func() int64 // nil: the end of the log
	saved   commitlog.State
	seq     map[int64]int32
}

func newBench(t *testing.T) *bench {
	fs := memfs.New()
	if err := vfs.MkdirAllSync(fs, "/data", 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, fs: fs, nowMs: 1_800_000_000_000, seq: map[int64]int32{}}
	c := commitlog.DefaultConfig()
	c.SegmentBytes, c.IndexIntervalBytes, c.FileDeleteDelayMs, c.Compact = 2048, 200, 0, true
	b.policy = Policy{DeleteRetentionMs: 1000, MaxLagMs: math.MaxInt64, MinDirtyRatio: 0, MaxGroupBytes: 2048, MaxIndexBytes: 10 << 20}
	b.s = Settings{Threads: 1, DedupeBytes: 1 << 20, LoadFactor: 0.9, IOBufferBytes: 1 << 16, MaxBytesPerSecond: math.MaxFloat64, Backoff: time.Second}
	b.o = commitlog.Options{
		FS: fs, Dir: "/data", TP: testTP, TopicID: kafka.UUID{1, 2}, Config: c, Fresh: true, ProducerIDExpirationMs: 86_400_000,
		Now: func() time.Time { return time.UnixMilli(b.nowMs) }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	b.open(nil, false)
	b.saved = b.log.State()
	return b
}

// open opens the log as a log dir would, with a cleaner of its own.
func (b *bench) open(st *commitlog.State, clean bool) {
	b.t.Helper()
	b.o.FS, b.o.Files = b.fs, commitlog.NewFileCache(b.fs, 16)
	b.o.State, b.o.Clean, b.o.PowerLost = st, clean, true
	b.o.Fresh = st == nil
	l, err := commitlog.Open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log = l
	b.cleaner = New(Options{
		FS: b.fs, Now: b.o.Now, Logger: b.o.Logger, Settings: func() Settings { return b.s },
		Partitions: func() iter.Seq[Partition] {
			return slices.Values([]Partition{{Log: l, Policy: b.policy, StableEnd: func() int64 {
				if b.stable != nil {
					return b.stable()
				}
				return l.LastStable(l.End())
			}}})
		},
	})
}

// checkpoint is what a log dir does every minute.
func (b *bench) checkpoint() {
	b.t.Helper()
	if err := b.log.FlushClosed(); err != nil {
		b.t.Fatal(err)
	}
	b.saved = b.log.State()
	b.log.Reap(false)
}

// settle rolls and checkpoints, so that everything may be cleaned.
func (b *bench) settle() {
	b.t.Helper()
	if err := b.log.Roll(); err != nil {
		b.t.Fatal(err)
	}
	b.checkpoint()
}

// clean runs rounds until no log is due, or the limit.
func (b *bench) clean() int {
	n := 0
	for n < 50 && b.cleaner.CleanOne(b.t.Context()) {
		n++
	}
	if n := b.cleaner.uncleanable(); n > 0 {
		b.t.Fatalf("the log can't be cleaned: %v", b.cleaner.mu.logs[b.log].failed)
	}
	return n
}

type kv struct {
	key, value string
}

// tombstone is the value that stands for null.
const tombstone = "\x00null"

func (b *bench) build(bb *batch.Builder, recs ...kv) []byte {
	for _, r := range recs {
		value := []byte(r.value)
		if r.value == tombstone {
			value = nil
		}
		bb.Append([]byte(r.key), value, nil, b.nowMs)
	}
	return bb.Bytes()
}

func (b *bench) append(raw []byte) int64 {
	b.t.Helper()
	h, err := batch.ParseHeader(raw)
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := b.log.Append(raw, h, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return a.BaseOffset
}

func (b *bench) put(recs ...kv) int64 { return b.append(b.build(&batch.Builder{}, recs...)) }

// produce writes a batch of an idempotent producer, or of its transaction.
func (b *bench) produce(pid int64, attrs batch.Attributes, recs ...kv) int64 {
	raw := b.build(&batch.Builder{ProducerID: pid, ProducerEpoch: 0, BaseSequence: b.seq[pid], Attributes: attrs}, recs...)
	b.seq[pid] += int32(len(recs))
	return b.append(raw)
}

func (b *bench) end(pid int64, kind batch.ControlKind) int64 {
	return b.append(batch.ControlBatch(kind, 0, pid, 0, b.nowMs))
}

// stored is a batch as it lies in the log.
type stored struct {
	h    batch.Header
	recs []string // offset=key:value
}

func (b *bench) batches() []stored {
	b.t.Helper()
	var out []stored
	for off := b.log.LocalStart(); off < b.log.End(); {
		r, err := b.log.Read(off, 1<<20, b.log.End(), true)
		if err != nil {
			b.t.Fatalf("read %d: %v", off, err)
		}
		raw, err := r.Range.ReadAll()
		if err != nil {
			b.t.Fatal(err)
		}
		r.Range.Release()
		if len(raw) == 0 {
			b.t.Fatalf("read %d of %d: nothing", off, b.log.End())
		}
		for len(raw) > 0 {
			h, err := batch.ParseHeader(raw)
			if err != nil {
				b.t.Fatal(err)
			}
			one := raw[:h.Size()]
			if err := batch.CheckCRC(one); err != nil {
				b.t.Fatal(err)
			}
			s := stored{h: h}
			if !h.IsControl() {
				for rec, err := range batch.Records(one, batch.Limits{}) {
					if err != nil {
						b.t.Fatal(err)
					}
					value := string(rec.Value)
					if rec.Value == nil {
						value = "-"
					}
					s.recs = append(s.recs, fmt.Sprintf("%d=%s:%s", rec.Offset, rec.Key, value))
				}
			}
			out = append(out, s)
			off, raw = h.LastOffset()+1, raw[h.Size():]
		}
	}
	return out
}

func (b *bench) records() []string {
	var out []string
	for _, s := range b.batches() {
		out = append(out, s.recs...)
	}
	return out
}

func (b *bench) want(what string, want ...string) {
	b.t.Helper()
	if got := b.records(); !slices.Equal(got, want) {
		b.t.Fatalf("%s: the log holds %v, want %v", what, got, want)
	}
}

func TestF16NewestPerKey(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"}, kv{"b", "1"}, kv{"c", "1"})
	b.put(kv{"a", "2"}, kv{"b", "2"})
	b.settle()
	b.put(kv{"a", "3"})
	if n := b.clean(); n != 1 {
		t.Fatalf("%d rounds", n)
	}
	b.want("active segment stays", "2=c:1", "3=a:2", "4=b:2", "5=a:3")
	b.settle()
	b.clean()
	b.want("second round", "2=c:1", "4=b:2", "5=a:3")
	if n := b.clean(); n != 0 {
		t.Errorf("a clean log was cleaned %d times", n)
	}
	if segs := b.log.Segments(); len(segs) != 2 || segs[0].Base != 0 || segs[0].Next != 6 {
		t.Errorf("segments %+v", segs)
	}
	for ts, want := range map[int64]int64{b.nowMs: 2, b.nowMs + 1: -1} {
		if off, _, _, _, err := b.log.OffsetForTime(ts); err != nil || off != want {
			t.Errorf("offset for %d is %d, %v; want %d", ts, off, err, want)
		}
	}
	got := b.cleaner.readCheckpoint("/data")
	if got[testTP] != 6 {
		t.Errorf("checkpoint %v", got)
	}
}

// TestF16Tombstone keeps a deletion for delete.retention.ms behind the first cleaning.
func TestF16Tombstone(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"}, kv{"b", "1"})
	b.put(kv{"a", tombstone})
	b.settle()
	b.clean()
	b.want("first round", "1=b:1", "2=a:-")
	b.nowMs += 999
	b.put(kv{"c", "1"})
	b.settle()
	b.clean()
	b.want("before the horizon", "1=b:1", "2=a:-", "3=c:1")
	b.nowMs++
	b.put(kv{"d", "1"})
	b.settle()
	b.clean()
	b.want("at the horizon", "1=b:1", "3=c:1", "4=d:1")
}

// TestF16Limits stays below what may change, is young, or no checkpoint vouches for.
func TestF16Limits(t *testing.T) {
	b := newBench(t)
	for i := range 4 {
		b.put(kv{"a", fmt.Sprint(i)}, kv{"b", fmt.Sprint(i)})
		if err := b.log.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.clean(); n != 0 {
		t.Error("segments above the checkpoint's recovery point were cleaned")
	}
	b.checkpoint()
	b.stable = func() int64 { return 5 } // in the third segment
	b.clean()
	b.want("up to the stable end", "2=a:1", "3=b:1", "4=a:2", "5=b:2", "6=a:3", "7=b:3")
	b.stable = nil
	b.policy.MinLagMs = 1000
	if n := b.clean(); n != 0 {
		t.Error("young segments were cleaned")
	}
	b.nowMs += 1001
	b.clean()
	b.want("older than the lag", "6=a:3", "7=b:3")
}

// TestRatio cleans what is dirty enough, or waits too long.
func TestRatio(t *testing.T) {
	b := newBench(t)
	b.policy.MinDirtyRatio = 0.5
	for i := range 10 {
		b.put(kv{fmt.Sprint(i), "1"})
	}
	b.settle()
	if n := b.clean(); n != 1 {
		t.Fatalf("%d rounds over a dirty log", n)
	}
	b.put(kv{"1", "2"})
	b.settle()
	if n := b.clean(); n != 0 {
		t.Errorf("%d rounds over a log that is hardly dirty", n)
	}
	b.policy.MaxLagMs = 10_000
	if n := b.clean(); n != 0 {
		t.Errorf("%d rounds before max.compaction.lag.ms", n)
	}
	b.nowMs += 10_001
	if n := b.clean(); n != 1 {
		t.Errorf("%d rounds after max.compaction.lag.ms", n)
	}
}

// TestF16Transactions drops aborted data, keeps markers until nothing of them is left and their
// horizon has passed, and keeps the transaction index true.
func TestF16Transactions(t *testing.T) {
	b := newBench(t)
	tx := batch.Transactional
	b.produce(1, tx, kv{"a", "committed"})
	b.end(1, batch.Commit)
	b.produce(2, tx, kv{"a", "aborted"}, kv{"b", "aborted"})
	b.end(2, batch.Abort)
	b.produce(2, 0, kv{"z", "1"}) // its last batch
	b.produce(1, 0, kv{"y", "1"})
	open := b.produce(3, tx, kv{"a", "open"})
	b.settle()
	if n := b.clean(); n != 0 {
		t.Fatalf("%d rounds below an open transaction of the same segment", n)
	}
	b.end(3, batch.Abort)
	b.produce(3, 0, kv{"x", "1"})
	b.settle()
	b.clean()
	b.want("aborted data goes", "0=a:committed", "5=z:1", "6=y:1", fmt.Sprintf("%d=x:1", open+2))
	if txns, err := b.log.AbortedTxns(0, b.log.End()); err != nil || len(txns) != 2 {
		t.Errorf("aborted transactions %v, %v: entries stay for the round that drops their data", txns, err)
	}
	markers := func() (n int) {
		for _, s := range b.batches() {
			if s.h.IsControl() {
				n++
			}
		}
		return n
	}
	if n := markers(); n != 3 {
		t.Errorf("%d markers after the first round", n)
	}
	b.put(kv{"q", "1"})
	b.settle()
	b.clean() // nothing is left of the aborted ones: their markers get a horizon
	if txns, err := b.log.AbortedTxns(0, b.log.End()); err != nil || len(txns) != 0 {
		t.Errorf("aborted transactions %v, %v", txns, err)
	}
	if n := markers(); n != 3 {
		t.Errorf("%d markers before their horizon", n)
	}
	b.nowMs += 1000
	b.put(kv{"a", "newer"})
	b.settle()
	b.clean()
	if n := markers(); n != 1 {
		t.Errorf("%d markers after the horizon, want the committed one", n)
	}
}

// TestF16ProducerState keeps the last batch of each producer, without records if need be.
func TestF16ProducerState(t *testing.T) {
	b := newBench(t)
	b.produce(7, 0, kv{"a", "1"}, kv{"b", "1"})
	b.produce(7, 0, kv{"a", "2"}, kv{"b", "2"})
	b.put(kv{"a", "3"}, kv{"b", "3"})
	b.settle()
	b.put(kv{"c", "1"})
	b.clean()
	b.want("records", "4=a:3", "5=b:3", "6=c:1")
	hollow := b.batches()[0]
	if hollow.h.ProducerID != 7 || hollow.h.BaseOffset != 2 || hollow.h.LastSequence() != 3 || hollow.h.Count != 0 {
		t.Fatalf("the first batch is %+v", hollow.h)
	}
	// Without snapshots the state comes from the batches.
	for _, l := range []func(){func() { b.checkpoint(); st := b.saved; b.open(&st, false) }, func() { b.open(nil, false) }} {
		l()
		if got, err := commitlog.Producers(b.log); err != nil || len(got) != 1 || got[0].LastSequence != 3 || got[0].LastOffset != 3 {
			t.Errorf("producers %+v, %v", got, err)
		}
	}
	b.produce(7, 0, kv{"a", "4"}) // in sequence
}

// TestCompressed writes a batch anew in its own codec, and only if it loses something.
func TestCompressed(t *testing.T) {
	for codec := batch.None; codec <= batch.Zstd; codec++ {
		b := newBench(t)
		b.append(b.build(&batch.Builder{Codec: codec}, kv{"a", "1"}, kv{"b", "1"}, kv{"c", "1"}))
		b.append(b.build(&batch.Builder{Codec: codec}, kv{"d", "1"}, kv{"e", "1"}))
		b.put(kv{"b", "2"})
		before := b.batches()
		b.settle()
		b.clean()
		b.want(codec.String(), "0=a:1", "2=c:1", "3=d:1", "4=e:1", "5=b:2")
		after := b.batches()
		if after[0].h.Codec() != codec || after[0].h.LastOffset() != 2 {
			t.Errorf("%s: %+v", codec, after[0].h)
		}
		if after[1].h != before[1].h {
			t.Errorf("%s: a batch that lost nothing became %+v, it was %+v", codec, after[1].h, before[1].h)
		}
	}
}

// TestUndecodable keeps a batch whose records make no sense.
func TestUndecodable(t *testing.T) {
	b := newBench(t)
	bad := b.build(&batch.Builder{Codec: batch.Snappy}, kv{"a", "1"}, kv{"b", "1"})
	bad = append(bad[:batch.HeaderSize], make([]byte, len(bad)-batch.HeaderSize)...)
	batch.SetAppendTime(bad, b.nowMs) // makes the checksum right
	raw := slices.Clone(bad)
	b.append(bad)
	b.put(kv{"a", "2"})
	b.settle()
	b.clean()
	r, err := b.log.Read(0, 1<<20, b.log.End(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Range.Release()
	got, err := r.Range.ReadAll()
	if err != nil || !slices.Equal(got[:len(raw)], raw) {
		t.Errorf("the batch was changed: %v", err)
	}
}

// TestFullMap takes several rounds when not all keys fit.
func TestFullMap(t *testing.T) {
	b := newBench(t)
	b.s.DedupeBytes = 10 * entryBytes
	for range 3 {
		for i := range 20 {
			b.put(kv{fmt.Sprint("k", i), fmt.Sprint(i)})
		}
	}
	b.settle()
	if n := b.clean(); n < 6 {
		t.Errorf("%d rounds for 60 records and a map of 9 keys", n)
	}
	if got := b.records(); len(got) != 20 || got[0] != "40=k0:0" {
		t.Errorf("%d records: %v", len(got), got)
	}
}

// TestCorrupt gives up a log whose stored bytes went bad, and only that one.
func TestCorrupt(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"}, kv{"b", "1"})
	b.put(kv{"a", "2"})
	b.settle()
	f, err := b.fs.OpenFile("/data/states-2/00000000000000000000.log", 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 70); err != nil {
		t.Fatal(err)
	}
	b.cleaner.CleanOne(t.Context())
	if n := b.cleaner.uncleanable(); n != 1 {
		t.Errorf("%d uncleanable logs", n)
	}
	if b.cleaner.CleanOne(t.Context()) {
		t.Error("it was tried again")
	}
	if err := b.log.Err(); err != nil {
		t.Errorf("the log is not served any more: %v", err)
	}
}

// TestOpenReader goes on with the segments that it holds.
func TestOpenReader(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"})
	b.put(kv{"a", "2"})
	r, err := b.log.Read(0, 1<<20, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	before, err := r.Range.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.clean()
	b.want("after", "1=a:2")
	after, err := r.Range.ReadAll()
	r.Range.Release()
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("the held range changed: %v", err)
	}
}

func TestMerge(t *testing.T) {
	b := newBench(t)
	for i := range 12 {
		b.put(kv{fmt.Sprint(i), "1"})
		if err := b.log.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	b.checkpoint()
	b.clean()
	if segs := b.log.Segments(); len(segs) != 2 {
		t.Errorf("%d segments", len(segs))
	}
	if got := b.records(); len(got) != 12 {
		t.Errorf("%v", got)
	}
	b.checkpoint()
	st := b.saved
	b.open(&st, false)
	if got := b.records(); len(got) != 12 {
		t.Errorf("after a restart: %v", got)
	}
}
