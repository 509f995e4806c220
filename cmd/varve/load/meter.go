package load

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// meter counts what is done. It may be used from many goroutines.
type meter struct {
	begun   time.Time
	joining bool // the rate begins with the first record: what was before it is how a group forms
	records atomic.Int64
	bytes   atomic.Int64
	errors  atomic.Int64
	first   atomic.Int64 // nanoseconds from begun to the first record
	last    atomic.Int64 // and to the last
	sum     atomic.Uint64
	took    histogram

	failed struct {
		sync.Mutex
		first error
	}
}

func newMeter() *meter { return &meter{begun: time.Now()} }

// done counts n records that are done now. sum is of their checksums.
func (m *meter) done(n, bytes int64, sum uint64) {
	now := max(1, int64(time.Since(m.begun)))
	m.first.CompareAndSwap(0, now)
	for seen := m.last.Load(); now > seen && !m.last.CompareAndSwap(seen, now); seen = m.last.Load() {
	}
	m.records.Add(n)
	m.bytes.Add(bytes)
	m.sum.Add(sum)
}

func (m *meter) fail(err error) {
	m.errors.Add(1)
	m.failed.Lock()
	defer m.failed.Unlock()
	if m.failed.first == nil {
		m.failed.first = err
	}
}

func (m *meter) firstError() error {
	m.failed.Lock()
	defer m.failed.Unlock()
	return m.failed.first
}

// row is the result so far.
func (m *meter) row(phase string) Row {
	seconds := time.Duration(m.last.Load()).Seconds()
	row := Row{Phase: phase, Records: m.records.Load(), Bytes: m.bytes.Load(), Seconds: seconds, Latency: m.took.latency(), Errors: m.errors.Load()}
	if m.joining {
		seconds = time.Duration(m.last.Load() - m.first.Load()).Seconds()
	}
	if seconds > 0 {
		row.PerSecond, row.MBPerSec = float64(row.Records)/seconds, float64(row.Bytes)/1e6/seconds
		first := float64(m.first.Load()) / 1e6
		row.FirstMs = &first
	}
	if err := m.firstError(); err != nil {
		row.FirstError = err.Error()
	}
	return row
}

// tell writes each second what was done in it, until stop is called.
func (m *meter) tell(w io.Writer, phase string) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		records, bytes, at := int64(0), int64(0), m.begun
		took := m.took.counted()
		for {
			select {
			case <-end:
				return
			case now := <-tick.C:
				r, b, s := m.records.Load(), m.bytes.Load(), now.Sub(at).Seconds()
				line := fmt.Sprintf("%s %4.0f s  %9d records  %9.0f records/s  %8.2f MB/s", phase, now.Sub(m.begun).Seconds(), r, float64(r-records)/s, float64(b-bytes)/1e6/s)
				if q := m.took.quantiles(took, 0.5, 0.99); q[0] > 0 {
					line += fmt.Sprintf("  p50 %.2f ms  p99 %.2f ms", q[0], q[1])
				}
				if n := m.errors.Load(); n > 0 {
					line += fmt.Sprintf("  %d error(s)", n)
				}
				fmt.Fprintln(w, line)
				records, bytes, at, took = r, b, now, m.took.counted()
			}
		}
	})
	return func() { close(end); wg.Wait() }
}
