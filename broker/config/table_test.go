package config

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestTableIsSound(t *testing.T) {
	variables := map[string]string{}
	for i, s := range table {
		if i > 0 && table[i-1].Name >= s.Name {
			t.Errorf("%s follows %s", s.Name, table[i-1].Name)
		}
		if s.Default != "" {
			if v, err := s.canonical(s.Default); err != nil || v != s.Default {
				t.Errorf("%s: default %q becomes %q, %v", s.Name, s.Default, v, err)
			}
		}
		if s.Doc == "" || s.Since == "" || s.Type == 0 || s.Scope == 0 {
			t.Errorf("%s: incomplete row", s.Name)
		}
		if s.Scope&NodeScope == 0 && s.Update != ReadOnly {
			t.Errorf("%s: the update mode belongs to broker-level settings", s.Name)
		}
		for _, name := range []string{EnvName(s.Name), "VARVE_" + strings.ToUpper(strings.ReplaceAll(s.Name, ".", "_"))} {
			if other := variables[name]; other != "" && other != s.Name {
				t.Errorf("%s and %s share the variable %s", s.Name, other, name)
			}
			variables[name] = s.Name
		}
		for _, name := range s.Synonyms {
			if synonym, ok := Lookup(name); !ok || synonym.Scope&NodeScope == 0 {
				t.Errorf("%s: %s is no broker-level setting", s.Name, name)
			}
		}
	}
	if _, ok := Lookup("log.dir"); ok {
		t.Error("found a name that is not in the table")
	}
}

// otherValue is a valid value of s that is not its default.
func otherValue(t *testing.T, s Setting) string {
	special := map[string]string{
		"listeners":                        "PLAINTEXT://:1234",
		"advertised.listeners":             "PLAINTEXT://example.com:1234",
		"listener.security.protocol.map":   "",
		"cordoned.log.dirs":                "*",
		"varve.cluster.id":                 "4L6g3nShT-eMCtK--X86sw",
		"varve.log.dirs.lost":              "4L6g3nShT-eMCtK--X86sw",
		"varve.admin.listener":             "localhost:1",
		"varve.tier.url":                   "mem://x",
		"varve.tier.delete.grace.ms":       "7",
		"queued.max.request.bytes":         "104857601",
		"group.max.session.timeout.ms":     "6000",
		"varve.wal.bytes":                  "16777216",
		"varve.durability":                 "group",
		"varve.disk.throttle.percent":      "91",
		"varve.disk.refuse.percent":        "96",
		"match":                            "client_id=x",
		"ssl.enabled.protocols":            "TLSv1.3",
		"ssl.cipher.suites":                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"authorizer.class.name":            standardAuthorizer,
		"super.users":                      "User:admin",
		"max.connections.per.ip.overrides": "10.0.0.1:7",
		"ssl.client.auth":                  "required",
		"ssl.principal.mapping.rules":      "RULE:CN=(.*)/$1/L",
		"sasl.enabled.mechanisms":          "PLAIN",
		"sasl.jaas.config":                 `org.apache.kafka.common.security.plain.PlainLoginModule required user_a="b";`,
		"log.cleaner.dedupe.buffer.size":   "2097152",
		allowedURLs:                        "https://x/",
		"varve.tracing.endpoint":           "http://127.0.0.1:4318",

		"sasl.oauthbearer.jwks.endpoint.url":        "https://x/",
		"sasl.oauthbearer.jwks.endpoint.refresh.ms": "3600001",

		"group.consumer.session.timeout.ms":         "46000",
		"group.consumer.min.session.timeout.ms":     "44000",
		"group.consumer.max.session.timeout.ms":     "61000",
		"group.consumer.heartbeat.interval.ms":      "6000",
		"group.consumer.min.heartbeat.interval.ms":  "4000",
		"group.consumer.max.heartbeat.interval.ms":  "16000",
		"group.consumer.min.assignment.interval.ms": "500",
		"group.consumer.max.assignment.interval.ms": "16000",
		"group.consumer.assignors":                  "range",
		"group.consumer.migration.policy":           "upgrade",
	}
	if v, ok := special[s.Name]; ok {
		return v
	}
	candidates := []string{"true", "compact", "LogAppendTime", "zstd", "full", "/elsewhere", "0.25", "1", "7", "2097152"}
	for _, c := range candidates {
		if v, err := s.canonical(c); err == nil && v != s.Default {
			return v
		}
	}
	if s.Type == Bool {
		return "false"
	}
	t.Fatalf("no other value for %s", s.Name)
	return ""
}

// TestEverySettingHasAnEffect: a row that changes no typed view would be an empty promise.
func TestEverySettingHasAnEffect(t *testing.T) {
	view := func(static map[string]string) any {
		n, err := newNode(layers{static: static})
		if err != nil {
			t.Fatalf("%v: %v", static, err)
		}
		topic := n.Topic(nil)
		n.layers = layers{}
		return [2]any{n, topic}
	}
	base, err := newNode(layers{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(view(nil), view(nil)) {
		t.Fatal("two views of the same settings differ")
	}
	for _, s := range table {
		if s.Name == "listener.security.protocol.map" {
			continue // it needs a listener of another name
		}
		if s.Name == "varve.admin.ssl.enable" {
			continue // it needs a key: TestAdminListener
		}
		if strings.HasSuffix(s.Name, "store.type") {
			continue // there is one value, which a file from Kafka may name
		}
		value := otherValue(t, s)
		if s.Scope&NodeScope != 0 && reflect.DeepEqual(view(nil), view(map[string]string{s.Name: value})) {
			t.Errorf("%s=%s changes nothing on a node", s.Name, value)
		}
		if s.Scope&TopicScope != 0 && reflect.DeepEqual(base.Topic(nil), base.Topic(map[string]string{s.Name: value})) {
			t.Errorf("%s=%s changes nothing on a topic", s.Name, value)
		}
		if s.Scope&GroupScope != 0 && base.ConsumerGroup(nil) == base.ConsumerGroup(map[string]string{s.Name: s.Default + "0"}) { // within the limits
			t.Errorf("%s=%s0 changes nothing on a group", s.Name, s.Default)
		}
		if s.Scope&ClientMetricsScope != 0 && reflect.DeepEqual(NewClientMetrics(nil), NewClientMetrics(map[string]string{s.Name: value})) {
			t.Errorf("%s=%s changes nothing on a subscription", s.Name, value)
		}
	}
}

// ours are the rows that differ from Kafka's on purpose.
var ours = map[string]string{
	"ssl.keystore.type":       "PEM is all that is read",
	"ssl.truststore.type":     "PEM is all that is read",
	"sasl.enabled.mechanisms": "GSSAPI is not there",

	"node.id":  "Kafka has no default",
	"log.dirs": "Kafka takes log.dir, which is below /tmp",

	"offsets.topic.replication.factor":         "3 needs three brokers",
	"transaction.state.log.replication.factor": "3 needs three brokers",
	"socket.receive.buffer.bytes":              "a fixed buffer keeps the kernel from growing it, and 100 KiB cost a quarter more CPU per produced byte",
}

// stricter are the ranges that Kafka checks elsewhere or not at all.
var stricter = []string{
	"connections.max.reauth.ms", "max.connections.per.ip.overrides", "connection.failed.authentication.delay.ms", "ssl.enabled.protocols", "ssl.cipher.suites", "ssl.principal.mapping.rules",
	"sasl.oauthbearer.jwks.endpoint.url", "sasl.oauthbearer.jwks.endpoint.refresh.ms", "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
	"sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", "sasl.oauthbearer.clock.skew.seconds", "sasl.oauthbearer.sub.claim.name", "sasl.oauthbearer.scope.claim.name",
	"sasl.enabled.mechanisms", "sasl.jaas.config", "ssl.keystore.type", "ssl.truststore.type", "advertised.listeners", "listeners", "listener.security.protocol.map", "log.dirs", "log.flush.interval.ms",
	"log.flush.scheduler.interval.ms", "log.retention.hours", "log.retention.minutes", "log.retention.ms", "log.roll.jitter.ms",
	"log.roll.ms", "default.replication.factor", "socket.receive.buffer.bytes", "socket.send.buffer.bytes",
	"group.consumer.assignors", "group.consumer.migration.policy",
	"log.cleaner.io.buffer.load.factor", "log.cleaner.io.max.bytes.per.second", "interval.ms",
	"group.initial.rebalance.delay.ms", "group.max.session.timeout.ms", "group.min.session.timeout.ms", "offset.metadata.max.bytes",
}

// TestTableIsKafkas compares the table with what Apache Kafka 4.3.1 says of itself.
func TestTableIsKafkas(t *testing.T) {
	b, err := os.ReadFile("testdata/kafka-4.3.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		scope, name, kind, fallback, span, importance := f[0], f[1], f[2], f[3], f[4], f[5]
		s, ok := Lookup(name)
		if !ok {
			t.Errorf("%s is gone from the table", name)
			continue
		}
		seen[name] = true
		if fallback == "null" {
			fallback = ""
		}
		if s.Type.String() != kind || s.Default != fallback && ours[name] == "" {
			t.Errorf("%s: %s %q, Kafka has %s %q", name, s.Type, s.Default, kind, fallback)
		}
		if (scope == "broker") == (s.Scope&NodeScope != 0) && s.Importance.String() != importance {
			t.Errorf("%s: importance %s, Kafka says %s", name, s.Importance, importance)
		}
		if !slices.Contains(stricter, name) {
			checkRange(t, s, span)
		}
	}
	for _, s := range table {
		if s.Name == "super.users" || s.Name == "allow.everyone.if.no.acl.found" {
			continue // which Kafka's StandardAuthorizer reads itself: they are in no ConfigDef
		}
		if !seen[s.Name] && !strings.HasPrefix(s.Since, "Varve") && !strings.HasPrefix(s.Since, "Kafka 4.4") {
			t.Errorf("%s is not in Kafka 4.3.1", s.Name)
		}
	}
}

// checkRange probes the ends of a range in ConfigDef's notation.
func checkRange(t *testing.T, s Setting, span string) {
	t.Helper()
	accepts := func(v string, want bool) {
		t.Helper()
		if _, err := s.canonical(v); (err == nil) != want {
			t.Errorf("%s=%s: accepted %v, Kafka's range is %q", s.Name, v, err == nil, span)
		}
	}
	span, orMinusOne := strings.CutSuffix(span, " or -1")
	inside := strings.Trim(span, "[]")
	low, high, isRange := strings.Cut(inside, ",...")
	switch {
	case span == "" && (s.Type == Int || s.Type == Long):
		accepts("-2147483648", true)
	case span == "" || s.Type == Double:
	case isRange:
		n, err := strconv.ParseInt(low, 10, 64)
		if err != nil {
			t.Fatalf("%s: range %q", s.Name, span)
		}
		accepts(low, true)
		if !orMinusOne || n-1 != -1 {
			accepts(strconv.FormatInt(n-1, 10), false)
		}
		if high = strings.Trim(high, ","); high != "" {
			n, err := strconv.ParseInt(high, 10, 64)
			if err != nil {
				t.Fatalf("%s: range %q", s.Name, span)
			}
			accepts(high, true)
			accepts(strconv.FormatInt(n+1, 10), false)
		}
	default:
		for word := range strings.SplitSeq(inside, ", ") {
			accepts(word, true)
		}
		accepts("surely-not", false)
	}
}

func TestDocumentationIsGenerated(t *testing.T) {
	checkedIn, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(checkedIn, Markdown()) {
		t.Error("docs/configuration.md is not what the table says; run: go run ./broker/config/gendoc")
	}
}

func TestSampleLoads(t *testing.T) {
	live := strings.NewReplacer("\n# ", "\n").Replace(string(Sample()))
	var lines []string
	for line := range strings.Lines(live) {
		name, value, ok := strings.Cut(line, ": ")
		if _, known := Lookup(name); ok && known && value != "\n" && value != "\"\"\n" {
			lines = append(lines, line)
		}
	}
	n, _, err := Load(Sources{YAML: []byte(strings.Join(lines, ""))})
	if err != nil {
		t.Fatal(err)
	}
	base, _, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 40 || !reflect.DeepEqual(*n.Topic(nil), *base.Topic(nil)) {
		t.Errorf("the sample's %d lines do not stand for the defaults", len(lines))
	}
}

func TestReadingOfNumbers(t *testing.T) {
	for name, want := range map[string]string{
		"segment.bytes": "`1073741824` (1 GiB)", "retention.ms": "`604800000` (7 d)", "log.retention.hours": "`168` (7 d)",
		"flush.ms": "`9223372036854775807` (no limit)", "message.max.bytes": "`1048588`", "log.roll.ms": "not set",
	} {
		if got := row(name).defaultText(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
