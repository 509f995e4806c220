package wire_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/vfs"
)

// fill gives every field a random value, with empty, null, short and long ones among
// them. With tags, the structs of kmsg get tags that nobody knows.
func fill(rng *rand.Rand, v reflect.Value, tags bool) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if rng.IntN(8) > 0 { // else the default
			v.SetInt(rng.Int64() >> rng.IntN(64))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(rng.Uint64())
	case reflect.Float64:
		v.SetFloat(rng.NormFloat64())
	case reflect.String:
		v.SetString(string(randomBytes(rng)))
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i), tags)
		}
	case reflect.Pointer:
		v.SetZero()
		if rng.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem(), tags)
		}
	case reflect.Slice:
		fillSlice(rng, v, tags)
	case reflect.Struct:
		fillStruct(rng, v, tags)
	}
}

func fillSlice(rng *rand.Rand, v reflect.Value, tags bool) {
	switch {
	case v.Type() == reflect.TypeFor[[]vfs.Range]():
		v.SetZero()
	case v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(randomBytes(rng)) // not null: FetchResponse has no null records
	case rng.IntN(6) == 0:
		v.SetZero()
	default:
		n := rng.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(rng, v.Index(i), tags)
		}
	}
}

func fillStruct(rng *rand.Rand, v reflect.Value, tags bool) {
	if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
		d.Default()
	}
	if t, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		for range rng.IntN(3) {
			if tags {
				t.Set(100+rng.Uint32N(1000), randomBytes(rng))
			}
		}
		return
	}
	for i := range v.NumField() {
		fill(rng, v.Field(i), tags)
	}
}

// since says from which version a tagged field exists; kmsg writes it in every flexible version.
var since = map[reflect.Type]map[string]int16{
	reflect.TypeFor[kmsg.ProduceResponse]():               {"Brokers": 10},
	reflect.TypeFor[kmsg.ProduceResponseTopicPartition](): {"CurrentLeader": 10},
	reflect.TypeFor[kmsg.FetchRequest]():                  {"ReplicaState": 15},
	reflect.TypeFor[kmsg.FetchRequestTopicPartition]():    {"ReplicaDirectoryID": 17, "HighWatermark": 18},
	reflect.TypeFor[kmsg.FetchResponse]():                 {"Brokers": 16},
}

// random fills a kmsg message with what the version can hold.
func random(rng *rand.Rand, o oracle, version int16, tags bool) {
	v := reflect.ValueOf(o).Elem()
	fill(rng, v, tags)
	dropLater(v, version)
	o.SetVersion(version)
}

// dropLater sets tagged fields of later versions to their defaults.
func dropLater(v reflect.Value, version int16) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			dropLater(v.Index(i), version)
		}
	case reflect.Struct:
		defaults := reflect.New(v.Type())
		if d, ok := defaults.Interface().(interface{ Default() }); ok {
			d.Default()
		}
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if version < since[v.Type()][name] {
				v.Field(i).Set(defaults.Elem().Field(i))
			} else {
				dropLater(v.Field(i), version)
			}
		}
	}
}

func randomBytes(rng *rand.Rand) []byte {
	n := rng.IntN(20)
	switch rng.IntN(10) {
	case 0:
		n = 0
	case 1:
		n = 100 + rng.IntN(100) // lengths of two bytes
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return b
}

// clearTags takes the unknown tags out of a kmsg message.
func clearTags(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			clearTags(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			clearTags(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			clearTags(v.Field(i))
		}
	}
}

// names maps the names of kmsg's fields to the protocol's, where they differ.
var names = map[string][]string{
	"ThrottleMillis":           {"ThrottleTimeMs"},
	"Type":                     {"Type", "EntityType"},
	"Name":                     {"Name", "EntityName"},
	"TimeoutMillis":            {"TimeoutMs", "TransactionTimeoutMs"},
	"MaxWaitMillis":            {"MaxWaitMs"},
	"TransactionTimeoutMillis": {"TransactionTimeoutMs"},
	"TransactionID":            {"TransactionalID"},
	"Topic":                    {"Topic", "Name", "TopicName"},
	"Group":                    {"Group", "GroupID"},
	"Generation":               {"Generation", "GenerationID", "GenerationIDOrMemberEpoch"},
	"InstanceID":               {"GroupInstanceID", "InstanceID"},
	"HeartbeatIntervalMillis":  {"HeartbeatIntervalMs"},
	"SubscribedTopics":         {"SubscribedTopicNames"},
	"RetentionTimeMillis":      {"RetentionTimeMs"},
	"SessionTimeoutMillis":     {"SessionTimeoutMs", "SessionTimeout"},
	"RebalanceTimeoutMillis":   {"RebalanceTimeoutMs", "RebalanceTimeout"},
	"Offset":                   {"Offset", "CommittedOffset"},
	"LeaderEpoch":              {"LeaderEpoch", "CommittedLeaderEpoch"},
	"Metadata":                 {"Metadata", "CommittedMetadata"},
	"CoordinatorKey":           {"Key"},
	"CoordinatorType":          {"KeyType"},
	"Protocol":                 {"Protocol", "ProtocolName", "ProtocolData"},
	"LeaderID":                 {"LeaderID", "Leader"},
	"ProtocolMetadata":         {"Metadata", "MemberMetadata"},
	"GroupAssignment":          {"Assignments"},
	"MemberAssignment":         {"MemberAssignment", "Assignment"},
	"State":                    {"GroupState", "TransactionState", "TransactionStatus"},
	"Groups":                   {"Groups", "GroupsNames", "GroupIDs", "Results"},
	"Topics":                   {"Topics", "TopicData", "Responses", "TopicPartitions", "ReplicaElectionResults", "Results", "ResultsByTopic", "TopicResults", "TransactionPartitions"},
	"ForgottenTopics":          {"ForgottenTopicsData"},
	"Partition":                {"Partition", "PartitionIndex", "Index", "PartitionID"},
	"Partitions":               {"Partitions", "PartitionData", "PartitionResponses", "PartitionIndexes", "PartitionResult", "PartitionIDs", "ResultsByPartition"},
	"ID":                       {"ReplicaID"},
	"Epoch":                    {"Epoch", "ReplicaEpoch", "GroupEpoch"},
	"Rack":                     {"Rack", "RackID"},
	"RecordBatches":            {"Inline"},
	"Brokers":                  {"Brokers", "NodeEndpoints"},
	"NodeID":                   {"NodeID", "BrokerID"},
	"LogAppendTime":            {"LogAppendTimeMs"},
	"ErrorRecords":             {"RecordErrors"},
	"RelativeOffset":           {"BatchIndex"},
	"ErrorMessage":             {"ErrorMessage", "BatchIndexErrorMessage"},
	"Leader":                   {"LeaderID", "Leader"},
	"Replicas":                 {"Replicas", "ReplicaNodes", "BrokerIDs"},
	"ISR":                      {"ISRNodes"},
	"AuthorizedOperations":     {"AuthorizedOperations", "TopicAuthorizedOperations", "ClusterAuthorizedOperations"},
	"ReplicaAssignment":        {"Assignments"},
	"ConfigErrorCode":          {"TopicConfigErrorCode"},
	"Source":                   {"Source", "ConfigSource"},
	"ConfigNames":              {"ConfigurationKeys"},
	"ConfigSynonyms":           {"Synonyms"},
	"Resources":                {"Resources", "Results", "Responses"},
	"Dirs":                     {"Dirs", "Results"},
	"Dir":                      {"LogDir", "Path"},
	"Size":                     {"PartitionSize"},
	"IsFuture":                 {"IsFutureKey"},
	"Assignment":               {"Assignment", "Assignments"},
	"Op":                       {"ConfigOperation"},
	"PushIntervalMillis":       {"PushIntervalMs"},
	"Commit":                   {"Committed"},
	"ErrorCode":                {"ErrorCode", "PartitionErrorCode"},
	"Committed":                {"TransactionResult"},
	"StartTimestamp":           {"TransactionStartTimeMs", "TransactionStartTimestampMs"},
	"LastUpdateTimestamp":      {"TransactionLastUpdateTimestampMs"},
	"DurationFilterMillis":     {"DurationFilter"},
	"Transactions":             {"Transactions", "ResultsByTransaction"},
}

// notOurs are kmsg's fields that no version in the table has, and its own book-keeping.
var notOurs = []string{"Version", "UnknownTags", "MaxNumOffsets", "OldStyleOffsets", "IsDefault", "Timestamp"}

// ownDefaults are defaults of kmsg that differ from Kafka's definitions.
var ownDefaults = map[reflect.Type]map[string]any{
	reflect.TypeFor[kmsg.ProduceRequest]():                     {"TimeoutMillis": int32(15000)},
	reflect.TypeFor[kmsg.ListOffsetsRequest]():                 {"TimeoutMillis": int32(30000)},
	reflect.TypeFor[kmsg.DeleteTopicsRequest]():                {"TimeoutMillis": int32(15000)},
	reflect.TypeFor[kmsg.DeleteRecordsRequest]():               {"TimeoutMillis": int32(15000)},
	reflect.TypeFor[kmsg.CreatePartitionsRequest]():            {"TimeoutMillis": int32(15000)},
	reflect.TypeFor[kmsg.UpdateFeaturesRequestFeatureUpdate](): {"UpgradeType": int8(0)},
	reflect.TypeFor[kmsg.MetadataRequest]():                    {"AllowAutoTopicCreation": false},
	reflect.TypeFor[kmsg.OffsetCommitValue]():                  {"LeaderEpoch": int32(0), "ExpireTimestamp": int64(0)},
}

// sameFields fails unless ours holds what theirs holds, name by name.
func sameFields(t *testing.T, path string, theirs, ours reflect.Value) {
	t.Helper()
	matched := make(map[string]bool)
	for i := range theirs.NumField() {
		name := theirs.Type().Field(i).Name
		candidates := names[name]
		if candidates == nil {
			candidates = []string{name}
		}
		if theirs.Type() == reflect.TypeFor[kmsg.ListConfigResourcesResponseConfigResource]() {
			candidates = []string{"Resource" + name}
		}
		if theirs.Type() == reflect.TypeFor[kmsg.DeleteTopicsResponse]() && name == "Topics" {
			candidates = []string{"Responses"}
		}
		if j := slices.IndexFunc(candidates, func(s string) bool { return ours.FieldByName(s).IsValid() }); j >= 0 {
			matched[candidates[j]] = true
			if d, ok := ownDefaults[theirs.Type()][name]; ok && theirs.Field(i).Interface() == d {
				continue
			}
			sameValue(t, path+"."+name, theirs.Field(i), ours.FieldByName(candidates[j]))
		} else if !slices.Contains(notOurs, name) {
			t.Fatalf("%s.%s has no counterpart in %s", path, name, ours.Type())
		}
	}
	for i := range ours.NumField() {
		f := ours.Type().Field(i)
		if f.Type != reflect.TypeFor[[]vfs.Range]() && !matched[f.Name] {
			t.Fatalf("%s: %s.%s has no counterpart in %s", path, ours.Type(), f.Name, theirs.Type())
		}
	}
}

func sameValue(t *testing.T, path string, theirs, ours reflect.Value) {
	t.Helper()
	switch theirs.Kind() {
	case reflect.Slice:
		if theirs.Len() != ours.Len() {
			t.Fatalf("%s: %d elements, want %d", path, ours.Len(), theirs.Len())
		}
		for i := range theirs.Len() {
			sameValue(t, path, theirs.Index(i), ours.Index(i))
		}
	case reflect.Struct:
		sameFields(t, path, theirs, ours)
	case reflect.Pointer:
		// In versions where a string can't be null, kmsg may leave nil for the empty one or not.
		if theirs.IsNil() != ours.IsNil() {
			t.Fatalf("%s: null %v, want %v", path, ours.IsNil(), theirs.IsNil())
		}
		if !theirs.IsNil() {
			sameValue(t, path, theirs.Elem(), ours.Elem())
		}
	default:
		if want := theirs.Convert(ours.Type()); !want.Equal(ours) {
			t.Fatalf("%s: %v, want %v", path, ours, want)
		}
	}
}
