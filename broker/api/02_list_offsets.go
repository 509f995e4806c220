package api

import (
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ListOffsets, versions 1 to 11: the offset that belongs to a time.
//
//   - Times below 0 are places in the log: -1 its end and -2 its start in every version; 7: -3
//     the largest timestamp (KIP-734). 8: -4 the local start (KIP-405). 9: -5 the last tiered
//     offset (KIP-1005). 11: -6 the first that is not tiered yet (KIP-1023). Before that, and
//     for any other, UNSUPPORTED_VERSION.
//   - Look-ups that need the object store are answered later; after the request's timeout (10,
//     KIP-1075), or remote.list.offsets.request.timeout.ms, REQUEST_TIMED_OUT.
//   - 2: isolation level. 4: leader epochs (KIP-320).
//   - A partition that is named twice gets INVALID_REQUEST, as in Kafka.
func (a *API) listOffsets(r *server.Request) error {
	var req wire.ListOffsetsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	timeout := time.Duration(a.o.Node().RemoteListOffsetsRequestTimeoutMs) * time.Millisecond
	if r.Header.Version >= 10 && req.TimeoutMs > 0 {
		timeout = time.Duration(req.TimeoutMs) * time.Millisecond
	}
	var resp wire.ListOffsetsResponse
	resp.Default()
	queries, places := listOffsetsQueries(a.by(r), &req, &resp)
	a.o.Replicas.ListOffsets(r.Ctx, queries, req.IsolationLevel == readCommitted, timeout, func(results []replica.OffsetResult) {
		for i, res := range results {
			out := places[i]
			out.ErrorCode, _ = a.failure(res.Err)
			out.Offset, out.Timestamp, out.LeaderEpoch = res.Offset, res.TimestampMs, res.LeaderEpoch
		}
		reply(r, &resp)
	})
	return nil
}

// listOffsetsQueries lays out the answer, with the errors that need no look-up, and lists
// the look-ups with their places in it.
func listOffsetsQueries(client by, req *wire.ListOffsetsRequest, resp *wire.ListOffsetsResponse) (queries []replica.OffsetQuery, places []*wire.ListOffsetsResponsePartition) {
	times := make(map[kafka.TopicPartition]int)
	for i := range req.Topics {
		for _, part := range req.Topics[i].Partitions {
			times[kafka.TopicPartition{Topic: req.Topics[i].Name, Partition: part.PartitionIndex}]++
		}
	}
	resp.Topics = make([]wire.ListOffsetsResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Name = from.Name
		denied := client.topic(kafka.OpDescribe, from.Name)
		to.Partitions = make([]wire.ListOffsetsResponsePartition, len(from.Partitions))
		for j, part := range from.Partitions {
			out := &to.Partitions[j]
			out.Default()
			out.PartitionIndex = part.PartitionIndex
			switch {
			case denied != nil:
				out.ErrorCode = int16(kafka.Code(denied))
			case times[kafka.TopicPartition{Topic: from.Name, Partition: part.PartitionIndex}] > 1:
				out.ErrorCode = int16(kafka.InvalidRequest)
			case client.r.Header.Version < sinceVersion(part.Timestamp):
				out.ErrorCode = int16(kafka.UnsupportedVersion)
			default:
				queries = append(queries, replica.OffsetQuery{
					Topic: from.Name, Index: part.PartitionIndex,
					TimestampMs: part.Timestamp, CurrentLeaderEpoch: part.CurrentLeaderEpoch,
				})
				places = append(places, out)
			}
		}
	}
	return queries, places
}

// sinceVersion is the first version that knows a time.
func sinceVersion(tsMs int64) int16 {
	switch {
	case tsMs >= replica.Earliest:
		return 1
	case tsMs == replica.MaxTimestamp:
		return 7
	case tsMs == replica.EarliestLocal:
		return 8
	case tsMs == replica.LatestTiered:
		return 9
	case tsMs == replica.EarliestPendingUpload:
		return 11
	}
	return 1<<15 - 1
}
