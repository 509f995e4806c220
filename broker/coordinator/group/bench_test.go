package group

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

// crowd is a group of the consumer protocol and its members, which do at once what they are told.
type crowd struct {
	b       *testing.B
	c       *Coordinator
	nowMs   int64
	members []*crowdMember
	beats   int
}

type crowdMember struct {
	id    string
	epoch int32
	owns  []wire.ConsumerGroupHeartbeatRequestTopicPartitions
}

func newCrowd(b *testing.B, topics, partitions int) *crowd {
	w := &crowd{b: b, nowMs: time.Now().UnixMilli()}
	w.c = New(Options{
		Config: func() Config {
			return Config{MaxSize: 10_001, MaxSessionTimeoutMs: 1 << 30, NewMemberJoinTimeoutMs: 1 << 30, OffsetsRetentionMs: 1 << 40, RetentionCheckIntervalMs: 1 << 40, OffsetMetadataMaxBytes: 4096}
		},
		Consumer: func(string) ConsumerConfig {
			return ConsumerConfig{
				SessionTimeoutMs: 3_600_000, HeartbeatIntervalMs: 5000, AssignmentIntervalMs: 1000, RegexRefreshMs: 600_000, MaxSize: 10_000,
				Assignors: []string{"uniform", "range"},
			}
		},
		CommitTimeout: func() time.Duration { return time.Minute }, Now: func() time.Time { return time.UnixMilli(w.nowMs) },
		Logger: slog.New(slog.DiscardHandler),
	})
	var records []metadata.Record
	for t := range topics {
		id := kafka.NewUUID()
		records = append(records, metadata.TopicRecord{Name: fmt.Sprintf("topic-%03d", t), ID: id, Version: 1})
		for p := range partitions {
			records = append(records, metadata.PartitionRecord{TopicID: id, Index: int32(p), Partition: metadata.Partition{
				Replicas: []int32{1}, Dirs: []kafka.UUID{{1}}, ISR: []int32{1}, Leader: 1,
			}})
		}
	}
	img, _, err := new(metadata.Image).Apply(1, records)
	if err != nil {
		b.Fatal(err)
	}
	w.c.image.Store(img)
	w.c.partitions.Store(1)
	w.c.rt.Lead(0, &silentLog{})
	return w
}

// silentLog is a log that keeps nothing.
type silentLog struct{ end int64 }

func (l *silentLog) Bounds() (int64, int64)                    { return l.end, l.end }
func (l *silentLog) Read(int64, int64) ([]byte, error)         { return nil, nil }
func (l *silentLog) Epoch() int32                              { return 0 }
func (l *silentLog) MaxBatchBytes() int                        { return 16 << 20 }
func (l *silentLog) Append([]byte) (int64, error)              { l.end++; return l.end, nil }
func (l *silentLog) WhenCommitted(int64, func(error)) bool     { return true }
func (l *silentLog) WriteMarker(replica.Marker) (int64, error) { return l.Append(nil) }
func (l *silentLog) AppendVerified(b []byte, _ *commitlog.Verification) (int64, error) {
	return l.Append(b)
}
func (w *crowd) do(f func(s *Shard, nowMs int64) coordinator.Step) {
	w.c.rt.Do(0, f, func(err error) { w.b.Fatal(err) })
}

// beat sends one heartbeat, with what the member owns if that has changed, and does what the
// answer says; it answers whether there was something to give up or to begin.
func (w *crowd) beat(m *crowdMember, full bool) (changed bool) {
	req := new(wire.ConsumerGroupHeartbeatRequest)
	req.Default()
	req.GroupID, req.MemberID, req.MemberEpoch = "crowd", m.id, m.epoch
	if full {
		req.TopicPartitions = append([]wire.ConsumerGroupHeartbeatRequestTopicPartitions{}, m.owns...)
	}
	if m.epoch == 0 {
		req.RebalanceTimeoutMs = 300_000
		for t := range w.c.image.Load().Topics() {
			req.SubscribedTopicNames = append(req.SubscribedTopicNames, t.Name)
		}
	}
	w.beats++
	w.c.ConsumerHeartbeat(Client{ID: "c", Host: "/h", Version: 1}, req, func(r *wire.ConsumerGroupHeartbeatResponse) {
		if r.ErrorCode != 0 {
			w.b.Fatalf("%s: %s", m.id, *r.ErrorMessage)
		}
		m.epoch = r.MemberEpoch
		if r.Assignment != nil {
			changed = true
			m.owns = m.owns[:0]
			for _, t := range r.Assignment.TopicPartitions {
				m.owns = append(m.owns, wire.ConsumerGroupHeartbeatRequestTopicPartitions(t))
			}
		}
	})
	return changed
}

// converge counts the rounds of heartbeats, one in five seconds from each member, until all
// are stable. Who was told something acknowledges it at once, as clients do.
func (w *crowd) converge() (rounds int) {
	for ; !w.stable(); rounds++ {
		w.nowMs += 5000
		for _, m := range w.members {
			if w.beat(m, false) {
				w.beat(m, true)
			}
		}
	}
	return rounds
}

func (w *crowd) stable() (stable bool) {
	w.do(func(s *Shard, _ int64) coordinator.Step {
		stable = s.DescribeConsumer("crowd").GroupState == string(Stable)
		return coordinator.Step{}
	})
	return stable
}

func (w *crowd) join() {
	m := &crowdMember{id: fmt.Sprintf("member-%05d-0123456789abcdef", len(w.members))}
	w.members = append(w.members, m)
	if w.beat(m, true) {
		w.beat(m, true)
	}
}

// BenchmarkConsumerGroup has 1,000 members join a group of the consumer protocol that reads
// 10,000 partitions, then one more.
func BenchmarkConsumerGroup(b *testing.B) {
	var first, second, beats int
	var heap uint64
	for b.Loop() {
		w := newCrowd(b, 100, 100)
		before := heapBytes()
		for range 1000 {
			w.join()
		}
		first = w.converge()
		heap = heapBytes() - before
		w.nowMs += 5000
		w.join()
		second = w.converge()
		beats = w.beats
		w.c.Close()
	}
	b.ReportMetric(float64(first), "rounds-first")
	b.ReportMetric(float64(second), "rounds-one-more")
	b.ReportMetric(float64(heap)/1000, "heap-B/member")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(beats), "ns/heartbeat")
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
