package cleaner

import (
	"math"

	"github.com/varve-io/varve/broker/commitlog"
)

// Policy is what a topic asks of compaction; Kafka's names and meanings.
type Policy struct {
	DeleteRetentionMs int64   // delete.retention.ms
	MinLagMs          int64   // min.compaction.lag.ms
	MaxLagMs          int64   // max.compaction.lag.ms; math.MaxInt64 = none
	MinDirtyRatio     float64 // min.cleanable.dirty.ratio
	MaxGroupBytes     int64   // segment.bytes
	MaxIndexBytes     int64   // segment.index.bytes
}

// plan is what is to be cleaned in one log.
type plan struct {
	segments []commitlog.CompactionSegment // all that lie below limit, ascending
	first    int64                         // the first dirty offset
	limit    int64                         // the base of the first segment that must stay as it is

	cleanBytes, dirtyBytes int64
	lagMs                  int64 // how long max.compaction.lag.ms is over; 0 = it is not
}

// ratio is the part of the log that is dirty.
func (p plan) ratio() float64 {
	if p.cleanBytes+p.dirtyBytes == 0 {
		return 0
	}
	return float64(p.dirtyBytes) / float64(p.cleanBytes+p.dirtyBytes)
}

// due says whether the log is to be cleaned now.
func (p plan) due(pol Policy) bool {
	return p.dirtyBytes > 0 && (p.lagMs > 0 || p.ratio() > pol.MinDirtyRatio)
}

// makePlan decides what of a log may be cleaned: nothing in or behind the segment that holds
// stable (the high watermark, an open transaction), nor in one that min.compaction.lag.ms
// protects. firstTs reads the time of a segment's first batch. Source: LogCleanerManager.
func makePlan(v commitlog.Compaction, pol Policy, stable, nowMs int64, firstTs func(base int64) (int64, error)) (plan, error) {
	p := plan{first: v.Cleaned, limit: min(stable, v.Limit)}
	if p.first < v.Start || p.first > v.End {
		p.first = v.Start
	}
	closed := v.Segments[:max(len(v.Segments)-1, 0)]
	if pol.MinLagMs > 0 {
		for _, s := range closed {
			if s.Next > p.first && newest(s) > nowMs-pol.MinLagMs {
				p.limit = min(p.limit, s.Base)
				break
			}
		}
	}
	p.limit = max(p.limit, p.first)
	n := 0
	for n < len(closed) && closed[n].Next <= p.limit {
		n++
	}
	p.segments = closed[:n]
	if n < len(v.Segments) {
		p.limit = v.Segments[n].Base
	}
	earliest := int64(math.MaxInt64)
	for _, s := range p.segments {
		if s.Base < p.first {
			p.cleanBytes += s.SizeBytes
		}
		if s.Next > p.first {
			p.dirtyBytes += s.SizeBytes
		}
	}
	if pol.MaxLagMs <= 0 || pol.MaxLagMs == math.MaxInt64 {
		return p, nil
	}
	for _, s := range closed {
		if s.Next <= p.first {
			continue
		}
		ts, err := firstTs(s.Base)
		if err != nil {
			return p, err
		}
		if ts > 0 {
			earliest = min(earliest, ts)
		}
	}
	if earliest < math.MaxInt64 {
		p.lagMs = max(nowMs-pol.MaxLagMs-earliest, 0)
	}
	return p, nil
}

// newest is the time of a segment's newest record, or of the segment when none has a time.
func newest(s commitlog.CompactionSegment) int64 {
	if s.MaxTimestampMs >= 0 {
		return s.MaxTimestampMs
	}
	return s.CreatedMs
}

// groups joins neighbours that fit into one segment, by size, indexes and offsets.
func groups(segs []commitlog.CompactionSegment, pol Policy) [][]commitlog.CompactionSegment {
	var out [][]commitlog.CompactionSegment
	for len(segs) > 0 {
		size, index, times := segs[0].SizeBytes, segs[0].IndexBytes, segs[0].TimeIndexBytes
		n := 1
		for ; n < len(segs); n++ {
			s := segs[n]
			size, index, times = size+s.SizeBytes, index+s.IndexBytes, times+s.TimeIndexBytes
			if size > pol.MaxGroupBytes || index > pol.MaxIndexBytes || times > pol.MaxIndexBytes || s.Next-1-segs[0].Base > math.MaxInt32 {
				break
			}
		}
		out = append(out, segs[:n])
		segs = segs[n:]
	}
	return out
}
