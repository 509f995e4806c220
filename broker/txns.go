package broker

import (
	"time"

	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
)

// txnTimeout is how long a change of a transaction, and a marker, wait for the in-sync set:
// Kafka's default of request.timeout.ms.
const txnTimeout = 30 * time.Second

// txnCoordinator builds the transaction coordinator. It leads nothing before it is given an image.
func (n *Node) txnCoordinator(ids *txn.ProducerIDs, markers *txn.Writer) *txn.Coordinator {
	return txn.New(txn.Options{
		NodeID: n.config.NodeID, Replicas: n.replicas, IDs: ids, Now: n.o.Now, Logger: n.logger, Registerer: n.registry,
		CommitTimeout: func() time.Duration { return txnTimeout },
		Write:         func(m txn.Markers) { markers.Write(m.Marker, m.Partitions, m.Written) },
		Config: func() txn.Config {
			c := n.node()
			return txn.Config{
				MaxTimeoutMs: c.TransactionMaxTimeoutMs, ExpirationMs: c.TransactionalIDExpirationMs,
				AbortCheckIntervalMs: c.TransactionAbortCheckIntervalMs, ExpireCheckIntervalMs: c.TransactionExpireCheckIntervalMs,
			}
		},
	})
}

// markerWriter writes the ends of transactions into the partitions of this broker.
func (n *Node) markerWriter() *txn.Writer {
	return &txn.Writer{
		Replicas: n.replicas, OffsetsTopic: group.OffsetsTopic, Offsets: n.groups.EndTxn,
		Timeout: func() time.Duration { return txnTimeout },
	}
}
