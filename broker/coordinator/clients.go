package coordinator

import (
	"unicode/utf16"

	"github.com/varve-io/varve/broker/kafka"
)

// PartitionOf is the partition, of n, of the internal topic whose leader coordinates an id:
// the hash of the id as Java computes it. Source: Kafka's Utils.abs(id.hashCode) % n.
func PartitionOf(id string, n int32) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(id)) {
		h = 31*h + int32(unit)
	}
	if h < 0 {
		h = max(0, -h) // the least int32 has no counterpart: 0 then, as in Kafka
	}
	return h % n
}

// Code is the error that clients are told when a record could not be written, or the shard
// can't be asked. Errors of the log become errors of the coordinator, which clients know how
// to handle. Source: Kafka's CoordinatorOperationExceptionHelper.
func Code(err error) kafka.Error {
	switch code := kafka.Code(err); code {
	case kafka.UnknownTopicOrPartition, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.RequestTimedOut:
		return kafka.CoordinatorNotAvailable
	case kafka.NotLeaderOrFollower, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.KafkaStorageError:
		return kafka.NotCoordinator
	case kafka.MessageTooLarge, kafka.RecordListTooLarge, kafka.InvalidFetchSize:
		return kafka.UnknownServerError
	default:
		return code
	}
}
