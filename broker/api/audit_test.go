package api

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/security/acl"
	"github.com/varve-io/varve/broker/wire"
)

// lockedBuffer is a log that handlers write while a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take is what was written since it was last called.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.b.String()
	l.b.Reset()
	return text
}

// deed is a request that changes something, and what the log says of it.
type deed struct {
	version int16
	req     kmsg.Request
	says    []string // nil: nothing
}

// deedsOfTopics creates, alters and deletes the topic made.
func deedsOfTopics() []deed {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{newTopic("made", 2, 1)}
	create.Topics[0].Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: ptr("1000")}}
	check := *create
	check.Topics, check.ValidateOnly = []kmsg.CreateTopicsRequestTopic{newTopic("checked", 1, 1)}, true
	onDemand := kmsg.NewPtrMetadataRequest()
	onDemand.AllowAutoTopicCreation, onDemand.Topics = true, []kmsg.MetadataRequestTopic{{Topic: ptr("demanded")}}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "made", Count: 3}}
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "made", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
			{Name: "cleanup.policy", Value: ptr("compact"), Op: kmsg.IncrementalAlterConfigOpAppend},
			{Name: "retention.ms", Op: kmsg.IncrementalAlterConfigOpDelete},
		},
	}}
	replace := kmsg.NewPtrAlterConfigsRequest()
	replace.Resources = []kmsg.AlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "made",
		Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "segment.ms", Value: ptr("60000")}},
	}}
	level := kmsg.NewPtrIncrementalAlterConfigsRequest()
	level.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "1",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: rootLogger, Value: ptr("INFO")}},
	}}
	records := kmsg.NewPtrDeleteRecordsRequest()
	records.TimeoutMillis, records.Topics = 1000, []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}
	reassign := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	reassign.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1}}}}}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"made", "never"}
	return []deed{
		{5, create, []string{`kind=topic name=made`, `partitions=2 settings="retention.ms=1000"`}},
		{5, create, nil}, // is there already
		{5, &check, nil},
		{5, onDemand, []string{"request=Metadata", "kind=topic name=demanded"}},
		{1, grow, []string{"kind=topic name=made partitions=3"}},
		{1, alter, []string{`kind="settings of TOPIC" name=made settings="cleanup.policy+=compact -retention.ms"`}},
		{1, replace, []string{`name=made settings="segment.ms=60000" replaced=true`}},
		{1, level, []string{`kind="settings of BROKER_LOGGER" name=1`}},
		{2, records, []string{`kind="log starts" name=t-0:1`}},
		{0, reassign, []string{`kind=partition name=t-0 replicas=[1]`}},
		{5, del, []string{"kind=topic name=made"}},
	}
}

// deedsOfOthers changes everything else.
func deedsOfOthers(k *kit) []deed {
	dirs := kmsg.NewPtrAlterReplicaLogDirsRequest()
	dirs.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: k.dirs.Dirs()[0].Path, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "t", Partitions: []int32{0}}}}}
	quotas := kmsg.NewPtrAlterClientQuotasRequest()
	quotas.Entries = []kmsg.AlterClientQuotasRequestEntry{{
		Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: ptr("ann")}, {Type: "client-id"}},
		Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: 1024}},
	}}
	scram := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	scram.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{
		Name: "ann", Mechanism: 1, Iterations: 4096, Salt: []byte("salt-of-ann"), SaltedPassword: bytes.Repeat([]byte("secret--"), 4),
	}}
	features := kmsg.NewPtrUpdateFeaturesRequest()
	features.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "transaction.version", MaxVersionLevel: 0, UpgradeType: 2}}
	newACL := kmsg.NewPtrCreateACLsRequest()
	newACL.Creations = []kmsg.CreateACLsRequestCreation{{
		ResourceType: 2, ResourceName: "t", ResourcePatternType: 3, Principal: "User:ann", Host: "*", Operation: 3, PermissionType: 3,
	}}
	delACL := kmsg.NewPtrDeleteACLsRequest()
	delACL.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1}}
	const rule = `kind=rule name="ALLOW User:ann READ TOPIC LITERAL:t from *"`
	markers := kmsg.NewPtrWriteTxnMarkersRequest()
	markers.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 7, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: []int32{0}}}}}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}
	offsets := kmsg.NewPtrOffsetDeleteRequest()
	offsets.Group, offsets.Topics = "g", []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
	group := kmsg.NewPtrDeleteGroupsRequest()
	group.Groups = []string{"g"}
	return []deed{
		{1, dirs, []string{"kind=partition name=t-0 dir="}},
		{0, quotas, []string{`kind=quota name="user=ann client-id=<default>" set=map[producer_byte_rate:1024]`}},
		{0, scram, []string{"kind=user name=ann mechanism=SCRAM-SHA-256 removed=false"}},
		{1, features, []string{"kind=feature name=transaction.version level=0"}},
		{1, newACL, []string{rule}},
		{1, delACL, []string{rule}},
		{1, markers, []string{"kind=partition name=t-0 producer_id=7 epoch=0 commit=false"}},
		{6, commit, nil}, // what programs do all day
		{0, offsets, []string{"kind=group name=g offsets=t-0"}},
		{6, commit, nil},
		{2, group, []string{"kind=group name=g"}},
	}
}

// TestChangesAreLogged: whoever changes something of the cluster is in the log with what it was; what
// was refused, only checked, or a secret, is not.
func TestChangesAreLogged(t *testing.T) {
	k, c := groupKit(t)
	c2 := ask[*kmsg.ProduceResponse](c, 9, produceRequest("t", kafka.UUID{}, 1, recordsOf("a", "b")))
	if code := c2.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("produce: error %d", code)
	}
	k.authorize(t, acl.Options{SuperUsers: []kafka.Principal{kafka.Anonymous()}})
	log := new(lockedBuffer)
	k.api.o.Logger = slog.New(slog.NewTextHandler(log, nil))
	seen := map[int16]bool{
		// Their changes need a second broker, or a login: TestA10DelegationTokens in test/e2e, TestR50CanarySecrets.
		wire.KeyElectLeaders: true, wire.KeyUnregisterBroker: true,
		wire.KeyCreateDelegationToken: true, wire.KeyRenewDelegationToken: true, wire.KeyExpireDelegationToken: true,
	}
	for _, d := range append(deedsOfTopics(), deedsOfOthers(k)...) {
		name := kmsg.NameForKey(d.req.Key())
		ask[kmsg.Response](c, d.version, d.req)
		text := log.take()
		if noted := strings.Count(text, "changed by a client"); (d.says != nil) != (noted == 1) {
			t.Errorf("%s: %d notes: %s", name, noted, text)
			continue
		}
		if d.says == nil {
			continue
		}
		seen[d.req.Key()] = true
		for _, want := range append(d.says, "principal=User:ANONYMOUS host=127.0.0.1 listener=INTERNAL", "request="+k.api.Name(d.req.Key())) {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the log lacks %s: %s", name, want, text)
			}
		}
		if strings.Contains(text, "secret--") || strings.Contains(text, "salt-of-ann") {
			t.Errorf("%s: a secret is in the log: %s", name, text)
		}
	}
	for _, row := range accessOfAdmin() { // what takes more than a right to describe
		changes := !strings.HasPrefix(row.needs[0], "DESCRIBE")
		if changes && !seen[row.req.Key()] {
			t.Errorf("nobody has looked whether %s is logged", k.api.Name(row.req.Key()))
		}
	}
}

// Of offsets that a group's members keep it is not said that they are deleted.
func TestOffsetsThatStayAreNotLogged(t *testing.T) {
	asked := []kafka.TopicPartition{{Topic: "t"}, {Topic: "u"}}
	gone := deletedOffsets(asked, []kafka.Error{kafka.GroupSubscribedToTopic, kafka.NoError})
	if len(gone) != 1 || gone[0].Topic != "u" {
		t.Errorf("deleted are %v, want u alone", gone)
	}
}
