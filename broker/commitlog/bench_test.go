package commitlog

import (
	"math"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/vfs"
)

func benchLog(b *testing.B) *Log {
	o := testOptions(vfs.OS())
	o.Dir, o.Files, o.Config = b.TempDir(), NewFileCache(o.FS, 0), DefaultConfig()
	o.Config.SegmentBytes = 256 << 20
	return open(b, o)
}

func benchAppend(b *testing.B, msg []byte) {
	l := benchLog(b)
	h, err := batch.ParseHeader(msg)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(msg, h, 0); err != nil {
			b.Fatal(err)
		}
		if l.Size() > 1<<30 { // the disk is not what is measured
			if _, err := l.EvictBelow(math.MaxInt64); err != nil {
				b.Fatal(err)
			}
			(cutter{l}).reap(math.MaxInt64, true)
		}
	}
}

func BenchmarkAppend1MB(b *testing.B) { benchAppend(b, records(1000, 1000, testNowMs)) }
func BenchmarkAppend1KB(b *testing.B) { benchAppend(b, records(1, 950, testNowMs)) }

func BenchmarkAppendIdempotent1KB(b *testing.B) {
	l := benchLog(b)
	msg := idempotent(1, 0, 0, 1)
	h, err := batch.ParseHeader(msg)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(msg, h, 0); err != nil {
			b.Fatal(err)
		}
		h.BaseSequence++
	}
}

// BenchmarkRead looks up 1 KiB batches in a log of 64 MiB: at random, and at its end.
func BenchmarkRead(b *testing.B) {
	l := benchLog(b)
	msg := records(1, 950, testNowMs)
	h, err := batch.ParseHeader(msg)
	if err != nil {
		b.Fatal(err)
	}
	for range 64 << 10 {
		if _, err := l.Append(msg, h, 0); err != nil {
			b.Fatal(err)
		}
	}
	read := func(off func(i int64) int64) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				r, err := l.Read(off(i), 1<<20, l.End(), true)
				if err != nil {
					b.Fatal(err)
				}
				r.Range.Release()
			}
		}
	}
	b.Run("random", read(func(i int64) int64 { return i * 7919 % l.End() }))
	b.Run("tail", read(func(int64) int64 { return l.End() - 1 }))
}
