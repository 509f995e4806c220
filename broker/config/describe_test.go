package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// show is an entry as kafka-configs prints it.
func show(e Entry) string {
	value := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	var synonyms []string
	for _, s := range e.Synonyms {
		synonyms = append(synonyms, fmt.Sprintf("%s:%s=%s", s.Source, s.Name, value(s.Value)))
	}
	return fmt.Sprintf("%s=%s sensitive=%v synonyms={%s}", e.Name, value(e.Value), e.Sensitive, strings.Join(synonyms, ", "))
}

func find(t *testing.T, list []Entry, name string) Entry {
	t.Helper()
	i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		t.Fatalf("no entry %s", name)
	}
	return list[i]
}

func TestDescribeTopic(t *testing.T) {
	n := load(t, Sources{
		Set:            []string{"log.segment.bytes=1048577", "log.retention.hours=2", "compression.type=lz4"},
		DynamicCluster: map[string]string{"log.segment.bytes": "1048578", "log.flush.interval.ms": "5"},
		DynamicBroker:  map[string]string{"log.segment.bytes": "1048579"},
	})
	list := n.DescribeTopic(map[string]string{"segment.bytes": " 1048580", "retention.ms": "3", "compression.type": "zstd"})
	for name, want := range map[string]string{
		"segment.bytes": "segment.bytes=1048580 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:segment.bytes=1048580, " +
			"DYNAMIC_BROKER_CONFIG:log.segment.bytes=1048579, DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=1048578, " +
			"STATIC_BROKER_CONFIG:log.segment.bytes=1048577, DEFAULT_CONFIG:log.segment.bytes=1073741824}",
		"retention.ms": "retention.ms=3 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=3, " +
			"STATIC_BROKER_CONFIG:log.retention.hours=2, DEFAULT_CONFIG:log.retention.hours=168}",
		"flush.ms": "flush.ms=5 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.flush.interval.ms=5, " +
			"DEFAULT_CONFIG:log.flush.scheduler.interval.ms=9223372036854775807}",
		"segment.ms":            "segment.ms=604800000 sensitive=false synonyms={}",
		"index.interval.bytes":  "index.interval.bytes=4096 sensitive=false synonyms={DEFAULT_CONFIG:log.index.interval.bytes=4096}",
		"remote.storage.enable": "remote.storage.enable=false sensitive=false synonyms={}",
		"compression.type": "compression.type=zstd sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:compression.type=zstd, " +
			"STATIC_BROKER_CONFIG:compression.type=lz4, DEFAULT_CONFIG:compression.type=producer}",
	} {
		if got := show(find(t, list, name)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if e := find(t, list, "segment.ms"); !e.IsDefault || e.Source != Default || e.ReadOnly || e.Type != Long || e.Doc == "" {
		t.Errorf("%+v", e)
	}
	if e := find(t, list, "segment.bytes"); e.IsDefault || e.Source != DynamicTopic {
		t.Errorf("%+v", e)
	}
	if slices.ContainsFunc(list, func(e Entry) bool { return e.Name == "log.segment.bytes" || e.Name == "node.id" }) {
		t.Error("broker settings among those of a topic")
	}
	if !slices.IsSortedFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("entries are not sorted")
	}
}

func TestDescribeBroker(t *testing.T) {
	n := load(t, Sources{
		YAML:           []byte("log.retention.ms: 5\nnode.id: 4\n"),
		DynamicCluster: map[string]string{"log.retention.ms": "6"},
	})
	list := n.Describe()
	for name, want := range map[string]string{
		"log.retention.ms": "log.retention.ms=6 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=6, " +
			"STATIC_BROKER_CONFIG:log.retention.ms=5, DEFAULT_CONFIG:log.retention.hours=168}",
		"log.retention.hours":   "log.retention.hours=168 sensitive=false synonyms={DEFAULT_CONFIG:log.retention.hours=168}",
		"log.retention.minutes": "log.retention.minutes=null sensitive=false synonyms={}",
		"node.id":               "node.id=4 sensitive=false synonyms={STATIC_BROKER_CONFIG:node.id=4, DEFAULT_CONFIG:node.id=1}",
		"advertised.listeners":  "advertised.listeners=null sensitive=false synonyms={}",
	} {
		if got := show(find(t, list, name)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if !find(t, list, "node.id").ReadOnly || find(t, list, "log.retention.ms").ReadOnly {
		t.Error("read-only is wrong")
	}
	cluster := n.DescribeCluster()
	if len(cluster) != 1 || show(cluster[0]) != "log.retention.ms=6 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=6}" {
		t.Errorf("cluster defaults %+v", cluster)
	}
}

func TestSensitiveValuesAreNeverShown(t *testing.T) {
	l := layers{static: map[string]string{"node.id": "4"}, cluster: map[string]string{"node.id": "5"}}
	s := row("node.id")
	s.Sensitive = true // the table has no secret yet: play one
	e := (&Node{layers: l}).describe(s)
	if got := show(e); got != "node.id=null sensitive=true synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:node.id=null, "+
		"STATIC_BROKER_CONFIG:node.id=null, DEFAULT_CONFIG:node.id=null}" {
		t.Errorf("got %s", got)
	}
}
