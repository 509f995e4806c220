package api

import (
	"strconv"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
)

// stateTopic is the topic of transactional ids as it is to be created.
func stateTopic(node *config.Node) controller.NewTopic {
	return controller.NewTopic{
		Name: txn.StateTopic, Partitions: node.TransactionTopicPartitions, ReplicationFactor: node.TransactionTopicReplicationFactor,
		Config: map[string]string{
			"cleanup.policy": "compact", "compression.type": "uncompressed", "unclean.leader.election.enable": "false",
			"segment.bytes":       strconv.FormatInt(node.TransactionTopicSegmentBytes, 10),
			"min.insync.replicas": strconv.FormatInt(node.TransactionTopicMinISR, 10),
		},
	}
}

// fencedBefore is an error code for a client that knows PRODUCER_FENCED since a version of its
// request; before, it gets INVALID_PRODUCER_EPOCH (KIP-588).
func fencedBefore(r *server.Request, since int16, code kafka.Error) int16 {
	if code == kafka.ProducerFenced && r.Header.Version < since {
		code = kafka.InvalidProducerEpoch
	}
	return int16(code)
}

// unverified is the error that a producer or consumer is told when the coordinator did not say
// that a partition is in its transaction; abortable: the client knows TRANSACTION_ABORTABLE.
// Source: Kafka's AddPartitionsToTxnManager.
func unverified(code kafka.Error, abortable bool) kafka.Error {
	switch {
	case code == kafka.ProducerFenced:
		return kafka.InvalidProducerEpoch
	case code == kafka.TransactionAbortable && !abortable:
		return kafka.InvalidTxnState
	}
	return code
}
