package api

import (
	"sync/atomic"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// WriteTxnMarkers, versions 1 and 2: writes the ends of transactions into partitions that this
// broker leads, for a coordinator elsewhere, or for an administrator who ends a transaction
// that hangs (KIP-664).
//
//   - A marker is refused with INVALID_PRODUCER_EPOCH or TRANSACTION_COORDINATOR_FENCED where the
//     partition knows a later producer or coordinator.
//   - 2: the version of the transaction: since version 2 a marker raises the epoch (KIP-1228).
func (a *API) writeTxnMarkers(r *server.Request) error {
	var req wire.WriteTxnMarkersRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.WriteTxnMarkersResponse
	resp.Markers = make([]wire.WriteTxnMarkersResponseMarker, 0, len(req.Markers))
	var left atomic.Int64
	left.Store(1 + int64(len(req.Markers)))
	done := func() {
		if left.Add(-1) == 0 {
			reply(r, &resp)
		}
	}
	var denied error
	if !a.by(r).allowed(kafka.OpAlter, kafka.ResourceCluster, kafka.ClusterResource) {
		denied = a.by(r).cluster(kafka.OpClusterAction)
	}
	for i := range req.Markers {
		ask := &req.Markers[i]
		out, partitions, codes := markerAnswer(ask)
		if len(partitions) == 0 { // of which Kafka says nothing
			done()
			continue
		}
		resp.Markers = append(resp.Markers, out)
		if denied != nil {
			for _, code := range codes {
				*code = int16(kafka.Code(denied))
			}
			done()
			continue
		}
		m := replica.Marker{
			ProducerID: ask.ProducerID, Epoch: ask.ProducerEpoch, Commit: ask.TransactionResult,
			CoordinatorEpoch: ask.CoordinatorEpoch, Version: ask.TransactionVersion,
		}
		a.o.Markers.Write(m, partitions, func(errs []error) {
			for j, err := range errs {
				*codes[j] = a.markerCode(err)
				a.by(r).did(err, "partition", partitions[j].String(), "producer_id", m.ProducerID, "epoch", m.Epoch, "commit", m.Commit)
			}
			done()
		})
	}
	done()
	return nil
}

// markerCode is the error of a marker. A partition of the offsets topic is asked through its
// coordinator, and told of as any other.
func (a *API) markerCode(err error) int16 {
	code, _ := a.failure(err)
	switch kafka.Error(code) {
	case kafka.CoordinatorNotAvailable, kafka.CoordinatorLoadInProgress, kafka.NotCoordinator:
		return int16(kafka.NotLeaderOrFollower)
	}
	return code
}

// markerAnswer lays the answer for a marker out, and lists its partitions with the places of
// their errors.
func markerAnswer(ask *wire.WriteTxnMarkersRequestMarker) (out wire.WriteTxnMarkersResponseMarker, partitions []kafka.TopicPartition, codes []*int16) {
	out.ProducerID = ask.ProducerID
	out.Topics = make([]wire.WriteTxnMarkersResponseTopic, len(ask.Topics))
	for i, t := range ask.Topics {
		to := &out.Topics[i]
		to.Name = t.Name
		to.Partitions = make([]wire.WriteTxnMarkersResponsePartition, len(t.PartitionIndexes))
		for j, index := range t.PartitionIndexes {
			to.Partitions[j].PartitionIndex = index
			partitions = append(partitions, kafka.TopicPartition{Topic: t.Name, Partition: index})
			codes = append(codes, &to.Partitions[j].ErrorCode)
		}
	}
	return out, partitions, codes
}
