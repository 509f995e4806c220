package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DeleteRecords, versions 0 to 2: raises the log start of partitions (KIP-107).
//
//   - Offset -1 is the high watermark. Above that OFFSET_OUT_OF_RANGE; a topic without the
//     delete policy gets POLICY_VIOLATION, an internal one INVALID_TOPIC_EXCEPTION.
//   - The answer comes when the new start is durable: in the checkpoint of the log dir and,
//     for a tiered partition, in its manifest; Kafka writes its checkpoint once a minute.
//   - What lies below the start is removed by retention, locally and in the object store.
//
// Gaps: there are no followers yet whose log starts the answer would wait for.
func (a *API) deleteRecords(r *server.Request) error {
	var req wire.DeleteRecordsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DeleteRecordsResponse
	resp.Default()
	resp.Topics = make([]wire.DeleteRecordsResponseTopic, len(req.Topics))
	var deletions []replica.Deletion
	var deleted []kafka.TopicPartition
	var places []*wire.DeleteRecordsResponsePartition
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Name = from.Name
		denied := a.by(r).topic(kafka.OpDelete, from.Name)
		to.Partitions = make([]wire.DeleteRecordsResponsePartition, len(from.Partitions))
		for j, part := range from.Partitions {
			out := &to.Partitions[j]
			out.PartitionIndex, out.LowWatermark = part.PartitionIndex, kafka.NoOffset
			p, err := deletable(a, from.Name, part.PartitionIndex)
			if denied != nil {
				err = denied
			}
			if err != nil {
				out.ErrorCode, _ = a.failure(err)
				continue
			}
			deletions = append(deletions, replica.Deletion{Partition: p, Offset: part.Offset})
			deleted = append(deleted, kafka.TopicPartition{Topic: from.Name, Partition: part.PartitionIndex})
			places = append(places, out)
		}
	}
	timeout := time.Duration(req.TimeoutMs) * time.Millisecond
	a.o.Replicas.DeleteRecords(deletions, timeout, func(results []replica.DeletionResult) {
		var raised []string
		for i, res := range results {
			places[i].LowWatermark = res.LogStart
			places[i].ErrorCode, _ = a.failure(res.Err)
			if res.Err == nil {
				raised = append(raised, fmt.Sprintf("%v:%d", deleted[i], res.LogStart))
			}
		}
		if len(raised) > 0 { // one line, for programs that process streams do this twice a minute
			a.by(r).did(nil, "log starts", strings.Join(raised, " "))
		}
		reply(r, &resp)
	})
	return nil
}

// deletable finds a partition whose records clients may delete.
func deletable(a *API, topic string, index int32) (*replica.Partition, error) {
	if kafka.InternalTopic(topic) {
		return nil, fmt.Errorf("clients delete no records of the internal topic %s: %w", topic, kafka.InvalidTopic)
	}
	return a.o.Replicas.Partition(topic, index)
}
