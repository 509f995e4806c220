package judge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceScript: success and the errors around a batch, at every version (C6, P2, P9, F7).
func produceScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(3); v <= 13; v++ {
		name := s.topic(fmt.Sprint("v", v))
		id := s.create(name, 3)
		good := func() []byte { return batchOf(s.base, "a", "b", "c").bytes() }
		c.ask("batch", v, produceTo(name, id, 0, good()))
		one := produceTo(name, id, 0, good())
		one.Acks = 1
		c.ask("acks 1", v, one)
		for _, acks := range []int16{2, -2} {
			req := produceTo(name, id, 0, good())
			req.Acks = acks
			c.ask(fmt.Sprint("acks ", acks), v, req)
		}
		c.ask("unknown topic", v, produceTo(s.topic("nowhere"), bogusID, 0, good()))
		c.ask("zero id, no name", v, produceTo("", [16]byte{}, 0, good()))
		c.ask("invalid topic name", v, produceTo("a b", [16]byte{}, 0, good()))
		c.ask("partition 7", v, produceTo(name, id, 7, good()))
		c.ask("partition -1", v, produceTo(name, id, -1, good()))
		both := produceTo(name, id, 0, batchOf(s.base, "x").spoilt(func(b []byte) { b[len(b)-1] ^= 1 }).bytes())
		both.Topics[0].Partitions = append(both.Topics[0].Partitions, produceTo(name, id, 1, good()).Topics[0].Partitions...)
		c.ask("one of two corrupt", v, both)
		twice := produceTo(name, id, 2, batchOf(s.base, "first").bytes())
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, produceTo(name, id, 2, batchOf(s.base, "second", "batch").bytes()).Topics[0].Partitions...)
		c.ask("one partition twice", v, twice)
		apart := produceTo(name, id, 0, good())
		apart.Topics = append(apart.Topics, produceTo(name, id, 1, good()).Topics...)
		c.ask("one topic twice", v, apart)
		none := kmsg.NewPtrProduceRequest()
		none.Acks = -1
		c.ask("no topics", v, none)
		txn := produceTo(name, id, 0, good())
		txn.TransactionID = kmsg.StringPtr("judge")
		c.ask("transactional id, plain batch", v, txn)
		c.ask(fmt.Sprintf("v%d: log", v), 12, alsoFetch(fetchFrom(name, id, 0, 0), name, id, 1, 0))
	}
	for _, v := range []int16{0, 1, 2, 14} {
		frame := c.frame(7, produceTo(s.topic("v3"), [16]byte{}, 0, batchOf(s.base, "a").bytes()))
		binary.BigEndian.PutUint16(frame[6:], uint16(v))
		_, err := c.exchange(frame)
		s.note(fmt.Sprintf("unsupported v%d", v), outcome(err))
	}
}

// outcome is an error, or its absence, of an exchange.
func outcome(err error) string {
	switch {
	case err == nil:
		return "answer"
	case errors.Is(err, errClosed):
		return "closed"
	}
	return "silence"
}

// badBatch is one way to spoil a batch.
type badBatch struct {
	name    string
	records func(base int64) []byte
}

// badBatches are the forms of P1 to P8 that fit any topic.
var badBatches = []badBatch{
	{"empty", func(int64) []byte { return []byte{} }},
	{"three bytes", func(int64) []byte { return []byte{1, 2, 3} }},
	{"magic 0", func(base int64) []byte { return oldMessage(0, base, "v") }},
	{"magic 1", func(base int64) []byte { return oldMessage(1, base, "v") }},
	{"magic 3", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.Magic = 3 }).bytes()
	}},
	{"wrong checksum", func(base int64) []byte {
		return batchOf(base, "a").spoilt(func(b []byte) { b[17] ^= 1 }).bytes()
	}},
	{"cut off", func(base int64) []byte { b := batchOf(base, "a").bytes(); return b[:len(b)-2] }},
	{"trailing junk", func(base int64) []byte { return append(batchOf(base, "a").bytes(), 1, 2, 3) }},
	{"length too large", func(base int64) []byte {
		return batchOf(base, "a").spoilt(func(b []byte) { b[11]++ }).bytes()
	}},
	{"length too small", func(base int64) []byte {
		return batchOf(base, "a").spoilt(func(b []byte) { b[11] = 10 }).bytes()
	}},
	{"two batches", func(base int64) []byte { return append(batchOf(base, "a").bytes(), batchOf(base, "b").bytes()...) }},
	{"base offset 5", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.FirstOffset = 5 }).bytes()
	}},
	{"no records", func(base int64) []byte { return batchOf(base).bytes() }},
	{"count above the last offset", func(base int64) []byte {
		return batchOf(base, "a", "b").with(func(b *batch) { b.NumRecords = 3 }).bytes()
	}},
	{"count and last offset above the records", func(base int64) []byte {
		return batchOf(base, "a", "b").with(func(b *batch) { b.NumRecords, b.LastOffsetDelta = 3, 2 }).bytes()
	}},
	{"count and last offset below the records", func(base int64) []byte {
		return batchOf(base, "a", "b").with(func(b *batch) { b.NumRecords, b.LastOffsetDelta = 1, 0 }).bytes()
	}},
	{"compressed: count above the records", func(base int64) []byte {
		return batchOf(base, "a", "b").gzip().with(func(b *batch) { b.NumRecords, b.LastOffsetDelta = 3, 2 }).bytes()
	}},
	{"compressed: junk", func(base int64) []byte {
		return batchOf(base, "a", "b").with(func(b *batch) { b.Attributes |= 1 }).bytes()
	}},
	{"fields that do not fill a record", func(base int64) []byte {
		return batchOf(base, "a", "b").with(func(b *batch) { b.body[len(b.body)-3] = 0 }).bytes()
	}},
	{"a record later than the header says", func(base int64) []byte {
		return batchWith(base, rec{key: []byte("k"), value: "a"}, rec{delta: 3 * 3600_000, key: []byte("k"), value: "b"}).with(func(b *batch) { b.MaxTimestamp = base }).bytes()
	}},
	{"codec 5", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.Attributes |= 5 }).bytes()
	}},
	{"codec 7", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.Attributes |= 7 }).bytes()
	}},
	{"offset deltas with a gap", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) {
			b.body = append(record(0, rec{value: "a"}), record(2, rec{value: "b"})...)
			b.NumRecords, b.LastOffsetDelta = 2, 1
		}).bytes()
	}},
	{"control batch", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.Attributes |= 0x20 }).bytes()
	}},
	{"control batch of a producer", func(base int64) []byte {
		return batchOf(base, "a").from(77, 0, 0).with(func(b *batch) { b.Attributes |= 0x30 }).bytes()
	}},
	{"transactional batch", func(base int64) []byte {
		return batchOf(base, "a").from(77, 0, 0).with(func(b *batch) { b.Attributes |= 0x10 }).bytes()
	}},
	{"LogAppendTime set by the client", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.Attributes |= 8 }).bytes()
	}},
	{"unused attribute bits", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.Attributes |= 0x700 }).bytes()
	}},
	{"wrong max timestamp", func(base int64) []byte {
		return batchOf(base, "a", "b").with(func(b *batch) { b.MaxTimestamp = base + 500 }).bytes()
	}},
	{"timestamps -1", func(base int64) []byte { return batchOf(-1, "a").bytes() }},
	{"timestamps -2", func(base int64) []byte { return batchOf(-2, "a").bytes() }},
	{"two hours ahead", func(base int64) []byte {
		return batchWith(base, rec{value: "a"}, rec{delta: 3 * 3600_000, value: "b"}).bytes()
	}},
	{"producer without a sequence", func(base int64) []byte { return batchOf(base, "a").from(77, 0, -1).bytes() }},
	{"sequence without a producer", func(base int64) []byte { return batchOf(base, "a").from(-1, 0, 3).bytes() }},
	{"leader epoch of the client", func(base int64) []byte {
		return batchOf(base, "a").with(func(b *batch) { b.PartitionLeaderEpoch = 99 }).bytes()
	}},
	{"too large", func(base int64) []byte { return batchOf(base, strings.Repeat("x", 1<<20)).bytes() }},
	{"too large, compressed to little", func(base int64) []byte { return batchOf(base, strings.Repeat("x", 1<<20)).gzip().bytes() }},
	{"gzip", func(base int64) []byte { return batchOf(base, "a", "b").gzip().bytes() }},
	{"zstd", func(base int64) []byte { return batchOf(base, "a", "b").zstd().bytes() }},
}

// batchesScript: batches that are refused, or not, on topics of several kinds (P1 to P8).
func batchesScript(s *side) {
	s.afloat = true
	c := s.conn()
	defer c.close()
	topics := []struct {
		name     string
		configs  []string
		versions []int16
	}{
		{"plain", nil, []int16{3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}},
		{"appendtime", []string{"message.timestamp.type", "LogAppendTime"}, []int16{7, 9}},
		{"compacted", []string{"cleanup.policy", "compact"}, []int16{7, 9}},
		{"bounds", []string{"message.timestamp.before.max.ms", "1000", "message.timestamp.after.max.ms", "1000"}, []int16{7, 9}},
		{"small", []string{"max.message.bytes", "100"}, []int16{7, 9}},
		{"lz4", []string{"compression.type", "lz4"}, []int16{9}},
		{"uncompressed", []string{"compression.type", "uncompressed"}, []int16{9}},
		{"gzip", []string{"compression.type", "gzip"}, []int16{9}},
		{"zstd", []string{"compression.type", "zstd"}, []int16{9}},
		{"isr2", []string{"min.insync.replicas", "2"}, []int16{9}},
	}
	for _, t := range topics {
		for _, v := range t.versions {
			name := s.topic(fmt.Sprint(t.name, v))
			id := s.create(name, 1, t.configs...)
			if t.name == "plain" && v%5 == 3 { // Kafka never answers it, and we wait to see that
				nothing := s.conn()
				nothing.send(nothing.frame(v, produceTo(name, id, 0, nil)))
				_, err := nothing.receive(time.Second)
				s.note(fmt.Sprintf("v%d %s: null", v, t.name), outcome(err))
				nothing.close()
			}
			ask := func(what string, records []byte) {
				resp, ok := c.ask(t.name+": "+what, v, produceTo(name, id, 0, records)).(*kmsg.ProduceResponse)
				if !ok || resp.Topics[0].Partitions[0].ErrorCode != 0 {
					return
				}
				stored := fetchFrom(name, id, 0, resp.Topics[0].Partitions[0].BaseOffset)
				stored.MaxBytes = 1
				c.ask(fmt.Sprintf("%s v%d: stored: %s", t.name, v, what), 12, stored)
			}
			for _, bad := range badBatches {
				ask(bad.name, bad.records(s.base))
			}
			ask("null keys", batchWith(s.base, rec{key: []byte("k"), value: "a"}, rec{value: "b"}, rec{value: "c"}).bytes())
			ask("null keys, compressed", batchWith(s.base, rec{value: "a"}, rec{value: "b"}).gzip().bytes())
		}
	}
}

// acksScript: acks=0 has no answer, and an error closes the connection (C9).
func acksScript(s *side) {
	name := s.topic("t")
	id := s.create(name, 1)
	for _, v := range []int16{3, 7, 8, 9, 12, 13} {
		for _, what := range []struct {
			name string
			req  *kmsg.ProduceRequest
		}{
			{"good", produceTo(name, id, 0, batchOf(s.base, "a").bytes())},
			{"unknown topic", produceTo(s.topic("nowhere"), bogusID, 0, batchOf(s.base, "a").bytes())},
			{"partition 7", produceTo(name, id, 7, batchOf(s.base, "a").bytes())},
			{"wrong checksum", produceTo(name, id, 0, batchOf(s.base, "a").spoilt(func(b []byte) { b[17] ^= 1 }).bytes())},
			{"two batches", produceTo(name, id, 0, append(batchOf(s.base, "a").bytes(), batchOf(s.base, "b").bytes()...))},
			{"too large", produceTo(name, id, 0, batchOf(s.base, strings.Repeat("x", 1<<20)).bytes())},
		} {
			c := s.conn()
			what.req.Acks = 0
			c.send(c.frame(v, what.req))
			resp := c.try(0, kmsg.NewPtrApiVersionsRequest())
			c.close()
			if resp == nil {
				s.note(fmt.Sprintf("v%d acks=0, %s, then ApiVersions", v, what.name), "closed")
				continue
			}
			s.note(fmt.Sprintf("v%d acks=0, %s, then ApiVersions", v, what.name), "answer")
		}
	}
	c := s.conn()
	defer c.close()
	c.ask("log", 12, fetchFrom(name, id, 0, 0))
}

// sequencesScript: idempotent producers (I1 to I3).
func sequencesScript(s *side) {
	c := s.conn()
	defer c.close()
	for _, v := range []int16{3, 8, 11, 12, 13} {
		name := s.topic(fmt.Sprint("v", v))
		id := s.create(name, 2)
		send := func(what string, partition int32, b *batch) {
			c.ask(what, v, produceTo(name, id, partition, b.bytes()))
		}
		pid := int64(1000) + int64(v)
		two := func(epoch int16, seq int32) *batch { return batchOf(s.base, "a", "b").from(pid, epoch, seq) }
		send("unknown producer at sequence 10", 1, two(0, 10))
		send("and on", 1, two(0, 12))
		for seq := int32(0); seq < 14; seq += 2 {
			send(fmt.Sprint("sequence ", seq), 0, two(0, seq))
		}
		for _, seq := range []int32{12, 10, 4, 2, 0} {
			send(fmt.Sprint("again sequence ", seq), 0, two(0, seq))
		}
		send("a gap", 0, two(0, 20))
		send("half a duplicate", 0, batchOf(s.base, "b").from(pid, 0, 13))
		send("longer than the duplicate", 0, batchOf(s.base, "a", "b", "c").from(pid, 0, 12))
		send("new epoch at 5", 0, two(1, 5))
		send("new epoch at 0", 0, two(1, 0))
		send("old epoch", 0, two(0, 14))
		send("old epoch, duplicate", 0, two(0, 12))
		send("negative epoch", 0, two(-1, 2))
		send("new epoch duplicate", 0, two(1, 0))
		wrap := pid + 100
		send("near the end", 0, batchOf(s.base, "a").from(wrap, 0, math.MaxInt32-1))
		send("over the end", 0, batchOf(s.base, "a", "b").from(wrap, 0, math.MaxInt32))
		send("over the end again", 0, batchOf(s.base, "a", "b").from(wrap, 0, math.MaxInt32))
		send("after the wrap", 0, batchOf(s.base, "a").from(wrap, 0, 1))
		send("exactly to the end", 0, batchOf(s.base, "a", "b").from(wrap+100, 0, math.MaxInt32-1))
		send("0 after the end", 0, batchOf(s.base, "a").from(wrap+100, 0, 0))
		c.ask(fmt.Sprintf("v%d: log 0", v), 12, fetchFrom(name, id, 0, 0))
		c.ask(fmt.Sprintf("v%d: log 1", v), 12, fetchFrom(name, id, 1, 0))
	}
	name := s.topic("appendtime")
	id := s.create(name, 1, "message.timestamp.type", "LogAppendTime")
	for _, what := range []string{"first", "duplicate"} {
		c.ask("LogAppendTime: "+what, 9, produceTo(name, id, 0, batchOf(s.base, "a").from(5, 0, 0).bytes()))
	}
}
