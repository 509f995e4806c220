package lifecycle

import "slices"

// Plan decides what may be done to a partition at the time nowMs (milliseconds since
// the epoch). The rules are Kafka's, with one boundary for local and remote:
//
//   - A segment is old when nowMs − its largest timestamp is more than retention.ms.
//   - A segment is surplus when the log without it still has retention.bytes or more.
//   - Segments go from the oldest on, without a hole, up to the high watermark.
//   - The active segment is never removed. When it is old it is rolled, and goes later.
//   - Of a tiered log nothing goes before the manifest claim of this epoch, and the
//     whole-log rules stop at the end of the manifest: what expires is uploaded first.
func Plan(p Policy, s State, nowMs int64) Actions {
	a := planned(p, s, nowMs)
	if p.Tiered && !(s.Remote.Known && s.Remote.Claimed) && (a.NewStart > 0 || a.EvictLocalBelow > 0) {
		// Counting with a manifest that may be stale has deleted live data elsewhere: a
		// log whose remote part is not counted, or is counted twice, looks too large.
		return Actions{Claim: true, RollActive: a.RollActive, Reasons: []Reason{ReasonNeedsClaim}}
	}
	return a
}

// planned is Plan for a log whose remote state can be relied on.
func planned(p Policy, s State, nowMs int64) Actions {
	var a Actions
	start := s.Start
	if p.Delete {
		w := walkLog(p, s, nowMs)
		if w.below > start {
			start, a.NewStart = w.below, w.below
		}
		a.RollActive = w.roll
		a.Reasons = w.reasons
	}
	evict, reason := belowStart(s.Local, start), ReasonStart
	if p.Tiered && p.Delete {
		w := walkLocal(p, s, nowMs)
		a.RollActive = a.RollActive || w.roll
		if w.below > evict {
			evict, reason = w.below, ""
			a.Reasons = append(a.Reasons, w.reasons...)
		}
	}
	if len(s.Local) > 0 && evict > s.Local[0].Base {
		a.EvictLocalBelow = evict
		if reason != "" && a.NewStart == 0 {
			a.Reasons = append(a.Reasons, reason)
		}
	}
	return a
}

// belowStart is the edge up to which closed local segments lie wholly below start.
func belowStart(local []Segment, start int64) int64 {
	var below int64
	for _, seg := range local {
		if seg.Active || seg.Next > start {
			break
		}
		below = seg.Next
	}
	return below
}

// walk collects the oldest segments that a pair of rules, one by time and one by size,
// no longer covers.
type walk struct {
	nowMs               int64
	retentionMs         int64
	retentionBytes      int64
	byTime, bySize      Reason
	limit               int64 // no segment that ends above it goes
	sizeBytes           int64 // of all that is left
	unknownBytes        int64 // of the run of segments without a time, just before this one
	below               int64 // edge up to which segments go
	roll                bool
	timeOnly, exhausted bool
	reasons             []Reason
}

// take looks at the next segment and says whether to look at the one behind it.
func (w *walk) take(seg Segment) bool {
	old := w.retentionMs >= 0 && olderThan(w.nowMs, seg.MaxTimestampMs, w.retentionMs)
	if seg.Active {
		w.roll = old && seg.Next > seg.Base
		return false
	}
	// Above the limit nothing goes, but the walk goes on: an active segment is rolled
	// when it and all before it are old, whether or not those are in the store yet.
	w.exhausted = w.exhausted || seg.Next > w.limit
	left := w.sizeBytes - w.unknownBytes - seg.SizeBytes
	surplus := !w.timeOnly && w.retentionBytes >= 0 && left >= w.retentionBytes
	switch {
	case old:
		w.goes(seg, left, w.byTime)
	case surplus:
		w.goes(seg, left, w.bySize)
	case w.retentionMs >= 0 && seg.MaxTimestampMs < 0:
		// Goes with the first later segment that is old. By size it may not go any more,
		// and so no later one may either.
		w.unknownBytes += seg.SizeBytes
		w.timeOnly = true
	default:
		return false
	}
	return true
}

// goes takes seg, and the run of unknown time before it, off the log.
func (w *walk) goes(seg Segment, left int64, r Reason) {
	w.sizeBytes, w.unknownBytes, w.timeOnly = left, 0, false
	if w.exhausted {
		return
	}
	w.below = seg.Next
	if !slices.Contains(w.reasons, r) {
		w.reasons = append(w.reasons, r)
	}
}

// walkLog applies the rules of the whole log: remote segments first, then the local
// ones that the store does not hold.
func walkLog(p Policy, s State, nowMs int64) walk {
	w := walk{
		nowMs: nowMs, retentionMs: p.RetentionMs, retentionBytes: p.RetentionBytes,
		byTime: ReasonTime, bySize: ReasonSize, limit: s.HighWatermark,
	}
	remoteNext := int64(0)
	if p.Tiered {
		remoteNext = s.Remote.Next
		w.sizeBytes = s.Remote.SizeBytes
		if !p.CopyDisabled {
			w.limit = min(w.limit, remoteNext)
		}
	}
	local := localOnly(s.Local, remoteNext)
	for _, seg := range local {
		w.sizeBytes += seg.SizeBytes
	}
	if p.Tiered && s.Remote.Segments != nil {
		for seg := range s.Remote.Segments {
			if !w.take(seg) {
				return w
			}
		}
	}
	for _, seg := range local {
		if !w.take(seg) {
			break
		}
	}
	return w
}

// localOnly is the local segments of which the store does not hold all. One that the
// store holds in part counts as empty: counting bytes twice would delete too much.
func localOnly(local []Segment, remoteNext int64) []Segment {
	i := 0
	for i < len(local) && local[i].Next <= remoteNext && !local[i].Active {
		i++
	}
	if i == len(local) || local[i].Base >= remoteNext {
		return local[i:]
	}
	rest := slices.Clone(local[i:])
	rest[0].SizeBytes = 0
	return rest
}

// walkLocal applies the rules of the local part of a tiered log.
func walkLocal(p Policy, s State, nowMs int64) walk {
	w := walk{
		nowMs: nowMs, retentionMs: p.LocalRetentionMs, retentionBytes: p.LocalRetentionBytes,
		byTime: ReasonLocalTime, bySize: ReasonLocalSize, limit: min(s.HighWatermark, s.Remote.Next),
	}
	if w.retentionMs == SameAsRetention {
		w.retentionMs = p.RetentionMs
	}
	if w.retentionBytes == SameAsRetention {
		w.retentionBytes = p.RetentionBytes
	}
	for _, seg := range s.Local {
		w.sizeBytes += seg.SizeBytes
	}
	for _, seg := range s.Local {
		if !w.take(seg) {
			break
		}
	}
	return w
}

// olderThan says whether more than ageMs has passed between ts and nowMs; a negative ts
// is unknown, and never old. No pair of values overflows.
func olderThan(nowMs, ts, ageMs int64) bool {
	return ts >= 0 && nowMs > ts && uint64(nowMs)-uint64(ts) > uint64(ageMs)
}
