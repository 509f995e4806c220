package commitlog

import "sync/atomic"

// Stats counts what the logs of a node met. One is shared by all of them; the zero value
// is ready, and a nil one counts nothing.
type Stats struct {
	// ScannedBytes is what was read from segment files to find out whether they are whole:
	// at starts after a crash, and on suspicion. After a clean stop it stays 0.
	ScannedBytes atomic.Int64
	// Damaged is the ranges of offsets that were found to be missing or damaged.
	Damaged atomic.Int64
}

func (s *Stats) scanned(n int64) {
	if s != nil {
		s.ScannedBytes.Add(n)
	}
}

func (s *Stats) damaged() {
	if s != nil {
		s.Damaged.Add(1)
	}
}
