package cleaner

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// BenchmarkClean compacts half a gigabyte on the real file system: records of 1 KiB in
// batches of 16 KiB, 100,000 keys, so that four in five records go. Run it with -benchtime 1x.
func BenchmarkClean(b *testing.B) {
	for _, codec := range []batch.Codec{batch.None, batch.LZ4, batch.Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			for range b.N {
				benchClean(b, codec)
			}
		})
	}
}

func benchClean(b *testing.B, codec batch.Codec) {
	const bytesWanted, recordBytes, perBatch, keys = 512 << 20, 1 << 10, 16, 100_000
	b.StopTimer()
	fs, now := vfs.OS(), time.Now()
	c := commitlog.DefaultConfig()
	c.Compact, c.SegmentBytes = true, 100<<20
	l, err := commitlog.Open(commitlog.Options{
		FS: fs, Dir: b.TempDir(), TP: testTP, TopicID: kafka.UUID{1}, Config: c, Fresh: true, ProducerIDExpirationMs: math.MaxInt64,
		Files: commitlog.NewFileCache(fs, 16), Now: time.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	value := bytes.Repeat([]byte("the quick brown fox jumps over "), recordBytes/31+1)[:recordBytes]
	for n := 0; n < bytesWanted; n += recordBytes * perBatch {
		bb := batch.Builder{Codec: codec}
		for range perBatch {
			for i := 0; i < recordBytes/4; i++ { // compresses to about a half
				value[r.IntN(recordBytes)] = byte(r.Uint32())
			}
			bb.Append(fmt.Appendf(nil, "key-%08d", r.IntN(keys)), value, nil, now.UnixMilli())
		}
		raw := bb.Bytes()
		h, err := batch.ParseHeader(raw)
		if err == nil {
			_, err = l.Append(raw, h, 0)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Roll(); err != nil {
		b.Fatal(err)
	}
	if err := l.FlushClosed(); err != nil {
		b.Fatal(err)
	}
	l.Reap(false)
	before := l.Size()
	cl := New(Options{
		FS: fs, Now: time.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Settings: func() Settings {
			return Settings{Threads: 1, DedupeBytes: 128 << 20, LoadFactor: 0.9, IOBufferBytes: 512 << 10, MaxBytesPerSecond: math.MaxFloat64}
		},
		Partitions: func() iter.Seq[Partition] {
			return slices.Values([]Partition{{Log: l, StableEnd: l.End, Policy: Policy{MaxLagMs: math.MaxInt64, MaxGroupBytes: 100 << 20, MaxIndexBytes: 10 << 20}}})
		},
	})
	runtime.GC()
	peak, stop := watchHeap()
	b.StartTimer()
	began := time.Now()
	if !cl.CleanOne(b.Context()) {
		b.Fatal("nothing was cleaned")
	}
	elapsed := time.Since(began).Seconds()
	b.StopTimer()
	stop()
	b.ReportMetric(float64(before)/elapsed/1e6, "MB/s")
	b.ReportMetric(float64(peak.Load())/(1<<20), "peak-heap-MiB")
	b.ReportMetric(100*float64(l.Size())/float64(before), "%left")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// watchHeap follows the bytes of heap spans in use.
func watchHeap() (peak *atomic.Uint64, stop func()) {
	peak = &atomic.Uint64{}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return peak, func() { close(end); <-ended }
}
