package judge

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// row is a difference that is meant, or owed. A * in it stands for any text.
type row struct {
	at, kafka, varve string
	why              string // in words of docs/differences.md
}

// expected are the differences that docs/differences.md explains.
var expected = []row{
	// answers in general
	{"*ErrorMessage", "null", "a text", "Errors carry a message"},
	{"*configs / * / Resources[*].ErrorMessage", `""`, "a text", "Errors carry a message"},

	// ApiVersions
	{"* / * / ApiKeys[*]", "element", absent, "Keys that are not in the table are not served either."},
	{"* / * / ApiKeys[71]", absent, "element", "Kafka serves it only with a plugin that receives metrics"},
	{"* / * / ApiKeys[72]", absent, "element", "Kafka serves it only with a plugin that receives metrics"},
	{"* / * / ApiKeys[18].MaxVersion", "4", "5", "The basis is Apache Kafka 4.4."},
	{"* / * / ApiKeys[42].MaxVersion", "2", "3", "The basis is Apache Kafka 4.4."},
	{"* / * / ApiKeys[28].MaxVersion", "5", "6", "The basis is Apache Kafka 4.4."},
	{"versions / * / SupportedFeatures", "list", "null", "of Kafka's features"},
	{"versions / * / FinalizedFeatures[*]", "element", absent, "of Kafka's features"},
	{"versions / * / SupportedFeatures[*]", "element", absent, "of Kafka's features"},

	// settings
	{"* / * / *Configs[*]", "element", absent, "The broker's list holds the settings that have an effect"},
	{"* / * / *Configs[varve.*]", absent, "element", "The broker's list holds the settings that have an effect"},
	{"* / * / *Configs[*remote.copy.lag.*]", absent, "element", "The basis is Apache Kafka 4.4."},
	{"* / * / *Configs[min.insync.replicas].*", "*", "*", "no cluster-wide default of `min.insync.replicas` is stored at formatting"},
	{"brokerconfigs / * cluster defaults / Resources[0].Configs", "list", "null", "no cluster-wide default of `min.insync.replicas` is stored at formatting"},
	{"* / * / *Configs[retention.ms].Value", " 5 ", "5", "Values are kept and shown in canonical form"},
	{"* / * / *Configs[cleanup.policy].Value", "compact,compact", "compact", "Values are kept and shown in canonical form"},
	{"* / * / *Configs[cleanup.policy].Value", "delete, compact", "delete,compact", "Values are kept and shown in canonical form"},
	{"* / * / *Configs[preallocate].Value", "TRUE", "true", "Values are kept and shown in canonical form"},
	{"brokerconfigs / * / *Configs[listener*].ReadOnly", "false", "true", "listeners do not change while the broker runs"},
	{"brokerconfigs / * / *Configs[listeners].*Value", "*CONTROLLER*", "*", "controllers have no listener of their own"},
	{"brokerconfigs / * / *Configs[listener.security.protocol.map].*", "*", "*", "controllers have no listener of their own"},
	{"brokerconfigs / * / *Configs[log.dirs].*Value", "*", "*", "`log.dirs` and `node.id` have defaults"},
	{"brokerconfigs / * / *Configs[log.dirs].ConfigSynonyms[log.dirs#2]", absent, "element", "`log.dirs` and `node.id` have defaults"},
	{"brokerconfigs / * / *Configs[node.id].ConfigSynonyms[node.id#2]", absent, "element", "`log.dirs` and `node.id` have defaults"},
	{"brokerconfigs / * / *Configs[offsets.topic.replication.factor].*", "3", "1", "`offsets.topic.replication.factor` is 1 by default"},
	{"brokerconfigs / * / *Configs[transaction.state.log.replication.factor].*", "3", "1", "`transaction.state.log.replication.factor` is 1 by default"},
	{"brokerconfigs / * / *Configs[socket.receive.buffer.bytes].*Value", "102400", "-1", "`socket.receive.buffer.bytes` is -1"},

	{"topicconfigs / * one topic twice / Resources[topicconfigs.set#2].ErrorCode", "0", "42 INVALID_REQUEST", "a resource that is named again"},
	{"topicconfigs / * one topic twice / Resources[topicconfigs.set#2].Configs", "list", "null", "a resource that is named again"},

	// administration
	{"pages / * empty name / *", "*", "*", "a topic with an empty name"},
	{"resources / * metrics: append / *", "40 INVALID_CONFIG", "0", "Lists of client metrics subscriptions can be appended to"},
	{"resources / * metrics: append / *", "a text", "null", "Lists of client metrics subscriptions can be appended to"},
	{"resources / * interval / *.ErrorMessage", "*", "*", "the wording is our own"},
	{"resources / * metrics: match * / *.ErrorMessage", "*", "*", "the wording is our own"},
	{"resources / * root logger / *.Value", "WARN", "INFO", "The log has one logger"},
	{"quorum / * quorum / *.LeaderEpoch", "*", "*", "offsets are indexes of the raft log"},
	{"quorum / * quorum / *.HighWatermark", "*", "*", "offsets are indexes of the raft log"},
	{"quorum / * quorum / *.LogEndOffset", "*", "*", "offsets are indexes of the raft log"},
	{"quorum / * quorum / Nodes[1].Listeners[*]", "*", "*", "controllers have no listener of their own"},

	// Produce
	{"batches / * null / outcome", "silence", "answer", "Kafka never answers a null record set"},
	{"batches / * codec *.ErrorCode", "-1 UNKNOWN_SERVER_ERROR", "76 UNSUPPORTED_COMPRESSION_TYPE", "what Kafka has an internal error for"},
	{"batches / * codec *.LogStartOffset", "-1", "0", "what Kafka has an internal error for"},
	{"batches / * compressed: junk / *.ErrorCode", "-1 UNKNOWN_SERVER_ERROR", "2 CORRUPT_MESSAGE", "what Kafka has an internal error for"},
	{"batches / * compressed: junk / *.LogStartOffset", "0", "-1", "what Kafka has an internal error for"},
	{"batches / * timestamps -2*", "*", "*", "what Kafka has an internal error for"},
	{"batches / * trailing junk*", "*", "*", "bytes behind the batch"},
	{"batches / * offset deltas with a gap*", "*", "*", "offset deltas that do not count up from 0"},
	{"batches / * LogAppendTime set by the client*", "*", "*", "a batch with the LogAppendTime bit set"},
	{"produce / * one partition twice / *.Partitions[2#2]", absent, "element", "named twice in one request"},

	// groups
	{"commits / * unknown partition / Topics[*commits.t*", "*", "*", "named twice in one request"},

	{"consumers / * by \"null\" in epoch 3* / Groups[*].ErrorCode", "-1 UNKNOWN_SERVER_ERROR", "25 UNKNOWN_MEMBER_ID", "OffsetFetch with a member epoch and no member id"},

	// Fetch and ListOffsets
	{"fetch / * replica 5 / *.CurrentLeader.*", "*", "-1", "Fetches of followers are refused"},
	{"fetch / * the same partition twice / *", "*", "*", "named twice in one request"},
	{"offsets / * twice / Topics[offsets.t].Partitions[0#2]", absent, "element", "named twice in one request"},
	{"* / * isolation level 7 / *", "*", "*", "an unknown isolation level"},
	{"limits / * max -1, of a partition -1*", "*", "*", "negative limits of bytes"},
	{"polls / * beside an unknown topic: time / outcome", "waited", "at once", "An error of any partition ends a waiting Fetch"},

	// topics
	{"autocreate / * auto-create of a name that collides / *.ErrorCode", "3 UNKNOWN_TOPIC_OR_PARTITION", "17 INVALID_TOPIC_EXCEPTION", "a name that collides is not created on demand"},
	{"metadata / * by zero id / *", "*", "*", "names a topic by neither name nor id"},
	{"* / * two that collide / Topics[*a_b].*", "*", "*", "collide with each other in one request"},
	{"* / * config min.cleanable.dirty.ratio=NaN / *", "*", "*", "`NaN` is refused"},
	{"* / * config *.replication.throttled.replicas=* / *", "*", "*", "throttled.replicas` settings are refused"},
	{"validate / * config remote.storage.enable=true / *", "*", "*", "a topic may be tiered wherever the broker has a tier"},
	{"create / * config remote.storage.enable=true / *", "*", "*", "a topic may be tiered wherever the broker has a tier"},

	// log dirs
	{"brokerconfigs / * / *Configs[ssl.*].ReadOnly", "false", "true", "Settings of listeners change at a restart only."},
	{"brokerconfigs / * / *Configs[sasl.*].ReadOnly", "false", "true", "Settings of listeners change at a restart only."},
	{"brokerconfigs / * / *Configs[ssl.*store.type].*Value", "JKS", "PEM", "Keys and certificates are PEM"},
	{"brokerconfigs / * / *Configs[sasl.enabled.mechanisms].*Value", "GSSAPI", "SCRAM-SHA-256,SCRAM-SHA-512", "`sasl.enabled.mechanisms` is SCRAM-SHA-256 and SCRAM-SHA-512 by default"},
	{"brokerconfigs / * / *.Configs[ssl.cipher.suites].*", "*", "null", "and so is `ssl.cipher.suites`"},
	{"brokerconfigs / * / *.Configs[authorizer.class.name].*", "*", "null", "`authorizer.class.name`"},
	{"brokerconfigs / * / *.Configs[max.connections.per.ip.overrides].*", "*", "null", "`max.connections.per.ip.overrides`"},
	{"brokerconfigs / * / *.Configs[sasl.oauthbearer.expected.audience].*", "*", "null", "`sasl.oauthbearer.expected.audience` are null"},
	{"brokerconfigs / * / *.Configs[org.apache.kafka.sasl.oauthbearer.allowed.urls]", absent, "element", "`org.apache.kafka.sasl.oauthbearer.allowed.urls` is a setting"},
	{"brokerconfigs / * / *.Configs[allow.everyone.if.no.acl.found]", absent, "element", "are settings of the broker; Kafka's are its plugin's"},
	{"brokerconfigs / * / *.Configs[super.users]", absent, "element", "are settings of the broker; Kafka's are its plugin's"},
	{"brokerconfigs / * / *.Configs[cordoned.log.dirs].*", "*", "*", "`cordoned.log.dirs` is null where Kafka"},
	{"brokerconfigs / * / *.Configs[replica.alter.log.dirs.io.max.bytes.per.second]*", "*", "*", "where Kafka only has it as a dynamic one"},

	// malformed requests
	{"connections / Metadata v1, topics -2 / outcome", "answer", "closed", "only -1 is the length of null"},
	{"connections / client id length -2 / outcome", "answer", "closed", "only -1 is the length of null"},
}

// expectedByHeader are the differences of a broker that looks at headers only, beside those above.
var expectedByHeader = []row{
	{"batches / * compressed: count above the records*", "*", "*", "compressed records that are not as many as the header counts"},
	{"batches / * compressed: junk*", "*", "*", "compressed bytes that do not decompress, or whose records are malformed"},
	{"batches / * fields that do not fill a record*", "*", "*", "uncompressed records whose fields do not fill their size"},
	{"batches / * later than the header says*", "*", "*", "records with a time outside of `message.timestamp.after.max.ms`"},
	{"batches / * stored: wrong max timestamp / *.MaxTimestamp", "*", "*", "The header's maximum timestamp is stored as it came"},
}

func (r row) String() string {
	return fmt.Sprintf("%s: Kafka %s, Varve %s (%s)", r.at, r.kafka, r.varve, r.why)
}

// TestDifferencesAreExplained holds every row against the page that users read.
func TestDifferencesAreExplained(t *testing.T) {
	b, err := os.ReadFile("../../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(b)), " ")
	for _, r := range slices.Concat(expected, expectedByHeader, expectedSecured) {
		if !strings.Contains(page, r.why) {
			t.Errorf("docs/differences.md lacks %q, which is to explain %s", r.why, r)
		}
	}
}

// expectation is a list of rows, and those of them that no difference has needed so far.
type expectation struct {
	rows   []row
	unused map[string]bool
}

func newExpectation(rows []row) *expectation {
	e := &expectation{rows: rows, unused: map[string]bool{}}
	for _, r := range rows {
		e.unused[r.String()] = true
	}
	return e
}

// explains says whether a row fits a difference, and crosses it off.
func (e *expectation) explains(d difference) bool {
	for _, r := range e.rows {
		if fits(r.at, d.at) && fits(r.kafka, d.kafka) && fits(r.varve, d.varve) {
			delete(e.unused, r.String())
			return true
		}
	}
	return false
}

// fits matches a text with a pattern in which * stands for any text.
func fits(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
