package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
)

// history is one simulated cluster: a store that stays, a disk and processes that do not.
type history struct {
	set     []string // settings beyond those of every start
	t       *testing.T
	rng     *rand.Rand
	store   *mem.Bucket
	faulty  *fault.Bucket
	disk    *memfs.FS
	l       *life
	cluster string
	synced  bool // nothing acknowledged is ever lost: flush.messages=1, or group durability
	group   bool
	parts   []*flat
	pids    map[int64]bool
	lives   int
	crashes int
	lost    int64
}

// TestHistories plays random histories: produce, roll, tier, evict, expire, restart, and
// power cuts at any step of the disk or the store, with the store kept. Time is virtual.
func TestHistories(t *testing.T) {
	n := number(t, "CHAOS_HISTORIES", 12)
	first := uint64(1)
	if os.Getenv("CHAOS_SEED") != "" || os.Getenv("CHAOS_HISTORIES") != "" {
		first = seed(t)
	}
	for i := range n {
		s := first + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, s) })
		})
	}
}

func play(t *testing.T, s uint64) {
	h := &history{t: t, rng: rand.New(rand.NewPCG(s, 2)), store: mem.New(), disk: memfs.New(), pids: map[int64]bool{}}
	h.faulty = fault.Wrap(h.store)
	h.synced, h.group = h.rng.IntN(2) == 0, h.rng.IntN(2) == 0
	h.begin(0)
	h.cluster = h.l.node.ClusterID()
	for i := range 1 + h.rng.IntN(2) {
		h.create(fmt.Sprintf("topic-%d", i))
	}
	for range 4 + h.rng.IntN(8) {
		h.round()
	}
	h.finish()
	t.Logf("CHAOS_SEED=%d: %d crashes, %d records lost to them above the manifests", s, h.crashes, h.lost)
}

// round is one process from what was begun to its end, and the next one's start.
func (h *history) round() {
	crash := h.rng.IntN(4) > 0
	if crash && h.rng.IntN(5) > 0 {
		h.l.arm(h.rng, 1+h.rng.Int64N(1<<h.rng.IntN(11)))
	}
	for range 5 + h.rng.IntN(40) {
		if h.l.isDark() {
			break
		}
		h.act(h.parts[h.rng.IntN(len(h.parts))])
	}
	if crash {
		h.l.seed = h.rng.Uint64()
		h.l.blackout()
	} else {
		h.l.fuse.Store(0)
	}
	h.restart()
}

// restart ends the process and begins the next; in one of four the power goes during the start.
func (h *history) restart() {
	h.faulty.Clear()
	mayLose, lostFiles := false, false
	for {
		h.disk = h.l.end()
		if h.l.isDark() { // also when the fuse burned down while it stopped
			h.crashes++
			mayLose = mayLose || !h.synced
		}
		if h.loseFiles() {
			mayLose, lostFiles = true, true
		}
		for _, f := range h.parts {
			f.inBucket(h.t, h.store, h.cluster)
		}
		steps := int64(0)
		if h.rng.IntN(4) == 0 {
			steps = 1 + h.rng.Int64N(300)
		}
		if h.begin(steps); h.l.isDark() {
			continue
		}
		h.l.fuse.Store(0)
		if h.l.isDark() {
			continue
		}
		break
	}
	for _, f := range h.parts {
		was := f.end
		f.reconcile(h.l, mayLose)
		if lostFiles && f.start == f.end {
			for _, p := range f.producers {
				p.log = nil // everything has expired: nobody remembers the producers
			}
		}
		h.lost += max(0, was-f.end)
	}
}

// loseFiles takes a partition's files from the disk now and then, as a broken or replaced
// disk does, or what the disk knew of it.
func (h *history) loseFiles() bool {
	f := h.parts[h.rng.IntN(len(h.parts))]
	victims := [][]string{{"/" + f.topic + "-0"}, {"/" + f.topic + "-0", "/varve-log-dir-checkpoint"}, {"/" + f.topic + "-0/leader-epoch-checkpoint"}}
	if h.rng.IntN(8) > 0 {
		return false
	}
	pick := h.rng.IntN(len(victims))
	if pick == 1 && h.l.isDark() {
		pick = 0 // without a checkpoint the holes of a power cut in other logs count as damage
	}
	for _, name := range victims[pick] {
		if err := h.disk.RemoveAll("/node/logs" + name); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := h.disk.SyncDir("/node/logs"); err != nil { // lost files do not come back
		h.t.Fatal(err)
	}
	return pick < 2
}

// begin starts a process, which the power may leave after so many steps.
func (h *history) begin(steps int64) {
	h.t.Helper()
	h.l = newLife(h.t, h.disk)
	h.lives++
	if steps > 0 {
		h.l.arm(h.rng, steps)
	}
	if err := h.l.start(h.faulty, append([]string{"log.flush.offset.checkpoint.interval.ms=1000", "varve.wal.bytes=16777216"}, h.set...)...); err != nil && !h.l.isDark() {
		h.t.Fatalf("start: %v", err)
	}
}

// create makes a one-partition topic whose segments are small or short-lived.
func (h *history) create(name string) {
	retention := "-1"
	if h.rng.IntN(3) == 0 {
		retention = fmt.Sprint(20_000 + h.rng.IntN(100_000))
	}
	h.createWith(name, retention, []string{"1", "20000", "-2"}[h.rng.IntN(3)])
}

// createWith is create with retention.bytes and local.retention.bytes.
func (h *history) createWith(name, retention, local string) {
	flush := "9223372036854775807"
	durability := "pagecache"
	switch {
	case h.synced && h.group:
		durability = "group"
	case h.synced:
		flush = "1"
	}
	configs := map[string]string{
		"remote.storage.enable": "true", "retention.bytes": retention, "retention.ms": "-1", "local.retention.bytes": local, "local.retention.ms": "-2",
		"segment.index.bytes": fmt.Sprint(8 * (2 + h.rng.IntN(12))), "index.interval.bytes": "1", "segment.ms": fmt.Sprint(200 + h.rng.IntN(5000)),
		"file.delete.delay.ms": "0", "varve.tier.delete.grace.ms": "300", "flush.messages": flush, "varve.durability": durability,
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	for k, v := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		topic.Configs = append(topic.Configs, c)
	}
	req.Topics = append(req.Topics, topic)
	got := ask[*kmsg.CreateTopicsResponse](h.l.cl, 7, req).Topics[0]
	if got.ErrorCode != 0 {
		h.t.Fatalf("create %s: %v %v", name, kafka.Error(got.ErrorCode), *got.ErrorMessage)
	}
	h.parts = append(h.parts, &flat{topic: name, id: got.TopicID, at: map[int64]string{}, held: map[int64]string{}})
}

// act does one thing.
func (h *history) act(f *flat) {
	switch n := h.rng.IntN(20); {
	case n < 7:
		h.produce(f, nil)
	case n < 13:
		h.produce(f, h.producer(f))
	case n < 14:
		h.repeat(f)
	case n < 15:
		h.skip(f)
	case n < 16:
		h.disturb()
	case n < 18:
		h.look(f)
	default:
		select {
		case <-time.After(time.Duration(1+h.rng.IntN(1<<h.rng.IntN(13))) * time.Millisecond):
		case <-h.l.dark:
		}
	}
}

// producer is one of the partition's idempotent producers, a new one now and then.
func (h *history) producer(f *flat) *idempotent {
	if len(f.producers) > 0 && h.rng.IntN(8) > 0 {
		return f.producers[h.rng.IntN(len(f.producers))]
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	got := ask[*kmsg.InitProducerIDResponse](h.l.cl, 4, req)
	if h.l.isDark() {
		return nil
	}
	if got.ErrorCode != 0 {
		h.t.Fatalf("producer id: %v", kafka.Error(got.ErrorCode))
	}
	if h.pids[got.ProducerID] {
		h.t.Fatalf("producer id %d was given twice", got.ProducerID)
	}
	h.pids[got.ProducerID] = true
	if got.ProducerID == 0 { // stands for none in batch.Builder
		return h.producer(f)
	}
	p := &idempotent{id: got.ProducerID, epoch: got.ProducerEpoch}
	f.producers = append(f.producers, p)
	return p
}

// produce sends one new batch.
func (h *history) produce(f *flat, p *idempotent) {
	f.names++
	a := &attempt{name: fmt.Sprintf("%s-%d", f.topic, f.names), count: 1 + h.rng.IntN(5), pr: p, life: h.lives}
	if p != nil {
		a.seq = p.next()
	}
	f.attempts = append(f.attempts, a)
	code, base := h.send(f, a)
	if h.l.isDark() {
		return
	}
	if code != 0 {
		h.t.Fatalf("%s: produce: %v", f.topic, kafka.Error(code))
	}
	f.attempts = nil
	if base != f.end {
		h.t.Fatalf("%s: batch %s went to %d, the log ended at %d", f.topic, a.name, base, f.end)
	}
	for i := range a.count {
		off := base + int64(i)
		if was, ok := f.held[off]; ok {
			h.t.Fatalf("%s: offset %d is record %s by the manifest, and was given to %s", f.topic, off, was, a.record(i))
		}
		f.at[off] = a.record(i)
	}
	a.base, f.end = base, base+int64(a.count)
	if p != nil {
		p.log = append(p.log, a)
	}
}

// send sends a batch and asks again while the answer is retriable.
func (h *history) send(f *flat, a *attempt) (code int16, base int64) {
	b := batch.Builder{Codec: []batch.Codec{batch.None, batch.LZ4, batch.Gzip}[h.rng.IntN(3)]}
	if a.pr != nil {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = a.pr.id, a.pr.epoch, a.seq
	}
	size := h.rng.IntN(1 << h.rng.IntN(13))
	for i := range a.count {
		b.Append(nil, payload(a.record(i), size), nil, time.Now().UnixMilli())
	}
	raw := b.Bytes()
	for range patience {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 60_000
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: f.topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: raw}}}}
		got := ask[*kmsg.ProduceResponse](h.l.cl, 9, req).Topics[0].Partitions[0]
		if !retriable(got.ErrorCode) || h.l.isDark() {
			return got.ErrorCode, got.BaseOffset
		}
		<-time.After(100 * time.Millisecond)
	}
	h.t.Fatalf("%s: produce is never answered", f.topic)
	return 0, 0
}

// repeat sends one of a producer's last batches again: it is where it was, or it is refused.
func (h *history) repeat(f *flat) {
	if len(f.producers) == 0 {
		return
	}
	p := f.producers[h.rng.IntN(len(f.producers))]
	if len(p.log) == 0 {
		return
	}
	back := h.rng.IntN(min(5, len(p.log)))
	a := p.log[len(p.log)-1-back]
	code, base := h.send(f, a)
	switch {
	case h.l.isDark() || code == 0 && base == a.base:
	case back > 0 && a.life < h.lives && code == int16(kafka.OutOfOrderSequenceNumber):
		// After a start the broker knows a producer's last batch only, as Kafka's snapshots do.
	default:
		h.t.Fatalf("%s: batch %s at %d, sent again: %v at %d", f.topic, a.name, a.base, kafka.Error(code), base)
	}
}

// skip leaves sequence numbers out: the batch is refused, and is nowhere.
func (h *history) skip(f *flat) {
	if len(f.producers) == 0 {
		return
	}
	p := f.producers[h.rng.IntN(len(f.producers))]
	if len(p.log) == 0 {
		return
	}
	f.names++
	a := &attempt{name: fmt.Sprintf("%s-%d", f.topic, f.names), count: 1, pr: p, seq: p.next() + 7}
	if code, _ := h.send(f, a); !h.l.isDark() && code != int16(kafka.OutOfOrderSequenceNumber) {
		h.t.Fatalf("%s: sequence %d where %d follows: %v", f.topic, a.seq, p.next(), kafka.Error(code))
	}
}

// disturb breaks the next few calls of one kind to the store.
func (h *history) disturb() {
	ops := []fault.Op{fault.Put, fault.GetRange, fault.Open, fault.Head, fault.List, fault.Delete, fault.Any}
	what := []fault.Action{
		fault.Fail(objstore.ErrTransient), fault.Fail(objstore.ErrThrottled), fault.LoseReply(), fault.LoseReplySettled(),
		fault.Slow(time.Duration(h.rng.IntN(5000)) * time.Millisecond),
	}
	h.faulty.Add(fault.Rule{Op: ops[h.rng.IntN(len(ops))], Skip: h.rng.IntN(5), Times: 1 + h.rng.IntN(4), Do: what[h.rng.IntN(len(what))]})
}

// look reads at a random place of the log.
func (h *history) look(f *flat) {
	start, ok := f.offsetAt(h.l, -2)
	if !ok {
		return
	}
	if start < f.start {
		h.t.Fatalf("%s: the log start went back from %d to %d", f.topic, f.start, start)
	}
	f.start = start
	if start >= f.end {
		return
	}
	off := start + h.rng.Int64N(f.end-start)
	err := unpack(f.fetch(h.l, off, 1+h.rng.Int32N(32<<10)), func(off int64, record string) error {
		if want, ok := f.at[off]; ok && want != record {
			return fmt.Errorf("holds %s, want %s", record, want)
		}
		return nil
	})
	if err != nil {
		h.t.Fatalf("%s: %v", f.topic, err)
	}
}

// finish heals everything and wants the log and the bucket to be exactly what they should be.
func (h *history) finish() {
	h.faulty.Clear()
	if h.rng.IntN(2) == 0 { // else nobody writes any more, and what is left has to go all the same
		for _, f := range h.parts {
			h.produce(f, nil)
		}
	}
	<-time.After(20 * time.Minute) // the longest wait after failures, and what follows it
	h.l.cl = h.l.net.dial(h.t)     // an idle connection was closed meanwhile
	for _, f := range h.parts {
		f.reconcile(h.l, false)
		f.inBucket(h.t, h.store, h.cluster)
		f.exact(h.t, h.store, h.cluster)
	}
	h.disk = h.l.end()
	h.begin(0)
	for _, f := range h.parts {
		f.reconcile(h.l, false)
	}
	h.l.end()
}
