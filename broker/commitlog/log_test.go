package commitlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

func TestEmptyLogHasNoFiles(t *testing.T) {
	fsys := newFS(t)
	l := open(t, testOptions(fsys))
	if l.End() != 0 || l.LocalStart() != 0 || l.LatestEpoch() != kafka.NoEpoch || len(l.Segments()) != 0 {
		t.Errorf("end %d, start %d, epoch %d, segments %v", l.End(), l.LocalStart(), l.LatestEpoch(), l.Segments())
	}
	if r, err := l.Read(0, 100, 100, true); err != nil || r.Range.Len != 0 {
		t.Errorf("read: %+v, %v", r, err)
	}
	if _, err := fsys.Stat("/data/orders-3"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory exists before the first append: %v", err)
	}
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	if _, err := fsys.Stat("/data/orders-3"); err != nil {
		t.Errorf("directory is missing after the first append: %v", err)
	}
}

// TestFiles pins the bytes of every file of a small log: they are Kafka's formats.
func TestFiles(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	var want []byte
	for i := range 6 { // 6 × 3 records in batches of 1,117 bytes: three to a segment
		b := records(3, 340, 1000*int64(i+1))
		appendBatch(t, l, b, 7)
		if i < 3 {
			want = append(want, b...)
		}
	}
	size := len(want) / 3
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := names(t, fsys)
	if want := []string{
		"00000000000000000000.index", "00000000000000000000.log", "00000000000000000000.timeindex",
		"00000000000000000009.index", "00000000000000000009.log", "00000000000000000009.snapshot", "00000000000000000009.timeindex",
		"00000000000000000018.snapshot", "leader-epoch-checkpoint", "partition.metadata",
	}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	for name, want := range map[string][]byte{
		"00000000000000000000.log": want,
		// Each batch but the first has an entry: (its last offset - base, position).
		"00000000000000000000.index": slices.Concat(u32(5, size), u32(8, 2*size)),
		// With each offset entry the newest time so far and its batch's last offset.
		"00000000000000000000.timeindex": slices.Concat(u64(2002), u32(5), u64(3002), u32(8)),
		"00000000000000000009.index":     slices.Concat(u32(5, size), u32(8, 2*size)),
		"00000000000000000018.snapshot":  unhex(t, "0001"+"48674bc7"+"00000000"),
		"leader-epoch-checkpoint":        []byte("0\n1\n7 0\n"),
		"partition.metadata":             []byte("version: 0\ntopic_id: AQIDBAUGBwgJCgsMDQ4PEA"),
	} {
		b, err := vfs.ReadFile(fsys, "/data/orders-3/"+name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(b, want) {
			t.Errorf("%s is\n%x, want\n%x", name, b, want)
		}
	}
}

func u32(vs ...int) []byte {
	var out []byte
	for _, v := range vs {
		out = append(out, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return out
}

func u64(v int) []byte { return append(u32(v>>32), u32(v&0xffffffff)...) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendAssignsOffsetsAndEpoch(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	for i, n := range []int{1, 5, 2} {
		b := records(n, 10, testNowMs)
		a := appendBatch(t, l, b, int32(i))
		h, err := batch.ParseHeader(b)
		if err != nil || h.BaseOffset != a.BaseOffset || h.LeaderEpoch != int32(i) || batch.CheckCRC(b) != nil {
			t.Errorf("batch %d has header %+v, %v", i, h, err)
		}
	}
	if l.End() != 8 || l.Durable() != 8 {
		t.Errorf("end %d, durable %d", l.End(), l.Durable())
	}
	if want := []EpochEntry{{0, 0}, {1, 1}, {2, 6}}; !slices.Equal(l.Epochs(), want) {
		t.Errorf("epochs %v, want %v", l.Epochs(), want)
	}
	if l.EpochAt(5) != 1 || l.EpochAt(6) != 2 {
		t.Errorf("epoch at 5 is %d, at 6 %d", l.EpochAt(5), l.EpochAt(6))
	}
	for _, c := range []struct {
		ask, epoch int32
		end        int64
	}{{0, 0, 1}, {1, 1, 6}, {2, 2, 8}, {3, -1, -1}, {-1, -1, -1}} {
		if e, end := l.EndOffsetFor(c.ask); e != c.epoch || end != c.end {
			t.Errorf("end of epoch %d is (%d, %d), want (%d, %d)", c.ask, e, end, c.epoch, c.end)
		}
	}
	if _, err := tryAppend(l, records(1, 1, 0), 1); !errors.Is(err, kafka.FencedLeaderEpoch) {
		t.Errorf("append in an old epoch: %v", err)
	}
	if _, err := tryAppend(l, records(1, 5000, 0), 2); !errors.Is(err, kafka.RecordListTooLarge) {
		t.Errorf("append of a batch larger than a segment: %v", err)
	}
}

func TestReadBounds(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	var sizes []int64
	for i := range 10 {
		b := records(2, 100, testNowMs+int64(i))
		sizes = append(sizes, int64(len(b)))
		appendBatch(t, l, b, 0)
	}
	n := sizes[0]
	for _, c := range []struct {
		name           string
		off, max, upTo int64
		minOne         bool
		base, length   int64
	}{
		{"in the middle of a batch", 3, 1 << 20, 20, true, 2, 9 * n},
		{"up to the high watermark", 0, 1 << 20, 6, true, 0, 3 * n},
		{"high watermark inside a batch hides it", 0, 1 << 20, 5, true, 0, 2 * n},
		{"cut off by bytes", 0, n + 7, 20, true, 0, n + 7},
		{"too large, at least one", 4, 7, 20, true, 4, n},
		{"too large, none", 4, 7, 20, false, 0, 0},
		{"at the high watermark", 6, 1 << 20, 6, true, 0, 0},
		{"at the end", 20, 1 << 20, 20, true, 0, 0},
	} {
		r, err := l.Read(c.off, c.max, c.upTo, c.minOne)
		if err != nil || r.Range.Len != c.length || r.Base != c.base {
			t.Errorf("%s: %d bytes from %d, %v; want %d from %d", c.name, r.Range.Len, r.Base, err, c.length, c.base)
		}
		r.Range.Release()
	}
	for _, off := range []int64{-1, 21} {
		if _, err := l.Read(off, 1, 20, true); !errors.Is(err, kafka.OffsetOutOfRange) {
			t.Errorf("read at %d: %v", off, err)
		}
	}
}

// Without the descriptor a fetch copies through user space what it could send by sendfile.
func TestReadHasDescriptor(t *testing.T) {
	o := testOptions(vfs.OS())
	o.Dir = t.TempDir()
	l := open(t, o)
	for range 20 {
		appendBatch(t, l, records(2, 200, testNowMs), 1)
	}
	r, err := l.Read(0, 1<<20, l.End(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Range.Release()
	e, err := l.Export(0)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	for what, f := range map[string]vfs.File{"read": r.Range.File, "export": e.Log.File} {
		if _, ok := vfs.Fd(f); !ok {
			t.Errorf("the file of a %s hides its descriptor", what)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReaderKeepsEvictedSegment(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Files = NewFileCache(fsys, 2)
	l := open(t, o)
	var want []byte
	for range 20 {
		b := records(1, 1000, testNowMs)
		appendBatch(t, l, b, 0)
		want = append(want, b...)
	}
	r, err := l.Read(0, 1<<20, 20, true)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := l.EvictBelow(20); err != nil || n == 0 {
		t.Fatalf("evicted %d, %v", n, err)
	}
	if _, err := fsys.Stat("/data/orders-3/00000000000000000000.log"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("segment is still there: %v", err)
	}
	readAll(t, l, l.LocalStart()) // pushes the file out of the cache
	b, err := r.Range.ReadAll()
	if err != nil || !bytes.Equal(b, want[:len(b)]) || len(b) == 0 {
		t.Errorf("%d bytes of an evicted segment differ: %v", len(b), err)
	}
	r.Range.Release()
	if _, err := l.Read(0, 1, 20, true); !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Errorf("read below the local start: %v", err)
	}
	if o.Files.Open() > 2 {
		t.Errorf("%d files open in a cache of 2", o.Files.Open())
	}
}

func TestRollByTime(t *testing.T) {
	o := testOptions(newFS(t))
	o.Config.SegmentBytes, o.Config.SegmentMs = 1<<20, 1000
	l := open(t, o)
	for _, ts := range []int64{5000, 5900, 6000, 6001, 100} { // record time, not the clock
		appendBatch(t, l, records(1, 10, ts), 0)
	}
	var bases []int64
	for _, s := range l.Segments() {
		bases = append(bases, s.Base)
	}
	if !slices.Equal(bases, []int64{0, 3}) {
		t.Errorf("segments at %v, want 0 and 3", bases)
	}
	if err := l.MaybeRollByTime(); err != nil || len(l.Segments()) != 2 {
		t.Errorf("a new segment rolled: %v, %v", l.Segments(), err)
	}
}

func TestRollWhenIndexIsFull(t *testing.T) {
	o := testOptions(newFS(t))
	o.Config.SegmentBytes, o.Config.SegmentIndexBytes, o.Config.IndexIntervalBytes = 1<<20, 4*offsetEntrySize, 1
	l := open(t, o)
	for i := range 10 {
		appendBatch(t, l, records(1, 100, testNowMs+int64(i)), 0)
	}
	if n := len(l.Segments()); n < 3 {
		t.Errorf("%d segments", n)
	}
	if !bytes.Equal(readAll(t, l, 0), readAll(t, l, 0)) || l.End() != 10 {
		t.Error("log does not read back")
	}
}

// TestOffsetForTimeInABatchThatDoesNotDecode: what validation by header lets in is no damage.
func TestOffsetForTimeInABatchThatDoesNotDecode(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	appendBatch(t, l, records(3, 10, testNowMs), 0)
	junk := records(2, 10, testNowMs+100)
	junk[22] |= byte(batch.Zstd)
	binary.BigEndian.PutUint32(junk[17:], batch.Checksum(junk))
	appendBatch(t, l, junk, 0)
	appendBatch(t, l, records(1, 10, testNowMs+200), 0)
	for ts, want := range map[int64]int64{testNowMs + 2: 2, testNowMs + 3: 3, testNowMs + 101: 3, testNowMs + 102: 5} {
		if off, _, _, ok, err := l.OffsetForTime(ts); off != want || !ok || err != nil {
			t.Errorf("time %d: offset %d, %v, %v; want %d", ts, off, ok, err, want)
		}
	}
	if l.Err() != nil {
		t.Error(l.Err())
	}
}

func TestOffsetForTime(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	times := []int64{}
	for i := range 60 {
		ts := int64(1000 + 10*(i^1)) // pairs out of order
		appendBatch(t, l, records(2, 150, ts), int32(i/20))
		times = append(times, ts, ts+1)
	}
	for ts := int64(990); ts < 1620; ts += 3 {
		want := slices.IndexFunc(times, func(x int64) bool { return x >= ts })
		off, found, epoch, ok, err := l.OffsetForTime(ts)
		if err != nil || ok != (want >= 0) || ok && (off != int64(want) || found != times[want] || epoch != int32(want/40)) {
			t.Fatalf("time %d: offset %d (%d ms, epoch %d) %v %v, want %d", ts, off, found, epoch, ok, err, want)
		}
	}
	newest := slices.Max(times)
	if off, ts, _, err := l.MaxTimestamp(); err != nil || ts != newest || off != int64(slices.Index(times, newest)) {
		t.Errorf("newest is %d at %d: %v", ts, off, err)
	}
	if err := l.SetStart(31); err != nil {
		t.Fatal(err)
	}
	if off, _, _, ok, err := l.OffsetForTime(0); !ok || off != 31 || err != nil {
		t.Errorf("first record behind the start is %d, %v, %v", off, ok, err)
	}
}

func TestExport(t *testing.T) {
	fsys := newFS(t)
	l := open(t, testOptions(fsys))
	for i := range 12 {
		appendBatch(t, l, idempotent(9, 0, int32(2*i), 2), int32(i/6))
		if i%4 == 3 {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := fsys.Remove("/data/orders-3/00000000000000000016.snapshot"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Export(24); !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Errorf("export of the active segment: %v", err)
	}
	e, err := l.Export(8)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	if e.Info.Base != 8 || e.Info.Next != 16 || e.Info.Active || e.Log.Len != e.Info.SizeBytes {
		t.Errorf("info %+v, %d bytes", e.Info, e.Log.Len)
	}
	if !slices.Equal(e.Epochs, []EpochEntry{{0, 0}, {1, 12}}) {
		t.Errorf("epochs %v", e.Epochs)
	}
	p, err := ParseProducerSnapshot(e.ProducerSnapshot)
	if err != nil || len(p) != 1 || p[0].LastSequence != 15 || p[0].LastOffset != 15 {
		t.Errorf("rebuilt snapshot %+v, %v", p, err)
	}
	after := fsys.CrashClone(1) // whatever the dice: what was exported, and that the log goes on behind it, is durable
	for seed := range uint64(20) {
		after = fsys.CrashClone(seed)
		r := reopen(t, testOptions(after), after, nil, false, true)
		if r.Err() != nil || r.End() < 16 {
			t.Fatalf("seed %d: ends at %d below an export: %v", seed, r.End(), r.Err())
		}
	}
	f, err := fsys.OpenFile("/data/orders-3/00000000000000000000.log", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Export(0); !errors.Is(err, kafka.ErrCorrupt) {
		t.Errorf("export of a damaged segment: %v", err)
	}
}
