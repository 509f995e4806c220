package quota

import (
	"math"
	"slices"
	"time"
)

// Windows are what rates are measured over: Number windows of Size each.
type Windows struct {
	Number int
	Size   time.Duration
}

func (w Windows) sizeMs() int64 { return w.Size.Milliseconds() }

// rate is a sum over moving windows divided by the time that they span. The time counts as at
// least all windows but one, however little was seen so far: a client may spend that much of
// its quota at once. Times are in milliseconds of one clock.
//
// Source: Kafka's Rate and SampledStat, whose windows start with an event and not by the clock.
type rate struct {
	w       Windows
	windows []window // at most Number+1; the last one takes events
}

type window struct {
	startMs, lastMs int64 // first and last event
	sum             float64
}

// add counts n.
func (r *rate) add(n float64, nowMs int64) {
	r.purge(nowMs)
	last := len(r.windows) - 1
	if last < 0 || nowMs-r.windows[last].startMs >= r.w.sizeMs() {
		if last == r.w.Number {
			r.windows = slices.Delete(r.windows, 0, 1)
		}
		r.windows = append(r.windows, window{startMs: nowMs})
		last = len(r.windows) - 1
	}
	r.windows[last].sum += n
	r.windows[last].lastMs = nowMs
}

// purge drops windows whose last event lies a whole span back.
func (r *rate) purge(nowMs int64) {
	expireMs := int64(r.w.Number) * r.w.sizeMs()
	r.windows = slices.DeleteFunc(r.windows, func(w window) bool { return nowMs-w.lastMs >= expireMs })
}

// spanMs is the time that the rate is taken over.
func (r *rate) spanMs(nowMs int64) int64 {
	r.purge(nowMs)
	elapsed := int64(0)
	if len(r.windows) > 0 {
		elapsed = nowMs - r.windows[0].startMs
	}
	if missing := int64(r.w.Number-1) - elapsed/r.w.sizeMs(); missing > 0 {
		elapsed += missing * r.w.sizeMs()
	}
	return max(elapsed, 1)
}

// perSecond is the rate of now.
func (r *rate) perSecond(nowMs int64) float64 {
	span := r.spanMs(nowMs)
	sum := 0.0
	for _, w := range r.windows {
		sum += w.sum
	}
	return sum / (float64(span) / 1000)
}

// delayMs is for how long nothing must be counted until the rate is at the limit: with the
// rate O, the limit T and the span W it is (O-T)/T × W. Source: Kafka's QuotaUtils.
func (r *rate) delayMs(limit float64, nowMs int64) int64 {
	over := r.perSecond(nowMs) - limit
	if over <= 0 {
		return 0
	}
	return round(over / limit * float64(r.spanMs(nowMs)))
}

// empty says whether the rate knows no more than a new one.
func (r *rate) empty(nowMs int64) bool {
	r.purge(nowMs)
	return len(r.windows) == 0
}

// bucket holds tokens that come in at the limit per second, up to what all windows take, and
// are full at first. Taking may leave it in debt. Source: Kafka's TokenBucket (KIP-599).
type bucket struct {
	w      Windows
	tokens float64
	lastMs int64
	used   bool
}

// refill brings the bucket up to now.
func (b *bucket) refill(limit float64, nowMs int64) {
	burst := float64(b.w.Number) * b.w.Size.Seconds() * limit
	if !b.used {
		b.tokens, b.lastMs, b.used = burst, nowMs, true
	}
	b.tokens = min(burst, b.tokens+limit*float64(nowMs-b.lastMs)/1000)
	b.lastMs = nowMs
}

// take takes n tokens, also those that are not there.
func (b *bucket) take(n, limit float64, nowMs int64) {
	b.refill(limit, nowMs)
	b.tokens -= n
}

// delayMs is how long the bucket is in debt.
func (b *bucket) delayMs(limit float64, nowMs int64) int64 {
	b.refill(limit, nowMs)
	if b.tokens >= 0 {
		return 0
	}
	return round(-b.tokens / limit * 1000)
}

// empty says whether the bucket knows no more than a new one: it is full.
func (b *bucket) empty(limit float64, nowMs int64) bool {
	b.refill(limit, nowMs)
	return b.tokens >= float64(b.w.Number)*b.w.Size.Seconds()*limit
}

// round is Java's Math.round.
func round(ms float64) int64 { return int64(math.Floor(ms + 0.5)) }
