package api

import (
	"bytes"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// topic creates a topic with one partition and the given settings, and answers its id.
func (k *kit) topic(name string, settings ...string) kafka.UUID {
	k.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	t := newTopic(name, 1, 1)
	for i := 0; i+1 < len(settings); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = settings[i], &settings[i+1]
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	resp := ask[*kmsg.CreateTopicsResponse](k.dial(internalListener), 7, req)
	if resp.Topics[0].ErrorCode != 0 {
		k.t.Fatalf("create %s: error %d, %v", name, resp.Topics[0].ErrorCode, resp.Topics[0].ErrorMessage)
	}
	return resp.Topics[0].TopicID
}

// recordsOf is a batch of one record for each value, now.
func recordsOf(values ...string) []byte { return buildBatch(batch.Builder{}, values...) }

func buildBatch(b batch.Builder, values ...string) []byte {
	if b.BaseTimestampMs == 0 {
		b.BaseTimestampMs = time.Now().UnixMilli()
	}
	for _, v := range values {
		b.Append([]byte("key"), []byte(v), nil, b.BaseTimestampMs)
	}
	return b.Bytes()
}

// producing to partition 0 of a topic; more partitions of the same topic follow.
func produceRequest(topic string, id kafka.UUID, acks int16, batches ...[]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	for i, b := range batches {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), b
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// produce appends a batch to partition 0 with acks=-1 and wants it to be taken.
func (c *client) produce(topic string, records []byte) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	p := c.produced(9, produceRequest(topic, kafka.UUID{}, -1, records))
	if p.ErrorCode != 0 {
		c.t.Fatalf("produce: error %d, %s", p.ErrorCode, text(p.ErrorMessage))
	}
	return p
}

// produced sends a request for one partition and answers its part of the response.
func (c *client) produced(version int16, req *kmsg.ProduceRequest) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	resp := ask[*kmsg.ProduceResponse](c, version, req)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) == 0 {
		c.t.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func text(s *string) string {
	if s == nil {
		return "<null>"
	}
	return *s
}

// fetchRequest asks for partition 0 of a topic from an offset on.
func fetchRequest(topic string, id kafka.UUID, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.MinBytes = -1, 50<<20, 1
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetched sends a request for one partition and answers its part of the response.
func (c *client) fetched(version int16, req *kmsg.FetchRequest) kmsg.FetchResponseTopicPartition {
	c.t.Helper()
	resp := ask[*kmsg.FetchResponse](c, version, req)
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) == 0 {
		c.t.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

// values lists the values of the whole batches in b.
func values(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for len(b) > 0 {
		h, err := batch.ParseHeader(b)
		if err != nil || h.Size() > int64(len(b)) {
			break // cut off
		}
		for rec, err := range batch.Records(b[:h.Size()], batch.Limits{}) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(bytes.Clone(rec.Value)))
		}
		b = b[h.Size():]
	}
	return out
}
