package api

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// CreateTopics, versions 2 to 7: creates topics, or only checks whether it could.
//
//   - Counts of -1 take the broker's num.partitions and default.replication.factor (KIP-464);
//     a manual assignment excludes counts.
//
//   - A topic that is named twice is created not at all.
//
//   - When the answer leaves, Metadata shows what was created.
//
//   - New partitions count against the client's quota, which refuses from 6 on (KIP-599).
//
//   - 5: the answer carries counts and settings (KIP-525). 7: the topic's id (KIP-516).
//
//   - Settings named varve.adopt.* are none: they say what the topic keeps of the cluster that it
//     comes from, for 'varve topic adopt'.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a *API) createTopics(r *server.Request) error {
	var req wire.CreateTopicsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	r.Go(func() {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Duration(max(req.TimeoutMs, 0))*time.Millisecond)
		defer cancel()
		reply(r, a.createAll(ctx, r, &req, mayMutate(a.o.Quotas, r, 6)))
	})
	return nil
}

// createAll creates what passes the checks, and answers in the order of the request.
func (a *API) createAll(ctx context.Context, r *server.Request, req *wire.CreateTopicsRequest, charge controller.Charge) *wire.CreateTopicsResponse {
	var resp wire.CreateTopicsResponse
	resp.Default()
	named := make(map[string]int, len(req.Topics))
	for _, t := range req.Topics {
		named[t.Name]++
	}
	var topics []controller.NewTopic
	var place []int // of topics, in the answer
	for i := range req.Topics {
		asked := &req.Topics[i]
		if named[asked.Name] == 0 {
			continue // answered with its first mention
		}
		topic, err := a.newTopic(asked)
		topic.Charge = charge
		if denied := a.by(r).createTopic(asked.Name); denied != nil {
			err = denied
		}
		if named[asked.Name] > 1 {
			err = fmt.Errorf("%q is named more than once: %w", asked.Name, kafka.InvalidRequest)
		}
		named[asked.Name] = 0
		var out wire.CreateTopicsResponseTopic
		out.Default()
		out.Name, out.Configs = asked.Name, []wire.CreateTopicsResponseConfig{}
		if out.ErrorCode, out.ErrorMessage = a.failure(err); err == nil {
			topics, place = append(topics, topic), append(place, len(resp.Topics))
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(topics) == 0 {
		return &resp
	}
	for i, res := range a.o.Cluster.CreateTopics(ctx, topics, req.ValidateOnly) {
		a.created(r, &resp.Topics[place[i]], res)
		if !req.ValidateOnly && res.Err == nil {
			a.by(r).did(nil, "topic", res.Topic.Name, "id", res.Topic.ID, "partitions", len(res.Topic.Partitions), "settings", settings(res.Topic.Config))
		}
	}
	return &resp
}

// created fills the answer for one topic with the controller's result.
func (a *API) created(r *server.Request, out *wire.CreateTopicsResponseTopic, res controller.TopicResult) {
	if out.ErrorCode, out.ErrorMessage = a.failure(res.Err); res.Err != nil {
		return
	}
	out.TopicID = res.Topic.ID
	if !a.by(r).allowed(kafka.OpDescribeConfigs, kafka.ResourceTopic, out.Name) { // KIP-525
		out.NumPartitions, out.ReplicationFactor = -1, -1
		out.TopicConfigErrorCode = int16(kafka.TopicAuthorizationFailed)
		return
	}
	out.NumPartitions = int32(len(res.Topic.Partitions))
	if len(res.Topic.Partitions) > 0 {
		out.ReplicationFactor = int16(len(res.Topic.Partitions[0].Replicas))
	}
	for _, e := range a.o.Node().DescribeTopic(res.Topic.Config) {
		out.Configs = append(out.Configs, wire.CreateTopicsResponseConfig{
			Name: e.Name, Value: e.Value, ReadOnly: e.ReadOnly, ConfigSource: int8(e.Source), IsSensitive: e.Sensitive,
		})
	}
}

// newTopic checks the shape of one topic of the request and resolves its defaults. Name,
// settings, brokers and existence are the controller's to check.
func (a *API) newTopic(t *wire.CreateTopicsRequestTopic) (controller.NewTopic, error) {
	node := a.o.Node()
	topic := controller.NewTopic{Name: t.Name, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	if len(t.Configs) > 0 {
		topic.Config = make(map[string]string, len(t.Configs))
	}
	for _, c := range t.Configs {
		if c.Value == nil {
			return topic, fmt.Errorf("setting %s has a null value: %w", c.Name, kafka.InvalidConfig)
		}
		topic.Config[c.Name] = *c.Value
	}
	if err := adopt(&topic); err != nil {
		return topic, err
	}
	if len(t.Assignments) > 0 {
		return topic, assign(&topic, t)
	}
	switch {
	case t.NumPartitions == -1:
		topic.Partitions = node.NumPartitions
	case t.NumPartitions <= 0:
		return topic, fmt.Errorf("%d partitions: want at least 1, or -1 for the default: %w", t.NumPartitions, kafka.InvalidPartitions)
	}
	switch {
	case t.ReplicationFactor == -1:
		topic.ReplicationFactor = node.DefaultReplicationFactor
	case t.ReplicationFactor <= 0:
		return topic, fmt.Errorf("replication factor %d: want at least 1, or -1 for the default: %w", t.ReplicationFactor, kafka.InvalidReplicationFactor)
	}
	return topic, nil
}

// What of a topic that is adopted stands among its settings: its id, and what controller.Origin
// has beside it.
const (
	adoptID          = "varve.adopt.id"
	adoptLeaderEpoch = "varve.adopt.leader.epoch"
	adoptProducerIDs = "varve.adopt.producer.ids"
)

// adopt takes out of the settings of a topic where it comes from.
func adopt(topic *controller.NewTopic) error {
	text, ok := topic.Config[adoptID]
	if !ok {
		return nil // what else there may be is refused as no setting
	}
	id, err := kafka.ParseUUID(text)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", adoptID, err, kafka.InvalidConfig)
	}
	epoch, err1 := strconv.ParseInt(topic.Config[adoptLeaderEpoch], 10, 32)
	ids, err2 := strconv.ParseInt(topic.Config[adoptProducerIDs], 10, 64)
	if err1 != nil || err2 != nil || epoch == math.MaxInt32 {
		return fmt.Errorf("%s needs %s and %s beside it, which are numbers: %w", adoptID, adoptLeaderEpoch, adoptProducerIDs, kafka.InvalidConfig)
	}
	topic.Origin = &controller.Origin{ID: id, LeaderEpoch: int32(epoch), ProducerIDs: ids}
	for _, name := range []string{adoptID, adoptLeaderEpoch, adoptProducerIDs} {
		delete(topic.Config, name)
	}
	return nil
}

// assign takes over a manual assignment, which must name partitions 0 to n-1 once each.
func assign(topic *controller.NewTopic, t *wire.CreateTopicsRequestTopic) error {
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return fmt.Errorf("a manual assignment excludes the number of partitions and the replication factor, which must be -1: %w", kafka.InvalidRequest)
	}
	topic.Assignments = make(map[int32][]int32, len(t.Assignments))
	for _, as := range t.Assignments {
		if _, twice := topic.Assignments[as.PartitionIndex]; twice {
			return fmt.Errorf("partition %d is assigned twice: %w", as.PartitionIndex, kafka.InvalidReplicaAssignment)
		}
		topic.Assignments[as.PartitionIndex] = as.BrokerIDs
	}
	for i := range int32(len(t.Assignments)) {
		if _, ok := topic.Assignments[i]; !ok {
			return fmt.Errorf("the assignment lacks partition %d: it must name 0 to %d: %w", i, len(t.Assignments)-1, kafka.InvalidReplicaAssignment)
		}
	}
	return nil
}
