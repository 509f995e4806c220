package api

import (
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// metadataTopic is how Kafka names its metadata log; nobody can read ours as a topic.
const metadataTopic = "__cluster_metadata"

// DescribeQuorum, versions 0 to 2: the state of the metadata quorum (KIP-595), as the raft log
// of the metadata has it: the epoch is raft's term, offsets are indexes of the log.
//
//   - Only partition 0 of __cluster_metadata can be asked about.
//   - 1: times of the replicas (KIP-836). 2: nodes with their listeners (KIP-853); the ids of
//     metadata directories are zero.
//
// Gaps: of voters other than the one that answers, the end of the log and the times are not known.
func (a admin) describeQuorum(r *server.Request) error {
	var req wire.DescribeQuorumRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeQuorumResponse
	resp.Default()
	if err := a.by(r).cluster(kafka.OpDescribe); err != nil {
		resp.ErrorCode, resp.ErrorMessage = a.failure(err)
		reply(r, &resp)
		return nil
	}
	resp.ErrorMessage = new(string) // Kafka's is empty where others are null
	if len(req.Topics) != 1 || req.Topics[0].TopicName != metadataTopic || len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].PartitionIndex != 0 {
		for i := range req.Topics {
			out := wire.DescribeQuorumResponseTopic{TopicName: req.Topics[i].TopicName}
			for _, p := range req.Topics[i].Partitions {
				part := wire.DescribeQuorumResponsePartition{PartitionIndex: p.PartitionIndex}
				part.ErrorCode, part.ErrorMessage = a.failure(kafka.UnknownTopicOrPartition)
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
		}
		reply(r, &resp)
		return nil
	}
	r.Go(func() {
		a.quorum(&resp)
		reply(r, &resp)
	})
	return nil
}

// quorum fills in the state of the metadata quorum.
func (a admin) quorum(resp *wire.DescribeQuorumResponse) {
	q, err := a.o.Cluster.Quorum()
	if err == nil && q.LeaderID != a.o.NodeID {
		err = kafka.NotLeaderOrFollower
	}
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = a.failure(err)
		return
	}
	img, now := a.o.Cluster.Image(), time.Now().UnixMilli()
	replicas := func(ids []int32) []wire.DescribeQuorumResponseReplica {
		list := make([]wire.DescribeQuorumResponseReplica, len(ids))
		for i, id := range ids {
			list[i].Default()
			list[i].ReplicaID, list[i].LogEndOffset = id, kafka.NoOffset
			if id == a.o.NodeID {
				list[i].LogEndOffset, list[i].LastFetchTimestamp, list[i].LastCaughtUpTimestamp = q.LogEnd, now, now
			}
			node := wire.DescribeQuorumResponseNode{NodeID: id}
			if b := img.Broker(id); b != nil {
				for _, e := range b.Endpoints {
					node.Listeners = append(node.Listeners, wire.DescribeQuorumResponseListener{Name: e.Name, Host: e.Host, Port: uint16(e.Port)})
				}
			}
			resp.Nodes = append(resp.Nodes, node)
		}
		return list
	}
	resp.Topics = []wire.DescribeQuorumResponseTopic{{TopicName: metadataTopic, Partitions: []wire.DescribeQuorumResponsePartition{{
		ErrorMessage: new(string), LeaderID: q.LeaderID, LeaderEpoch: q.Term, HighWatermark: q.CommittedEnd, CurrentVoters: replicas(q.Voters), Observers: replicas(q.Observers),
	}}}}
}
