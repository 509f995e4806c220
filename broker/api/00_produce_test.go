package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

func TestProduceAtEveryVersion(t *testing.T) {
	k := newKit(t)
	id := k.topic("t")
	c := k.dial(internalListener)
	row := k.api.byKey[wire.KeyProduce]
	for v := row.min; v <= row.max; v++ {
		for i, acks := range []int16{1, -1} {
			p := c.produced(v, produceRequest("t", id, acks, recordsOf("a", "b")))
			want := int64(v-row.min)*4 + int64(i)*2
			if p.ErrorCode != 0 || p.BaseOffset != want || p.LogAppendTime != -1 || v >= 5 && p.LogStartOffset != 0 {
				t.Errorf("v%d acks=%d: %+v, want base offset %d", v, acks, p, want)
			}
		}
	}
}

// refuse sends one batch and wants an error code for it, and nothing in the log.
func refuse(t *testing.T, want kafka.Error, b []byte, settings ...string) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	k := newKit(t)
	k.topic("t", settings...)
	p := k.dial(internalListener).produced(9, produceRequest("t", kafka.UUID{}, 1, b))
	if p.ErrorCode != int16(want) || p.BaseOffset != -1 {
		t.Errorf("error %v (%s), base offset %d; want %v and -1", kafka.Error(p.ErrorCode).Name(), text(p.ErrorMessage), p.BaseOffset, want.Name())
	}
	part, err := k.replicas.Partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	if end := part.Log().End(); end != 0 {
		t.Errorf("the log ends at %d after a refused batch", end)
	}
	return p
}

func TestP1MalformedBatches(t *testing.T) {
	alter := func(at int, v byte) []byte {
		b := recordsOf("a")
		b[at] = v
		return b
	}
	sealed := func(f func(b []byte)) []byte { // with a checksum that fits
		b := recordsOf("a")
		f(b)
		binary.BigEndian.PutUint32(b[17:], batch.Checksum(b))
		return b
	}
	for name, b := range map[string][]byte{
		"null":               nil,
		"empty":              {},
		"two batches":        append(recordsOf("a"), recordsOf("b")...),
		"magic 1":            alter(16, 1),
		"a base offset":      alter(7, 1),
		"no records":         sealed(func(b []byte) { binary.BigEndian.PutUint32(b[57:], 0) }),
		"a wrong last delta": sealed(func(b []byte) { binary.BigEndian.PutUint32(b[23:], 5) }),
		"a control batch":    sealed(func(b []byte) { b[22] |= byte(batch.Control) }),
	} {
		t.Run(name, func(t *testing.T) { refuse(t, kafka.InvalidRecord, b) })
	}
}

// TestP1TheLogStartBesideAnError: Kafka tells it once a batch has the right shape.
func TestP1TheLogStartBesideAnError(t *testing.T) {
	good := recordsOf("a")
	if p := refuse(t, kafka.InvalidRecord, append(bytes.Clone(good), good...)); p.LogStartOffset != -1 {
		t.Errorf("two batches: log start %d, want -1", p.LogStartOffset)
	}
	if p := refuse(t, kafka.InvalidTimestamp, buildBatch(batch.Builder{Attributes: batch.LogAppendTime}, "a")); p.LogStartOffset != 0 {
		t.Errorf("a wrong timestamp type: log start %d, want 0", p.LogStartOffset)
	}
}

func TestP2AWrongChecksumLeavesOtherPartitionsAlone(t *testing.T) {
	k := newKit(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, newTopic("t", 3, 1))
	ask[*kmsg.CreateTopicsResponse](k.dial(internalListener), 7, req)
	bad := recordsOf("bad")
	bad[len(bad)-1] ^= 1
	resp := ask[*kmsg.ProduceResponse](k.dial(internalListener), 9, produceRequest("t", kafka.UUID{}, -1, recordsOf("a"), bad, recordsOf("b")))
	var codes []int16
	for _, p := range resp.Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	if want := []int16{0, int16(kafka.CorruptMessage), 0}; !reflect.DeepEqual(codes, want) {
		t.Errorf("errors %v, want %v", codes, want)
	}
}

func TestP3OffsetsLeaveTheChecksumAlone(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	sent := recordsOf("a")
	sum := binary.BigEndian.Uint32(sent[17:])
	c.produce("t", recordsOf("x", "y", "z"))
	c.produce("t", sent)
	got := c.fetched(12, fetchRequest("t", kafka.UUID{}, 3)).RecordBatches
	h, err := batch.ParseHeader(got)
	if err != nil {
		t.Fatal(err)
	}
	if h.BaseOffset != 3 || h.CRC != sum || batch.CheckCRC(got) != nil {
		t.Errorf("base offset %d, checksum %x; want 3 and %x", h.BaseOffset, h.CRC, sum)
	}
}

func TestP4LogAppendTime(t *testing.T) {
	k := newKit(t)
	k.topic("t", "message.timestamp.type", "LogAppendTime")
	c := k.dial(internalListener)
	before := time.Now().UnixMilli()
	p := c.produce("t", buildBatch(batch.Builder{BaseTimestampMs: 1000}, "a"))
	if p.LogAppendTime < before || p.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("append time %d, want now", p.LogAppendTime)
	}
	b := c.fetched(12, fetchRequest("t", kafka.UUID{}, 0)).RecordBatches
	h, err := batch.ParseHeader(b)
	if err != nil || !h.IsLogAppendTime() || h.MaxTimestampMs != p.LogAppendTime || batch.CheckCRC(b) != nil {
		t.Errorf("header %+v, %v, checksum %v", h, err, batch.CheckCRC(b))
	}
	refuse(t, kafka.InvalidTimestamp, buildBatch(batch.Builder{Attributes: batch.LogAppendTime}, "a"))
}

func TestP5TimestampsOutOfRange(t *testing.T) {
	b := batch.Builder{BaseTimestampMs: time.Now().UnixMilli()}
	b.Append(nil, []byte("new"), nil, b.BaseTimestampMs)
	b.Append(nil, []byte("old"), nil, b.BaseTimestampMs-100_000)
	b.Append(nil, []byte("new"), nil, b.BaseTimestampMs)
	p := refuse(t, kafka.InvalidTimestamp, b.Bytes(), "message.timestamp.before.max.ms", "50000")
	if len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 1 {
		t.Errorf("records to blame: %+v, want the one at 1", p.ErrorRecords)
	}
}

func TestP6NullKeysOnACompactedTopic(t *testing.T) {
	b := batch.Builder{BaseTimestampMs: time.Now().UnixMilli()}
	for _, key := range [][]byte{[]byte("k"), nil, []byte("k"), nil} {
		b.Append(key, []byte("v"), nil, b.BaseTimestampMs)
	}
	p := refuse(t, kafka.InvalidRecord, b.Bytes(), "cleanup.policy", "compact")
	var at []int32
	for _, r := range p.ErrorRecords {
		at = append(at, r.RelativeOffset)
	}
	if want := []int32{1, 3}; !reflect.DeepEqual(at, want) {
		t.Errorf("records to blame: %v, want %v", at, want)
	}
}

func TestP7MaxMessageBytesIsOfTheCompressedBatch(t *testing.T) {
	long := strings.Repeat("a", 5000)
	refuse(t, kafka.MessageTooLarge, recordsOf(long), "max.message.bytes", "1000")
	k := newKit(t)
	k.topic("t", "max.message.bytes", "1000")
	k.dial(internalListener).produce("t", buildBatch(batch.Builder{Codec: batch.Gzip}, long))
	refuse(t, kafka.MessageTooLarge, recordsOf(strings.Repeat("a", 2<<20))) // the broker's default
}

func TestP8Compression(t *testing.T) {
	k := newKit(t)
	k.topic("keep")
	k.topic("zstd", "compression.type", "zstd")
	k.topic("plain", "compression.type", "uncompressed")
	c := k.dial(internalListener)
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd} {
		for topic, want := range map[string]batch.Codec{"keep": codec, "zstd": batch.Zstd, "plain": batch.None} {
			value := fmt.Sprintf("%s %s", topic, codec)
			p := c.produce(topic, buildBatch(batch.Builder{Codec: codec}, value, value))
			b := c.fetched(12, fetchRequest(topic, kafka.UUID{}, p.BaseOffset)).RecordBatches
			h, err := batch.ParseHeader(b)
			if err != nil || h.Codec() != want {
				t.Errorf("%s: stored with %s, %v; want %s", value, h.Codec(), err, want)
			}
			if got := values(t, b); !reflect.DeepEqual(got, []string{value, value}) {
				t.Errorf("%s: read %q", value, got)
			}
		}
	}
}

func TestP8ZstdNeedsVersion7(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	b := buildBatch(batch.Builder{Codec: batch.Zstd}, "a")
	if p := c.produced(6, produceRequest("t", kafka.UUID{}, 1, b)); p.ErrorCode != int16(kafka.UnsupportedCompressionType) {
		t.Errorf("v6: error %d", p.ErrorCode)
	}
	if p := c.produced(7, produceRequest("t", kafka.UUID{}, 1, b)); p.ErrorCode != 0 {
		t.Errorf("v7: error %d", p.ErrorCode)
	}
}

func TestP8InnerRecordsOfCompressedBatchesAreValidated(t *testing.T) {
	b := buildBatch(batch.Builder{Codec: batch.Gzip}, "a", "b", "c")
	binary.BigEndian.PutUint32(b[23:], 3) // four records, it says
	binary.BigEndian.PutUint32(b[57:], 4)
	binary.BigEndian.PutUint32(b[17:], batch.Checksum(b))
	refuse(t, kafka.InvalidRecord, b, "varve.produce.validation", "full")
	refuse(t, kafka.InvalidRecord, b, "compression.type", "zstd")
	refuse(t, kafka.InvalidRecord, b, "cleanup.policy", "compact")
	// By its header it is a batch of four, and that is what it stays.
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", bytes.Clone(b))
	if p := c.produce("t", recordsOf("d")); p.BaseOffset != 4 {
		t.Errorf("the next batch is at %d, want 4", p.BaseOffset)
	}
	if got := c.fetched(12, fetchRequest("t", kafka.UUID{}, 3)).RecordBatches; !bytes.Contains(got, b[21:]) {
		t.Error("the bytes that were sent do not come back")
	}
}

func TestP9Acks(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	for _, acks := range []int16{-2, 2} {
		if p := c.produced(9, produceRequest("t", kafka.UUID{}, acks, recordsOf("a"))); p.ErrorCode != int16(kafka.InvalidRequiredAcks) {
			t.Errorf("acks=%d: error %d", acks, p.ErrorCode)
		}
	}
	k.topic("two", "min.insync.replicas", "2")
	if p := c.produced(9, produceRequest("two", kafka.UUID{}, -1, recordsOf("a"))); p.ErrorCode != 0 {
		t.Errorf("as many replicas as there are: error %d", p.ErrorCode)
	}
}

func TestC9AcksZeroHasNoAnswer(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	req := produceRequest("t", kafka.UUID{}, 0, recordsOf("a"))
	req.SetVersion(9)
	c.send(req)
	if p := c.fetched(12, fetchRequest("t", kafka.UUID{}, 0)); len(values(t, p.RecordBatches)) != 1 {
		t.Error("the record is not there") // and the answer was the fetch's own
	}
	req = produceRequest("none", kafka.UUID{}, 0, recordsOf("a"))
	req.SetVersion(9)
	c.send(req)
	c.wantClosed()
	k.wantAlive()
}

func TestF7ProduceByTopicID(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	if p := c.produced(13, produceRequest("t", kafka.NewUUID(), 1, recordsOf("a"))); p.ErrorCode != int16(kafka.UnknownTopicID) {
		t.Errorf("unknown id: error %d", p.ErrorCode)
	}
	if p := c.produced(12, produceRequest("none", kafka.UUID{}, 1, recordsOf("a"))); p.ErrorCode != int16(kafka.UnknownTopicOrPartition) {
		t.Errorf("unknown name: error %d", p.ErrorCode)
	}
}

// idempotent is a batch of producer 5000.
func idempotent(epoch int16, seq int32, values ...string) []byte {
	return buildBatch(batch.Builder{ProducerID: 5000, ProducerEpoch: epoch, BaseSequence: seq}, values...)
}

func TestI1TheLastFiveBatchesAreKnown(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	for seq := range int32(6) {
		c.produce("t", idempotent(0, seq, "v"))
	}
	for seq := range int32(6) {
		p := c.produced(9, produceRequest("t", kafka.UUID{}, -1, idempotent(0, seq, "v")))
		want, offset := kafka.NoError, int64(seq)
		if seq == 0 { // six batches ago
			want, offset = kafka.OutOfOrderSequenceNumber, -1
		}
		if again := p.LogAppendTime != -1; again != (want == kafka.NoError) {
			t.Errorf("sequence %d again: timestamp %d, want the first one's", seq, p.LogAppendTime)
		}
		if p.ErrorCode != int16(want) || p.BaseOffset != offset {
			t.Errorf("sequence %d again: error %d, offset %d; want %d and %d", seq, p.ErrorCode, p.BaseOffset, want, offset)
		}
	}
	if p := c.produced(9, produceRequest("t", kafka.UUID{}, -1, idempotent(0, 9, "v"))); p.ErrorCode != int16(kafka.OutOfOrderSequenceNumber) {
		t.Errorf("a gap: error %d", p.ErrorCode)
	}
}

func TestI2AnUnknownProducerMayStartAnywhere(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	k.dial(internalListener).produce("t", idempotent(3, 77, "v"))
}

func TestI3Epochs(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", idempotent(1, 0, "v"))
	for _, bad := range []struct {
		name string
		b    []byte
		want kafka.Error
	}{
		{"a lower epoch", idempotent(0, 1, "v"), kafka.InvalidProducerEpoch},
		{"a new epoch that does not start at 0", idempotent(2, 1, "v"), kafka.OutOfOrderSequenceNumber},
	} {
		if p := c.produced(9, produceRequest("t", kafka.UUID{}, -1, bad.b)); p.ErrorCode != int16(bad.want) {
			t.Errorf("%s: error %d, want %d", bad.name, p.ErrorCode, bad.want)
		}
	}
	c.produce("t", idempotent(2, 0, "v"))
}

func TestI3SequencesWrap(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", idempotent(0, 1<<31-2, "a", "b"))
	c.produce("t", idempotent(0, 0, "c"))
}

// TestTransactionalBatchesAreRefused that nobody coordinates: there is no state topic.
func TestTransactionalBatchesAreRefused(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	req := produceRequest("t", kafka.UUID{}, -1, buildBatch(batch.Builder{ProducerID: 5000, Attributes: batch.Transactional}, "v"))
	req.TransactionID = kmsg.StringPtr("mine")
	if p := k.dial(internalListener).produced(9, req); p.ErrorCode != int16(kafka.NotEnoughReplicas) {
		t.Errorf("with a transactional id: error %d", p.ErrorCode)
	}
	refuse(t, kafka.TransactionalIDAuthorizationFailed, buildBatch(batch.Builder{ProducerID: 5000, Attributes: batch.Transactional}, "v"))
}
