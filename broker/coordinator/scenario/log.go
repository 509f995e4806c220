package scenario

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// Log is the log under a shard, in memory. Whoever tests says what markers and batches of
// transactions do there.
type Log struct {
	// Text is a record in words, "+ …" or, for a tombstone, "- …".
	Text func(batch.Header, batch.Record) string
	// Unordered begins the texts that are in no order where they follow each other.
	Unordered string

	mu struct {
		sync.Mutex
		batches [][]byte
		end     int64
		fresh   []string // records since they were last taken, as text
		refusal error
		held    bool
		waiting []func(error)
	}
}

// Bounds is where the log begins and ends.
func (l *Log) Bounds() (int64, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, l.mu.end
}

// Read is the batch at an offset.
func (l *Log) Read(off, _ int64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.mu.batches {
		if h, err := batch.ParseHeader(b); err != nil || h.BaseOffset == off {
			return b, err
		}
	}
	return nil, errors.New("no such offset")
}

// MaxBatchBytes is 1 MiB.
func (l *Log) MaxBatchBytes() int { return 1 << 20 }

// Append takes a batch, or refuses it when Refuse said so.
func (l *Log) Append(b []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mu.refusal; err != nil {
		l.mu.refusal = nil
		l.mu.fresh = append(l.mu.fresh, "refused: "+kafka.Code(err).Name())
		return 0, err
	}
	batch.SetBaseOffset(b, l.mu.end)
	h, err := batch.ParseHeader(b)
	if err != nil {
		panic(err)
	}
	for rec, err := range batch.Records(b, batch.Limits{}) {
		if err != nil {
			panic(err)
		}
		l.mu.end = rec.Offset + 1
		l.mu.fresh = append(l.mu.fresh, l.Text(h, rec))
	}
	l.mu.batches = append(l.mu.batches, b)
	return l.mu.end, nil
}

// WhenCommitted is at once, unless the log is held.
func (l *Log) WhenCommitted(_ int64, f func(error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.held {
		l.mu.waiting = append(l.mu.waiting, f)
	}
	return !l.mu.held
}

// Hold keeps what is appended from being committed, until Release.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.held = true
}

// Release commits what was held.
func (l *Log) Release() {
	l.mu.Lock()
	waiting := l.mu.waiting
	l.mu.held, l.mu.waiting = false, nil
	l.mu.Unlock()
	for _, f := range waiting {
		f(nil)
	}
}

// Refuse has the next append fail.
func (l *Log) Refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.refusal = err
}

// Take answers the new records.
func (l *Log) Take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := l.mu.fresh
	l.mu.fresh = nil
	for i := 0; i < len(fresh); {
		j := i
		for j < len(fresh) && strings.HasPrefix(fresh[j], l.Unordered) {
			j++
		}
		slices.Sort(fresh[i:j])
		i = max(i+1, j)
	}
	return fresh
}
