package commitlog

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// BenchmarkDurableAppend is one producer per partition that sends 1 KiB and waits until it is
// durable: by the shared write-ahead file, and by one sync of the log's own files per append.
// Give it -benchtime 5000x or so.
func BenchmarkDurableAppend(b *testing.B) {
	for _, shared := range []bool{true, false} {
		for _, partitions := range []int{1, 16, 64} {
			name := "own files"
			if shared {
				name = "shared"
			}
			b.Run(fmt.Sprintf("%s/partitions=%d", name, partitions), func(b *testing.B) { benchDurable(b, shared, partitions) })
		}
	}
}

func benchDurable(b *testing.B, shared bool, partitions int) {
	o := testOptions(vfs.OS())
	o.Dir = b.TempDir()
	o.Config = DefaultConfig()
	o.Config.Group = true
	o.Files = NewFileCache(vfs.OS(), 0)
	if shared {
		w, err := wal.Open(wal.Options{
			FS: vfs.OS(), Dir: o.Dir, DirID: kafka.UUID{9}, Bytes: 64 << 20, Logger: o.Logger,
			Checkpoint: func() error { return nil }, Failed: func(err error) { b.Error(err) },
		})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = w.Close(true) }()
		o.WAL = func() (*wal.WAL, error) { return w, nil }
	}
	logs := make([]*Log, partitions)
	for i := range logs {
		o.TP.Partition = int32(i)
		logs[i] = open(b, o)
		appendBatch(b, logs[i], records(1, 1024, testNowMs), 0)
	}
	var mu sync.Mutex
	var took []time.Duration
	before := cpu(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, l := range logs {
		n := b.N / partitions
		if i < b.N%partitions {
			n++
		}
		wg.Go(func() {
			mine := make([]time.Duration, 0, n)
			moved := make(chan struct{}, 1)
			OnDurable(l, func() {
				select {
				case moved <- struct{}{}:
				default:
				}
			})
			for range n {
				raw := records(1, 1024, testNowMs)
				h, err := batch.ParseHeader(raw)
				if err != nil {
					b.Error(err)
					return
				}
				began := time.Now()
				if _, err := l.Append(raw, h, 0); err != nil {
					b.Error(err)
					return
				}
				for l.Durable() < l.End() {
					<-moved
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric((cpu(b)-before).Seconds()/(float64(b.N)*1024/1e9), "cpu-s/GB")
	for _, l := range logs {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu is the processor time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
