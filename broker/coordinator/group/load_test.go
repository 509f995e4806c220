package group

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"sort"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// fullLog is a log that was written before.
type fullLog struct {
	silentLog
	b  []byte
	at []int // of each batch, by base offset
	to []int64
}

func (l *fullLog) Bounds() (int64, int64) { return 0, l.end }

func (l *fullLog) Read(off, _ int64) ([]byte, error) {
	i := sort.Search(len(l.to), func(i int) bool { return l.to[i] > off })
	b := l.b[l.at[i]:]
	return b[:min(len(b), 5<<20)], nil
}

// offsetsLog holds so many commits of groups, which commit some partitions at a time.
func offsetsLog(records, groups, each int) *fullLog {
	l := &fullLog{}
	for n := 0; n < records; {
		b := batch.Builder{}
		for range each {
			group := n / each % groups
			tp := kafka.TopicPartition{Topic: "a-topic-of-usual-length", Partition: int32(n % 100)}
			rec := offsetRecord(fmt.Sprintf("consumers-of-the-application-%05d", group), tp, &offset{
				Offset: Offset{At: int64(n), LeaderEpoch: 3}, commitMs: 1_700_000_000_000, expireMs: -1, topicID: kafka.UUID{1},
			})
			b.Append(rec.Key, rec.Value, nil, 1_700_000_000_000)
			n++
		}
		raw := b.Bytes()
		batch.SetBaseOffset(raw, l.end)
		l.at = append(l.at, len(l.b))
		l.b = append(l.b, raw...)
		l.end += int64(each)
		l.to = append(l.to, l.end)
	}
	return l
}

// BenchmarkLoad has a shard read its log: as it was written, where each offset comes again
// twenty times, and compacted, where each comes once.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct {
		name            string
		groups, records int
		each            int
	}{
		{"log=written/records-a-batch=50", 200, 400_000, 50}, {"log=written/records-a-batch=1", 200, 400_000, 1},
		{"log=compacted/records-a-batch=50", 4000, 400_000, 50}, {"log=compacted/records-a-batch=10", 4000, 400_000, 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newCrowd(b, 1, 1)
			defer w.c.Close()
			log := offsetsLog(c.records, c.groups, c.each)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuNs()
			for b.Loop() {
				w.c.rt.Lead(0, log)
				for loaded := false; !loaded; <-tick.C { // a shard that loads refuses
					done := make(chan bool, 1)
					w.c.rt.Do(0, func(*Shard, int64) coordinator.Step { done <- true; return coordinator.Step{} }, func(error) { done <- false })
					loaded = <-done
				}
			}
			total := float64(b.N) * float64(c.records)
			b.ReportMetric(total/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(cpuNs()-before)/total, "cpu-ns/record")
		})
	}
}

// cpuNs is the processor time that the process has taken. Unlike the wall it can be read on a busy machine.
func cpuNs() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// TestKafkasMemberRecord reads what Apache Kafka 4.3.1 writes of a member of the consumer
// protocol: its classic metadata is null, a tagged field of one byte 0. Absent, which Kafka
// reads as an empty struct, it would be a classic member there, so it is written here too.
func TestKafkasMemberRecord(t *testing.T) {
	key, _ := base64.StdEncoding.DecodeString("AAUABm1vZGVybgAWMDEyMzQ1Njc4OTAxMjM0NTY3ODkwMQ==")
	value, _ := base64.StdEncoding.DecodeString("AAAAAARrZ28LLzEyNy4wLjAuMQIFd29yawEAAOpgAAEAAQA=")
	s := NewShard(&coordinator.Versions{}, Env{})
	if err := s.Replay(coordinator.Record{Key: key, Value: value}); err != nil {
		t.Fatal(err)
	}
	g, _ := s.groups.Get("modern")
	m, ok := g.modern.members.Get("0123456789012345678901")
	if !ok || m.Classic != nil || m.Regex != "" || m.RebalanceTimeoutMs != 60_000 {
		t.Fatalf("the member is %+v", m)
	}
	var v wire.ConsumerGroupMemberMetadataValue
	v.Default()
	if got := message(&v, 0); !bytes.HasSuffix(got, []byte{1, 0, 1, 0}) {
		t.Errorf("a member without classic metadata is written as %x", got)
	}
}
