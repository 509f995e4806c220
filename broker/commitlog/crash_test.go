package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestCrash plays random histories, cuts the power at random moments, and checks what
// comes back: the log is a prefix of what was appended, nothing that was synced is lost,
// every index and search agrees with it, and it goes on from there.
func TestCrash(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashHistory(t, seed) })
	}
}

func crashHistory(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Config.SegmentBytes = int64(1500 + r.IntN(3000))
	o.Config.IndexIntervalBytes = int64(r.IntN(400))
	l := open(t, o)
	var log []byte             // all batches, in order
	ends := []int64{0}         // byte ends of batches
	offs := []int64{0}         // offset ends of batches
	var saved State            // the newest checkpoint, durable by definition
	synced, seq := 0, int32(0) // batches known to be synced
	epoch := int32(0)
	saved = l.State()
	for range 3 {
		for range 5 + r.IntN(40) {
			switch r.IntN(12) {
			case 0:
				if err := l.Roll(); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := l.Flush(); err != nil {
					t.Fatal(err)
				}
				synced = len(offs) - 1
			case 2:
				if err := l.FlushClosed(); err != nil {
					t.Fatal(err)
				}
				saved = l.State()
			case 3:
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				saved, synced = l.State(), len(offs)-1
				st := saved
				l = reopen(t, o, fsys, &st, true, false)
			default:
				n := 1 + r.IntN(5)
				b := idempotent(77, 0, seq, n)
				if r.IntN(3) == 0 {
					b = records(n, r.IntN(200), testNowMs+int64(r.IntN(1000)))
				} else {
					seq += int32(n)
				}
				if r.IntN(20) == 0 {
					epoch++
				}
				a := appendBatch(t, l, b, epoch)
				log = append(log, b...)
				ends, offs = append(ends, int64(len(log))), append(offs, a.LastOffset+1)
			}
		}
		clone := fsys.CrashClone(r.Uint64())
		st := saved
		l = reopen(t, o, clone, &st, false, true)
		if err := l.Err(); err != nil {
			t.Fatalf("after the crash: %v", err)
		}
		k := -1
		for i, off := range offs {
			if off == l.End() {
				k = i
			}
		}
		if k < synced || k < 0 {
			t.Fatalf("ends at %d, which is batch %d of %d; %d were synced", l.End(), k, len(offs)-1, synced)
		}
		if err := l.Damage(); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, l, 0); !bytes.Equal(got, log[:ends[k]]) {
			t.Fatalf("%d bytes differ from the prefix of %d", len(got), ends[k])
		}
		checkIndexes(t, l, offs[:k+1])
		log, ends, offs, synced = log[:ends[k]:ends[k]], ends[:k+1:k+1], offs[:k+1:k+1], min(synced, k)
		if e, ok := l.w.producers.byID[77]; ok {
			seq = e.lastSeq() + 1
		} else {
			seq = 0
		}
		fsys, o.FS = clone, clone
		saved = l.State()
	}
}

// checkIndexes reads at every offset and looks at every epoch.
func checkIndexes(t *testing.T, l *Log, ends []int64) {
	t.Helper()
	for i := 1; i < len(ends); i++ {
		for off := ends[i-1]; off < ends[i]; off++ {
			r, err := l.Read(off, 1, l.End(), true)
			if err != nil || r.Base != ends[i-1] {
				t.Fatalf("read at %d starts at %d, %v; want %d", off, r.Base, err, ends[i-1])
			}
			r.Range.Release()
		}
	}
	if es := l.Epochs(); len(es) > 0 && (es[len(es)-1].Start >= l.End() || es[0].Start != 0) {
		t.Fatalf("epochs %v in a log that ends at %d", es, l.End())
	}
}

// TestCrashWhileEvicting cuts the power around evictions and resets.
func TestCrashWhileEvicting(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		fsys := newFS(t)
		o := testOptions(fsys)
		o.Config.SegmentBytes, o.Config.FileDeleteDelayMs = 500, int64(r.IntN(2))*1000
		l := open(t, o)
		for range 30 {
			appendBatch(t, l, records(1, 150, testNowMs), 0)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		st := l.State()
		want := readAll(t, l, 0)
		// The eviction is in flight: cut the power at each of its steps.
		clones := []*memfs.FS{}
		hook := hookFS{FS: fsys, after: func() { clones = append(clones, fsys.CrashClone(r.Uint64())) }}
		l.opts.FS = hook
		n, err := l.EvictBelow(int64(5 + r.IntN(20)))
		if err != nil || n == 0 {
			t.Fatalf("evicted %d: %v", n, err)
		}
		for i, clone := range clones {
			st := st // Open keeps it
			c := reopen(t, o, clone, &st, false, true)
			if c.Err() != nil || c.Damage() != nil || c.End() != 30 || c.LocalStart() > l.LocalStart() {
				t.Fatalf("seed %d, step %d: [%d, %d): %v %v", seed, i, c.LocalStart(), c.End(), c.Err(), c.Damage())
			}
			if got := readAll(t, c, c.LocalStart()); !bytes.HasSuffix(want, got) {
				t.Fatalf("seed %d, step %d: bytes differ", seed, i)
			}
		}
	}
}

// TestCrashWhileCutting cuts the power at each step of a truncation and of a reset.
func TestCrashWhileCutting(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		fsys := newFS(t)
		o := testOptions(fsys)
		o.Config.SegmentBytes = 500
		var st State
		var l *Log
		o.Checkpoint = func() error { st = l.State(); return nil }
		l = open(t, o)
		for i := range 30 {
			appendBatch(t, l, records(1, 150, testNowMs), int32(i/8))
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		st = l.State()
		before := readAll(t, l, 0)
		type moment struct {
			fs *memfs.FS
			st State
		}
		var moments []moment
		l.opts.FS = hookFS{FS: fsys, after: func() { moments = append(moments, moment{fsys.CrashClone(r.Uint64()), st}) }}
		to, reset := int64(3+r.IntN(26)), seed%2 == 0
		cut := l.TruncateTo
		if reset {
			cut = l.ResetTo
		}
		if err := cut(to); err != nil || l.End() != to {
			t.Fatalf("cut to %d: ends at %d, %v", to, l.End(), err)
		}
		for i, m := range moments {
			c := reopen(t, o, m.fs, &m.st, false, true)
			if c.Err() != nil || !reset && c.Damage() != nil || c.End() > 30 || !reset && c.End() < to || reset && i > 0 && !c.Suspect() {
				t.Fatalf("seed %d, reset %v to %d, step %d of %d: [%d, %d): %v %v",
					seed, reset, to, i, len(moments), c.LocalStart(), c.End(), c.Err(), c.Damage())
			}
			if c.LocalStart() == 0 && !bytes.HasPrefix(before, readAll(t, c, 0)) {
				t.Fatalf("seed %d, step %d: no prefix", seed, i)
			}
		}
	}
}

// hookFS calls after behind each change of a directory.
type hookFS struct {
	*memfs.FS
	after func()
}

func (h hookFS) Rename(a, b string) error { err := h.FS.Rename(a, b); h.after(); return err }
func (h hookFS) Remove(a string) error    { err := h.FS.Remove(a); h.after(); return err }
func (h hookFS) SyncDir(a string) error   { err := h.FS.SyncDir(a); h.after(); return err }

// damaged is a log of ten one-record batches in one segment, closed by a crash, and its state.
func damaged(t *testing.T, hurt func(b []byte, batchSize int) []byte) (Options, *memfs.FS, State) {
	t.Helper()
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	st := l.State()
	var size int
	for range 10 {
		b := records(1, 50, testNowMs)
		size = len(b)
		appendBatch(t, l, b, 0)
	}
	f, err := fsys.OpenFile("/data/orders-3/00000000000000000000.log", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10*size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	b = hurt(b, size)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return o, fsys, st
}

func TestTornTailIsCut(t *testing.T) {
	for name, hurt := range map[string]func([]byte, int) []byte{
		"half a batch":        func(b []byte, n int) []byte { return b[:9*n+n/2] },
		"half a header":       func(b []byte, n int) []byte { return b[:9*n+20] },
		"one bit in the last": func(b []byte, n int) []byte { b[9*n+n/2] ^= 4; return b },
		"zeros behind":        func(b []byte, n int) []byte { return append(b[:9*n], make([]byte, 3*n)...) },
	} {
		o, fsys, st := damaged(t, hurt)
		l := reopen(t, o, fsys, &st, false, false)
		if l.Err() != nil || l.End() != 9 {
			t.Errorf("%s: ends at %d, %v", name, l.End(), l.Err())
			continue
		}
		if a := appendBatch(t, l, records(1, 10, testNowMs), 0); a.BaseOffset != 9 {
			t.Errorf("%s: goes on at %d", name, a.BaseOffset)
		}
	}
}

// TestFlippedBitIsReported: a flipped bit makes a hole of its batch, at whose edges readers
// stop; the other records stay, the log goes on, and the file is set aside as it was.
func TestFlippedBitIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		hurt func([]byte, int)
		lost int64
	}{
		"in a record":                   {func(b []byte, n int) { b[4*n+n-3] ^= 4 }, 4},
		"in a length":                   {func(b []byte, n int) { b[4*n+9] ^= 4 }, 4},
		"in a magic":                    {func(b []byte, n int) { b[4*n+16] ^= 4 }, 4},
		"in a base offset":              {func(b []byte, n int) { b[4*n+6] ^= 4 }, 4},
		"in the first":                  {func(b []byte, n int) { b[30] ^= 4 }, 0},
		"in the last, which was synced": {func(b []byte, n int) { b[10*n-3] ^= 4 }, 9},
	} {
		t.Run(name, func(t *testing.T) {
			var raw []byte
			o, fsys, st := damaged(t, func(b []byte, n int) []byte { c.hurt(b, n); raw = slices.Clone(b); return b })
			st.RecoveryPoint, st.End = 10, 10 // a power cut is no excuse below it
			l := reopen(t, o, fsys, &st, false, true)
			if c.lost == 9 { // where the log went on is not known
				if l.Damage() == nil || l.End() != 9 {
					t.Fatalf("damage %v, ends at %d", l.Damage(), l.End())
				}
				return
			}
			if hs := (Mender{l}).Holes(); l.Err() != nil || l.Damage() != nil || l.End() != 10 || len(hs) != 1 || hs[0].From != c.lost || hs[0].To != c.lost+1 {
				t.Fatalf("ends at %d with holes %v: %v, %v", l.End(), hs, l.Err(), l.Damage())
			}
			checkHole(t, l, c.lost)
			if a := appendBatch(t, l, records(1, 10, testNowMs), 0); a.BaseOffset != 10 {
				t.Errorf("goes on at %d", a.BaseOffset)
			}
			aside := fmt.Sprintf("/data/orders-3/00000000000000000000.log.quarantine-%020d", c.lost)
			if b, err := vfs.ReadFile(fsys, aside); err != nil || !bytes.Equal(b, raw) {
				t.Errorf("set aside: %d of %d bytes, %v", len(b), len(raw), err)
			}
			st = l.State()
			for _, powerLost := range []bool{false, true} {
				l = reopen(t, o, fsys, &st, false, powerLost)
				checkHole(t, l, c.lost)
			}
			if _, err := (Mender{l}).AcceptLoss(c.lost, c.lost+1); err != nil {
				t.Fatal(err)
			}
			if st = l.State(); l.Close() != nil {
				t.Fatal("close failed")
			}
			st = l.State()
			l = reopen(t, o, fsys, &st, true, false)
			if got := readAll(t, l, 0); int64(len(got)) != l.Size() || l.End() != 11 {
				t.Errorf("%d of %d bytes up to %d after the loss was accepted", len(got), l.Size(), l.End())
			}
		})
	}
}

// checkHole reads around the hole of one offset.
func checkHole(t *testing.T, l *Log, lost int64) {
	t.Helper()
	for off := int64(0); off < 10; off++ {
		r, err := l.Read(off, 1<<20, l.End(), true)
		if off == lost {
			if kafka.Code(err) != kafka.CorruptMessage || !errors.Is(err, kafka.ErrCorrupt) {
				t.Fatalf("read in the hole: %v", err)
			}
			continue
		}
		if err != nil || r.Base != off || off < lost && r.UpperBound > lost {
			t.Fatalf("read at %d: base %d, up to %d, %v", off, r.Base, r.UpperBound, err)
		}
		r.Range.Release()
	}
}

func TestLostFilesAreDamage(t *testing.T) {
	o, fsys, st := damaged(t, func(b []byte, n int) []byte { return b[:5*n] })
	st.RecoveryPoint, st.End = 8, 10
	l := reopen(t, o, fsys, &st, false, true)
	if !errors.Is(l.Damage(), kafka.ErrCorrupt) || !l.Suspect() || l.Err() != nil || l.End() != 5 {
		t.Errorf("a cut log: damage %v, suspect %v, ends at %d, %v", l.Damage(), l.Suspect(), l.End(), l.Err())
	}
	if _, err := tryAppend(l, records(1, 1, 0), 0); !errors.Is(err, kafka.KafkaStorageError) {
		t.Errorf("append to a damaged log: %v", err)
	}
	if got := l.State(); got.RecoveryPoint != 8 || !got.Suspect {
		t.Errorf("the next checkpoint forgets the damage: %+v", got)
	}
	l.Accept()
	if a := appendBatch(t, l, records(1, 1, 0), 0); a.BaseOffset != 5 || l.Suspect() {
		t.Errorf("after Accept: goes on at %d, suspect %v", a.BaseOffset, l.Suspect())
	}
	if err := fsys.RemoveAll("/data/orders-3"); err != nil {
		t.Fatal(err)
	}
	if l = reopen(t, o, fsys, &st, false, false); !errors.Is(l.Damage(), kafka.ErrCorrupt) {
		t.Errorf("no files: damage %v", l.Damage())
	}
	st = State{TP: testTP, TopicID: testID, HighestRemote: 20, End: 15, LatestEpoch: -1}
	if l = reopen(t, o, newFS(t), &st, true, false); !l.Suspect() {
		t.Error("a log that ends below the highest remote offset is not suspect")
	}
}

// TestLostFirstSegmentIsDamage, and is not taken for an eviction.
func TestLostFirstSegmentIsDamage(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	for range 10 {
		appendBatch(t, l, records(1, 1000, testNowMs), 0)
	}
	st := l.State()
	second := l.Segments()[1].Base
	if err := fsys.Remove("/data/orders-3/00000000000000000000.log"); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, o, fsys, &st, false, true)
	if !errors.Is(l.Damage(), kafka.ErrCorrupt) || l.LocalStart() != second || l.End() != 10 {
		t.Errorf("damage %v in [%d, %d)", l.Damage(), l.LocalStart(), l.End())
	}
}
