package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered"
	"github.com/varve-io/varve/tiered/manifest"
)

// flat is the model of one partition: what each offset holds, for all a client can know.
type flat struct {
	topic string
	id    kafka.UUID

	at        map[int64]string // acknowledged or read, and not known to be lost
	end       int64            // one above the last of them
	start     int64            // the highest log start that was told
	held      map[int64]string // what any manifest has ever held: it never changes
	heldNext  int64
	attempts  []*attempt // sent, and no answer heard
	producers []*idempotent
	names     int // given to batches so far
}

// attempt is one batch.
type attempt struct {
	name  string
	count int
	pr    *idempotent // nil: a plain batch
	seq   int32
	base  int64
	life  int // the process it was sent to
}

// record is the id of a record of the batch; every record of a history has its own.
func (a *attempt) record(i int) string { return a.name + "." + strconv.Itoa(i) }

// idempotent is a producer and its batches that are in the log, oldest first.
type idempotent struct {
	id    int64
	epoch int16
	log   []*attempt
}

// next is the sequence number that the broker waits for.
func (p *idempotent) next() int32 {
	if len(p.log) == 0 {
		return 0
	}
	last := p.log[len(p.log)-1]
	return last.seq + int32(last.count)
}

// payload is the value of a record: its id and bytes that follow from it.
func payload(record string, size int) []byte {
	b := fmt.Appendf(nil, "%s:%d:", record, size)
	x := uint32(2166136261)
	for _, c := range []byte(record) {
		x = (x ^ uint32(c)) * 16777619
	}
	for range size {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b = append(b, byte(x))
	}
	return b
}

// recordOf is the id in a value, which must be what its id says.
func recordOf(value []byte) (string, error) {
	parts := strings.SplitN(string(value), ":", 3)
	if len(parts) != 3 {
		return "", fmt.Errorf("value %.40q is none of ours", value)
	}
	size, err := strconv.Atoi(parts[1])
	if err != nil || string(payload(parts[0], size)) != string(value) {
		return "", fmt.Errorf("value %.40q was damaged", value)
	}
	return parts[0], nil
}

// unpack lists the records of whole batches by offset; a last batch may be cut short.
func unpack(raw []byte, each func(off int64, record string) error) error {
	for len(raw) > 0 {
		h, err := batch.ParseHeader(raw)
		if err != nil || int64(len(raw)) < h.Size() {
			return nil
		}
		if err := batch.CheckCRC(raw[:h.Size()]); err != nil {
			return err
		}
		for r, err := range batch.Records(raw[:h.Size()], batch.Limits{}) {
			if err != nil {
				return err
			}
			id, err := recordOf(r.Value)
			if err == nil {
				err = each(r.Offset, id)
			}
			if err != nil {
				return fmt.Errorf("offset %d: %w", r.Offset, err)
			}
		}
		raw = raw[h.Size():]
	}
	return nil
}

// inBucket reads what the newest manifest holds, from the objects themselves, and compares
// it with all that a manifest ever held.
func (f *flat) inBucket(t *testing.T, store objstore.Bucket, cluster string) {
	t.Helper()
	newest := f.newest(t, store, cluster)
	if newest == nil {
		if f.heldNext > 0 {
			t.Fatalf("%s: the manifest held %d offsets and is gone", f.topic, f.heldNext)
		}
		return
	}
	if newest.Next < f.heldNext {
		t.Fatalf("%s: the manifest ended at %d and ends at %d now", f.topic, f.heldNext, newest.Next)
	}
	for _, s := range newest.Segments {
		raw := make([]byte, s.SizeBytes)
		if _, err := store.GetRange(t.Context(), newest.SegmentKey(s), 0, raw, ""); err != nil {
			t.Fatalf("%s: %v", f.topic, err)
		}
		next := s.Base
		err := unpack(raw, func(off int64, record string) error {
			if off != next {
				return fmt.Errorf("follows %d", next-1)
			}
			next++
			return f.hold(off, record)
		})
		if err != nil || next != s.Next {
			t.Fatalf("%s: object of [%d, %d) ends at %d: %v", f.topic, s.Base, s.Next, next, err)
		}
	}
	f.heldNext = newest.Next
}

// hold notes what the store has at an offset, which no later moment may change.
func (f *flat) hold(off int64, record string) error {
	if was, ok := f.held[off]; ok && was != record {
		return fmt.Errorf("the store held record %s and holds %s now", was, record)
	}
	if was, ok := f.at[off]; ok && was != record {
		return fmt.Errorf("record %s was acknowledged here, the store holds %s", was, record)
	}
	f.held[off] = record
	return nil
}

// newest is the partition's newest manifest, nil if there is none.
func (f *flat) newest(t *testing.T, store objstore.Bucket, cluster string) *manifest.Manifest {
	t.Helper()
	c, err := kafka.ParseUUID(cluster)
	if err != nil {
		t.Fatal(err)
	}
	id := manifest.ID{ClusterID: c, TopicID: f.id}
	key := ""
	for a, err := range objstore.All(t.Context(), store, id.ManifestPrefix(), "") {
		if err != nil {
			t.Fatal(err)
		}
		key = max(key, a.Key)
	}
	if key == "" {
		return nil
	}
	raw, _, err := objstore.Get(t.Context(), store, key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Decode(raw)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return m
}

// exact wants the bucket to hold what the newest manifest names and nothing else, once the
// clean-up has had the time for it.
func (f *flat) exact(t *testing.T, store objstore.Bucket, cluster string) {
	t.Helper()
	var r tiered.Report
	for range 120 {
		var err error
		if r, err = tiered.Check(t.Context(), store, cluster, f.id, 0, tiered.CheckOptions{Deep: true}); err != nil {
			t.Fatal(err)
		}
		if r.Exact() {
			return
		}
		<-time.After(10 * time.Second)
	}
	t.Fatalf("%s: manifest and bucket differ after all the time for a clean-up: faults %v, orphans %v, %d pending", f.topic, r.Faults, r.Orphans, r.Pending)
}

// retriable are the answers after which a client asks again.
func retriable(code int16) bool {
	e := kafka.Error(code)
	return e == kafka.KafkaStorageError || e == kafka.NotLeaderOrFollower || e == kafka.RequestTimedOut || e == kafka.UnknownTopicOrPartition || e == kafka.UnknownTopicID
}

// patience is how often a retriable answer is taken before it counts as never ending; a
// tenth of a second lies between two.
const patience = 6000

// offsetAt asks for the log start (-2) or end (-1); it asks again while the answer is retriable.
func (f *flat) offsetAt(l *life, ts int64) (int64, bool) {
	l.t.Helper()
	for range patience {
		req := kmsg.NewPtrListOffsetsRequest()
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp, p.CurrentLeaderEpoch = ts, -1
		req.ReplicaID = -1
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: f.topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
		got := ask[*kmsg.ListOffsetsResponse](l.cl, 7, req).Topics[0].Partitions[0]
		switch {
		case l.isDark():
			return 0, false
		case got.ErrorCode == 0:
			return got.Offset, true
		case !retriable(got.ErrorCode):
			l.t.Fatalf("%s: offset of %d: %v", f.topic, ts, kafka.Error(got.ErrorCode))
		}
		<-time.After(100 * time.Millisecond)
	}
	l.t.Fatalf("%s: the partition never came back", f.topic)
	return 0, false
}

// fetch reads from an offset: whole batches, of which the first may begin below it. It
// answers nothing when the power went, or when there is nothing.
func (f *flat) fetch(l *life, off int64, maxBytes int32) []byte {
	l.t.Helper()
	for range patience {
		req := kmsg.NewPtrFetchRequest()
		req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, 1000, 1, 64<<20
		req.SessionEpoch = -1
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LogStartOffset = off, maxBytes, -1, -1
		req.Topics = []kmsg.FetchRequestTopic{{Topic: f.topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		got := ask[*kmsg.FetchResponse](l.cl, 12, req).Topics[0].Partitions[0]
		switch {
		case l.isDark():
			return nil
		case got.ErrorCode == 0 && (len(got.RecordBatches) > 0 || got.HighWatermark <= off):
			return got.RecordBatches
		case got.ErrorCode == int16(kafka.OffsetOutOfRange):
			return nil // retention has passed it: the caller asks for the start again
		case got.ErrorCode != 0 && !retriable(got.ErrorCode):
			l.t.Fatalf("%s: fetch at %d: %v", f.topic, off, kafka.Error(got.ErrorCode))
		}
		<-time.After(100 * time.Millisecond)
	}
	l.t.Fatalf("%s: offset %d is never answered", f.topic, off)
	return nil
}

// readAll reads from the log start to its end.
func (f *flat) readAll(l *life) (got map[int64]string, start, end int64, ok bool) {
	l.t.Helper()
	if start, ok = f.offsetAt(l, -2); !ok {
		return nil, 0, 0, false
	}
	if end, ok = f.offsetAt(l, -1); !ok {
		return nil, 0, 0, false
	}
	got = map[int64]string{}
	for next := start; next < end; {
		raw := f.fetch(l, next, 256<<10)
		if l.isDark() {
			return nil, 0, 0, false
		}
		was := next
		err := unpack(raw, func(off int64, record string) error {
			if off < next {
				return nil // the batch begins below what was asked for
			}
			if off > next {
				return fmt.Errorf("follows %d", next-1)
			}
			got[off] = record
			next++
			return nil
		})
		if err != nil {
			l.t.Fatalf("%s: %v", f.topic, err)
		}
		if next == was {
			if start, ok = f.offsetAt(l, -2); !ok || start <= was {
				l.t.Fatalf("%s: nothing is read at %d; the log is [%d, %d)", f.topic, was, start, end)
			}
			next = start
		}
	}
	return got, start, end, true
}

// reconcile reads everything back after a start and compares it with what may be there:
// all that was acknowledged, in order, but for a tail that a crash may take in pagecache
// mode and that never reaches below what a manifest holds.
func (f *flat) reconcile(l *life, mayLose bool) {
	l.t.Helper()
	got, start, end, ok := f.readAll(l)
	if !ok {
		return
	}
	if start < f.start {
		l.t.Fatalf("%s: the log start went back from %d to %d", f.topic, f.start, start)
	}
	if end < f.heldNext {
		l.t.Fatalf("%s: the log ends at %d, the manifest at %d", f.topic, end, f.heldNext)
	}
	if end < f.end && !mayLose {
		l.t.Fatalf("%s: acknowledged up to %d, the log ends at %d", f.topic, f.end, end)
	}
	seen := map[string]int64{}
	for _, off := range slices.Sorted(maps.Keys(got)) {
		record := got[off]
		if other, twice := seen[record]; twice {
			l.t.Fatalf("%s: record %s is at %d and at %d", f.topic, record, other, off)
		}
		seen[record] = off
		if want, ok := f.held[off]; ok && want != record {
			l.t.Fatalf("%s: offset %d holds %s, the manifest's is %s", f.topic, off, record, want)
		}
		if want, ok := f.at[off]; ok && want != record {
			l.t.Fatalf("%s: offset %d holds %s, acknowledged was %s", f.topic, off, record, want)
		}
	}
	f.settle(l.t, got, end)
	f.start = start
}

// settle brings the model in line with what a crash left: what is lost is forgotten, and of
// the batches without an answer those that are there are known now.
func (f *flat) settle(t *testing.T, got map[int64]string, end int64) {
	t.Helper()
	for off := end; off < f.end; off++ {
		delete(f.at, off)
	}
	for _, p := range f.producers {
		p.log = slices.DeleteFunc(p.log, func(a *attempt) bool { return a.base >= end })
	}
	attempts := f.attempts
	for next := min(f.end, end); next < end; {
		record, ok := got[next]
		if !ok { // below the log start
			next++
			continue
		}
		i := slices.IndexFunc(attempts, func(a *attempt) bool { return a.record(0) == record })
		if i < 0 {
			t.Fatalf("%s: offset %d holds %s, which nobody sent in this order", f.topic, next, record)
		}
		a := attempts[i]
		attempts = attempts[i+1:]
		for n := range a.count {
			if got[next+int64(n)] != a.record(n) {
				t.Fatalf("%s: batch %s at %d is not whole", f.topic, a.name, next)
			}
			f.at[next+int64(n)] = a.record(n)
		}
		a.base = next
		if a.pr != nil {
			a.pr.log = append(a.pr.log, a)
		}
		next += int64(a.count)
	}
	f.attempts, f.end = nil, end
}
