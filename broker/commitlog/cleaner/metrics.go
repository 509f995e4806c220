package cleaner

import (
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the room tells about itself.
type metrics struct {
	read, written, undecodable, keyless, checkpoint prometheus.Counter
	rounds                                          *prometheus.CounterVec
	maxDirty, lastSeconds                           gauge
	lastRunMs                                       atomic.Int64 // of a look at the logs
}

// gauge is a float that is read and written by several goroutines.
type gauge struct{ bits atomic.Uint64 }

func (g *gauge) set(v float64) { g.bits.Store(math.Float64bits(v)) }
func (g *gauge) get() float64  { return math.Float64frombits(g.bits.Load()) }

// newMetrics registers the room's metrics; a nil registerer keeps them unregistered.
func newMetrics(c *Cleaner, reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		read:        counter("varve_cleaner_read_bytes_total", "Bytes of batches that compaction has read, for keys and for copying."),
		written:     counter("varve_cleaner_written_bytes_total", "Bytes of batches that compaction has written."),
		undecodable: counter("varve_cleaner_undecodable_batches_total", "Batches that compaction kept as they are because they do not decode, each time it met them."),
		keyless:     counter("varve_cleaner_keyless_records_total", "Records without a key that compaction dropped."),
		checkpoint:  counter("varve_cleaner_checkpoint_failures_total", "Writes of a cleaner checkpoint that failed; a start would clean logs again."),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_cleaner_rounds_total",
			Help: "Cleanings of one log, by result: cleaned; interrupted, the log changed or the broker stops; postponed, for want of room or files; failed, the log is not cleaned again before a restart.",
		}, []string{"result"}),
	}
	if reg == nil {
		return m
	}
	value := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	reg.MustRegister(m.read, m.written, m.undecodable, m.keyless, m.checkpoint, m.rounds,
		value("varve_cleaner_max_dirty_ratio", "The dirty part of the filthiest compacted log, at the last look.", m.maxDirty.get),
		value("varve_cleaner_last_round_seconds", "How long the last cleaning of a log took.", m.lastSeconds.get),
		value("varve_cleaner_last_run_timestamp_seconds", "When the cleaner last looked for logs to clean.", func() float64 { return float64(m.lastRunMs.Load()) / 1000 }),
		value("varve_cleaner_uncleanable_partitions", "Partitions whose cleaning failed; they are not cleaned again before a restart.", func() float64 { return float64(c.uncleanable()) }),
	)
	return m
}
