package commitlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// swapGolden must be readable for ever.
const swapGolden = "565357500001000100000000000000070000000000000100ecd5eb07"

func TestSwapRecord(t *testing.T) {
	want := swapRecord{base: 7, next: 256, txns: true}
	if got := hex.EncodeToString(want.append(nil)); got != swapGolden {
		t.Errorf("encoded %s", got)
	}
	b, err := hex.DecodeString(swapGolden)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseSwap(b); err != nil || got != want {
		t.Errorf("decoded %+v, %v", got, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := parseSwap(bad); !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	newer := bytes.Clone(b[:swapSize-4])
	newer[5] = 2
	newer = binary.BigEndian.AppendUint32(newer, crc32.Checksum(newer, castagnoli))
	if _, err := parseSwap(newer); err == nil || errors.Is(err, kafka.ErrCorrupt) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a later version: %v", err)
	}
}

func FuzzSwapRecord(f *testing.F) {
	f.Add([]byte(swapGolden))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseSwap(b)
		if err == nil && !bytes.Equal(r.append(nil), b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, r, r.append(nil))
		}
	})
}

// compactable is a log with one record in each of n closed segments, vouched for.
func compactable(t *testing.T, o Options, n int) *Log {
	t.Helper()
	o.Config.Compact = true
	l := open(t, o)
	for range n {
		appendBatch(t, l, records(1, 10, testNowMs), 0)
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.FlushClosed(); err != nil {
		t.Fatal(err)
	}
	l.Reap(false)
	return l
}

// rewriteAll copies the segments at the bases into one, without the batches at the offsets in drop.
func rewriteAll(t *testing.T, l *Log, bases []int64, drop ...int64) *Rewrite {
	t.Helper()
	r, err := NewRewrite(l, bases, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range bases {
		err := ScanSegment(l, base, base, make([]byte, lookupChunk), func(b []byte, h batch.Header) error {
			for _, d := range drop {
				if d == h.BaseOffset {
					return nil
				}
			}
			return r.Append(b, h)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestSwapChanged refuses a swap whose segments went meanwhile, and leaves no file behind.
func TestSwapChanged(t *testing.T) {
	for what, change := range map[string]func(*Log) error{
		"evicted":  func(l *Log) error { _, err := l.EvictBelow(1); return err },
		"replaced": func(l *Log) error { r := rewriteAll(t, l, []int64{0, 1, 2}, 1); return r.Swap() },
		"deleted":  func(l *Log) error { return l.Delete() },
		"reset":    func(l *Log) error { return l.ResetTo(100) },
		"cut":      func(l *Log) error { return l.TruncateTo(1) },
	} {
		fsys := newFS(t)
		l := compactable(t, testOptions(fsys), 4)
		r := rewriteAll(t, l, []int64{0, 1, 2}, 1)
		if err := change(l); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := r.Swap(); !errors.Is(err, ErrChanged) && !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
		if what == "deleted" {
			continue
		}
		for _, name := range names(t, fsys) {
			if strings.HasSuffix(name, cleanedSuffix) {
				t.Errorf("%s: %s was left", what, name)
			}
		}
		if err := l.Err(); err != nil {
			t.Errorf("%s: the log refuses work: %v", what, err)
		}
	}
}

// TestSwapErrors fails each call of a swap: the log goes on unchanged, or refuses all work
// and is whole after the next start.
func TestSwapErrors(t *testing.T) {
	boom := errors.New("boom")
	for n := int64(1); ; n++ {
		fsys := newFS(t)
		hits, failing := int64(0), false
		o := testOptions(errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
			if !failing || op == errorfs.FileReadAt || op == errorfs.Stat {
				return nil
			}
			if hits++; hits == n {
				return boom
			}
			return nil
		}))
		l := compactable(t, o, 4)
		st := l.State()
		r := rewriteAll(t, l, []int64{0, 1, 2}, 1)
		failing = true
		err := r.Swap()
		failing = false
		if hits < n {
			if n < 10 {
				t.Fatalf("a swap has only %d calls", hits)
			}
			return
		}
		if err == nil && l.Err() == nil {
			continue // a file's close, or a removal of what a start removes as well
		}
		if l.Err() == nil {
			t.Fatalf("call %d: %v, and the log goes on", n, err)
		}
		o.Config.Compact = true
		again := reopen(t, o, fsys, &st, false, false)
		if err := again.Err(); err != nil {
			t.Fatalf("call %d: after a restart: %v", n, err)
		}
		if got := offsets(t, again); got != "[0 1 2 3]" && got != "[0 2 3]" {
			t.Fatalf("call %d: offsets %s", n, got)
		}
	}
}

func offsets(t *testing.T, l *Log) string {
	t.Helper()
	var out []int64
	for b := readAll(t, l, 0); len(b) > 0; {
		h, err := batch.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.BaseOffset)
		b = b[h.Size():]
	}
	return fmt.Sprint(out)
}

// TestGapsWithoutCompact opens a log that was compacted once and is not any more.
func TestGapsWithoutCompact(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := compactable(t, o, 4)
	if err := rewriteAll(t, l, []int64{0, 1, 2}, 1).Swap(); err != nil {
		t.Fatal(err)
	}
	st := l.State()
	if !st.Gaps {
		t.Fatal("the state does not tell of gaps")
	}
	st.RecoveryPoint = 0
	again := reopen(t, o, fsys.CrashClone(1), &st, false, true)
	if err := again.Err(); err != nil {
		t.Fatal(err)
	}
	if got := offsets(t, again); got != "[0 2 3]" {
		t.Errorf("offsets %s", got)
	}
	st.Gaps = false // of a log that never was, a gap is damage
	l = reopen(t, o, fsys.CrashClone(1), &st, false, false)
	if _, err := l.Read(1, 1, l.End(), true); l.Err() != nil || kafka.Code(err) != kafka.CorruptMessage {
		t.Errorf("a gap in an ordinary log: %v, %v", l.Err(), err)
	}
}

// TestBadSwapRecord refuses a log whose record is damaged.
func TestBadSwapRecord(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := compactable(t, o, 2)
	st := l.State()
	if err := vfs.WriteFileAtomic(fsys, "/data/orders-3/"+segmentName(0, swapSuffix), []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	if l := reopen(t, o, fsys, &st, false, false); !errors.Is(l.Err(), kafka.ErrCorrupt) {
		t.Errorf("%v", l.Err())
	}
}

// TestSwapUnderReader has a read that found its segment look again when the transaction
// index, which it reads last, became another one: the aborted records that it holds are not
// listed there.
func TestSwapUnderReader(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Config.Compact = true
	l := open(t, o)
	appendBatch(t, l, transactional(5, 0, 0, 1), 0)
	appendBatch(t, l, batch.ControlBatch(batch.Abort, 0, 5, 0, testNowMs), 0)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	p, _, err := (finder{l}).locate(0, 0, l.End())
	if err != nil || !p.hasTxns {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := rewriteAll(t, l, []int64{0}, 0).Swap(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.read(l, 1<<20, true); !errors.Is(err, errSwapped) {
		t.Errorf("a read across a swap answers %v", err)
	}
	r, err := l.Read(0, 1<<20, l.End(), true)
	if err != nil || r.Base != 1 || len(r.Aborted) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Range.Release()
	for _, name := range names(t, fsys) {
		if name == segmentName(0, txnIndexSuffix) || strings.HasSuffix(name, swapSuffix) {
			t.Errorf("%s was left", name)
		}
	}
}

// TestSwapSnapshots removes the snapshots of what is rewritten, and no other.
func TestSwapSnapshots(t *testing.T) {
	fsys := newFS(t)
	l := compactable(t, testOptions(fsys), 4)
	if err := rewriteAll(t, l, []int64{1, 2}).Swap(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range names(t, fsys) {
		if strings.HasSuffix(name, snapshotSuffix) {
			got = append(got, strings.TrimLeft(name, "0"))
		}
	}
	if fmt.Sprint(got) != "[3.snapshot 4.snapshot]" {
		t.Errorf("snapshots %v", got)
	}
}
