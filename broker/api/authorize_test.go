package api

import (
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/security/acl"
	"github.com/varve-io/varve/broker/wire"
)

// authorize turns an authorizer with rules on. They read "WRITE topic t"; all are for everyone.
func (k *kit) authorize(t *testing.T, o acl.Options, rules ...string) {
	t.Helper()
	var records []metadata.Record
	for _, text := range rules {
		f := strings.Fields(text)
		op, err1 := kafka.ParseACLOperation(f[0])
		resource, err2 := kafka.ParseACLResource(f[1])
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		name := kafka.ClusterResource
		if len(f) > 2 {
			name = f[2]
		}
		records = append(records, metadata.ACLRecord{ACL: kafka.ACL{
			Resource: resource, Name: name, Pattern: kafka.PatternLiteral, Principal: "User:ANONYMOUS", Host: "127.0.0.1", Operation: op, Permission: kafka.Allow,
		}})
	}
	img, _, err := new(metadata.Image).Apply(1, records)
	if err != nil {
		t.Fatal(err)
	}
	a := acl.New(o)
	a.Apply(img)
	k.api.o.Authorizer = a
}

// denials lists the codes of an answer that say that somebody may not.
func denialsIn(v reflect.Value) (found []kafka.Error) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return denialsIn(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = append(found, denialsIn(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "ErrorCode" {
				found = append(found, denialsIn(v.Field(i))...)
				continue
			}
			switch code := kafka.Error(v.Field(i).Int()); code {
			case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.TransactionalIDAuthorizationFailed:
				found = append(found, code)
			}
		}
	}
	return found
}

// access is a row of the matrix: a request, what it needs, and what it gets without.
type access struct {
	version int16
	req     kmsg.Request
	denied  kafka.Error
	needs   []string // all of them
}

func ptr[T any](v T) *T { return &v }

// accessOfData is the rows of what clients do with records.
func accessOfData() []access {
	list := listRequest(-1)
	asReplica := fetchRequest("t", kafka.UUID{}, 0)
	asReplica.ReplicaID = 7
	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: ptr("t")}}
	epochs := kmsg.NewPtrOffsetForLeaderEpochRequest()
	epochs.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{}}}}
	records := kmsg.NewPtrDeleteRecordsRequest()
	records.TimeoutMillis, records.Topics = 1000, []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{}}}}
	init := kmsg.NewPtrInitProducerIDRequest()
	init.ProducerID, init.ProducerEpoch = -1, -1
	initTxn := kmsg.NewPtrInitProducerIDRequest()
	initTxn.TransactionalID, initTxn.ProducerID, initTxn.ProducerEpoch = ptr("x"), -1, -1
	initTxn.TransactionTimeoutMillis = 1000
	add := kmsg.NewPtrAddPartitionsToTxnRequest()
	add.TransactionalID, add.Topics = "x", []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	verify := kmsg.NewPtrAddPartitionsToTxnRequest()
	offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
	offsets.TransactionalID, offsets.Group = "x", "g"
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID = "x"
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	txns := kmsg.NewPtrDescribeTransactionsRequest()
	txns.TransactionalIDs = []string{"x"}
	markers := kmsg.NewPtrWriteTxnMarkersRequest()
	markers.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 1, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: []int32{0}}}}}
	parts := kmsg.NewPtrDescribeTopicPartitionsRequest()
	parts.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}
	return []access{
		{9, produceRequest("t", kafka.UUID{}, 1, recordsOf("a")), kafka.TopicAuthorizationFailed, []string{"WRITE topic t"}},
		{12, fetchRequest("t", kafka.UUID{}, 0), kafka.TopicAuthorizationFailed, []string{"READ topic t"}},
		{12, asReplica, kafka.TopicAuthorizationFailed, []string{"CLUSTER_ACTION cluster"}},
		{7, list, kafka.TopicAuthorizationFailed, []string{"DESCRIBE topic t"}},
		{12, meta, kafka.TopicAuthorizationFailed, []string{"DESCRIBE topic t"}},
		{4, epochs, kafka.TopicAuthorizationFailed, []string{"DESCRIBE topic t"}},
		{4, epochs, kafka.TopicAuthorizationFailed, []string{"CLUSTER_ACTION cluster"}},
		{2, records, kafka.TopicAuthorizationFailed, []string{"DELETE topic t"}},
		{4, init, kafka.ClusterAuthorizationFailed, []string{"IDEMPOTENT_WRITE cluster"}},
		{4, init, kafka.ClusterAuthorizationFailed, []string{"WRITE topic whatever"}},
		{4, initTxn, kafka.TransactionalIDAuthorizationFailed, []string{"WRITE TransactionalId x"}},
		{3, add, kafka.TransactionalIDAuthorizationFailed, []string{"WRITE TransactionalId x", "WRITE topic t"}},
		{4, verify, kafka.ClusterAuthorizationFailed, []string{"CLUSTER_ACTION cluster"}},
		{3, offsets, kafka.TransactionalIDAuthorizationFailed, []string{"WRITE TransactionalId x", "READ group g"}},
		{3, end, kafka.TransactionalIDAuthorizationFailed, []string{"WRITE TransactionalId x"}},
		{0, producers, kafka.TopicAuthorizationFailed, []string{"READ topic t"}},
		{0, txns, kafka.TransactionalIDAuthorizationFailed, []string{"DESCRIBE TransactionalId x"}},
		{1, markers, kafka.ClusterAuthorizationFailed, []string{"ALTER cluster"}},
		{1, markers, kafka.ClusterAuthorizationFailed, []string{"CLUSTER_ACTION cluster"}},
		{0, parts, kafka.TopicAuthorizationFailed, []string{"DESCRIBE topic t"}},
	}
}

// accessOfGroups is the rows of groups.
func accessOfGroups() []access {
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}
	txnCommit := kmsg.NewPtrTxnOffsetCommitRequest()
	txnCommit.TransactionalID, txnCommit.Group, txnCommit.Generation = "x", "g", -1
	txnCommit.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Group, fetch.Topics = "g", []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	forGroup, forTxn := kmsg.NewPtrFindCoordinatorRequest(), kmsg.NewPtrFindCoordinatorRequest()
	forGroup.CoordinatorKey, forTxn.CoordinatorKey, forTxn.CoordinatorType = "g", "x", 1
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType = "g", "consumer"
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group = "g"
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = "g"
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group = "g"
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{"g"}
	modern := kmsg.NewPtrConsumerGroupDescribeRequest()
	modern.Groups = []string{"g"}
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"g"}
	delOffsets := kmsg.NewPtrOffsetDeleteRequest()
	delOffsets.Group, delOffsets.Topics = "g", []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
	member := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	member.Group, member.SubscribedTopicNames = "g", []string{"t"}
	const no = kafka.GroupAuthorizationFailed
	return []access{
		{6, commit, no, []string{"READ group g", "READ topic t"}},
		{3, txnCommit, kafka.TransactionalIDAuthorizationFailed, []string{"WRITE TransactionalId x", "READ group g", "READ topic t"}},
		{5, fetch, no, []string{"DESCRIBE group g", "DESCRIBE topic t"}},
		{3, forGroup, no, []string{"DESCRIBE group g"}},
		{3, forTxn, kafka.TransactionalIDAuthorizationFailed, []string{"DESCRIBE TransactionalId x"}},
		{5, join, no, []string{"READ group g"}},
		{4, beat, no, []string{"READ group g"}},
		{2, leave, no, []string{"READ group g"}},
		{4, sync, no, []string{"READ group g"}},
		{5, describe, no, []string{"DESCRIBE group g"}},
		{0, modern, no, []string{"DESCRIBE group g"}},
		{2, del, no, []string{"DELETE group g"}},
		{0, delOffsets, no, []string{"DELETE group g", "READ topic t"}},
		{0, member, no, []string{"READ group g", "DESCRIBE topic t"}},
	}
}

// accessOfAdmin is the rows of what operators do.
func accessOfAdmin() []access {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics, create.ValidateOnly = []kmsg.CreateTopicsRequestTopic{newTopic("new", 1, 1)}, true
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"none"}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics, grow.ValidateOnly = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 2}}, true
	configs := func(kind kmsg.ConfigResourceType, name string) *kmsg.DescribeConfigsRequest {
		r := kmsg.NewPtrDescribeConfigsRequest()
		r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
		return r
	}
	alter := func(kind kmsg.ConfigResourceType, name string) *kmsg.IncrementalAlterConfigsRequest {
		r := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r.Resources, r.ValidateOnly = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name}}, true
		return r
	}
	replace := kmsg.NewPtrAlterConfigsRequest()
	replace.Resources, replace.ValidateOnly = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"}}, true
	dirs := kmsg.NewPtrAlterReplicaLogDirsRequest()
	dirs.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/none", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "t", Partitions: []int32{0}}}}}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	quotas := kmsg.NewPtrAlterClientQuotasRequest()
	quotas.Entries, quotas.ValidateOnly = []kmsg.AlterClientQuotasRequestEntry{{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: ptr("u")}}}}, true
	scram := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	scram.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "u", Mechanism: 1}}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	features := kmsg.NewPtrUpdateFeaturesRequest()
	features.ValidateOnly = true
	unregister := kmsg.NewPtrUnregisterBrokerRequest()
	unregister.BrokerID = 99
	acls := kmsg.NewPtrDescribeACLsRequest()
	acls.ResourceType, acls.ResourcePatternType, acls.Operation, acls.PermissionType = 1, 1, 1, 1
	newACL := kmsg.NewPtrCreateACLsRequest()
	newACL.Creations = []kmsg.CreateACLsRequestCreation{{}}
	delACL := kmsg.NewPtrDeleteACLsRequest()
	delACL.Filters = []kmsg.DeleteACLsRequestFilter{{}}
	const no, noTopic = kafka.ClusterAuthorizationFailed, kafka.TopicAuthorizationFailed
	return []access{
		{5, create, noTopic, []string{"CREATE topic new", "DESCRIBE_CONFIGS topic new"}},
		{5, create, noTopic, []string{"CREATE cluster", "DESCRIBE_CONFIGS topic new"}},
		{5, del, noTopic, []string{"DELETE topic none"}},
		{5, del, noTopic, []string{"DELETE cluster"}},
		{1, grow, noTopic, []string{"ALTER topic t"}},
		{1, configs(kmsg.ConfigResourceTypeTopic, "t"), noTopic, []string{"DESCRIBE_CONFIGS topic t"}},
		{1, configs(kmsg.ConfigResourceTypeBroker, "1"), no, []string{"DESCRIBE_CONFIGS cluster"}},
		{1, configs(32, "g"), kafka.GroupAuthorizationFailed, []string{"DESCRIBE_CONFIGS group g"}},
		{1, alter(kmsg.ConfigResourceTypeTopic, "t"), noTopic, []string{"ALTER_CONFIGS topic t"}},
		{1, alter(kmsg.ConfigResourceTypeBrokerLogger, "1"), no, []string{"ALTER_CONFIGS cluster"}},
		{1, alter(32, "g"), kafka.GroupAuthorizationFailed, []string{"ALTER_CONFIGS group g"}},
		{1, replace, noTopic, []string{"ALTER_CONFIGS topic t"}},
		{1, dirs, no, []string{"ALTER cluster"}},
		{3, kmsg.NewPtrDescribeLogDirsRequest(), no, []string{"DESCRIBE cluster"}},
		{2, elect, no, []string{"ALTER cluster"}},
		{0, kmsg.NewPtrAlterPartitionAssignmentsRequest(), no, []string{"ALTER cluster"}},
		{0, kmsg.NewPtrListPartitionReassignmentsRequest(), no, []string{"DESCRIBE cluster"}},
		{0, kmsg.NewPtrDescribeClientQuotasRequest(), no, []string{"DESCRIBE_CONFIGS cluster"}},
		{0, quotas, no, []string{"ALTER_CONFIGS cluster"}},
		{0, kmsg.NewPtrDescribeUserSCRAMCredentialsRequest(), no, []string{"DESCRIBE cluster"}},
		{0, scram, no, []string{"ALTER cluster"}},
		{1, quorum, no, []string{"DESCRIBE cluster"}},
		{1, features, no, []string{"ALTER cluster"}},
		{0, unregister, no, []string{"ALTER cluster"}},
		{0, kmsg.NewPtrListConfigResourcesRequest(), no, []string{"DESCRIBE_CONFIGS cluster"}},
		{1, acls, no, []string{"DESCRIBE cluster"}},
		{1, newACL, no, []string{"ALTER cluster"}},
		{1, delACL, no, []string{"ALTER cluster"}},
	}
}

// TestA7EveryRequest: what each request needs, beside nothing at all, all but one rule, and a
// super user's word.
func TestA7EveryRequest(t *testing.T) {
	k, _ := groupKit(t) // which has t, and a coordinator
	rows := append(append(accessOfData(), accessOfGroups()...), accessOfAdmin()...)
	seen := map[int16]bool{
		// Anybody may: before the login, about itself, or only what the rules let it see (TestA7Filters).
		wire.KeySaslHandshake: true, wire.KeySaslAuthenticate: true, wire.KeyApiVersions: true, wire.KeyGetTelemetrySubscriptions: true,
		wire.KeyPushTelemetry: true, wire.KeyDescribeCluster: true, wire.KeyListGroups: true, wire.KeyListTransactions: true,
		// Not for those who have not logged in, whatever the rules say; TestA10 in test/e2e has them.
		wire.KeyCreateDelegationToken: true, wire.KeyRenewDelegationToken: true, wire.KeyExpireDelegationToken: true, wire.KeyDescribeDelegationToken: true,
	}
	for _, row := range rows {
		seen[row.req.Key()] = true
		name := kmsg.NameForKey(row.req.Key()) + " " + strings.Join(row.needs, ", ")
		ask := func() []kafka.Error {
			t.Helper()
			return denialsIn(reflect.ValueOf(ask[kmsg.Response](k.dial(internalListener), row.version, row.req)))
		}
		k.authorize(t, acl.Options{})
		if got := ask(); len(got) == 0 || got[0] != row.denied {
			t.Errorf("%s: without rules %v, want %v", name, got, row.denied)
		}
		k.authorize(t, acl.Options{}, row.needs...)
		if got := ask(); len(got) != 0 {
			t.Errorf("%s: with them still %v", name, got)
		}
		for i := range row.needs {
			rest := append(append([]string{"READ topic other"}, row.needs[:i]...), row.needs[i+1:]...)
			k.authorize(t, acl.Options{}, rest...)
			if got := ask(); len(got) == 0 && !strings.HasPrefix(row.needs[i], "DESCRIBE_CONFIGS topic new") {
				t.Errorf("%s: allowed with %v alone", name, rest)
			}
		}
		k.authorize(t, acl.Options{SuperUsers: []kafka.Principal{kafka.Anonymous()}})
		if got := ask(); len(got) != 0 {
			t.Errorf("%s: a super user gets %v", name, got)
		}
	}
	for _, row := range table {
		if !seen[row.key] {
			t.Errorf("%s is in no row of the matrix", k.api.Name(row.key))
		}
	}
}

// TestA7Filters: lists hold what the client may describe, and bits tell what it may do.
func TestA7Filters(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	k.topic("u")
	c := k.dial(internalListener)
	k.authorize(t, acl.Options{}, "READ topic t", "ALTER_CONFIGS topic t", "DESCRIBE group g")
	all := kmsg.NewPtrMetadataRequest()
	all.IncludeTopicAuthorizedOperations, all.IncludeClusterAuthorizedOperations = true, true
	m := ask[*kmsg.MetadataResponse](c, 9, all)
	if len(m.Topics) != 1 || *m.Topics[0].Topic != "t" || m.AuthorizedOperations != 0 {
		t.Errorf("metadata of all topics: %+v", m)
	}
	if want := int32(1<<kafka.OpRead | 1<<kafka.OpDescribe | 1<<kafka.OpDescribeConfigs | 1<<kafka.OpAlterConfigs); m.Topics[0].AuthorizedOperations != want {
		t.Errorf("operations %b, want %b", m.Topics[0].AuthorizedOperations, want)
	}
	named := kmsg.NewPtrMetadataRequest()
	named.Topics, named.AllowAutoTopicCreation = []kmsg.MetadataRequestTopic{{Topic: ptr("u")}, {Topic: ptr("none")}}, true
	for _, topic := range ask[*kmsg.MetadataResponse](c, 9, named).Topics {
		if topic.ErrorCode != int16(kafka.TopicAuthorizationFailed) || len(topic.Partitions) != 0 {
			t.Errorf("a topic that may not be seen: %+v", topic)
		}
	}
	if k.cluster.Image().Topic("none") != nil {
		t.Error("a topic was created for who may not see it")
	}
	k.authorize(t, acl.Options{}, "DESCRIBE cluster", "ALTER cluster")
	d := kmsg.NewPtrDescribeClusterRequest()
	d.IncludeClusterAuthorizedOperations = true
	if got := ask[*kmsg.DescribeClusterResponse](c, 0, d).ClusterAuthorizedOperations; got != 1<<kafka.OpDescribe|1<<kafka.OpAlter {
		t.Errorf("operations on the cluster %b", got)
	}
	k.authorize(t, acl.Options{})
	if got := ask[*kmsg.DescribeClusterResponse](c, 0, d).ClusterAuthorizedOperations; got != 0 {
		t.Errorf("operations on the cluster %b for who may not describe it", got)
	}
	if k.api.Denials() == 0 {
		t.Error("nothing was counted")
	}
}

// TestA7NoTopicIsTold: who may not delete a topic does not learn from the answer whether it is there.
func TestA7NoTopicIsTold(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	del := kmsg.NewPtrDeleteTopicsRequest()
	for _, name := range []string{"t", "none"} {
		del.Topics = append(del.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
	}
	ask := func(rules ...string) [2]kmsg.DeleteTopicsResponseTopic {
		k.authorize(t, acl.Options{}, rules...)
		topics := ask[*kmsg.DeleteTopicsResponse](c, 6, del).Topics
		return [2]kmsg.DeleteTopicsResponseTopic{topics[0], topics[1]}
	}
	for _, got := range ask() {
		if got.ErrorCode != int16(kafka.TopicAuthorizationFailed) || got.TopicID != [16]byte{} {
			t.Errorf("without rights: %+v", got)
		}
	}
	got := ask("DESCRIBE topic t", "DESCRIBE topic none")
	if got[0].ErrorCode != int16(kafka.TopicAuthorizationFailed) || got[1].ErrorCode != int16(kafka.UnknownTopicOrPartition) {
		t.Errorf("who may describe them: %+v", got)
	}
}

// TestA7SessionsAreChecked: a fetch session reads no more of a topic than a rule lets it.
func TestA7SessionsAreChecked(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	k.authorize(t, acl.Options{}, "ALL topic t")
	c.produce("t", recordsOf("a"))
	req := fetchRequest("t", kafka.UUID{}, 0)
	req.SessionEpoch = 0
	first := ask[*kmsg.FetchResponse](c, 12, req)
	if first.SessionID == 0 || first.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("%+v", first)
	}
	k.authorize(t, acl.Options{})
	again := kmsg.NewPtrFetchRequest()
	again.MaxWaitMillis, again.MinBytes, again.MaxBytes, again.ReplicaID = 100, 1, 1<<20, -1
	again.SessionID, again.SessionEpoch = first.SessionID, 1
	got := ask[*kmsg.FetchResponse](c, 12, again)
	if len(got.Topics) != 1 || got.Topics[0].Partitions[0].ErrorCode != int16(kafka.TopicAuthorizationFailed) || len(got.Topics[0].Partitions[0].RecordBatches) != 0 {
		t.Errorf("after the rule has gone: %+v", got)
	}
}

// TestA8IdempotentWrite: a producer id takes IdempotentWrite on the cluster or Write on any topic;
// its batches then take Write on their topic alone.
func TestA8IdempotentWrite(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	for _, row := range []struct {
		rule string
		want kafka.Error
	}{
		{"READ topic t", kafka.ClusterAuthorizationFailed}, {"ALTER cluster", kafka.ClusterAuthorizationFailed},
		{"WRITE topic t", kafka.NoError}, {"WRITE topic *", kafka.NoError}, {"ALL cluster", kafka.NoError}, {"IDEMPOTENT_WRITE cluster", kafka.NoError},
	} {
		k.authorize(t, acl.Options{}, row.rule)
		if got := ask[*kmsg.InitProducerIDResponse](c, 4, req); got.ErrorCode != int16(row.want) {
			t.Errorf("with %s: %v, want %v", row.rule, kafka.Error(got.ErrorCode), row.want)
		}
	}
}

// TestA7RulesByRequest: rules are created, listed, found and deleted by clients, and hold at once.
func TestA7RulesByRequest(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	list := kmsg.NewPtrDescribeACLsRequest()
	list.ResourceType, list.ResourcePatternType, list.Operation, list.PermissionType = 2, 2, 1, 1
	list.ResourceName = ptr("t")
	if got := ask[*kmsg.DescribeACLsResponse](c, 1, list); got.ErrorCode != int16(kafka.SecurityDisabled) {
		t.Errorf("without an authorizer: %v", kafka.Error(got.ErrorCode))
	}
	k.authorize(t, acl.Options{SuperUsers: []kafka.Principal{kafka.Anonymous()}})
	create := kmsg.NewPtrCreateACLsRequest()
	for _, name := range []string{"t", "t", "", "*"} {
		create.Creations = append(create.Creations, kmsg.CreateACLsRequestCreation{
			ResourceType: 2, ResourceName: name, ResourcePatternType: 3, Principal: "User:ann", Host: "*", Operation: 3, PermissionType: 3,
		})
	}
	var codes []int16
	for _, res := range ask[*kmsg.CreateACLsResponse](c, 1, create).Results {
		codes = append(codes, res.ErrorCode)
	}
	if want := []int16{0, 0, int16(kafka.InvalidRequest), 0}; !reflect.DeepEqual(codes, want) {
		t.Errorf("creating: %v, want %v", codes, want)
	}
	k.api.o.Authorizer.Apply(k.cluster.Image())
	if !k.api.o.Authorizer.Allowed(acl.Client{Principal: kafka.User("ann"), Host: "::1"}, kafka.OpRead, kafka.ResourceTopic, "t") {
		t.Error("a rule that was created does not hold")
	}
	if got := ask[*kmsg.DescribeACLsResponse](c, 1, list); len(got.Resources) != 2 { // the literal one and the wildcard
		t.Errorf("rules that match t: %+v", got.Resources)
	}
	del := kmsg.NewPtrDeleteACLsRequest()
	del.Filters = []kmsg.DeleteACLsRequestFilter{
		{ResourceType: 2, ResourceName: ptr("t"), ResourcePatternType: 3, Operation: 1, PermissionType: 1}, {ResourceType: 99, Operation: 1, PermissionType: 1, ResourcePatternType: 1},
	}
	gone := ask[*kmsg.DeleteACLsResponse](c, 1, del).Results
	if len(gone[0].MatchingACLs) != 1 || gone[1].ErrorCode != int16(kafka.InvalidRequest) || k.cluster.Image().ACLCount() != 1 {
		t.Errorf("deleting: %+v", gone)
	}
}

// A10: where nobody has logged in, there are no tokens, whatever is asked in whatever version.
func TestA10NoTokensWithoutALogin(t *testing.T) {
	c := newKit(t).dial(internalListener)
	const refused = int16(kafka.DelegationTokenRequestNotAllowed)
	for v := int16(1); v <= 3; v++ {
		if got := ask[*kmsg.CreateDelegationTokenResponse](c, v, kmsg.NewPtrCreateDelegationTokenRequest()); got.ErrorCode != refused || got.PrincipalName != "ANONYMOUS" || got.TokenID != "" {
			t.Errorf("v%d: created %+v", v, got)
		}
		if got := ask[*kmsg.DescribeDelegationTokenResponse](c, v, kmsg.NewPtrDescribeDelegationTokenRequest()); got.ErrorCode != refused {
			t.Errorf("v%d: described %+v", v, got)
		}
		if v == 3 {
			break
		}
		if got := ask[*kmsg.RenewDelegationTokenResponse](c, v, kmsg.NewPtrRenewDelegationTokenRequest()); got.ErrorCode != refused || got.ExpiryTimestamp != -1 {
			t.Errorf("v%d: renewed %+v", v, got)
		}
		if got := ask[*kmsg.ExpireDelegationTokenResponse](c, v, kmsg.NewPtrExpireDelegationTokenRequest()); got.ErrorCode != refused || got.ExpiryTimestamp != -1 {
			t.Errorf("v%d: expired %+v", v, got)
		}
	}
}
