package judge

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch is a record batch that a script can spoil before it is encoded.
type batch struct {
	kmsg.RecordBatch
	body  []byte // the records, compressed if Attributes say so
	spoil func(encoded []byte)
}

// rec is one record.
type rec struct {
	delta int64 // of the timestamp
	key   []byte
	value string
}

// batchOf is a valid batch of the values, with times from base on.
func batchOf(base int64, values ...string) *batch {
	recs := make([]rec, len(values))
	for i, v := range values {
		recs[i] = rec{delta: int64(i), key: []byte("k"), value: v}
	}
	return batchWith(base, recs...)
}

// batchWith is a valid batch of records.
func batchWith(base int64, recs ...rec) *batch {
	b := &batch{}
	b.Magic, b.ProducerID, b.ProducerEpoch, b.FirstSequence = 2, -1, -1, -1
	b.FirstTimestamp, b.MaxTimestamp = base, base
	for i, r := range recs {
		b.body = append(b.body, record(int64(i), r)...)
		b.MaxTimestamp = max(b.MaxTimestamp, base+r.delta)
	}
	b.NumRecords = int32(len(recs))
	b.LastOffsetDelta = b.NumRecords - 1
	return b
}

// record encodes one record with its length.
func record(offsetDelta int64, r rec) []byte {
	b := []byte{0}
	b = binary.AppendVarint(b, r.delta)
	b = binary.AppendVarint(b, offsetDelta)
	if r.key == nil {
		b = binary.AppendVarint(b, -1)
	} else {
		b = binary.AppendVarint(b, int64(len(r.key)))
		b = append(b, r.key...)
	}
	b = binary.AppendVarint(b, int64(len(r.value)))
	b = append(b, r.value...)
	b = binary.AppendVarint(b, 0)
	return append(binary.AppendVarint(nil, int64(len(b))), b...)
}

// from gives the batch a producer, its epoch and the first sequence.
func (b *batch) from(id int64, epoch int16, sequence int32) *batch {
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = id, epoch, sequence
	return b
}

// with changes the batch before it is encoded and its checksum is taken.
func (b *batch) with(change func(*batch)) *batch {
	change(b)
	return b
}

// spoilt changes the encoded batch, behind the checksum's back.
func (b *batch) spoilt(change func([]byte)) *batch {
	b.spoil = change
	return b
}

func (b *batch) gzip() *batch {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b.body)
	_ = w.Close()
	b.body, b.Attributes = out.Bytes(), b.Attributes|1
	return b
}

func (b *batch) zstd() *batch {
	w, _ := zstd.NewWriter(nil)
	b.body, b.Attributes = w.EncodeAll(b.body, nil), b.Attributes|4
	return b
}

// bytes encodes the batch with the length and the checksum that belong to it.
func (b *batch) bytes() []byte {
	b.Records = b.body
	b.Length = int32(49 + len(b.body))
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	if b.spoil != nil {
		b.spoil(out)
	}
	return out
}

// oldMessage is a message set of one message in the format before batches, magic 0 or 1.
func oldMessage(magic byte, timestamp int64, value string) []byte {
	m := []byte{magic, 0}
	if magic == 1 {
		m = binary.BigEndian.AppendUint64(m, uint64(timestamp))
	}
	m = binary.BigEndian.AppendUint32(m, 0xffffffff) // no key
	m = binary.BigEndian.AppendUint32(m, uint32(len(value)))
	m = append(m, value...)
	out := binary.BigEndian.AppendUint64(nil, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(m)+4))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(m))
	return append(out, m...)
}

// produceTo is a request for one partition; records nil is a null record set.
func produceTo(topic string, id [16]byte, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetchFrom is a request for one partition outside of a session.
func fetchFrom(topic string, id [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.MinBytes, req.SessionEpoch = -1, 50<<20, 1, -1
	return alsoFetch(req, topic, id, partition, offset)
}

// alsoFetch adds a partition.
func alsoFetch(req *kmsg.FetchRequest, topic string, id [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	for i := range req.Topics {
		if req.Topics[i].Topic == topic && req.Topics[i].TopicID == id {
			req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
			return req
		}
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, id, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}
