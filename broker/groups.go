package broker

import (
	"time"

	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/metadata"
)

// newMemberJoinTimeout is how long a member's first JoinGroup may wait, as in Kafka.
const newMemberJoinTimeout = 5 * time.Minute

// regexRefresh is how often subscriptions by regular expression are looked at when there are no
// new topics, as in Kafka.
const regexRefresh = 10 * time.Minute

// groupCoordinator builds the group coordinator. It leads nothing before it is given an image.
func (n *Node) groupCoordinator() *group.Coordinator {
	return group.New(group.Options{
		Consumer: n.consumerGroupConfig,
		NodeID:   n.config.NodeID, Replicas: n.replicas, Now: n.o.Now, Logger: n.logger, Registerer: n.registry,
		CommitTimeout: func() time.Duration { return ms(n.node().OffsetsCommitTimeoutMs) },
		Config: func() group.Config {
			c := n.node()
			return group.Config{
				InitialRebalanceDelayMs: c.GroupInitialRebalanceDelayMs, MaxSize: c.GroupMaxSize,
				MinSessionTimeoutMs: c.GroupMinSessionTimeoutMs, MaxSessionTimeoutMs: c.GroupMaxSessionTimeoutMs,
				OffsetsRetentionMs: c.OffsetsRetentionMs, RetentionCheckIntervalMs: c.OffsetsRetentionCheckIntervalMs,
				OffsetMetadataMaxBytes: c.OffsetMetadataMaxBytes, NewMemberJoinTimeoutMs: newMemberJoinTimeout.Milliseconds(),
			}
		},
	})
}

// consumerGroupConfig is the settings of a group of the consumer protocol: its own, else the broker's.
func (n *Node) consumerGroupConfig(groupID string) group.ConsumerConfig {
	c := n.node()
	own := c.ConsumerGroup(n.controller.Image().Config(metadata.ConfigResource{Type: metadata.GroupResource, Name: groupID}))
	return group.ConsumerConfig{
		SessionTimeoutMs: own.SessionTimeoutMs, HeartbeatIntervalMs: own.HeartbeatMs,
		AssignmentIntervalMs: own.AssignmentMs, RegexRefreshMs: regexRefresh.Milliseconds(),
		MaxSize: c.GroupConsumerMaxSize, Assignors: c.GroupConsumerAssignors,
		Upgrade: c.GroupConsumerUpgrade, Downgrade: c.GroupConsumerDowngrade,
	}
}
