package replica

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
)

// AllReplicas is the acks value that waits for the whole in-sync set.
const AllReplicas int16 = -1

// AppendOptions is what a produce request says beside its records.
type AppendOptions struct {
	Acks   int16
	ZstdOK bool // the request's version allows zstd
	// Verification is Verify's, for the first batch of a transaction.
	Verification *commitlog.Verification
	// coordinator: the batch is a coordinator's own.
	coordinator bool
}

// AppendResult tells where a batch went.
type AppendResult struct {
	Base     int64
	LogStart int64
	// AppendTimeMs is the time of a topic with LogAppendTime, and of the first try where b
	// repeats it; kafka.NoTimestamp else.
	AppendTimeMs int64
	// Throttle is for how long the client is to be held up because the disk fills (KIP-219). It
	// counts beside an error too.
	Throttle time.Duration
	// Uploads is how many bytes of the object store the batch will take: what was written, in a
	// tiered topic.
	Uploads int64
	// Wait is nil when the batch may be acknowledged now.
	Wait *Pending
}

// Append validates one produced batch and writes it at the end of the log. b is rewritten
// in place and not kept. On return the bytes are in the page cache; with acks=-1, and with
// acks=1 in group mode, they may be acknowledged when Wait has resolved.
//
// Errors are kafka errors, wrapped; *batch.Rejection names the records that are to blame.
// A repeated batch of an idempotent producer is no error: it answers the first one's place.
func (p *Partition) Append(b []byte, o AppendOptions) (AppendResult, error) {
	if o.Acks < -1 || o.Acks > 1 {
		return AppendResult{}, kafka.InvalidRequiredAcks
	}
	p.lead.RLock()
	a, h, acked, err := p.appendLocked(b, o, kafka.NoEpoch)
	var res AppendResult
	if err == nil {
		res = p.placed(a, h, o.Acks)
		if p.lead.remote != nil && !p.lead.cfg.RemoteLogCopyDisable && !a.Duplicate {
			res.Uploads = h.Size()
		}
	}
	res.Throttle = p.lead.room.Throttle(int64(len(b)))
	p.lead.RUnlock()
	p.traffic.produced(err)
	acked.resolve()
	return res, err
}

// appendLocked writes a batch with p.lead held, but for the batches that it got acknowledged.
func (p *Partition) appendLocked(b []byte, o AppendOptions, leaderEpoch int32) (a commitlog.Appended, h batch.Header, done acked, err error) {
	if err := p.servesLocked(leaderEpoch); err != nil {
		return a, h, done, err
	}
	cfg := p.lead.cfg
	if o.Acks == AllReplicas && len(p.lead.isr) < p.minInSyncLocked() {
		return a, h, done, fmt.Errorf("%d of %d in-sync replicas: %w", len(p.lead.isr), cfg.MinInSyncReplicas, kafka.NotEnoughReplicas)
	}
	b, h, err = batch.ValidateInto(nil, b, rules(cfg, o, p.m.now().UnixMilli()))
	if err != nil {
		return a, h, done, err
	}
	from := commitlog.Origin{Kind: commitlog.FromClient, Verification: o.Verification}
	if o.coordinator {
		from.Kind = commitlog.FromCoordinator
	}
	a, err = commitlog.AppendFrom(p.lead.log, b, h, p.lead.epoch, from)
	if err != nil {
		return a, h, done, storageError(err)
	}
	return a, h, appendedLocked(p, a, h), nil
}

// appendedLocked does what a batch in the log gives occasion to, and answers the batches that
// it got acknowledged.
func appendedLocked(p *Partition, a commitlog.Appended, h batch.Header) acked {
	size := h.Size()
	if a.Duplicate {
		size = 0 // nothing was written
	} else {
		p.traffic.came(a.LastOffset-a.BaseOffset+1, size)
	}
	if p.lead.cfg.Durability == "group" {
		size = 0 // it shows later, when it is durable
	}
	if a.Rolled && p.lead.remote != nil {
		p.lead.remote.Wake() // a segment was closed: its upload need not wait for the interval
	}
	return p.advanceLocked(size)
}

// minInSyncLocked is how many in-sync replicas acks=-1 asks for: never more than there are
// replicas. Source: KIP-966, Kafka's Partition.effectiveMinIsr.
func (p *Partition) minInSyncLocked() int {
	return min(int(p.lead.cfg.MinInSyncReplicas), p.lead.replicas)
}

// rules is what the topic asks of a batch.
func rules(cfg *config.Topic, o AppendOptions, nowMs int64) batch.Rules {
	return batch.Rules{
		MaxBytes:    cfg.MaxMessageBytes,
		AppendTime:  cfg.MessageTimestampType == "LogAppendTime",
		NowMs:       nowMs,
		BeforeMaxMs: cfg.MessageTimestampBeforeMaxMs,
		AfterMaxMs:  cfg.MessageTimestampAfterMaxMs,
		KeyRequired: cfg.CleanupCompact,
		Codec:       cfg.CompressionType,
		Level:       level(cfg),
		ZstdOK:      o.ZstdOK,
		Full:        cfg.ProduceFull || cfg.CleanupCompact,

		AllowControl: o.coordinator,
	}
}

// level is that of the topic's codec; 0 is the codec's default.
func level(cfg *config.Topic) int {
	switch cfg.CompressionType {
	case "gzip":
		return cfg.CompressionGzipLevel
	case "lz4":
		return cfg.CompressionLz4Level
	case "zstd":
		return cfg.CompressionZstdLevel
	}
	return 0
}

// storageError gives an error that carries no Kafka code the one of a failed disk.
func storageError(err error) error {
	var code kafka.Error
	if errors.As(err, &code) {
		return err
	}
	return errors.Join(kafka.KafkaStorageError, err)
}

// placed tells where a batch went, and has it wait for the high watermark if need be.
func (p *Partition) placed(a commitlog.Appended, h batch.Header, acks int16) AppendResult {
	res := AppendResult{Base: a.BaseOffset, LogStart: a.LogStart, AppendTimeMs: kafka.NoTimestamp}
	if a.Duplicate || h.IsLogAppendTime() {
		res.AppendTimeMs = a.AppendTimeMs
	}
	switch acks {
	case AllReplicas:
		res.Wait = awaitLocked(p, a.LastOffset+1)
	case 1:
		res.Wait = awaitDurableLocked(p, a.LastOffset+1)
	}
	return res
}

// awaitLocked is the wait until p's high watermark has reached end, nil when it has. The
// caller holds p.lead.
func awaitLocked(p *Partition, end int64) *Pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	if end <= p.mu.highWatermark {
		return nil
	}
	return park(p, &p.mu.pending, end)
}

// awaitDurableLocked is the wait until p's log is durable up to end, nil when it is: outside
// group mode always. The caller holds p.lead.
func awaitDurableLocked(p *Partition, end int64) *Pending {
	if p.lead.cfg.Durability != "group" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if end <= p.lead.log.Durable() { // who moves it up looks at the list with p.mu held
		return nil
	}
	return park(p, &p.mu.staged, end)
}

// park puts a wait into a list that is ascending by end. p.mu is held.
func park(p *Partition, list *[]*Pending, end int64) *Pending {
	w := &Pending{p: p, end: end}
	i := sort.Search(len(*list), func(i int) bool { return (*list)[i].end > end })
	*list = slices.Insert(*list, i, w)
	return w
}

// Pending is a batch that waits for the in-sync set. It resolves once: with nil when the
// high watermark has passed it, or with a kafka error.
type Pending struct {
	p   *Partition
	end int64
	mu  struct {
		sync.Mutex
		resolved bool
		err      error
		notify   func()
	}
}

// Err is how the batch fared, once it has resolved: nil, RequestTimedOut,
// NotEnoughReplicasAfterAppend or NotLeaderOrFollower.
func (w *Pending) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.err
}

// resolve settles the batch; calls after the first do nothing.
func (w *Pending) resolve(err error) {
	w.mu.Lock()
	if w.mu.resolved {
		w.mu.Unlock()
		return
	}
	w.mu.resolved, w.mu.err = true, err
	notify := w.mu.notify
	w.mu.notify = nil
	w.mu.Unlock()
	if notify != nil {
		notify()
	}
}

// onResolved calls f when the batch has resolved, which may be now.
func (w *Pending) onResolved(f func()) {
	w.mu.Lock()
	resolved := w.mu.resolved
	if !resolved {
		w.mu.notify = f
	}
	w.mu.Unlock()
	if resolved {
		f()
	}
}

// giveUp times the batch out and takes it off the partition's list.
func (w *Pending) giveUp() {
	w.resolve(kafka.RequestTimedOut)
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	for _, list := range []*[]*Pending{&w.p.mu.pending, &w.p.mu.staged} {
		if i := slices.Index(*list, w); i >= 0 {
			*list = slices.Delete(*list, i, i+1)
		}
	}
}

// Await calls done once, when all of the batches have resolved; those that have not after
// timeout resolve with RequestTimedOut. done runs on the goroutine that resolved the last
// one and must not block. A batch is awaited by one caller.
func Await(batches []*Pending, timeout time.Duration, done func()) {
	if len(batches) == 0 {
		done()
		return
	}
	var left atomic.Int64
	left.Store(int64(len(batches)))
	timer := time.AfterFunc(timeout, func() {
		for _, w := range batches {
			w.giveUp()
		}
	})
	for _, w := range batches {
		w.onResolved(func() {
			if left.Add(-1) == 0 {
				timer.Stop()
				done()
			}
		})
	}
}
