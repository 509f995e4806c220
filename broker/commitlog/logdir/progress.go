package logdir

import (
	"fmt"
	"sync/atomic"

	"github.com/varve-io/varve/broker/commitlog"
)

// Progress shows how far the opening of the logs has come. The zero value is ready; it may
// be read from any goroutine.
type Progress struct {
	// Stats is where the bytes that were read are counted; may be nil.
	Stats *commitlog.Stats

	logs, done, scans, scanned atomic.Int64
}

// progressSteps is how many lines a long recovery writes into the log.
const progressSteps = 20

func (p *Progress) begin(logs, scans int64) {
	if p != nil {
		p.logs.Store(logs)
		p.scans.Store(scans)
	}
}

// opened counts a log, and says whether it is time for a line.
func (p *Progress) opened(scanned bool) bool {
	if p == nil {
		return false
	}
	p.done.Add(1)
	if !scanned {
		return false
	}
	n, all := p.scanned.Add(1), p.scans.Load()
	return n == all || n%max(1, all/progressSteps) == 0
}

// String says how many logs are open, how many had to be recovered, and how much was read.
// It is empty before the number of logs is known.
func (p *Progress) String() string {
	logs := p.logs.Load()
	if logs == 0 {
		return ""
	}
	var mib int64
	if p.Stats != nil {
		mib = p.Stats.ScannedBytes.Load() >> 20
	}
	return fmt.Sprintf("%d of %d logs are open, %d of %d recovered, %d MiB read", p.done.Load(), logs, p.scanned.Load(), p.scans.Load(), mib)
}
