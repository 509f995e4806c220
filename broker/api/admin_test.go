package api

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

func itoa(n int16) string { return strconv.Itoa(int(n)) }

// metadataOf asks for topics by name.
func metadataOf(c *client, version int16, auto bool, names ...string) *kmsg.MetadataResponse {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = auto
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return ask[*kmsg.MetadataResponse](c, version, req)
}

// TestMetadataTopicSelection: all, none, by name, by id.
func TestMetadataTopicSelection(t *testing.T) {
	k := newKit(t)
	k.create("a")
	k.create("b")
	c := k.dial(internalListener)
	names := func(resp *kmsg.MetadataResponse) string {
		var out []string
		for _, topic := range resp.Topics {
			out = append(out, *topic.Topic)
		}
		slices.Sort(out)
		return strings.Join(out, ",")
	}
	for v := range int16(14) {
		all := kmsg.NewPtrMetadataRequest() // null; an empty list in version 0
		if got := names(ask[*kmsg.MetadataResponse](c, v, all)); got != "a,b" {
			t.Errorf("v%d, all topics: %q", v, got)
		}
		if got := names(metadataOf(c, v, false)); v > 0 && got != "" {
			t.Errorf("v%d, no topics: %q", v, got)
		}
		resp := metadataOf(c, v, false, "b", "b")
		if got := names(resp); got != "b" {
			t.Fatalf("v%d, b twice: %q", v, got)
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.Leader != testNode || !slices.Equal(p.Replicas, []int32{testNode}) || !slices.Equal(p.ISR, []int32{testNode}) {
			t.Errorf("v%d: partition %+v", v, p)
		}
	}
	known, unknown := k.cluster.Image().Topic("a").ID, kafka.NewUUID()
	req := kmsg.NewPtrMetadataRequest()
	for _, id := range []kafka.UUID{known, unknown} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.TopicID = id
		req.Topics = append(req.Topics, topic)
	}
	resp := ask[*kmsg.MetadataResponse](c, 12, req)
	if len(resp.Topics) != 2 || *resp.Topics[0].Topic != "a" || resp.Topics[0].TopicID != known {
		t.Errorf("by id: %+v", resp.Topics)
	}
	if got := resp.Topics[1]; kafka.Error(got.ErrorCode) != kafka.UnknownTopicID || got.Topic != nil || got.TopicID != unknown {
		t.Errorf("by unknown id: %+v", got)
	}
	for _, topic := range ask[*kmsg.MetadataResponse](c, 11, req).Topics {
		if kafka.Error(topic.ErrorCode) != kafka.InvalidRequest {
			t.Errorf("by id in version 11: error %d", topic.ErrorCode)
		}
	}
}

// TestMetadataOfUnreachableLeaders: a fenced broker is not listed and its partitions have no
// leader; one that lacks the listener gives LISTENER_NOT_FOUND from version 6 on.
// A topic without name and id closes the connection, by a rule and not by a panic.
func TestMetadataOfANamelessTopic(t *testing.T) {
	k := newKit(t)
	for _, version := range []int16{12, 13} {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = version
		req.Topics = []kmsg.MetadataRequestTopic{kmsg.NewMetadataRequestTopic()}
		c := k.dial(internalListener)
		c.send(req)
		c.wantClosed()
	}
	name := "a"
	for _, c := range []struct {
		topics []wire.MetadataRequestTopic
		want   bool
	}{
		{[]wire.MetadataRequestTopic{{Name: &name}, {}}, true},
		{[]wire.MetadataRequestTopic{{Name: &name}}, false},
		{[]wire.MetadataRequestTopic{{TopicID: kafka.NewUUID()}, {}}, false}, // by id: the zero id is skipped
		{nil, false},
	} {
		if got := (&metadataAsk{req: &wire.MetadataRequest{Topics: c.topics}}).nameless(); got != c.want {
			t.Errorf("%v: nameless is %v", c.topics, got)
		}
	}
}

func TestMetadataOfUnreachableLeaders(t *testing.T) {
	here := []metadata.Endpoint{{Name: internalListener, Host: "h", Port: 1}, {Name: externalListener, Host: "e", Port: 2}}
	id := kafka.NewUUID()
	partition := func(i, leader int32) metadata.PartitionRecord {
		return metadata.PartitionRecord{TopicID: id, Index: i, Partition: metadata.Partition{
			Replicas: []int32{leader}, Dirs: []kafka.UUID{{}}, ISR: []int32{leader}, Leader: leader, LeaderEpoch: 1, PartitionEpoch: 1}}
	}
	broker := func(n int32, fenced bool, at []metadata.Endpoint) metadata.RegisterBrokerRecord {
		return metadata.RegisterBrokerRecord{ID: n, Incarnation: kafka.NewUUID(), Epoch: int64(n), Endpoints: at, Fenced: fenced}
	}
	img, _, err := new(metadata.Image).Apply(7, []metadata.Record{
		metadata.ClusterRecord{ClusterID: "cluster"},
		broker(1, false, here), broker(2, true, here), broker(3, false, here[:1]),
		metadata.TopicRecord{Name: "t", ID: id, Version: 1}, partition(0, 1), partition(1, 2), partition(2, 3),
	})
	if err != nil {
		t.Fatal(err)
	}
	k := newKitOn(t, picture{image: img, leader: 3})
	c := k.dial(externalListener)
	for v, notFound := range map[int16]kafka.Error{5: kafka.LeaderNotAvailable, 6: kafka.ListenerNotFound} {
		resp := metadataOf(c, v, false, "t")
		if len(resp.Brokers) != 1 || resp.ControllerID != -1 {
			t.Errorf("v%d: brokers %+v, controller %d", v, resp.Brokers, resp.ControllerID)
		}
		for i, want := range []kafka.Error{kafka.NoError, kafka.LeaderNotAvailable, notFound} {
			p := resp.Topics[0].Partitions[i]
			if kafka.Error(p.ErrorCode) != want || (p.Leader == -1) != (want != 0) || (len(p.OfflineReplicas) == 1) != (want != 0) {
				t.Errorf("v%d partition %d: %+v, want error %d", v, i, p, want)
			}
		}
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	for fenced, want := range map[bool]int{false: 1, true: 2} {
		req.IncludeFencedBrokers = fenced
		if resp := ask[*kmsg.DescribeClusterResponse](c, 2, req); len(resp.Brokers) != want {
			t.Errorf("DescribeCluster, fenced %v: %+v", fenced, resp.Brokers)
		}
	}
}

// TestP11TopicNames: Kafka's rules hold for creation and for creation on demand, and a name
// that would collide in metrics is refused.
func TestP11TopicNames(t *testing.T) {
	k := newKit(t, "auto.create.topics.enable=true")
	k.create("a.b")
	c := k.dial(internalListener)
	for _, name := range []string{"", ".", "..", "a b", "a/b", "ä", strings.Repeat("x", 250)} {
		resp := metadataOf(c, 4, true, name)
		if got := kafka.Error(resp.Topics[0].ErrorCode); got != kafka.InvalidTopic {
			t.Errorf("Metadata of %q: error %d", name, got)
		}
		if got := k.createCode(newTopic(name, 1, 1)); got != kafka.InvalidTopic {
			t.Errorf("create %q: error %d", name, got)
		}
	}
	if got := kafka.Error(metadataOf(c, 4, true, "a_b").Topics[0].ErrorCode); got != kafka.InvalidTopic {
		t.Errorf("a_b on demand beside a.b: error %d", got)
	}
	if got := k.createCode(newTopic("a_b", 1, 1)); got != kafka.InvalidTopic {
		t.Errorf("a_b beside a.b: error %d", got)
	}
	if got := k.createCode(newTopic(strings.Repeat("x", 249), 1, 1)); got != kafka.NoError {
		t.Errorf("a name of 249 characters: error %d", got)
	}
	if n := k.cluster.Image().TopicCount(); n != 2 {
		t.Errorf("%d topics, want the two good ones", n)
	}
}

// createCode creates one topic and returns the error code.
func (k *kit) createCode(topic kmsg.CreateTopicsRequestTopic) kafka.Error {
	k.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic)
	return kafka.Error(ask[*kmsg.CreateTopicsResponse](k.dial(internalListener), 7, req).Topics[0].ErrorCode)
}

// TestP12AutoCreation needs both the broker's setting and the request's flag; before version
// 4 there was no flag.
func TestP12AutoCreation(t *testing.T) {
	k := newKit(t, "auto.create.topics.enable=false", "num.partitions=3")
	c := k.dial(internalListener)
	for _, v := range []int16{1, 4} {
		if got := kafka.Error(metadataOf(c, v, true, "off").Topics[0].ErrorCode); got != kafka.UnknownTopicOrPartition {
			t.Errorf("v%d, disabled: error %d", v, got)
		}
	}
	k.configure("auto.create.topics.enable=true", "num.partitions=3")
	if got := kafka.Error(metadataOf(c, 4, false, "refused").Topics[0].ErrorCode); got != kafka.UnknownTopicOrPartition {
		t.Errorf("not allowed by the request: error %d", got)
	}
	if got := kafka.Error(metadataOf(c, 4, true, "__share_group_state").Topics[0].ErrorCode); got != kafka.UnknownTopicOrPartition {
		t.Errorf("internal topic: error %d", got)
	}
	for v, name := range map[int16]string{0: "zero", 3: "three", 4: "four", 13: "last"} {
		topic := metadataOf(c, v, true, name).Topics[0]
		if code := kafka.Error(topic.ErrorCode); code == kafka.LeaderNotAvailable {
			topic = metadataOf(c, v, true, name).Topics[0]
		}
		if topic.ErrorCode != 0 || len(topic.Partitions) != 3 {
			t.Errorf("v%d: %+v", v, topic)
		}
	}
	if n := k.cluster.Image().TopicCount(); n != 4 {
		t.Errorf("%d topics, want 4", n)
	}
}

// TestA1CreateTopics goes through what CreateTopics refuses and what it answers.
func TestA1CreateTopics(t *testing.T) {
	k := newKit(t, "num.partitions=2")
	k.create("exists")
	assigned := func(name string, partitions int32, replicas int16, brokers ...[]int32) kmsg.CreateTopicsRequestTopic {
		topic := newTopic(name, partitions, replicas)
		for i, b := range brokers {
			topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: b})
		}
		return topic
	}
	gap := assigned("gap", -1, -1, []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 2
	twice := assigned("twice", -1, -1, []int32{1}, []int32{1})
	twice.ReplicaAssignment[1].Partition = 0
	value := "minus five"
	badConfig := newTopic("bad-config", 1, 1)
	badConfig.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: &value}}
	unknownConfig := newTopic("unknown-config", 1, 1)
	unknownConfig.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "no.such.setting", Value: &value}}
	nullConfig := newTopic("null-config", 1, 1)
	nullConfig.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	for _, tc := range []struct {
		topic kmsg.CreateTopicsRequestTopic
		want  kafka.Error
	}{
		{newTopic("exists", 1, 1), kafka.TopicAlreadyExists},
		{newTopic("rf", 1, 2), kafka.InvalidReplicationFactor},
		{newTopic("rf", 1, 0), kafka.InvalidReplicationFactor},
		{newTopic("rf", 1, -2), kafka.InvalidReplicationFactor},
		{newTopic("parts", 0, 1), kafka.InvalidPartitions},
		{newTopic("parts", -2, 1), kafka.InvalidPartitions},
		{badConfig, kafka.InvalidConfig}, {unknownConfig, kafka.InvalidConfig}, {nullConfig, kafka.InvalidConfig},
		{assigned("both", 1, -1, []int32{1}), kafka.InvalidRequest},
		{assigned("both", -1, 1, []int32{1}), kafka.InvalidRequest},
		{gap, kafka.InvalidReplicaAssignment}, {twice, kafka.InvalidReplicaAssignment},
		{assigned("stranger", -1, -1, []int32{7}), kafka.InvalidReplicaAssignment},
		{assigned("same", -1, -1, []int32{1, 1}), kafka.InvalidReplicaAssignment},
		{assigned("nobody", -1, -1, []int32{}), kafka.InvalidReplicaAssignment},
	} {
		if got := k.createCode(tc.topic); got != tc.want {
			t.Errorf("%s (%d partitions, factor %d): error %d, want %d", tc.topic.Topic, tc.topic.NumPartitions, tc.topic.ReplicationFactor, got, tc.want)
		}
	}
	if n := k.cluster.Image().TopicCount(); n != 1 {
		t.Errorf("%d topics after refusals, want 1", n)
	}
	if got := k.createCode(assigned("assigned", -1, -1, []int32{1}, []int32{1}, []int32{1})); got != kafka.NoError {
		t.Errorf("manual assignment: error %d", got)
	}
}

// TestA1CreateTopicsAnswer: defaults, duplicates, validate_only, and a topic that shows in
// Metadata as soon as it is answered.
func TestA1CreateTopicsAnswer(t *testing.T) {
	k := newKit(t, "num.partitions=2", "auto.create.topics.enable=true")
	c := k.dial(internalListener)
	create := func(version int16, validateOnly bool, topics ...kmsg.CreateTopicsRequestTopic) []kmsg.CreateTopicsResponseTopic {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics, req.ValidateOnly, req.TimeoutMillis = topics, validateOnly, 10_000
		return ask[*kmsg.CreateTopicsResponse](c, version, req).Topics
	}
	got := create(7, false, newTopic("twice", 1, 1), newTopic("once", 1, 1), newTopic("twice", 2, 1))
	if len(got) != 2 || kafka.Error(got[0].ErrorCode) != kafka.InvalidRequest || got[0].ErrorMessage == nil || got[1].ErrorCode != 0 {
		t.Errorf("a topic named twice beside another: %+v", got)
	}
	for v := int16(2); v <= 7; v++ {
		topic := newTopic("v"+itoa(v), -1, -1)
		retention := "1234567"
		topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: &retention}}
		if dry := create(v, true, topic)[0]; dry.ErrorCode != 0 {
			t.Fatalf("v%d, validate only: error %d %v", v, dry.ErrorCode, dry.ErrorMessage)
		}
		if k.cluster.Image().Topic(topic.Topic) != nil || metadataOf(c, 4, false, topic.Topic).Topics[0].ErrorCode != int16(kafka.UnknownTopicOrPartition) {
			t.Errorf("v%d: validate_only created a topic", v)
		}
		made := create(v, false, topic)[0]
		shown := metadataOf(c, 12, false, topic.Topic).Topics[0]
		if made.ErrorCode != 0 || shown.ErrorCode != 0 || len(shown.Partitions) != 2 {
			t.Errorf("v%d: created %+v, shown %+v", v, made, shown)
		}
		if v >= 5 && (made.NumPartitions != 2 || made.ReplicationFactor != 1 || !hasConfig(made.Configs, "retention.ms", retention)) {
			t.Errorf("v%d: %d partitions, factor %d, settings %+v", v, made.NumPartitions, made.ReplicationFactor, made.Configs)
		}
		if v >= 7 && (made.TopicID != shown.TopicID || made.TopicID == [16]byte{}) {
			t.Errorf("v%d: id %v, Metadata says %v", v, made.TopicID, shown.TopicID)
		}
	}
}

func hasConfig(list []kmsg.CreateTopicsResponseTopicConfig, name, value string) bool {
	return slices.ContainsFunc(list, func(c kmsg.CreateTopicsResponseTopicConfig) bool {
		return c.Name == name && c.Value != nil && *c.Value == value && c.Source == int8(config.DynamicTopic)
	})
}

// TestDeleteTopics: by name and by id, and what is refused.
func TestDeleteTopics(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for v := int16(1); v <= 5; v++ {
		k.create("t")
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames, req.TimeoutMillis = []string{"t", "nobody"}, 10_000
		resp := ask[*kmsg.DeleteTopicsResponse](c, v, req)
		if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != 0 || kafka.Error(resp.Topics[1].ErrorCode) != kafka.UnknownTopicOrPartition {
			t.Errorf("v%d: %+v", v, resp.Topics)
		}
		if k.cluster.Image().Topic("t") != nil {
			t.Fatalf("v%d: topic is still there", v)
		}
	}
	for _, name := range []string{"by-id", "by-name", "named-twice"} {
		k.create(name)
	}
	entry := func(name string, id kafka.UUID) kmsg.DeleteTopicsRequestTopic {
		e := kmsg.NewDeleteTopicsRequestTopic()
		if e.TopicID = id; name != "" {
			e.Topic = &name
		}
		return e
	}
	idOf := func(name string) kafka.UUID { return k.cluster.Image().Topic(name).ID }
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		entry("", idOf("by-id")), entry("by-name", kafka.UUID{}),
		entry("named-twice", kafka.UUID{}), entry("", idOf("named-twice")), // one answer
		entry("", kafka.NewUUID()), entry("nobody", kafka.UUID{}), entry("by-name", idOf("by-name")), entry("", kafka.UUID{}),
	}
	wantNames := []string{"by-id", "by-name"}
	resp := ask[*kmsg.DeleteTopicsResponse](c, 6, req)
	for i, want := range []kafka.Error{0, 0, kafka.InvalidRequest, kafka.UnknownTopicID, kafka.UnknownTopicOrPartition, kafka.InvalidRequest, kafka.InvalidRequest} {
		got := resp.Topics[i]
		if kafka.Error(got.ErrorCode) != want {
			t.Errorf("entry %d: error %d, want %d", i, got.ErrorCode, want)
		}
		if i < 2 && (got.Topic == nil || *got.Topic != wantNames[i] || got.TopicID == [16]byte{}) {
			t.Errorf("entry %d: %+v, want name and id of %s", i, got, wantNames[i])
		}
	}
	req.Topics = []kmsg.DeleteTopicsRequestTopic{entry("nobody", kafka.UUID{}), entry("nobody", kafka.UUID{})}
	if resp := ask[*kmsg.DeleteTopicsResponse](c, 6, req); len(resp.Topics) != 1 || kafka.Error(resp.Topics[0].ErrorCode) != kafka.InvalidRequest {
		t.Errorf("one name twice: %+v", resp.Topics)
	}
	if n := k.cluster.Image().TopicCount(); n != 1 {
		t.Errorf("%d topics are left, want 1", n)
	}

	k.configure("delete.topic.enable=false")
	for v, want := range map[int16]kafka.Error{1: kafka.InvalidRequest, 2: kafka.InvalidRequest, 3: kafka.TopicDeletionDisabled, 6: kafka.TopicDeletionDisabled} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TopicNames, req.Topics = []string{"named-twice"}, []kmsg.DeleteTopicsRequestTopic{entry("named-twice", kafka.UUID{})}
		if got := kafka.Error(ask[*kmsg.DeleteTopicsResponse](c, v, req).Topics[0].ErrorCode); got != want {
			t.Errorf("v%d, disabled: error %d, want %d", v, got, want)
		}
	}
}

// TestInitProducerID: every idempotent producer gets an id of its own, over more than one
// block; what needs a coordinator is refused.
func TestInitProducerID(t *testing.T) {
	k := newKit(t)
	seen := make(map[int64]bool)
	ids := make(chan int64)
	const each, clients = 400, 3
	for range clients {
		c := k.dial(internalListener)
		go func() {
			for i := range each {
				req := kmsg.NewPtrInitProducerIDRequest()
				req.SetVersion(int16(i % 6))
				c.send(req)
				resp := c.receive(req).(*kmsg.InitProducerIDResponse)
				if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 {
					resp.ProducerID = -1
				}
				ids <- resp.ProducerID
			}
		}()
	}
	for range each * clients {
		id := <-ids
		if id < 0 || seen[id] {
			t.Fatalf("producer id %d is an error or was given out before", id)
		}
		seen[id] = true
	}
	transactional, empty := "tx", ""
	c := k.dial(internalListener)
	for _, tc := range []struct {
		tx    *string
		id    int64
		epoch int16
		want  kafka.Error
	}{
		{&transactional, -1, -1, kafka.InvalidTransactionTimeout},
		{&empty, -1, -1, kafka.InvalidRequest},
		{nil, 5, -1, kafka.InvalidRequest},
		{nil, -1, 5, kafka.InvalidRequest},
		{nil, 5, 5, kafka.NoError},
	} {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = tc.tx, tc.id, tc.epoch
		resp := ask[*kmsg.InitProducerIDResponse](c, 5, req)
		if kafka.Error(resp.ErrorCode) != tc.want || tc.want != 0 && (resp.ProducerID != -1 || resp.ProducerEpoch != -1) {
			t.Errorf("%+v: %+v", tc, resp)
		}
	}
}

// TestDescribeConfigs: topics and this broker, with sources, synonyms and documentation.
func TestDescribeConfigs(t *testing.T) {
	k := newKit(t, "log.segment.bytes=7654321")
	topic := newTopic("t", 1, 1)
	retention := "1234567"
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: &retention}}
	if code := k.createCode(topic); code != 0 {
		t.Fatalf("create: error %d", code)
	}
	c := k.dial(internalListener)
	describe := func(version int16, kind kmsg.ConfigResourceType, name string, keys ...string) kmsg.DescribeConfigsResponseResource {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.IncludeSynonyms, req.IncludeDocumentation = true, true
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName, res.ConfigNames = kind, name, keys
		req.Resources = append(req.Resources, res)
		return ask[*kmsg.DescribeConfigsResponse](c, version, req).Resources[0]
	}
	find := func(r kmsg.DescribeConfigsResponseResource, name string) kmsg.DescribeConfigsResponseResourceConfig {
		i := slices.IndexFunc(r.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return c.Name == name })
		if i < 0 || r.Configs[i].Value == nil {
			t.Fatalf("%s is not described: error %d, %d settings", name, r.ErrorCode, len(r.Configs))
		}
		return r.Configs[i]
	}
	for v := int16(1); v <= 4; v++ {
		res := describe(v, kmsg.ConfigResourceTypeTopic, "t")
		own, static := find(res, "retention.ms"), find(res, "segment.bytes")
		if *own.Value != retention || own.Source != kmsg.ConfigSourceDynamicTopicConfig || len(own.ConfigSynonyms) == 0 {
			t.Errorf("v%d: retention.ms is %+v", v, own)
		}
		if *static.Value != "7654321" || static.Source != kmsg.ConfigSourceStaticBrokerConfig || len(static.ConfigSynonyms) != 2 {
			t.Errorf("v%d: segment.bytes is %+v", v, static)
		}
		if v >= 3 && (own.Documentation == nil || *own.Documentation == "" || own.ConfigType != kmsg.ConfigTypeLong) {
			t.Errorf("v%d: retention.ms has type %d, documentation %v", v, own.ConfigType, own.Documentation)
		}
	}
	if res := describe(4, kmsg.ConfigResourceTypeTopic, "t", "retention.ms"); len(res.Configs) != 1 {
		t.Errorf("one setting asked for, %d described", len(res.Configs))
	}
	if got := find(describe(4, kmsg.ConfigResourceTypeBroker, "1"), "log.segment.bytes"); *got.Value != "7654321" {
		t.Errorf("broker's log.segment.bytes is %s", *got.Value)
	}
	if res := describe(4, kmsg.ConfigResourceTypeBroker, ""); res.ErrorCode != 0 || len(res.Configs) != 0 {
		t.Errorf("cluster defaults: %+v", res)
	}
	for _, tc := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want kafka.Error
	}{
		{kmsg.ConfigResourceTypeTopic, "nobody", kafka.UnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "a/b", kafka.InvalidTopic},
		{kmsg.ConfigResourceTypeBroker, "2", kafka.InvalidRequest},
		{kmsg.ConfigResourceTypeBroker, "one", kafka.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "2", kafka.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "", kafka.InvalidRequest},
		{kmsg.ConfigResourceTypeGroupConfig, "", kafka.InvalidRequest},
		{kmsg.ConfigResourceTypeClientMetrics, "", kafka.InvalidRequest},
		{99, "1", kafka.InvalidRequest},
	} {
		if res := describe(4, tc.kind, tc.name); kafka.Error(res.ErrorCode) != tc.want || res.ErrorMessage == nil {
			t.Errorf("%v %q: error %d, want %d", tc.kind, tc.name, res.ErrorCode, tc.want)
		}
	}
}

// TestDescribeConfigsAmplifiesNothing: a resource that is named many times is described once.
func TestDescribeConfigsAmplifiesNothing(t *testing.T) {
	k := newKit(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	for range 3 {
		for _, name := range []string{"", strconv.Itoa(int(testNode)), "01"} {
			res := kmsg.NewDescribeConfigsRequestResource()
			res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeBroker, name
			req.Resources = append(req.Resources, res)
		}
	}
	for i, res := range ask[*kmsg.DescribeConfigsResponse](k.dial(internalListener), 4, req).Resources {
		want := kafka.InvalidRequest
		if i < 2 {
			want = 0
		}
		if kafka.Error(res.ErrorCode) != want || i != 1 && len(res.Configs) > 0 {
			t.Errorf("mention %d of %q: error %d, %d settings", i/3, res.ResourceName, res.ErrorCode, len(res.Configs))
		}
	}
}

// TestDescribeClusterEndpointTypes: controllers have no listener of their own.
func TestDescribeClusterEndpointTypes(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for kind, want := range map[int8]kafka.Error{1: 0, 2: kafka.MismatchedEndpointType, 3: kafka.UnsupportedEndpointType} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType = kind
		if resp := ask[*kmsg.DescribeClusterResponse](c, 1, req); kafka.Error(resp.ErrorCode) != want || (len(resp.Brokers) == 1) != (want == 0) || resp.EndpointType != 1 {
			t.Errorf("endpoint type %d: %+v", kind, resp)
		}
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeClusterAuthorizedOperations = true
	if resp := ask[*kmsg.DescribeClusterResponse](c, 0, req); resp.ClusterAuthorizedOperations != clusterOperations {
		t.Errorf("authorized operations %b", resp.ClusterAuthorizedOperations)
	}
}
