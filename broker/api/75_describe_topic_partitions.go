package api

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// maxDescribedPartitions is the most partitions of one answer, whatever a client asks for:
// the default of Kafka's max.request.partition.size.limit.
const maxDescribedPartitions = 2000

// DescribeTopicPartitions, version 0: topics with their partitions, page by page (KIP-966).
//
//   - Topics come in the order of their names, each once. No topics means all.
//   - A cursor says where the page begins; a list of topics must have the cursor's in it.
//   - Eligible leader replicas are shown; the last known ones are always empty, because no
//     replica loses its place for an unclean stop.
//
// Gaps: none known.
func (a admin) describeTopicPartitions(r *server.Request) error {
	var req wire.DescribeTopicPartitionsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeTopicPartitionsResponse
	resp.Default()
	img := a.o.Cluster.Image()
	names, from, err := a.describedNames(r, img, &req)
	if err != nil {
		for _, t := range req.Topics {
			out := describedTopic(t.Name)
			out.ErrorCode, _ = a.failure(err)
			resp.Topics = append(resp.Topics, out)
		}
		reply(r, &resp)
		return nil
	}
	page := partitionPage{api: a.API, r: r, img: img, listener: r.Conn.Listener(), left: max(min(req.ResponsePartitionLimit, maxDescribedPartitions), 1)}
	for _, name := range names {
		start := int32(0)
		if req.Cursor != nil && name == req.Cursor.TopicName {
			start = from
		}
		if !page.add(&resp, name, start) {
			break
		}
	}
	reply(r, &resp)
	return nil
}

// describedNames is the names of the topics from the cursor on, and the cursor's partition.
func (a admin) describedNames(r *server.Request, img *metadata.Image, req *wire.DescribeTopicPartitionsRequest) (names []string, from int32, err error) {
	first := ""
	if req.Cursor != nil {
		first, from = req.Cursor.TopicName, req.Cursor.PartitionIndex
	}
	if len(req.Topics) == 0 {
		for t := range img.Topics() {
			if t.Name >= first && a.by(r).allowed(kafka.OpDescribe, kafka.ResourceTopic, t.Name) {
				names = append(names, t.Name)
			}
		}
	} else {
		for i := range req.Topics {
			if name := req.Topics[i].Name; name >= first {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, cmp.Compare[string])
		names = slices.Compact(names)
		if req.Cursor != nil && (len(names) == 0 || names[0] != first) {
			return nil, 0, fmt.Errorf("the cursor is at topic %q, which the list of topics lacks: %w", first, kafka.InvalidRequest)
		}
	}
	if from < 0 {
		return nil, 0, fmt.Errorf("the cursor is at partition %d: %w", from, kafka.InvalidRequest)
	}
	return names, from, nil
}

// partitionPage is a page in the making.
type partitionPage struct {
	api      *API
	r        *server.Request
	img      *metadata.Image
	listener string
	left     int32 // partitions that there is room for
}

// add describes a topic from a partition on, as far as there is room, and says whether the
// page may go on.
func (p *partitionPage) add(resp *wire.DescribeTopicPartitionsResponse, name string, start int32) bool {
	if p.left == 0 {
		resp.NextCursor = &wire.DescribeTopicPartitionsResponseCursor{TopicName: name}
		return false
	}
	out := describedTopic(name)
	if err := p.api.by(p.r).topic(kafka.OpDescribe, name); err != nil {
		out.ErrorCode, out.IsInternal = int16(kafka.Code(err)), false
		resp.Topics = append(resp.Topics, out)
		return true
	}
	out.TopicAuthorizedOperations = p.api.by(p.r).operations(kafka.ResourceTopic, name)
	t := p.img.Topic(name)
	switch {
	case t != nil:
		out.TopicID = t.ID
	case metadata.ValidateTopicName(name) != nil:
		out.ErrorCode = int16(kafka.InvalidTopic)
	default:
		out.ErrorCode = int16(kafka.UnknownTopicOrPartition)
	}
	if t == nil {
		resp.Topics = append(resp.Topics, out)
		return true
	}
	end := int32(min(int64(len(t.Partitions)), int64(start)+int64(p.left)))
	for i := start; i < end; i++ {
		out.Partitions = append(out.Partitions, p.partition(&t.Partitions[i], i))
		p.left--
	}
	resp.Topics = append(resp.Topics, out)
	if int(end) < len(t.Partitions) {
		resp.NextCursor = &wire.DescribeTopicPartitionsResponseCursor{TopicName: name, PartitionIndex: end}
		return false
	}
	return true
}

// partition describes one partition as Metadata does.
func (p *partitionPage) partition(part *metadata.Partition, index int32) wire.DescribeTopicPartitionsResponsePartition {
	out := wire.DescribeTopicPartitionsResponsePartition{
		PartitionIndex: index, LeaderID: part.Leader, LeaderEpoch: part.LeaderEpoch, ReplicaNodes: part.Replicas, ISRNodes: part.ISR,
		EligibleLeaderReplicas: append([]int32{}, part.ELR...), LastKnownELR: []int32{},
	}
	for _, id := range part.Replicas {
		if _, ok := endpoint(p.img.Broker(id), p.listener); !ok || dirOffline(p.img, part, id) {
			out.OfflineReplicas = append(out.OfflineReplicas, id)
		}
	}
	if _, ok := endpoint(p.img.Broker(part.Leader), p.listener); !ok {
		out.LeaderID, out.ErrorCode = metadata.NoLeader, int16(kafka.ListenerNotFound)
		if b := p.img.Broker(part.Leader); b == nil || b.Fenced {
			out.ErrorCode = int16(kafka.LeaderNotAvailable)
		}
	} else if dirOffline(p.img, part, part.Leader) {
		out.LeaderID, out.ErrorCode = metadata.NoLeader, int16(kafka.LeaderNotAvailable)
	}
	return out
}

// describedTopic is a topic without partitions.
func describedTopic(name string) wire.DescribeTopicPartitionsResponseTopic {
	var t wire.DescribeTopicPartitionsResponseTopic
	t.Default()
	t.Name, t.IsInternal = &name, kafka.InternalTopic(name)
	return t
}
