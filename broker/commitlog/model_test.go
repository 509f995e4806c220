package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// modelBatch is one batch of the flat model.
type modelBatch struct {
	base, next int64
	bytes      []byte
	epoch      int32
}

// model is what a log should hold: a list of batches, nothing more.
type model struct {
	batches []modelBatch
	end     int64
}

// TestModel plays random histories on a log and on a flat list, and compares them.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			fsys := newFS(t)
			o := testOptions(fsys)
			o.Config.SegmentBytes = int64(1200 + r.IntN(3000))
			o.Config.IndexIntervalBytes = int64(r.IntN(600))
			o.Files = NewFileCache(fsys, 1+r.IntN(8))
			h := &history{t: t, r: r, fs: fsys, o: o, l: open(t, o)}
			for range 250 {
				h.step()
			}
			h.compare()
		})
	}
}

type history struct {
	t     *testing.T
	r     *rand.Rand
	fs    *memfs.FS
	o     Options
	l     *Log
	m     model
	epoch int32
}

func (h *history) step() {
	h.t.Helper()
	var err error
	switch n := h.r.IntN(100); {
	case n < 60:
		h.append()
	case n < 80:
		h.read()
	case n < 85:
		err = h.l.Roll()
	case n < 87:
		err = h.l.Flush()
	case n < 90:
		h.truncate()
	case n < 94:
		err = h.evict()
	case n < 95:
		off := h.m.end + h.r.Int64N(5)
		err = h.l.ResetTo(off)
		h.m = model{end: off}
	default:
		h.reopen(h.r.IntN(2) == 0)
		h.compare()
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) append() {
	h.t.Helper()
	if h.r.IntN(10) == 0 {
		h.epoch++
	}
	b := records(1+h.r.IntN(4), h.r.IntN(250), testNowMs+int64(h.r.IntN(5000)))
	a := appendBatch(h.t, h.l, b, h.epoch)
	if a.BaseOffset != h.m.end {
		h.t.Fatalf("append at %d, want %d", a.BaseOffset, h.m.end)
	}
	h.m.batches = append(h.m.batches, modelBatch{a.BaseOffset, a.LastOffset + 1, b, h.epoch})
	h.m.end = a.LastOffset + 1
}

func (h *history) read() {
	h.t.Helper()
	off := h.r.Int64N(h.m.end + 2)
	upTo := h.m.end - h.r.Int64N(min(h.m.end, 6)+1)
	r, err := h.l.Read(off, int64(h.r.IntN(3000)), upTo, true)
	if off < h.l.LocalStart() || off > h.m.end {
		if !errors.Is(err, kafka.OffsetOutOfRange) {
			h.t.Fatalf("read at %d of [%d, %d]: %v", off, h.l.LocalStart(), h.m.end, err)
		}
		return
	}
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Range.Release()
	got, err := r.Range.ReadAll()
	if err != nil {
		h.t.Fatal(err)
	}
	var want []byte
	for _, b := range h.m.batches {
		if b.next > off && b.next <= upTo {
			want = append(want, b.bytes...)
		}
	}
	if !bytes.HasPrefix(want, got) || len(want) > 0 && len(got) == 0 {
		h.t.Fatalf("read at %d up to %d: %d bytes, not a prefix of %d", off, upTo, len(got), len(want))
	}
}

func (h *history) truncate() {
	h.t.Helper()
	if h.m.end == h.l.LocalStart() {
		return
	}
	off := h.l.LocalStart() + h.r.Int64N(h.m.end-h.l.LocalStart())
	if err := h.l.TruncateTo(off); err != nil {
		h.t.Fatal(err)
	}
	for n := len(h.m.batches); n > 0 && h.m.batches[n-1].next > off; n-- {
		h.m.end = h.m.batches[n-1].base
		h.m.batches = h.m.batches[:n-1]
	}
	if h.l.End() != h.m.end {
		h.t.Fatalf("truncated to %d: ends at %d, want %d", off, h.l.End(), h.m.end)
	}
}

func (h *history) evict() error {
	_, err := h.l.EvictBelow(h.r.Int64N(h.m.end + 1))
	for len(h.m.batches) > 0 && h.m.batches[0].next <= h.l.LocalStart() {
		h.m.batches = h.m.batches[1:]
	}
	return err
}

// reopen closes the log and opens it anew: in order, or as after a kill.
func (h *history) reopen(clean bool) {
	h.t.Helper()
	if clean {
		if err := h.l.Close(); err != nil {
			h.t.Fatal(err)
		}
	}
	st := h.l.State()
	h.l = reopen(h.t, h.o, h.fs, &st, clean, false)
	if err := errors.Join(h.l.Err(), h.l.Damage()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) compare() {
	h.t.Helper()
	var want []byte
	for _, b := range h.m.batches {
		want = append(want, b.bytes...)
		if e := h.l.EpochAt(b.base); e != b.epoch {
			h.t.Fatalf("epoch at %d is %d, want %d (%v)", b.base, e, b.epoch, h.l.Epochs())
		}
	}
	if h.l.End() != h.m.end {
		h.t.Fatalf("ends at %d, want %d", h.l.End(), h.m.end)
	}
	if got := readAll(h.t, h.l, h.l.LocalStart()); !bytes.Equal(got, want) {
		h.t.Fatalf("[%d, %d): %d bytes differ from the model's %d", h.l.LocalStart(), h.l.End(), len(got), len(want))
	}
	var size int64
	for _, s := range h.l.Segments() {
		size += s.SizeBytes
	}
	if size != int64(len(want)) || h.l.Size() != size {
		h.t.Fatalf("segments of %d bytes, size %d, want %d", size, h.l.Size(), len(want))
	}
}
