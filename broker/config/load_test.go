package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func load(t *testing.T, src Sources) *Node {
	t.Helper()
	n, _, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantProblems checks that err speaks of each text, one a line, and is INVALID_CONFIG.
func wantProblems(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted; want %q", texts)
	}
	if !errors.Is(err, kafka.InvalidConfig) {
		t.Errorf("%v is not INVALID_CONFIG", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(texts) {
		t.Errorf("%d problems, want %d: %v", lines, len(texts), err)
	}
}

func TestDefaults(t *testing.T) {
	n := load(t, Sources{})
	want := []Listener{{Name: "PLAINTEXT", Port: 9092, Protocol: "PLAINTEXT"}}
	if !reflect.DeepEqual(n.Listeners, want) || !reflect.DeepEqual(n.AdvertisedListeners, want) {
		t.Errorf("listeners %v, advertised %v", n.Listeners, n.AdvertisedListeners)
	}
	if n.MetadataDir != "/var/lib/varve/log/metadata" || n.TierCacheDir != "/var/lib/varve/log/cache" {
		t.Errorf("directories %s, %s", n.MetadataDir, n.TierCacheDir)
	}
	topic := n.Topic(nil)
	if topic.RetentionMs != 604800000 || topic.SegmentMs != 604800000 || !topic.CleanupDelete || topic.CleanupCompact ||
		topic.Durability != "pagecache" || topic.EffectiveLocalRetentionMs() != 604800000 || topic.MinCleanableDirtyRatio != 0.5 {
		t.Errorf("topic %+v", topic)
	}
}

func TestLayersOverrideEachOther(t *testing.T) {
	src := Sources{Properties: []byte("log.segment.bytes=1048577\nbroker.rack=properties\nnum.partitions=2")}
	steps := []struct {
		name string
		add  func()
		want int64
	}{
		{"properties", func() {}, 1048577},
		{"yaml", func() { src.YAML = []byte("log.segment.bytes: 1048578\n") }, 1048578},
		{"environment", func() { src.Env = []string{"VARVE_LOG_SEGMENT_BYTES=1048579"} }, 1048579},
		{"flag", func() { src.Set = []string{"log.segment.bytes=1048580"} }, 1048580},
		{"cluster", func() { src.DynamicCluster = map[string]string{"log.segment.bytes": "1048581"} }, 1048581},
		{"broker", func() { src.DynamicBroker = map[string]string{"log.segment.bytes": "1048582"} }, 1048582},
	}
	for _, step := range steps {
		step.add()
		n := load(t, src)
		if got := n.Topic(nil).SegmentBytes; got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
		if got := n.Topic(map[string]string{"segment.bytes": " 2000000 "}).SegmentBytes; got != 2000000 {
			t.Errorf("%s: a topic's own setting gives %d", step.name, got)
		}
		if n.Rack != "properties" || n.NumPartitions != 2 {
			t.Errorf("%s: rack %q, %d partitions", step.name, n.Rack, n.NumPartitions)
		}
	}
}

func TestSynonymsCountInTheirOrder(t *testing.T) {
	n := load(t, Sources{Set: []string{"log.retention.hours=2", "log.roll.hours=3", "log.roll.jitter.hours=1"}})
	if got := n.Topic(nil); got.RetentionMs != 2*3600*1000 || got.SegmentMs != 3*3600*1000 || got.SegmentJitterMs != 3600*1000 {
		t.Errorf("hours: %+v", got)
	}
	n = load(t, Sources{YAML: []byte("log.retention.minutes: 5"), Set: []string{"log.retention.hours=2"}})
	if got := n.Topic(nil).RetentionMs; got != 5*60*1000 {
		t.Errorf("minutes: %d", got)
	}
	n = load(t, Sources{YAML: []byte("log.retention.ms: 9"), Set: []string{"log.retention.minutes=2"}})
	if got := n.Topic(nil).RetentionMs; got != 9 {
		t.Errorf("ms: %d", got)
	}
	n = load(t, Sources{Set: []string{"log.retention.hours=-1", "log.retention.bytes=-7"}})
	if got := n.Topic(nil); got.RetentionMs != -1 || got.RetentionBytes != -1 {
		t.Errorf("unlimited: %d ms, %d bytes", got.RetentionMs, got.RetentionBytes)
	}
	n = load(t, Sources{Set: []string{"log.flush.scheduler.interval.ms=70"}})
	if got := n.Topic(nil).FlushMs; got != 70 {
		t.Errorf("flush: %d", got)
	}
}

func TestYAMLForms(t *testing.T) {
	n := load(t, Sources{YAML: []byte("# comment\nlog.dirs: [/a, /b]\n")})
	if !reflect.DeepEqual(n.LogDirs, []string{"/a", "/b"}) {
		t.Errorf("log.dirs %q", n.LogDirs)
	}
	n = load(t, Sources{YAML: []byte("log.dirs: /a, /b\nauto.create.topics.enable: False\nbroker.rack: \"\"\n")})
	if !reflect.DeepEqual(n.LogDirs, []string{"/a", "/b"}) || n.AutoCreateTopics || n.Rack != "" {
		t.Errorf("%+v", n)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		load(t, Sources{YAML: []byte(empty)})
	}
}

func TestYAMLProblemsNameTheirLine(t *testing.T) {
	_, _, err := Load(Sources{YAMLName: "etc/varve.yaml", YAML: []byte(`
log.segment.byte: 5
log.segment.bytes: 14
log:
  dirs: /x
num.partitions: 1
num.partitions: 2
segment.bytes: 1048576
remote.storage.enable: true
node.id:
num.io.threads: 8
broker.rack: [a]
delete.topic.enable: yes
tier.url: mem://x
frobnicate: 1
`)})
	wantProblems(t, err,
		"etc/varve.yaml:2: log.segment.byte is not a setting; did you mean log.segment.bytes?",
		"etc/varve.yaml:3: Invalid value 14 for configuration log.segment.bytes: Value must be at least 1048576",
		"etc/varve.yaml:4: settings are a flat map: write `log.dirs: value` in one line",
		"etc/varve.yaml:7: num.partitions is set twice, first in line 6",
		"etc/varve.yaml:8: segment.bytes is a setting of a topic; the broker's default is log.segment.bytes",
		"etc/varve.yaml:9: remote.storage.enable is a setting of a topic, set when the topic is created or altered",
		"etc/varve.yaml:10: node.id has no value",
		"etc/varve.yaml:11: num.io.threads has no effect in Varve: requests run on their connections' goroutines",
		"etc/varve.yaml:12: broker.rack takes one value, not a list",
		"etc/varve.yaml:13: Invalid value yes for configuration delete.topic.enable: Expected value to be either true or false",
		"etc/varve.yaml:14: tier.url is not a setting; did you mean varve.tier.url?",
		"etc/varve.yaml:15: frobnicate is not a setting",
	)
	for text, problem := range map[string]string{
		"- a\n":                   "expected a flat map of settings",
		"a: b: c\n":               "varve.yaml: yaml:",
		"node.id: 1\n---\na: 1\n": "expected one document",
		"x: &a 1\nnode.id: *a\n":  "anchors and aliases are not supported",
		"log.dirs: [[a]]\n":       "takes a list of plain values",
		"? [a]\n: 1\n":            "expected the name of a setting",
	} {
		if _, _, err := Load(Sources{YAML: []byte(text)}); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %v, want %q", text, err, problem)
		}
	}
}

func TestEnvironment(t *testing.T) {
	n, warnings, err := Load(Sources{Env: []string{
		"HOME=/root", "VARVE_TIER_URL=mem://short", "VARVE_NODE_ID=7", "VARVE_FAULT=x=kill", "VARVE_SERVICE_HOST=10.0.0.1",
		"VARVE_PORT_9092_TCP=tcp://10.0.0.1:9092", "VARVE_LOG_DIR=/x",
	}})
	if err != nil || n.TierURL != "mem://short" || n.NodeID != 7 {
		t.Fatalf("%+v, %v", n, err)
	}
	if len(warnings) != 1 || warnings[0].String() != "VARVE_LOG_DIR: log.dir is ignored: there is no such setting; did you mean log.dirs?" {
		t.Errorf("warnings %v", warnings)
	}
	if n := load(t, Sources{Env: []string{"VARVE_VARVE_TIER_URL=mem://long"}}); n.TierURL != "mem://long" {
		t.Errorf("the full name gives %q", n.TierURL)
	}
	_, _, err = Load(Sources{Env: []string{"VARVE_NODE_ID=x"}, Set: []string{"nod.id=1", "novalue"}})
	wantProblems(t, err, "VARVE_NODE_ID: Invalid value x for configuration node.id: Not a number of type INT",
		"--set nod.id: nod.id is not a setting; did you mean node.id?", "--set novalue: expected name=value")
}

// TestKafkasOwnFile: the settings of the server.properties that Kafka ships, combined mode.
func TestKafkasOwnFile(t *testing.T) {
	n, warnings, err := Load(Sources{Properties: []byte(`# comment
! comment
process.roles=broker,controller
node.id=3
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
socket.send.buffer.bytes : 102401
log.dirs=/tmp/a,\
    /tmp/b
num.partitions 4
transaction.two.phase.commit.enable=true
log.retention.hours=24
broker.rack=caf\u00e9\ 1
no.such.thing=1
log.segment.byte=5
remote.storage.enable=true
`)})
	if err != nil {
		t.Fatal(err)
	}
	if n.NodeID != 3 || n.SocketSendBufferBytes != 102401 || !reflect.DeepEqual(n.LogDirs, []string{"/tmp/a", "/tmp/b"}) ||
		n.NumPartitions != 4 || n.Rack != "café 1" || n.Topic(nil).RetentionMs != 24*3600*1000 {
		t.Errorf("%+v", n)
	}
	if len(n.Listeners) != 1 || n.AdvertisedListeners[0].String() != "PLAINTEXT://localhost:9092" {
		t.Errorf("listeners %v, advertised %v", n.Listeners, n.AdvertisedListeners)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		"server.properties:3: process.roles is ignored: every Varve node is a broker and can hold metadata",
		"server.properties:5: controller.quorum.bootstrap.servers is ignored: " + metadataReason,
		"server.properties:6: CONTROLLER://:9093 in listeners is ignored: " + metadataReason,
		"server.properties:7: inter.broker.listener.name is ignored: one node has no traffic between brokers",
		"server.properties:8: CONTROLLER://localhost:9093 in advertised.listeners is ignored: " + metadataReason,
		"server.properties:9: controller.listener.names is ignored: " + metadataReason,
		"server.properties:11: num.network.threads is ignored: connections are goroutines; there is no thread pool to size",
		"server.properties:16: transaction.two.phase.commit.enable is ignored: Varve 0.1 has no two-phase commit",
		"server.properties:19: no.such.thing is ignored: Varve 0.1 has no such setting",
		"server.properties:20: log.segment.byte is ignored: Varve 0.1 has no such setting; did you mean log.segment.bytes?",
		"server.properties:21: remote.storage.enable is ignored: it is a setting of a topic, set when the topic is created or altered",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPropertiesProblemsAndOtherNames(t *testing.T) {
	n, warnings, err := Load(Sources{Properties: []byte("broker.id=4\nlog.dir=/x\nlog.dirs=/y\nmetadata.log.dir=/m\nadvertised.listeners=\nlog.retention.ms=\n")})
	if err != nil || n.NodeID != 4 || n.LogDirs[0] != "/y" || n.MetadataDir != "/m" {
		t.Errorf("%+v, %v", n, err)
	}
	if len(warnings) != 1 || warnings[0].Name != "log.dir" {
		t.Errorf("warnings %v", warnings)
	}
	_, _, err = Load(Sources{PropertiesName: "k.properties", Properties: []byte("log.segment.bytes=100\nbroker.rack=\\u12")})
	wantProblems(t, err, "k.properties:2: \\u needs four hexadecimal digits", "k.properties:1: Invalid value 100 for configuration log.segment.bytes")
}

func TestListenerProblems(t *testing.T) {
	for set, problem := range map[string]string{
		"listeners=PLAINTEXT:9092":                       "Unable to parse PLAINTEXT:9092",
		"listeners=PLAINTEXT://x:y":                      "is not a number up to 65535",
		"listeners=PLAINTEXT://x:99999":                  "is not a number up to 65535",
		"listeners=A://:1":                               "add A:PLAINTEXT to listener.security.protocol.map",
		"listeners=SSL://:1":                             "Listener SSL is SSL and has no key: set ssl.keystore.location",
		"listeners=PLAINTEXT://:1,PLAINTEXT://:2":        "different name",
		"listeners=":                                     "names no listener",
		"advertised.listeners=PLAINTEXT://0.0.0.0:9092":  "nonroutable meta-address 0.0.0.0",
		"advertised.listeners=SSL://x:9092":              "names SSL, which listeners does not",
		"listener.security.protocol.map=PLAINTEXT:CLEAR": "Unknown security protocol",
		"listener.security.protocol.map=PLAINTEXT":       "Expected NAME:PROTOCOL",
	} {
		if _, _, err := Load(Sources{Set: []string{set}}); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", set, err, problem)
		}
	}
	_, _, err := Load(Sources{Set: []string{"listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT", "listeners=A://:1,B://:1"}})
	if err == nil || !strings.Contains(err.Error(), "different port") {
		t.Errorf("one port twice: %v", err)
	}
	n := load(t, Sources{Set: []string{"listener.security.protocol.map=a:plaintext,B:PLAINTEXT",
		"listeners=A://127.0.0.1:1,B://[::1]:1", "advertised.listeners=A://h:5"}})
	if n.Listeners[1].String() != "B://[::1]:1" || len(n.AdvertisedListeners) != 1 || n.AdvertisedListeners[0].Protocol != "PLAINTEXT" {
		t.Errorf("%v, %v", n.Listeners, n.AdvertisedListeners)
	}
	if n := load(t, Sources{Set: []string{"listeners=PLAINTEXT://0.0.0.0:0"}}); n.AdvertisedListeners[0].Host != "" {
		t.Errorf("advertised %v", n.AdvertisedListeners)
	}
}

func TestRulesBetweenNodeSettings(t *testing.T) {
	_, _, err := Load(Sources{Set: []string{"queued.max.request.bytes=5", "log.cleaner.min.compaction.lag.ms=5", "log.cleaner.max.compaction.lag.ms=4"}})
	wantProblems(t, err, "queued.max.request.bytes (5) must be at least socket.request.max.bytes (104857600)",
		"log.cleaner.min.compaction.lag.ms (5) > log.cleaner.max.compaction.lag.ms (4)")
	_, _, err = Load(Sources{Set: []string{"varve.tier.url=mem://x", "log.local.retention.ms=604800001"}})
	wantProblems(t, err, "Invalid value 604800001 for configuration log.local.retention.ms: Value must not be more than log.retention.ms")
}

func TestDynamicSettings(t *testing.T) {
	n := load(t, Sources{Set: []string{"max.connections=10"}})
	next, err := n.WithDynamic(map[string]string{"max.connections": "20"}, nil)
	if err != nil || n.MaxConnections != 10 || next.MaxConnections != 20 {
		t.Errorf("%d, then %+v, %v", n.MaxConnections, next, err)
	}
	_, err = n.WithDynamic(map[string]string{"node.id": "2"}, map[string]string{"max.connections": "x"})
	wantProblems(t, err, "cluster default: Cannot update node.id dynamically", "broker setting: Invalid value x for configuration max.connections")
}

func TestCredentialsAreNotEchoed(t *testing.T) {
	_, _, err := Load(Sources{Set: []string{"varve.tier.url=s3://AKIA:secret@bucket/p"}})
	wantProblems(t, err, "Credentials do not belong in the URL")
	if strings.Contains(err.Error(), "AKIA") || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows them: %v", err)
	}
	s := Setting{Name: "some.password", Type: Password, Sensitive: true, Valid: oneOf("x")}
	if _, err := s.canonical("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a sensitive value: %v", err)
	}
}
