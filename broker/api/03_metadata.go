package api

import (
	"fmt"
	"maps"
	"slices"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// Metadata, versions 0 to 13: brokers and topics.
//
//   - Endpoints are those of the listener that the request came in on. A broker without it
//     is left out, and its partitions carry LISTENER_NOT_FOUND (from version 6).
//   - All topics: an empty list in version 0, null later; empty then means none.
//   - A topic that does not exist is created when the broker's setting and the request
//     (from 4; before, always) allow it, and only under a valid name. The answer waits for
//     that and shows the topic.
//   - 8: authorized operations, the cluster's only to 10 (KIP-430). 10: topic ids (KIP-516).
//     12: topics by id. 13: an error for the whole answer (KIP-1102).
//
// Gaps: of the internal topics, only that of the offsets is created on demand.
func (a *API) metadata(r *server.Request) error {
	var req wire.MetadataRequest
	if err := read(r, &req); err != nil {
		return err
	}
	ask := metadataAsk{api: a, r: r, req: &req, version: r.Header.Version, listener: r.Conn.Listener()}
	if ask.invalid() {
		ask.refuse(r)
		return nil
	}
	if ask.nameless() {
		return errNameless
	}
	img := a.o.Cluster.Image()
	missing, failed := ask.creatable(img)
	if len(missing) == 0 {
		ask.reply(r, ask.answer(img, failed))
		return nil
	}
	r.Go(func() {
		maps.Copy(failed, a.autoCreate(r, missing, mayMutate(a.o.Quotas, r, neverStrict)))
		ask.reply(r, ask.answer(a.o.Cluster.Image(), failed))
	})
	return nil
}

// metadataAsk is one Metadata request and what it takes to answer it.
type metadataAsk struct {
	api      *API
	r        *server.Request
	req      *wire.MetadataRequest
	version  int16
	listener string
	// room is where the partitions of the answer go; what it lacks is allocated. An answer with
	// all topics has one piece of it for all.
	room []wire.MetadataResponsePartition
}

// all says whether the request is for all topics.
func (m *metadataAsk) all() bool {
	return m.req.Topics == nil || m.version == 0 && len(m.req.Topics) == 0
}

// invalid says whether the request uses topic ids before they were allowed.
func (m *metadataAsk) invalid() bool {
	return m.version < 12 && slices.ContainsFunc(m.req.Topics, func(t wire.MetadataRequestTopic) bool {
		return t.Name == nil || !t.TopicID.IsZero()
	})
}

// errNameless closes the connection, as Kafka does.
var errNameless = fmt.Errorf("request for metadata asks for a topic by neither name nor id: %w", wire.ErrMalformed)

// nameless says whether a request by names leaves one out.
func (m *metadataAsk) nameless() bool {
	return !m.byID() && slices.ContainsFunc(m.req.Topics, func(t wire.MetadataRequestTopic) bool { return t.Name == nil })
}

// refuse answers an invalid request, for each of its topics.
func (m *metadataAsk) refuse(r *server.Request) {
	var resp wire.MetadataResponse
	resp.Default()
	for _, t := range m.req.Topics {
		name := ""
		if t.Name != nil {
			name = *t.Name
		}
		resp.Topics = append(resp.Topics, errorTopic(&name, t.TopicID, kafka.InvalidRequest))
	}
	reply(r, &resp)
}

// creatable lists the topics that have to be created first, and those that the client may not create.
func (m *metadataAsk) creatable(img *metadata.Image) (names []string, denied map[string]kafka.Error) {
	denied = map[string]kafka.Error{}
	if m.all() || !m.req.AllowAutoTopicCreation || !m.api.o.Node().AutoCreateTopics || m.byID() {
		return nil, denied
	}
	seen := make(map[string]bool) // a search in names would be quadratic in what a client sends
	for _, t := range m.req.Topics {
		name := *t.Name
		if !seen[name] && img.Topic(name) == nil && metadata.ValidateTopicName(name) == nil && (!kafka.InternalTopic(name) || name == group.OffsetsTopic || name == txn.StateTopic) {
			seen[name] = true
			switch {
			case m.api.by(m.r).topic(kafka.OpDescribe, name) != nil: // which the answer says
			case m.api.by(m.r).createTopic(name) != nil:
				denied[name] = kafka.TopicAuthorizationFailed
			default:
				names = append(names, name)
			}
		}
	}
	return names, denied
}

// byID says whether the request names topics by id; names beside ids are then ignored, as
// Kafka does.
func (m *metadataAsk) byID() bool {
	return slices.ContainsFunc(m.req.Topics, func(t wire.MetadataRequestTopic) bool { return !t.TopicID.IsZero() })
}

// autoCreate creates topics with the broker's defaults, the internal ones with their own, and
// tells which could not be. Only the former are charged.
func (a *API) autoCreate(r *server.Request, names []string, charge controller.Charge) map[string]kafka.Error {
	node := a.o.Node()
	topics := make([]controller.NewTopic, 0, len(names))
	for _, name := range names {
		switch name {
		case group.OffsetsTopic:
			topics = append(topics, offsetsTopic(node))
		case txn.StateTopic:
			topics = append(topics, stateTopic(node))
		default:
			topics = append(topics, controller.NewTopic{
				Name: name, Partitions: node.NumPartitions, ReplicationFactor: node.DefaultReplicationFactor, Charge: charge,
			})
		}
	}
	failed := make(map[string]kafka.Error)
	for i, res := range a.o.Cluster.CreateTopics(r.Ctx, topics, false) {
		switch code := kafka.Code(res.Err); {
		case code == kafka.NoError:
			a.by(r).did(nil, "topic", names[i], "id", res.Topic.ID, "partitions", len(res.Topic.Partitions))
		case code == kafka.TopicAlreadyExists: // somebody else was faster
		case code == kafka.UnknownServerError, code.Retriable():
			a.o.Logger.Warn("topic was not created on demand", "topic", names[i], "error", res.Err)
			failed[names[i]] = kafka.LeaderNotAvailable // the client asks again
		default:
			failed[names[i]] = code
		}
	}
	return failed
}

// answer builds the answer from an image. failed holds topics whose creation went wrong.
func (m *metadataAsk) answer(img *metadata.Image, failed map[string]kafka.Error) *wire.MetadataResponse {
	var resp wire.MetadataResponse
	resp.Default()
	cluster := img.ClusterID()
	resp.ClusterID = &cluster
	resp.ControllerID = m.api.controllerID(img, m.listener)
	for b := range img.Brokers() {
		if e, ok := endpoint(b, m.listener); ok {
			resp.Brokers = append(resp.Brokers, wire.MetadataResponseBroker{
				NodeID: b.ID, Host: e.Host, Port: e.Port, Rack: optional(b.Rack),
			})
		}
	}
	if m.req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = m.api.by(m.r).clusterOperations()
	}
	switch {
	case m.all():
		resp.Topics = make([]wire.MetadataResponseTopic, 0, img.TopicCount())
		m.room = make([]wire.MetadataResponsePartition, img.PartitionCount())
		for t := range img.Topics() {
			if m.api.by(m.r).allowed(kafka.OpDescribe, kafka.ResourceTopic, t.Name) {
				resp.Topics = append(resp.Topics, m.topic(img, t))
			}
		}
	case m.byID():
		m.topicsByID(img, &resp)
	default:
		m.topicsByName(img, failed, &resp)
	}
	return &resp
}

func (m *metadataAsk) topicsByID(img *metadata.Image, resp *wire.MetadataResponse) {
	seen := make(map[kafka.UUID]bool, len(m.req.Topics))
	for _, asked := range m.req.Topics {
		id := asked.TopicID
		if id.IsZero() || seen[id] {
			continue
		}
		seen[id] = true
		switch t := img.TopicByID(id); {
		case t == nil:
			resp.Topics = append(resp.Topics, errorTopic(nil, id, kafka.UnknownTopicID))
		case m.api.by(m.r).topic(kafka.OpDescribe, t.Name) != nil:
			resp.Topics = append(resp.Topics, errorTopic(nil, id, kafka.TopicAuthorizationFailed))
		default:
			resp.Topics = append(resp.Topics, m.topic(img, t))
		}
	}
}

func (m *metadataAsk) topicsByName(img *metadata.Image, failed map[string]kafka.Error, resp *wire.MetadataResponse) {
	seen := make(map[string]bool, len(m.req.Topics))
	for _, asked := range m.req.Topics {
		name := *asked.Name
		if seen[name] {
			continue
		}
		seen[name] = true
		t := img.Topic(name)
		switch code, refused := failed[name]; {
		case m.api.by(m.r).topic(kafka.OpDescribe, name) != nil, code == kafka.TopicAuthorizationFailed:
			resp.Topics = append(resp.Topics, errorTopic(&name, kafka.UUID{}, kafka.TopicAuthorizationFailed))
		case t != nil:
			resp.Topics = append(resp.Topics, m.topic(img, t))
		case refused:
			resp.Topics = append(resp.Topics, m.noTopic(&name, code))
		case metadata.ValidateTopicName(name) != nil:
			resp.Topics = append(resp.Topics, m.noTopic(&name, kafka.InvalidTopic))
		default:
			resp.Topics = append(resp.Topics, m.noTopic(&name, kafka.UnknownTopicOrPartition))
		}
	}
}

// noTopic is a topic that is not there; what its name would allow is told all the same.
func (m *metadataAsk) noTopic(name *string, code kafka.Error) wire.MetadataResponseTopic {
	out := errorTopic(name, kafka.UUID{}, code)
	if m.req.IncludeTopicAuthorizedOperations {
		out.TopicAuthorizedOperations = m.api.by(m.r).operations(kafka.ResourceTopic, *name)
	}
	return out
}

// topic describes one topic.
func (m *metadataAsk) topic(img *metadata.Image, t *metadata.Topic) wire.MetadataResponseTopic {
	out := errorTopic(&t.Name, t.ID, kafka.NoError)
	if m.req.IncludeTopicAuthorizedOperations {
		out.TopicAuthorizedOperations = m.api.by(m.r).operations(kafka.ResourceTopic, t.Name)
	}
	out.Partitions = m.partitions(len(t.Partitions))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		q := wire.MetadataResponsePartition{
			PartitionIndex: int32(i), LeaderID: p.Leader, LeaderEpoch: p.LeaderEpoch,
			ReplicaNodes: p.Replicas, ISRNodes: p.ISR,
		}
		for _, id := range p.Replicas {
			if _, ok := endpoint(img.Broker(id), m.listener); !ok || dirOffline(img, p, id) {
				q.OfflineReplicas = append(q.OfflineReplicas, id)
			}
		}
		if _, ok := endpoint(img.Broker(p.Leader), m.listener); !ok {
			q.ErrorCode = int16(m.unreachable(img, p.Leader))
			q.LeaderID = -1
		} else if dirOffline(img, p, p.Leader) {
			q.ErrorCode, q.LeaderID = int16(kafka.LeaderNotAvailable), -1
		}
		out.Partitions = append(out.Partitions, q)
	}
	return out
}

// partitions is room for the partitions of a topic, empty.
func (m *metadataAsk) partitions(n int) []wire.MetadataResponsePartition {
	if n > len(m.room) {
		return make([]wire.MetadataResponsePartition, 0, n)
	}
	out := m.room[:0:n]
	m.room = m.room[n:]
	return out
}

// reply answers, in a buffer that is as large as the answer will be, or little larger: that of
// ten thousand topics is not copied again and again while it grows.
func (m *metadataAsk) reply(r *server.Request, resp *wire.MetadataResponse) {
	const fixed, perTopic, perPartition = 256, 32, 40 // at most, in bytes, beside names and lists of replicas
	size := fixed + 64*len(resp.Brokers)
	for i := range resp.Topics {
		t := &resp.Topics[i]
		size += perTopic + perPartition*len(t.Partitions)
		if t.Name != nil {
			size += len(*t.Name)
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			size += 4 * (len(p.ReplicaNodes) + len(p.ISRNodes) + len(p.OfflineReplicas))
		}
	}
	replyIn(r, resp, m.version, size)
}

// dirOffline says whether the log directory of a replica is one that its broker has, and has
// lost. Source: KIP-858; the replica is offline, and leads nobody.
func dirOffline(img *metadata.Image, p *metadata.Partition, id int32) bool {
	b, i := img.Broker(id), slices.Index(p.Replicas, id)
	return b != nil && i >= 0 && i < len(p.Dirs) && !p.Dirs[i].IsZero() && !slices.Contains(b.LogDirs, p.Dirs[i])
}

// unreachable is why the clients of this listener can't talk to a partition's leader.
func (m *metadataAsk) unreachable(img *metadata.Image, leader int32) kafka.Error {
	if b := img.Broker(leader); b == nil || b.Fenced || m.version < 6 {
		return kafka.LeaderNotAvailable
	}
	return kafka.ListenerNotFound
}

// errorTopic is a topic without partitions.
func errorTopic(name *string, id kafka.UUID, code kafka.Error) wire.MetadataResponseTopic {
	var t wire.MetadataResponseTopic
	t.Default()
	t.Name, t.TopicID, t.ErrorCode = name, id, int16(code)
	t.IsInternal = name != nil && kafka.InternalTopic(*name)
	return t
}
